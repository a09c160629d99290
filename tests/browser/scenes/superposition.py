"""SuperpositionToy and exercise cards: the slider moves the arrows, exercises speak, blanks wait."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
toy = sw.SuperpositionToy()
toy.wait(120)
toy.sparsity = 0.97
toy""",
    'from sae_nb_lessons import exercise, exercise_report\nexercise("01.2")',
    'exercise("01.2").check(...)',
    'exercise("01.3").reveal()',
    'exercise_report("01")',
)
ARROWS = """plot => JSON.stringify(plot.data.filter(trace => /^arrow/.test(trace.name))
  .map(trace => Array.from(trace.x, Number).concat(Array.from(trace.y, Number))))"""


def check_five_arrows_are_on_screen(page: Page, stage: Any) -> None:
    """With rare features: five lines, a heat map, rings, bars."""
    panel = stage.panel("How do many features")
    assert panel.locator(".js-plotly-plot").count() == 1
    page.wait_for_function(
        "() => document.querySelectorAll('.js-plotly-plot .xy .js-line').length >= 6"
    )
    assert panel.locator(".js-plotly-plot .xy .js-line").count() >= 6
    assert panel.locator(".js-plotly-plot .hm image, .js-plotly-plot .heatmaplayer image").count()
    assert panel.locator(".js-plotly-plot .barlayer .point").count() == 10
    assert "5 of 5 features are stored" in panel.inner_text()
    assert "The best atom finds a feature better than the best neuron" in panel.inner_text()
    stage("rare", panel)


def check_the_slider_moves_the_arrows(page: Page, stage: Any) -> None:
    """Eight steps of the slider show another toy, and its numbers."""
    panel = stage.panel("How do many features")
    plot = panel.locator(".js-plotly-plot").first.element_handle()
    before, numbers = plot.evaluate(ARROWS), panel.inner_text()
    handle = panel.get_by_role("slider").first
    for _ in range(8):
        handle.press("ArrowLeft")
    page.wait_for_function(f"([plot, old]) => ({ARROWS})(plot) !== old", arg=[plot, before])
    stage.settle()
    stage("slider", panel)
    assert "2 of 5 features are stored" in panel.inner_text()
    assert panel.inner_text() != numbers


def check_exercises_show_themselves_as_cards(page: Page, stage: Any) -> None:
    """Blanks say so, the prediction is asked for before anything is revealed, the report counts."""
    shown = page.locator(".jp-OutputArea-output div[role=status]").all_inner_texts()
    shown = [text for text in shown if text.strip()]
    assert sum("Not answered yet" in text for text in shown) == 1
    assert sum("Predict first" in text for text in shown) == 1
    assert "0 of 4 exercises solved" in shown[-1]
    assert page.locator(".jp-OutputArea-output div[role=note]").count() >= 1
