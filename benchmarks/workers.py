"""What a second worker brings: two processes on two cores against one process on one core.

Run `python benchmarks/workers.py`. A TopK trains on the same global batches once alone and once with two
workers that torchrun starts, each computing with one thread. Printed for each: seconds a step from the
middle of the run on, the share of it spent adding gradients up, and the parallel efficiency, time alone
÷ (2 × time together). Goal at a global batch of 8192: at least .75. Needs two cores that do nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import sae_nb as sn

K = 32


def main() -> None:
    """Start both runs, one after the other, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--d-in", type=int, default=384)
    parser.add_argument("--atoms", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=8192)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--out", type=Path, help="set for the workers")
    wanted = parser.parse_args()
    if wanted.out is not None:
        work(wanted)
        return
    print(f"d {wanted.d_in}, {wanted.atoms} atoms, k {K}, global batch {wanted.batch}")
    alone, together = (measured(size, sys.argv[1:]) for size in (1, 2))
    for found in (alone, together):
        print(
            f"{found['size']} worker(s): {found['step']:.3f} s a step, "
            f"{found['adding'] / found['step']:.1%} of it adding gradients up"
        )
    print(f"parallel efficiency: {alone['step'] / (2 * together['step']):.2f}")


def measured(size: int, arguments: list[str]) -> dict[str, float]:
    """Figures of a run with so many workers."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        command = [sys.executable, *(launcher if size > 1 else []), __file__, *arguments]
        one_thread = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        subprocess.run([*command, "--out", str(out)], env=one_thread, check=True)
        figures: dict[str, float] = json.loads(out.read_text())
    return figures


def work(wanted: argparse.Namespace) -> None:
    """Train, with a clock around every sum over the workers."""
    torch.set_num_threads(1)
    x = torch.randn(4 * wanted.batch, wanted.d_in, generator=torch.Generator().manual_seed(0))
    times: list[float] = []
    adding: list[float] = []
    clocked(adding)
    with sn.training.workers() as team:
        sae = sn.TopK(wanted.d_in, wanted.atoms, K, generator=torch.Generator().manual_seed(0))
        config = sn.TrainConfig(steps=wanted.steps, batch_size=wanted.batch, log_every=1)
        sn.train(
            sae, x, config, callbacks=lambda _: times.append(time.perf_counter()), progress=False
        )
        if team.is_first:
            half = wanted.steps // 2
            steps = [b - a for a, b in zip(times[half:-1], times[half + 1 :], strict=True)]
            figures = {
                "size": team.size,
                "step": statistics.median(steps),
                "adding": statistics.median(adding[half:]),
            }
            wanted.out.write_text(json.dumps(figures))


def clocked(seconds: list[float]) -> None:
    """Let each sum of gradients note how long it took, waiting for the other worker included."""
    whole = sn.training.Team.sum_gradients

    def sum_gradients(team: sn.training.Team, parameters: list[torch.nn.Parameter]) -> None:
        start = time.perf_counter()
        whole(team, parameters)
        seconds.append(time.perf_counter() - start)

    sn.training.Team.sum_gradients = sum_gradients


if __name__ == "__main__":
    main()
