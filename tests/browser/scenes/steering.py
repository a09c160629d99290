"""SteeringPanel: the slider steers the live model."""

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
telling = sw.SteeringPanel(gpt, gpt_sae.hook_point, gpt_sae, [story], gpt_catalogue, atom=gpt_examples.match("bad story").atom)
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
