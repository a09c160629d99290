"""A picture of every panel as it opens in JupyterLab: what somebody sees who has touched nothing.

    python tests/browser/looks.py [NAME ...] [--width 1400] [--dark] [--lecture] [--out build/looks] [--keep]

Each panel is opened with what a reader has: a model, an SAE, an input. Language panels read SmolLM2, which
has to be in the cache; the others read bundled models. `--keep` stores the pictures in docs/pictures/panels.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "pictures" / "panels"
PAGE_WIDTH = 1080
"""Pixels: words of 13 px are read without a click."""

if importlib.util.find_spec("stage") is None:
    sys.path.insert(0, str(Path(__file__).parent))

from lab import Lab  # noqa: E402
from stage import CHANGE_THEME, CLEAR_CELL, CLOSE_PANELS, PANEL, RUN_CELL, write_cells  # noqa: E402

DASHBOARD = ".sae-nb-dashboard"
READY = """\
import torch

import sae_nb as sn
import sae_nb_widgets as sw

torch.set_num_threads(1)
vit, lm, gpt = (sn.load_model(name) for name in ("tiny-vit", "smollm2-135m", "tiny-gpt"))
vision, language, stories = "tiny-vit/resid_post.6", "smollm2-135m/resid_post.16", "tiny-gpt/resid_post.3"
vit_sae, lm_sae, gpt_sae = (sn.load_sae(name) for name in (vision, language, stories))
vit_examples, lm_examples, gpt_examples = (sn.load_examples(name) for name in (vision, language, stories))
vit_catalogue, lm_catalogue = vit_examples.catalogue(vit_sae), lm_examples.catalogue(lm_sae)
scenes = vit_examples.acts.context.pictures
sevens = scenes[vit(scenes).argmax(dim=-1) == 7]
"""

PANELS = {
    "atom-browser": "sw.AtomBrowser(lm_sae, lm_examples.acts, lm, labels=lm_examples.labels, "
    "catalogue=lm_catalogue)",
    "atom-browser-images": "sw.AtomBrowser(vit_sae, vit_examples.acts, vit, labels=vit_examples.labels, "
    "catalogue=vit_catalogue)",
    "atom-comparison": "sw.AtomComparison(lm_sae, catalogue=lm_catalogue)",
    "work-list": "sw.WorkList(lm_sae, catalogue=lm_catalogue)",
    "changes": """\
from sae_nb_studies.models import plant_behaviour
made = plant_behaviour("phrase", model="smollm2-135m", steps=6)
panel = sw.ChangesPanel(made.before, made.after, made.inputs(6))
panel.wait(240)""",
    "changes-images": """\
from sae_nb_studies.models import plant_behaviour
made = plant_behaviour("seven")
panel = sw.ChangesPanel(made.before, made.after, made.inputs(12))
panel.wait(240)""",
    "circuit": """\
examples = list(sn.data.stories(40, seed=0).texts)
graph = sn.circuits.attribution_graph(
    lm, "neurons", "The keys to the cabinet", contrast="The key to the cabinet", target=(" are", " is"),
    examples=examples)
panel = sw.CircuitPanel(graph)""",
    "concept-map": "sw.ConceptMap(lm_sae, examples=lm_examples)",
    "corpus": """\
tales = sn.data.stories(200, seed=0)
docs = sn.uses.documents(
    gpt, gpt_sae, tales.texts, gpt_sae.hook_point, labels=gpt_examples.labels, progress=False)
sad = (tales.sentiment == 0).numpy()
panel = sw.CorpusPanel(docs.subset(sad), docs.subset(~sad), ("sad stories", "glad stories"))""",
    "depth": "sw.DepthTrajectory(vit, sn.data.scenes(24, seed=0, split='test'), sae=vit_sae)",
    "generation": "sw.GenerationLens(lm, lm_sae, prompt='Last summer in Rome he', acts=lm_examples.acts, "
    "labels=lm_examples.labels)",
    "input-lens": "sw.InputLens(lm, lm_sae, examples=lm_examples)",
    "input-lens-images": "sw.InputLens(vit, vit_sae, examples=vit_examples)",
    "layers": "sw.LensPanel(lm, sn.load_lens('smollm2-135m'), 'The opposite of hot is')",
    "patching": "sw.PatchingPanel(lm, 'The keys to the cabinet', 'The key to the cabinet', (' are', ' is'))",
    "pursuit": """\
strokes = torch.as_tensor(sn.data.digits().images).flatten(1).float() / 255
strokes = strokes - strokes.mean(dim=0)
drawn = sn.TopK(64, n_atoms=96, k=8, generator=torch.Generator().manual_seed(0))
sn.train(drawn, strokes, steps=400, batch_size=256, seed=0, progress=False)
panel = sw.PursuitStepper(strokes[:40], drawn, k=12, picture_shape=(8, 8))""",
    "quiz": "sw.AtomQuiz(catalogue=vit_catalogue)",
    "report-card": """\
