"""PursuitStepper: it steps, and goes back exactly."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page
from sae_nb_widgets.pursuit._figure import IN_CODE, NOW, TRACES_PER_ALGORITHM

CELLS = (
    """\
strokes = torch.as_tensor(sn.data.digits().images[:40]).flatten(1).float() / 255
strokes = strokes - strokes.mean(dim=0)
candidates = torch.nn.functional.normalize(torch.randn(64, 64, generator=torch.Generator()
    .manual_seed(0)), dim=1)
stepper = sw.PursuitStepper(strokes, candidates, k=12, picture_shape=(8, 8))
stepper.show_bars = True
stepper""",
    """\
seen = sw.PursuitStepper(vit_examples.acts.x[:8], vit_sae, k=16)
seen""",
)
BARS = """plot => plot.data.map(t => ({y: Array.from(t.y || []), n: (t.x || []).length,
  colour: t.marker && t.marker.color}))"""


def _start(stage: Any) -> Locator:
    """The first stepper, MP beside OMP on a digit, at step 0."""
    panel: Locator = stage.panel()
    panel.locator(".js-plotly-plot .bars .point").first.wait_for()
    handle = panel.get_by_role("slider").first
    handle.focus()
    handle.press("Home")
    stage.says(panel, "Step 0:")
    stage.settle(200)
    return panel


def _bars(panel: Locator) -> list[dict[str, Any]]:
    return list(panel.locator(".js-plotly-plot").first.element_handle().evaluate(BARS))


def check_arrow_keys_step_forth_and_back_exactly(page: Page, stage: Any) -> None:
    """→ three times and ← three times bring back the very same bars; forth they shrink."""
    panel = _start(stage)
    start = _bars(panel)
    panel.locator(".sae-nb-question").click()
    for step in (1, 2, 3):
        page.keyboard.press("ArrowRight")
        stage.says(panel, f"Step {step}:")
    stage.settle()
    third = _bars(panel)
    assert max(third[NOW]["y"]) < 0.9 * max(start[NOW]["y"])
    assert third[IN_CODE]["n"] == third[TRACES_PER_ALGORITHM + IN_CODE]["n"] == 3
    stage("step_3", panel)
    for step in (2, 1, 0):
        page.keyboard.press("ArrowLeft")
        stage.says(panel, f"Step {step}:")
    stage.settle()
    assert _bars(panel) == start
