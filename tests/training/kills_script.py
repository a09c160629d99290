"""What each worker runs while workers are killed: at random in a step, in a save, in the reading of a checkpoint.

    python tests/training/warm_torchrun.py tests/training/kills_script.py FOLDER unbroken-20=2 killed-20=2

Mode "killed-20" dies twenty times in 120 steps; what is left in FOLDER must be the bytes of "unbroken-20", and
kills.txt says when it died. With another number of workers, mode "other" goes on from a checkpoint of mode
"half", in which a disk is full afterwards.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import sae_nb as sn
from sae_nb.training import _distributed_parts
from sae_nb.training._learner import Learner

torch.set_num_threads(1)
EVERY = 3
MOMENTS: dict[str, tuple[Any, str, int]] = {
    "step": (Learner, "differentiate", 8),
    "save": (importlib.import_module("sae_nb.files._streams"), "_bytes", 40),
    "rename": (Path, "rename", 4),
    "read": (_distributed_parts._LoadPlanner, "lookup_tensor", 10),
}
"""A function that is called in each, and how often it may be called before the worker dies."""


def main(folder: Path, mode: str) -> None:
    """Train as one of the workers."""
    with sn.training.workers() as team:
        kind, _, count = mode.partition("-")
        n = int(count)
        if kind == "killed":
            die(folder / "kills.txt", n, team.rank, team.size)
        of_half = kind in ("half", "other")
        settings: dict[str, Any] = {
            "steps": 3 * n if kind == "half" else 6 * n,
            "batch_size": 64,
            "log_every": 5,
            "decay_fraction": 0.0,
            "warmup_steps": 1,
            "checkpoint": folder / ("checkpoint-half" if of_half else f"checkpoint-{mode}"),
            "checkpoint_every": EVERY,
        }
        with torch.device("meta"):
            sae = sn.TopK(16, 97, 3, generator=torch.Generator().manual_seed(team.rank))
        x = torch.randn(512, 16, generator=torch.Generator().manual_seed(0))
        saved = folder / f"sae-{mode}"
        result = sn.train(sae, x, **settings, shard_atoms=True, save_to=saved, progress=False)
        if team.is_first:
            found = [(r.step, r.loss, r.r2, r.dead_fraction) for r in result.history]
            (folder / f"{mode}.json").write_text(json.dumps(found))
        if kind == "half":
            told = fill(team.rank, sae, x, settings | {"checkpoint": folder / "checkpoint-full"})
            (folder / f"full-{team.rank}.txt").write_text(told)


def fill(rank: int, sae: sn.TopK, x: torch.Tensor, settings: dict[str, Any]) -> str:
    """What a worker is told when the second one's disk is full at the second checkpoint."""
    write, times = _distributed_parts.write_file, []

    def full(*arguments: Any) -> None:
        times.append(1)
        if rank == 1 and len(times) == 2:
            raise OSError(errno.ENOSPC, "no room")
        write(*arguments)

    _distributed_parts.write_file = full
    try:
        sn.train(sae, x, **settings, shard_atoms=True, progress=False)
    except OSError as error:
        return str(error)
    return ""


def die(marks: Path, n: int, rank: int, size: int) -> None:
    """Let one worker die at a moment drawn for this life, unless all deaths have been died."""
    deaths = marks.read_text().splitlines() if marks.exists() else []
    if len(deaths) >= n:
        return
    draws = random.Random(20 - n + len(deaths))  # the last n of twenty
    # At first there is nothing to read.
    moment = draws.choice(list(MOMENTS)) if deaths else "save"
    left = draws.randint(1, MOMENTS[moment][2])
    # The first worker alone renames.
    if rank != (0 if moment == "rename" else draws.randrange(size)):
        return
    owner, name, _ = MOMENTS[moment]
    whole: Callable[..., Any] = getattr(owner, name)

    def counted(*arguments: Any, **settings: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            with marks.open("a") as file:
                file.write(f"worker {rank} of {size} in a {moment}\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*arguments, **settings)

    setattr(owner, name, counted)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
