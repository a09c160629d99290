"""How long `evaluate` and the matching of atoms take, in CPU seconds, with the memory of the codes.

    python benchmarks/evaluation.py [--rows 100000] [--width 384] [--atoms 4096] [--matching 16384] [--control]

Goal: rows that need no live model, random control included, on 100 000 rows of width 384 with 4096 atoms,
within 20 s on 2 cores and without dense codes. The first call, which compiles loops, is not counted.
`--control` trains the frozen decoder too, its cost said first.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import sae_nb as sn
from sae_nb.evaluation import auction, frozen_decoder, frozen_decoder_cost

K = 32


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What it returns, its CPU seconds and its seconds on the clock."""
    cpu, clock = time.process_time(), time.perf_counter()
    found = work()
    return found, time.process_time() - cpu, time.perf_counter() - clock


def peak() -> float:
    """Largest resident memory so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def unit(n: int, d: int, seed: int) -> torch.Tensor:
    """Random unit rows."""
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


def evaluation(rows: int, width: int, atoms: int) -> tuple[sn.TopK, torch.Tensor]:
    """Print what `evaluate` takes."""
    generator = torch.Generator().manual_seed(0)
    x = sn.data.planted_dictionary(atoms // 2, width, rows, 16, noise=0.02).x
    sae = sn.TopK(width, atoms, K, generator=generator)
    sae.initialise(x[:8192], generator)
    sn.evaluate(sae.eval(), x[:500])
    before = peak()
    report, cpu, clock = timed(lambda: sn.evaluate(sae, x))
    dense = rows * atoms * 4 / 2**30
    print(
        f"| evaluate, {rows} × {width}, {atoms} atoms, L0 {report['l0'].value:.0f} "
        f"| {cpu:.1f} | {clock:.1f} | +{peak() - before:.2f} GiB (dense codes: {dense:.2f}) |"
    )
    return sae, x


def matching(atoms: int, width: int = 768) -> None:
    """Print what matching two dictionaries takes, from chance to near copies, and its error."""
    first = unit(atoms, width, 0)
    auction(first[:200], first[:200])
    for name, mix in (("random", 0.0), ("half alike", 0.5), ("nearly copies", 0.9)):
        second = torch.nn.functional.normalize(
            mix * first.flip(0) + (1 - mix) * unit(atoms, width, 1), dim=1
        )
        found, cpu, clock = timed(partial(auction, first, second))
        print(
            f"| match {atoms} × {atoms}, {width}, {name}: cosine {found.cosines.mean():.4f}, "
            f"at most {found.error:.1e} below the optimum | {cpu:.1f} | {clock:.1f} | |"
        )


def against_hungarian(atoms: int = 4096, width: int = 384) -> None:
    """Print the true error of the auction where the optimum can be had."""
    from scipy.optimize import linear_sum_assignment

    first, second = unit(atoms, width, 0), unit(atoms, width, 1)
    found, cpu, _ = timed(lambda: auction(first, second))
    cosines = (first @ second.T).double().numpy()
    best, exact, clock = timed(lambda: linear_sum_assignment(cosines, maximize=True))
    gap = cosines[best].mean() - found.cosines.mean()
    print(
        f"| Hungarian {atoms} × {atoms}, {width}, random; the auction takes {cpu:.1f} s, misses "
        f"{gap:.1e}, says at most {found.error:.1e} | {exact:.1f} | {clock:.1f} | |"
    )


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--atoms", type=int, default=4096)
    parser.add_argument("--matching", type=int, default=16_384)
    parser.add_argument("--control", action="store_true")
    wanted = parser.parse_args()
    print(
        f"{torch.get_num_threads()} threads\n\n| what | CPU s | s | memory |\n| --- | --- | --- | --- |"
    )
    sae, x = evaluation(wanted.rows, wanted.width, wanted.atoms)
    against_hungarian()
    matching(wanted.matching)
    if wanted.control:
        config = sn.TrainConfig(steps=300)
        said = frozen_decoder_cost(x, sae.n_atoms, K, config)
        _, cpu, clock = timed(lambda: frozen_decoder(x, sae.n_atoms, K, config, progress=False))
        print(f"| frozen decoder, 300 steps; {said:.0f} s said first | {cpu:.1f} | {clock:.1f} | |")


if __name__ == "__main__":
    main()