judged = sn.capture(vit, sn.data.scenes(160, seed=7, split="test"), vit_sae.hook_point, progress=False)
panel = sw.ReportCard(
    [sn.evaluate(vit_sae, judged, model=vit)], [vit_sae.hook_point], saes=[vit_sae], acts=judged)""",
    "steering": "sw.SteeringPanel(lm, lm_sae.hook_point, lm_sae, ['Last summer in Rome he'], lm_catalogue)",
    "steering-images": "sw.SteeringPanel(vit, vit_sae.hook_point, vit_sae, sevens, vit_catalogue)",
    "input-steering": """\
lens = sw.InputLens(vit, vit_sae, examples=vit_examples)
lens.wait(60)
panel = sw.InputSteering(lens, vit_catalogue, atom=vit_examples.match("digit 4").atom)""",
    "superposition": "sw.SuperpositionToy()",
    "time": """\
acts = sn.capture(gpt, list(sn.data.stories(200, seed=0).texts), "resid_post.2", progress=False)
timed = sn.Temporal(acts.d_in, 128, 8, bottleneck_factor=2, generator=torch.Generator().manual_seed(0))
sn.train(timed, acts, steps=600, batch_size=512, progress=False)
days = " ".join(f"One day {name} went to the river." for name in ("Tom", "Mia", "Ben"))
panel = sw.TemporalPanel(gpt, timed, f"{days} A storm came.")""",
    "training": """\
taken = sn.capture(vit, scenes, "resid_post.6", progress=False)
learner = sn.TopK(taken.d_in, n_atoms=512, k=16, generator=torch.Generator().manual_seed(0))
run = sn.start_training(learner, taken, sn.TrainConfig(steps=400, batch_size=1024, seed=0))
panel = sw.TrainingMonitor(run)
run.wait()""",
    "dashboard": "sw.dashboard(vit, vit_sae, examples=vit_examples)",
}
"""How each panel is opened: an expression, or cells that leave it as `panel`."""

SETTLED = """try:
    panel.wait(240)
except AttributeError:
    pass  # it computes nothing
"""


def cell_of(name: str) -> str:
    """The source of a panel's cell."""
    source = PANELS[name]
    made = source if "panel = " in source else f"panel = {source}"
    return f"{made}\npanel"


def main() -> int:
    """Open the panels one after the other and keep their pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="panels to look at; none means all")
    parser.add_argument("--width", type=int, default=1400, help="of the panel, in pixels")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--lecture", action="store_true", help="a quarter larger")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "looks")
    parser.add_argument("--keep", action="store_true", help="store them for the documentation, too")
    given = parser.parse_args()
    if unknown := set(given.names) - set(PANELS):
        parser.error(f"no panel {sorted(unknown)}; there are {list(PANELS)}")
    names = given.names or list(PANELS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "looks.ipynb"
        write_cells(path, [READY, *(cell_of(name) for name in names)])
        with Lab(path, out=given.out, timeout_s=300) as lab:
            look(lab, names, given.width, dark=given.dark, lecture=given.lecture)
    if given.keep:
        for name in names:
            keep(given.out / f"{name}.png")
    return 0


def keep(png: Path) -> None:
    """Store a picture as docs/pictures/panels/NAME.webp, as wide as a page of the documentation."""
    with Image.open(png) as picture:
        height = round(picture.height * PAGE_WIDTH / picture.width)
        small = picture.convert("RGB").resize((PAGE_WIDTH, height), Image.Resampling.LANCZOS)
    KEPT.mkdir(parents=True, exist_ok=True)
    small.save(KEPT / f"{png.stem}.webp", "WEBP", quality=75, method=6)


def look(lab: Lab, names: list[str], width: int, *, dark: bool, lecture: bool) -> None:
    """Run each panel's cell, wait until it has its answer, and photograph it."""
    page = lab.page
    page.set_viewport_size({"width": 1600, "height": 1400})
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    page.evaluate(RUN_CELL, 0)
    if dark:
        page.evaluate(CHANGE_THEME, "JupyterLab Dark")
    if lecture:
        lab.asked("sw.theme('lecture')")
    for index, name in enumerate(names, 1):
        began = time.monotonic()
        page.evaluate(RUN_CELL, index)
        if broken := [line for line in lab.problems() if line.startswith(f"cell {index}: ")]:
            raise RuntimeError(f"{name} did not open: {broken}")
        lab.asked(SETTLED)
        panel = page.locator(DASHBOARD if name == "dashboard" else PANEL).first
        panel.wait_for()
        box, window = panel.bounding_box(), page.viewport_size
        if box and window and round(box["width"]) != width:
            page.set_viewport_size(
                {"width": round(window["width"] + width - box["width"]), "height": 1400}
            )
        page.mouse.move(2, 2)
        lab.settle(1500)
        lab.shot(name, panel)
        wrong = [line for line in lab.problems() if not line.endswith("did not run")]
        print(
            f"{name}: {time.monotonic() - began:.0f} s, {wrong or 'nothing complains'}", flush=True
        )
        lab.asked(CLOSE_PANELS)
        page.evaluate(CLEAR_CELL, index)


if __name__ == "__main__":
    sys.exit(main())
