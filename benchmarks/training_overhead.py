"""What watching a training costs: the share of step time that is not the step itself.

Run `python benchmarks/training_overhead.py`. Each row trains a TopK SAE; every function that only
watches (dead atoms, records, best state, callbacks, the lock, the finite check) is timed from
inside, and its share of the whole is printed. The last column is the same run without records and
callbacks against the run with them, alternating, as a check from outside.

Callbacks: a bar of the kind `train` shows, and one that redraws a summary ten times a second, as a
panel does.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any

import torch

import sae_nb as sn
from sae_nb.summaries import summarise_training
from sae_nb.training import BestState, Control, DeadAtoms, Learner, Training, TrainRecord

SIZES = {
    "tour": {"d_in": 64, "n_atoms": 1024, "k": 16, "batch_size": 1024, "steps": 300},
    "digits": {"d_in": 64, "n_atoms": 256, "k": 8, "batch_size": 256, "steps": 600},
    "language": {"d_in": 768, "n_atoms": 8192, "k": 32, "batch_size": 2048, "steps": 24},
}
WATCHED = {
    "dead atoms": (DeadAtoms, "update"),
    "records": (Learner, "record"),
    "best state": (BestState, "see"),
    "callbacks": (Training, "_publish"),
}


class Stopwatch:
    """Adds up the time spent in the functions that only watch."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys([*WATCHED, "lock"], 0.0)
        self._originals: list[tuple[type, str, Any]] = []

    def __enter__(self) -> Stopwatch:
        for name, (owner, method) in WATCHED.items():
            original = getattr(owner, method)
            self._originals.append((owner, method, original))
            setattr(owner, method, self._timed(name, original))
        return self

    def __exit__(self, *_: object) -> None:
        for owner, method, original in self._originals:
            setattr(owner, method, original)

    def _timed(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - began

        return call


def monitor() -> Callable[[TrainRecord], None]:
    """A callback that builds what a panel draws, at most ten times a second."""
    records: list[TrainRecord] = []
    last = [0.0]

    def listen(record: TrainRecord) -> None:
        records.append(record)
        if time.perf_counter() - last[0] >= 0.1:
            summarise_training(records, state="running")
            last[0] = time.perf_counter()

    return listen


def lock_seconds(turns: int = 20_000) -> float:
    """Time of one turn without a step in it."""
    control = Control()
    began = time.perf_counter()
    for _ in range(turns):
        with control.turn():
            continue
    return (time.perf_counter() - began) / turns


def run(size: dict[str, int], *, watched: bool) -> float:
    """Seconds of one training."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4 * size["batch_size"], size["d_in"], generator=generator)
    sae = sn.TopK(size["d_in"], size["n_atoms"], size["k"], generator=generator)
    every = 10 if watched else 10**9
    config = sn.TrainConfig(steps=size["steps"], batch_size=size["batch_size"], log_every=every)
    callbacks = [monitor()] if watched else None
    with redirect_stderr(io.StringIO()):
        return sn.train(sae, x, config, callbacks=callbacks, progress=watched).seconds


def row(name: str, size: dict[str, int], repeats: int) -> str:
    """One line of the table."""
    run(size | {"steps": 3}, watched=True)  # compile and warm up
    shares, ratios = [], []
    for _ in range(repeats):
        with Stopwatch() as watch:
            seconds = run(size, watched=True)
        watch.seconds["lock"] = lock_seconds() * size["steps"]
        shares.append({k: v / seconds for k, v in watch.seconds.items()})
        ratios.append(run(size, watched=True) / run(size, watched=False) - 1)
    parts = {k: statistics.median(share[k] for share in shares) for k in shares[0]}
    step = 1000 * seconds / size["steps"]
    cells = " ".join(f"{100 * share:9.2f} %" for share in parts.values())
    total = 100 * sum(parts.values())
    return (
        f"{name:9} {step:8.2f} ms {cells} {total:8.2f} % {100 * statistics.median(ratios):+8.1f} %"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads,",
        end=" ",
    )
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )
    for name in given.sizes:
        print(f"{name}: {SIZES[name]}")
    heads = " ".join(f"{head:>11}" for head in [*WATCHED, "lock"])
    print(f"{'size':9} {'step':>11} {heads} {'watching':>10} {'outside':>10}")
    for name in given.sizes:
        print(row(name, SIZES[name], given.repeats))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
