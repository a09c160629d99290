"""DepthTrajectory: paths follow the layers."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
depth = sw.DepthTrajectory(vit, sn.data.scenes(48, seed=0, split="test"), sae=vit_sae)
depth.wait(120)
depth""",
)
HEADS = """plot => JSON.stringify(plot.data.filter(trace => /^head/.test(trace.meta) && trace.visible)
  .map(trace => Array.from(trace.x, Number)))"""


def begin(stage: Any) -> None:
    """The view as a check expects to find it."""
    stage.run(
        "depth.playing, depth.dimensions, depth.coordinates, depth.k = False, 2, 'pca', 3\n"
        "depth.strip = 'progress'\n"
        "depth.show, depth.color_by, depth.perturb_size, depth.layer = 'pictures', 'class', 0.0, 12\n"
        "depth.wait(60)"
    )
    stage.settle()


def check_keys_move_the_one_cursor(page: Page, stage: Any) -> None:
    """Three times left: heads of the paths, the strips and the slider stand at layer 9."""
    begin(stage)
    panel = stage.panel("tiny-vit")
    plot = panel.locator(".js-plotly-plot").first.element_handle()
    before = plot.evaluate(HEADS)
    panel.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    stage.changed(plot, HEADS, before)
    stage.settle()
    assert stage.ask("depth.layer") == 9
    stage("layer-9", panel)
