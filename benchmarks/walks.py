"""Which files a reader visits who follows one capture, one TopK step and one move of a slider.

Run `python benchmarks/walks.py`, with `--root DIR` for another copy of the tree, `--against DIR` to
see two side by side and `--files` for the files in the order in which they are first entered;
`--page docs/architecture.md` writes those onto the page. Each walk is done first to warm up, so that
imports, first compilations and caches do not count, and then again under a profiler, in every thread:

- *capture*: `capture` of four pictures at `resid_post.6` of tiny-vit.
- *TopK step*: from one step of the optimiser to the next in a `train` of 256 atoms on those rows.
- *slider*: the slider of a `SteeringPanel` on the SAE that ships is moved, until its answer is drawn.

*Files* are files of the project in which a Python function was called. A *change of file* is a call
into another of these files than the call before it was; what other libraries do in between does not
count. Compiled kernels are not seen.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDERS = ("sae_nb", "widgets/sae_nb_widgets", "notebooks/sae_nb_lessons")
HOOK_POINT = "resid_post.6"
N_IMAGES = 4
STEP = 6
"""The step that is followed; those before it warm up."""

Walk = dict[str, Any]


class Steps:
    """A profiler that follows the project's files, thread by thread."""

    def __init__(self, root: Path) -> None:
        self.roots = tuple(f"{(root / folder).resolve()}/" for folder in FOLDERS)
        self.root = root.resolve()
        self.files: dict[str, None] = {}  # in the order of the first visit
        self.changes = 0
        self._at: dict[int, str] = {}

    def start(self) -> None:
        """Follow this thread and those it begins."""
        threading.setprofile(self._see)
        sys.setprofile(self._see)

    def stop(self) -> None:
        """Follow no more."""
        sys.setprofile(None)
        threading.setprofile(None)

    def found(self) -> Walk:
        """What was seen: the files in the order of the first visit, and the changes of file."""
        names = [str(Path(file).relative_to(self.root)) for file in self.files]
        return {"files": names, "changes": self.changes}

    def _see(self, frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(self.roots):
            return
        thread = threading.get_ident()
        self.changes += self._at.get(thread, file) != file
        self._at[thread] = file
        self.files.setdefault(file)


def follow(root: Path) -> dict[str, Walk]:
    """The three walks in the tree at `root`, which must not be imported yet.

    Raises
    ------
    RuntimeError
        If `sae_nb` comes from elsewhere.
    """
    sys.path[:0] = [str(root / folder) for folder in ("", "widgets", "notebooks")]
    import sae_nb

    if not str(sae_nb.__file__).startswith(f"{root.resolve()}/"):
        raise RuntimeError(f"sae_nb was imported from {sae_nb.__file__}, not from {root}.")
    return {"capture": _capture(root), "TopK step": _step(root), "slider": _slider(root)}


def _capture(root: Path) -> Walk:
    import sae_nb as sn

    model, images = sn.load_model("tiny-vit"), sn.data.scenes(N_IMAGES, seed=0).images
    return _followed(
        root, lambda: sn.capture(model, images, HOOK_POINT, batch_size=N_IMAGES, progress=False)
    )


def _step(root: Path) -> Walk:
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    import sae_nb as sn

    rows = torch.randn(1024, 64, generator=torch.Generator().manual_seed(0))
    sae = sn.TopK(64, 256, 8, generator=torch.Generator().manual_seed(0))
    steps, done = Steps(root), 0

    def stepped(*_: Any) -> None:
        nonlocal done
        done += 1
        if done == STEP:
            steps.start()
        elif done == STEP + 1:
            steps.stop()

    hook = register_optimizer_step_post_hook(stepped)
    try:
        sn.train(sae, rows, sn.TrainConfig(steps=STEP + 3, batch_size=256), progress=False)
    finally:
        steps.stop()
        hook.remove()
    return steps.found()


def _slider(root: Path) -> Walk:
    import sae_nb_widgets as sw

    import sae_nb as sn

    model, sae = sn.load_model("tiny-vit"), sn.load_sae(f"tiny-vit/{HOOK_POINT}")
    images = sn.data.scenes(N_IMAGES, seed=0).images
    panel = sw.SteeringPanel(model, HOOK_POINT, sae, images, atom=3)
    panel.wait()
    slider = panel.controls.strength
    ends = (slider.low, slider.high) if hasattr(slider, "low") else (slider.min, slider.max)
    step = (ends[1] - ends[0]) / 25

    def move() -> None:
        slider.value += step if slider.value <= 0 else -step
        while panel.busy:  # and not `wait`, which is a walk of its own that nobody's hand takes
            time.sleep(0.005)

    try:
        return _followed(root, move)
    finally:
        panel.close()


def _followed(root: Path, walk: Callable[[], object]) -> Walk:
    for _ in range(3):
        walk()
    steps = Steps(root)
    steps.start()
    try:
        walk()
    finally:
        steps.stop()
    return steps.found()


def elsewhere(root: Path) -> dict[str, Walk]:
    """The walks of a tree, in a process of its own."""
    command = [sys.executable, __file__, "--json", "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def table(trees: dict[str, dict[str, Walk]]) -> str:
    """Files and changes of every walk, one column for each tree, in Markdown."""
    lines = [f"| walk: files, changes of file | {' | '.join(trees)} |"]
    lines.append("| --- " * (1 + len(trees)) + "|")
    for walk in next(iter(trees.values())):
        cells = [f"{len(tree[walk]['files'])}, {tree[walk]['changes']}" for tree in trees.values()]
        lines.append(f"| {walk} | {' | '.join(cells)} |")
    return "\n".join(lines)


BEGIN, END = "<!-- walks: written by benchmarks/walks.py --page -->", "<!-- end of walks -->"
TITLES = {
    "capture": "A capture",
    "TopK step": "One TopK training step",
    "slider": "A slider of the steering panel",
}


def written(text: str, walks: dict[str, Walk]) -> str:
    """A page with the walks between its marks: room by room, the files of each."""
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    lines = [
        f"- **{TITLES[name]}** ({len(walk['files'])} files): {_by_room(walk['files'])}."
        for name, walk in walks.items()
    ]
    return "\n".join([f"{head}{BEGIN}", *lines, f"{END}{tail}"])


def _by_room(files: list[str]) -> str:
    found: dict[str, list[str]] = {}
    for file in map(Path, files):
        found.setdefault(str(file.parent), []).append(file.stem)
    return " → ".join(f"`{room}`: {', '.join(stems)}" for room, stems in found.items())


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Files visited by three walks through the house.")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to look at")
    parser.add_argument("--against", type=Path, help="another tree, in a column of its own")
    parser.add_argument("--files", action="store_true", help="the files too, in order")
    parser.add_argument("--page", type=Path, help="write the files onto this page")
    parser.add_argument("--json", action="store_true", help="the walks as JSON, nothing else")
    given = parser.parse_args()
    walks = follow(given.root)
    if given.json:
        print(json.dumps(walks))
        return
    if given.page:
        text = given.page.read_text(encoding="utf-8")
        given.page.write_text(written(text, walks), encoding="utf-8")
    trees = {"this tree": walks}
    if given.against:
        trees = {"before": elsewhere(given.against), "after": walks}
    print(table(trees))
    for name, walk in walks.items() if given.files else ():
        print(f"\n{name}:", *walk["files"], sep="\n  ")


if __name__ == "__main__":
    main()
