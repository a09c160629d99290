"""SteeringPanel: the slider steers the live model, the curve has its band, recipes come back."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
sevens = pictures[vit(pictures).argmax(dim=-1) == 7]
four = vit_examples.match("digit 4").atom
steering = sw.SteeringPanel(vit, vit_sae.hook_point, vit_sae, sevens, vit_catalogue, atom=four)
steering.wait()
steering""",
    """\
bad = gpt_examples.match("bad story").atom
telling = sw.SteeringPanel(gpt, gpt_sae.hook_point, gpt_sae, [story], gpt_catalogue, atom=bad)
telling.wait()
telling.max_new_tokens = 12
telling""",
)
BARS = "plot => JSON.stringify(plot.data.map(trace => Array.from(trace.x || [], String)))"


def check_moving_the_slider_steers_the_model(page: Page, stage: Any) -> None:
    """The strength slider runs the live model again and the answer on screen changes."""
    panel = stage.panel()
    plot = panel.locator(".js-plotly-plot").first.element_handle()
    before = plot.evaluate(BARS)
    handle = panel.get_by_role("slider").first
    for _ in range(5):
        handle.press("ArrowRight")
    stage.changed(plot, BARS, before)
    panel.locator(".sae-nb-answer", has_text="random pushes").wait_for()
    stage.settle()
    stage("moved", panel)
    for width in (1400, 800):
        stage.resize(width)
        stage.settle()
        panel.scroll_into_view_if_needed()
        stage(f"at-{width}", panel)


def check_the_curve_stands_beside_its_band(page: Page, stage: Any) -> None:
    """Dose–response: the atom's line, the band of random directions, the nearest atom."""
    panel = stage.panel()
    stage.more(panel)
    panel.get_by_role("button", name="dose–response").click()
    stage.says(panel, "8 random directions")
    stage.more(panel)
    marks = panel.locator(".js-plotly-plot .x2y2 .js-line, .js-plotly-plot .x2y2 .js-fill")
    marks.first.wait_for(state="attached")
    stage.settle()
    stage("curve", panel)


def check_a_text_goes_on_before_and_after(page: Page, stage: Any) -> None:
    """Three ways under each other: turned up with its own words tinted, untouched, along a random direction."""
    panel = stage.panel(which=1)
    panel.get_by_role("button", name="Write on").click()
    panel.locator(".sae-nb-question", has_text="“bad story” turned").wait_for()
    panel.locator(".sae-nb-answer", has_text="3 random pushes of that size").wait_for()
    for title in ("untouched", "random 1, same length"):
        assert panel.get_by_text(title, exact=True).first.is_visible()
    stage.settle()
    stage("story", panel)


def check_a_divergence_sets_the_strength_and_atoms_combine(page: Page, stage: Any) -> None:
    """Choosing a KL moves the slider; "combine" keeps the atom in a row while another is chosen."""
    panel = stage.panel()
    stage.run("steering.others, steering.atom, steering.strength = (), four, 2.0; steering.wait()")
    stage.more(panel)
    size = panel.get_by_label("match effect size")
    size.select_option(label="0.25")
    stage.says(panel, "Match effect size 0.25: strength found")
    kl, strength = stage.ask("[steering.summary.kl, steering.strength]")
    assert abs(kl - 0.25) < 0.013
    assert strength != 2.0
    panel.get_by_role("button", name="combine").click()
    panel.get_by_text("Choose another atom to change with it").wait_for()
    field = panel.locator(".sae-nb-entry input").first
    stage.write(field, str(stage.ask("vit_examples.match('digit 9').atom")))
    stage.says(panel, "Match effect size 0.25: strength found")
    panel.get_by_text(f"+ atom {stage.ask('four')}").wait_for()
    assert len(stage.ask("steering.recipe()['others']")) == 1
    stage.settle()
    stage("combined", panel)
    panel.get_by_role("button", name="without").click()
    size.select_option(label="off")
    stage.settle()
    assert size.evaluate("menu => menu.selectedIndex") == 0
    assert stage.ask("steering.recipe()['others']") == []
    stage.more(panel)
