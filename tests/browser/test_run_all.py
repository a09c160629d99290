"""A notebook with every panel, run all in one go: each of them fills, whatever the page is busy with.

`SAE_NB_RUN_ALLS=20 pytest tests/browser/test_run_all.py` does it twenty times, in three ways; the default is once, in
the worst of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.scripts import script

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]
REPETITIONS = int(os.environ.get("SAE_NB_RUN_ALLS", "1"))


def _sibling(name: str) -> ModuleType:
    return script(Path(__file__).with_name(f"{name}.py"), name)


_sibling("lab")
stage, halves = _sibling("stage"), _sibling("halves")

PANELS = (
    "sw.InputLens(vit, vit_sae)",
    "sw.DepthTrajectory(gpt, [story, 'Anna lived near the library with a small fox. The sun came'])",
    """\
time_sae = sn.Temporal(gpt_sae.d_in, 128, 8, bottleneck_factor=2, generator=torch.Generator().manual_seed(0))
in_time = sw.TemporalPanel(gpt, time_sae, story, second_text=story[:30], hook_point="resid_post.2")
in_time.token = 5
in_time""",
    """\
rows = vit_examples.acts.x[:512]
random_sae = sn.TopK(vit_sae.d_in, n_atoms=512, k=16, generator=torch.Generator().manual_seed(0))
saes = [vit_sae, random_sae.eval()]
sw.ReportCard([sn.evaluate(sae, rows, n_bootstrap=20) for sae in saes], ["trained", "random"])""",
    "sw.AtomQuiz(catalogue=vit_catalogue, seed=2)",
    "sw.LensPanel(gpt, sn.load_lens('tiny-gpt'), story)",
    "sw.ChangesPanel(gpt, gpt, [story])",
    "sw.PatchingPanel(sn.load_model('tiny-induction'))",
    """\
halves = sn.uses.documents(vit, vit_sae, pictures[:24], vit_sae.hook_point, progress=False)
sw.CorpusPanel(halves.subset(slice(12)), halves.subset(slice(12, 24)), min_count=2)""",
    """\
last = sn.load_sae("tiny-gpt/mlp.3")
went = sw.CircuitPanel(sn.circuits.attribution_graph(gpt, last, "One day she went", target=" to", max_nodes=40))
went.as_graph = True
went""",
    """\
writing = sw.GenerationLens(gpt, gpt_sae, prompt=story, pinned=[161])
writing.step(3)
writing""",
    "sw.AtomBrowser(vit_sae, vit_examples.acts, catalogue=vit_catalogue)",
    "sw.AtomBrowser(gpt_sae, None, gpt, catalogue=gpt_catalogue)",
    "sw.ConceptMap(gpt_sae, examples=gpt_examples)",
    """\
sw.PursuitStepper(vit_examples.acts.x[:8] - vit_sae.bias.detach(), vit_sae.dictionary, k=16)""",
    """\
fours = pictures[vit(pictures).argmax(dim=-1) == 4]
sw.SteeringPanel(vit, vit_sae.hook_point, vit_sae, fours, vit_catalogue, atom=474)""",
    "sw.SteeringPanel(gpt, gpt_sae.hook_point, gpt_sae, [story], gpt_catalogue, atom=984)",
    """\
learner = sn.TopK(vit_sae.d_in, n_atoms=64, k=8, generator=torch.Generator().manual_seed(0))
run = sn.start_training(learner, rows, sn.TrainConfig(steps=60, batch_size=64, seed=0))
sw.TrainingMonitor(run)""",
    "sw.InputLens(gpt, gpt_sae, examples=gpt_examples)",
    "sw.dashboard(vit, vit_sae)",
)
ALL_DONE = """
from sae_nb_widgets.panel._theming import _on_screen
run.wait()
for panel in list(_on_screen):
    panel.wait(60)
"""
# The page can do nothing for most of the time in which panels appear.
BUSY = """() => {
  let left = 5;
  const timer = setInterval(() => {
    if (!document.querySelector('.sae-nb-panel')) return;
    const until = performance.now() + 2200;
    while (performance.now() < until);
    if (--left === 0) clearInterval(timer);
  }, 2700);
}"""
# No module is there in time, however quick.
LATE = """() => {
  window.__timeout = AbortSignal.timeout;
  AbortSignal.timeout = (ms) => window.__timeout.call(AbortSignal, ms === 2000 ? 0 : ms);
}"""
CALM = "() => { if (window.__timeout) AbortSignal.timeout = window.__timeout; }"
WAYS = {"busy and late": (BUSY, LATE), "calm": (CALM,), "busy": (BUSY,)}
CLICKED = """
import time
end = time.monotonic() + 60
while in_time.token != 3 and time.monotonic() < end:
    time.sleep(0.05)
assert in_time.token == 3
"""


@pytest.fixture(scope="module")
def lab(lab_module: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The notebook of all panels, open and not yet run; its last cell is a second view of one."""
    path = tmp_path_factory.mktemp("run_all") / "run_all.ipynb"
    stage.write_cells(path, [*stage.SHARED, stage.AS_LOADED, *PANELS, "in_time"])
    with lab_module.Lab(path, out=stage.SCREENSHOTS, timeout_s=150) as opened:
        yield opened


@pytest.mark.parametrize("way", [[*WAYS][i % len(WAYS)] for i in range(REPETITIONS)])
def test_every_panel_of_a_notebook_that_is_run_in_one_go_shows_what_it_has(
    lab: Any, way: str
) -> None:
    """No component misses a word: on a calm page and on a busy one where every module is late."""
    for what in WAYS[way]:
        lab.page.evaluate(what)
    lab.run_all()
    lab.asked(ALL_DONE)
    lab.page.evaluate(CALM)
    assert lab.page.locator(stage.PANEL).count() > len(PANELS)
    assert halves.differences(lab) == []
    strips = lab.page.locator(stage.PANEL, has_text="What could be predicted from the past")
    strips.first.locator(".sae-nb-token").nth(3).click()
    lab.asked(CLICKED)
    chosen = ".sae-nb-token.sae-nb-selected"
    strips.nth(1).locator(chosen).first.wait_for()
    words = [strips.nth(view).locator(chosen).first.text_content() for view in (0, 1)]
    assert words[0] == words[1]
    assert lab.problems() == []
    lab.asked("in_time.close()")
    strips.first.wait_for(state="detached", timeout=20_000)
    # Two thousand widgets in one go: none of what says so may be lost on the way.
    lab.asked(stage.CLOSE_PANELS)
    lab.page.wait_for_function(
        "panel => !document.querySelector(panel)", arg=stage.PANEL, timeout=20_000
    )
