"""TrainingMonitor: a training seen while it runs, paused, resumed and stopped by its buttons."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
import time
taken = sn.capture(vit, pictures, "resid_post.6", progress=False)
learner = sn.TopK(taken.d_in, n_atoms=256, k=16, generator=torch.Generator().manual_seed(0))
run = sn.start_training(
    learner,
    taken,
    sn.TrainConfig(steps=40_000, batch_size=256, seed=0),
    callbacks=lambda record: time.sleep(0.3),  # it lasts as long as people look, and leaves them the processor
)
monitor = sw.TrainingMonitor(run, acts=taken)
monitor""",
    """\
strokes = torch.as_tensor(sn.data.digits().images).flatten(1).float() / 255
raced = {}
for k in (2, 4, 8):
    small = sn.TopK(64, n_atoms=96, k=k, generator=torch.Generator().manual_seed(k))
    raced[f"k = {k}"] = sn.start_training(
        small, strokes, sn.TrainConfig(steps=400, batch_size=256, seed=0))
race = sw.TrainingMonitor(raced, picture_shape=(8, 8), everything=True)
race""",
)


def check_the_buttons_act_on_the_running_thread(page: Page, stage: Any) -> None:
    """Pause keeps the step, resume goes on, stop ends it, and the curves have grown meanwhile."""
    panel = stage.panel()
    panel.locator(".js-plotly-plot .scatterlayer .js-line").first.wait_for()
    panel.get_by_role("button", name="pause").click()
    stage.says(panel, "Paused at step")
    stage("paused", panel)
    at = stage.ask("len(run.records)")
    panel.get_by_role("button", name="resume").click()
    panel.get_by_role("button", name="pause", disabled=False).wait_for()
    assert stage.ask("run.state") == "running"
    panel.get_by_role("button", name="stop").click()
    stage.says(panel, "Ended early")
    assert stage.ask("len(run.records)") >= at
    stage("stopped", panel)


def check_points_stand_where_the_record_says(page: Page, stage: Any) -> None:
    """A message for some traces leaves the others alone: L0 that stays the same is not lost."""
    panel = stage.panel(which=1)
    stage.run("[one.wait() for one in raced.values()]; race.refresh()")
    stage.run("race.map_by = 'motion'; race.map_by = 'frequency'")
    stage.settle()
    drawn = panel.locator(".js-plotly-plot").first.evaluate(
        "plot => plot.data.filter(t => t.xaxis === 'x8' && t.mode === 'markers')"
        ".map(t => Array.from(t.x || []))"
    )
    assert drawn == [[2], [4], [8]]
    titles = panel.locator(".js-plotly-plot .annotation-text").all_text_contents()
    assert any("run k = 2" in title for title in titles)
    assert "Best of 3: k = 8 explains" in panel.locator(".sae-nb-answer").inner_text()
    assert panel.locator(".js-plotly-plot .legend .traces").count() == 3
