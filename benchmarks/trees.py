"""Speed of two copies of the tree, side by side in one run: a ratio for each of the daily actions.

Run `python benchmarks/trees.py --against DIR`, where DIR is a checkout of another version. One process
per tree holds the same models and data; they take turns, so that what else the machine does falls on
both, and the order changes every turn. What is timed is CPU time of the process, with one thread.

The ratio is this tree's time over the other's, the median over turns, with the half width of its 95 %
bootstrap interval. The column *noise* is the same ratio between two processes of this tree: a ratio
within 1 ± noise is not a difference. The actions:

- *TopK step*: `train` of 4096 atoms on rows of 256, k 32, batches of 1024; 20 steps.
- *MP encode*: `MatchingPursuit.encode` of 2048 rows of 256 with 1024 atoms, k 16.
- *MP forward + backward*: the loss of 512 of these rows and its gradient.
- *capture*: 64 images at six hook points of tiny-vit.
- *map paint*: a `ConceptMap` of 2048 atoms with coordinates is made and closed.
- *map click*: six atoms are selected on it, until the panel has answered.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
N_ATOMS, D_IN = 2048, 256


def actions() -> dict[str, Callable[[], object]]:
    """Return the actions by name, on the models and data of the tree that is imported."""
    import torch

    import sae_nb as sn

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(20_480, D_IN, generator=generator)
    topk = sn.TopK(D_IN, 4096, 32, generator=generator)
    pursuit = sn.MatchingPursuit(D_IN, 1024, 16, generator=generator)
    model, images = sn.load_model("tiny-vit"), sn.data.scenes(64, seed=0).images
    points = [f"resid_post.{layer}" for layer in range(6)]

    def step() -> None:
        sn.train(topk, rows, sn.TrainConfig(steps=20, batch_size=1024), progress=False)

    def encode() -> None:
        with torch.no_grad():
            pursuit.encode(rows[:2048])

    def backward() -> None:
        pursuit.zero_grad()
        x = rows[:512]
        (pursuit(x) - x).square().sum().backward()

    return {
        "TopK step": step,
        "MP encode": encode,
        "MP forward + backward": backward,
        "capture": lambda: sn.capture(model, images, points, batch_size=32, progress=False),
        **_map_actions(),
    }


def _map_actions() -> dict[str, Callable[[], object]]:
    import numpy as np
    import sae_nb_widgets as sw
    import torch

    import sae_nb as sn

    generator = torch.Generator().manual_seed(1)
    sae = sn.TopK(D_IN, N_ATOMS, 16, generator=generator)
    acts = sn.Activations.from_tensor(torch.randn(1024, D_IN, generator=generator))
    xy = np.random.default_rng(0).normal(size=(N_ATOMS, 2)).astype(np.float32)

    def made() -> Any:
        panel = sw.ConceptMap(sae, acts, xy=xy)
        panel.wait(300)
        return panel

    shown = made()

    def click() -> None:
        for atom in (3, 500, 77, 1024, 2000, 9):
            shown.atom = atom
            shown.wait(300)

    return {"map paint": lambda: made().close(), "map click": click}


def serve(root: Path) -> None:
    """Do one action per line read, and print its CPU seconds; the first time of each is not printed.

    Raises
    ------
    RuntimeError
        If `sae_nb` comes from elsewhere.
    """
    sys.path[:0] = [str(root), str(root / "widgets")]
    import sae_nb

    if not str(sae_nb.__file__).startswith(f"{root.resolve()}/"):
        raise RuntimeError(f"sae_nb was imported from {sae_nb.__file__}, not from {root}.")
    work = actions()
    for action in work.values():
        action()
    print(json.dumps(list(work)), flush=True)
    for line in sys.stdin:
        began = time.process_time()
        work[line.strip()]()
        print(time.process_time() - began, flush=True)


class Tree:
    """A process that does the actions with the code of one tree."""

    def __init__(self, root: Path) -> None:
        command = [sys.executable, __file__, "--serve", str(root.resolve())]
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "NUMBA")}
        places = os.pathsep.join(str(root.resolve() / folder) for folder in ("", "widgets"))
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads, "PYTHONPATH": places},
        )
        self.actions: list[str] = json.loads(self._answer())

    def seconds(self, action: str) -> float:
        """CPU seconds of one action."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{action}\n")
        self.process.stdin.flush()
        return float(self._answer())

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("A tree's process ended early; its error stands above.")
        return line


def compared(here: Path, other: Path, turns: int) -> str:
    """Return the table of ratios: this tree over the other, and over itself."""
    trees = {"now": Tree(here), "again": Tree(here), "other": Tree(other)}
    lines = ["| action | now, ms | ratio | noise |", "|---|---|---|---|"]
    try:
        for action in trees["now"].actions:
            taken: dict[str, list[float]] = {name: [] for name in trees}
            for turn in range(turns):
                names = list(trees) if turn % 2 else list(reversed(trees))
                for name in names:
                    taken[name].append(trees[name].seconds(action))
            lines.append(_line(action, taken))
    finally:
        for tree in trees.values():
            tree.end()
    return "\n".join(lines)


def _line(action: str, taken: dict[str, list[float]]) -> str:
    import numpy as np

    now, again, other = (np.array(taken[name]) for name in ("now", "again", "other"))
    ratio, noise = _median(now / other), _median(now / again)
    far = abs(noise[0] - 1) + noise[1]
    return (
        f"| {action} | {1e3 * np.median(now):.1f} | {ratio[0]:.3f} ± {ratio[1]:.3f} | ± {far:.3f} |"
    )


def _median(values: Any) -> tuple[float, float]:
    """Return the median and the half width of its 95 % bootstrap interval."""
    import numpy as np

    generator = np.random.default_rng(0)
    drawn = np.median(generator.choice(values, (2000, len(values))), axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(np.median(values)), float(high - low) / 2


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="another copy of the tree")
    parser.add_argument("--root", type=Path, default=ROOT, help="this tree")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
    elif arguments.against is None:
        parser.error("--against DIR is needed")
    else:
        print(compared(arguments.root, arguments.against, arguments.turns))


if __name__ == "__main__":
    main()
