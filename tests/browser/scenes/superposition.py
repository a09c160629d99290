"""SuperpositionToy and exercise cards: the slider moves the arrows, exercises speak, blanks wait."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
toy = sw.SuperpositionToy()
toy.wait(120)
toy.sparsity = 0.97
toy.details = True
toy""",
    'from sae_nb_lessons import exercise, exercise_report\nexercise("01.3")',
    'exercise("01.3").check(...)',
    'exercise("01.4").reveal()',
    'exercise_report("01")',
)
ARROWS = """plot => JSON.stringify(plot.data.filter(trace => /^arrow/.test(trace.name))
  .map(trace => Array.from(trace.x, Number).concat(Array.from(trace.y, Number))))"""


def check_the_slider_moves_the_arrows(page: Page, stage: Any) -> None:
    """Eight steps of the slider show another toy, and its numbers."""
    panel = stage.panel("How do many features")
    plot = panel.locator(".js-plotly-plot").first.element_handle()
    before, numbers = plot.evaluate(ARROWS), panel.inner_text()
    handle = panel.get_by_role("slider").first
    for _ in range(8):
        handle.press("ArrowLeft")
    stage.changed(plot, ARROWS, before)
    stage.settle()
    stage("slider", panel)
    assert "2 of 5 features are stored" in panel.inner_text()
    assert panel.inner_text() != numbers
