"""What a training step of a PolySAE costs, beside its host's.

Run `python benchmarks/poly.py`. Forward and backward of the loss and what follows an optimiser step (back on
the sphere; for PolySAE also the orthonormal columns), in units of one encoder product x Eᵀ of the same round;
TopK and PolySAE in turn, round after round, in one process. Goal: at most 1.5 times the host.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import torch
from topk_step import measure

import sae_nb as sn

GOAL = 1.5


class Case:
    """One SAE and one batch."""

    def __init__(self, sae: Any, x: torch.Tensor) -> None:
        self.sae, self.x = sae, x
        sae.initialise(x)
        self.silent = torch.zeros(sae.n_atoms, dtype=torch.int64)

    def step(self) -> object:
        self.sae.zero_grad()
        self.sae.training_loss(self.x, self.silent, 10**9, 0.5).total.backward()
        return self.sae.after_optimiser_step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = {"rows": 2048, "width": 768, "n-atoms": 8192, "k": 32, "rank": 64, "rounds": 5}
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(options.rows, options.width, generator=generator)
    size = (options.width, options.n_atoms, options.k)
    topk = Case(sn.TopK(*size, generator=torch.Generator().manual_seed(0)), x)
    poly = Case(sn.PolySAE(*size, rank=options.rank, generator=torch.Generator().manual_seed(0)), x)
    weight = topk.sae.encoder.weight.detach()
    ways = {"x Eᵀ": lambda: x @ weight.T, "TopK": topk.step, "PolySAE": poly.step}
    taken = measure(ways, options.rounds, "cpu")
    print(
        f"B {options.rows}, d {options.width}, n {options.n_atoms}, k {options.k}, rank {options.rank} · "
        f"{torch.get_num_threads()} threads · torch {torch.__version__}"
    )
    for name in ("TopK", "PolySAE"):
        pairs = zip(taken[name], taken["x Eᵀ"], strict=True)
        print(f"{name:10}{statistics.median(a[0] / b[0] for a, b in pairs):8.2f} products")
    pairs = zip(taken["PolySAE"], taken["TopK"], strict=True)
    ratio = statistics.median(a[0] / b[0] for a, b in pairs)
    print(f"PolySAE ÷ TopK {ratio:.2f}")
    if ratio > GOAL:
        print(f"PolySAE takes more than {GOAL} times its host.")


if __name__ == "__main__":
    main()
