"""What a training step of a transcoder or a crosscoder costs, beside the same step in dense autograd.

Run `python benchmarks/transcoder.py`. Forward and backward of the loss, in units of one encoder product
x Eᵀ of the same round; ours and the dense version in turn, round after round, in one process. The dense
version is what the field's libraries do: all pre-codes, a dense code, a dense decoder, torch's autograd.
The last column is the largest relative difference between our gradients and the dense ones, on 256 rows
in fp64. Goal: at most 2.5 products per site, of which there are two.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from typing import Any

import torch
from topk_step import measure
from torch import Tensor

import sae_nb as sn

GOAL = 2.5
KINDS: dict[str, Any] = {
    "Transcoder": sn.Transcoder,
    "SkipTranscoder": sn.SkipTranscoder,
    "Crosscoder": lambda d_1, d_2, n_atoms, k, generator: sn.Crosscoder(
        [d_1, d_2], n_atoms, k, base="TopK", generator=generator
    ),
}


def dense(t: Any, rows: Tensor) -> Tensor:
    x, y = t.split(rows)
    seen, centre = t._seen(x)
    u = (
        seen if centre is None else seen - centre
    ) @ t.encoder.weight.T + t.encoder.bias / t.scaling.scale
    values, atoms = u.topk(t.k, dim=1)
    z = torch.zeros_like(u).scatter(1, atoms, values.relu())
    y_hat = z @ t.operator.atoms() + t.bias
    if isinstance(t, sn.SkipTranscoder):
        y_hat = y_hat + seen @ t.straight
    return t.operator.counted(y - y_hat).square().sum() / (len(y) * t.scaling.variance)


class Case:
    """One dictionary of two sites and one batch; ours and dense."""

    def __init__(self, name: str, rows: Tensor, n_atoms: int, k: int) -> None:
        d = rows.shape[1] // 2
        self.t = KINDS[name](d, d, n_atoms, k, generator=torch.Generator().manual_seed(0))
        self.t.initialise(rows)
        self.rows, self.silent = rows, torch.zeros(n_atoms, dtype=torch.int64)

    def ours(self) -> object:
        self.t.zero_grad()
        return self.t.training_loss(self.rows, self.silent, 10**9, 0.5).total.backward()

    def dense(self) -> object:
        self.t.zero_grad()
        return dense(self.t, self.rows).backward()

    def difference(self, rows: int = 256) -> float:
        """Largest relative difference of a parameter's gradient, ours against dense, in fp64."""
        exact = copy.copy(self)
        exact.t, exact.rows = copy.deepcopy(self.t).double(), self.rows[:rows].double()
        found = []
        for work in (exact.ours, exact.dense):
            work()
            found.append([p.grad.clone() for p in exact.t.parameters() if p.grad is not None])
        return max(float((a - b).norm() / b.norm()) for a, b in zip(*found, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"rows": 2048, "width": 768, "n-atoms": 8192, "k": 32, "rounds": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(options.rows, options.width, generator=generator)
    y = x.relu() @ torch.randn(options.width, options.width, generator=generator)
    rows = torch.cat([x, y], dim=1)
    print(
        f"B {options.rows}, d {options.width}, n {options.n_atoms}, k {options.k} · "
        f"{torch.get_num_threads()} threads · torch {torch.__version__}"
    )
    print(f"{'':16}{'ours':>8}{'per site':>10}{'dense':>8}{'dense ÷ ours':>14}{'gradients':>12}")
    for name in KINDS:
        case = Case(name, rows, options.n_atoms, options.k)
        weight = case.t.encoder.weight.detach()[:, : options.width].contiguous()  # of one site
        ways = {"x Eᵀ": lambda w=weight: x @ w.T, "ours": case.ours, "dense": case.dense}
        taken = measure(ways, options.rounds, "cpu")
        ours, slow = (
            statistics.median(a[0] / b[0] for a, b in zip(taken[way], taken["x Eᵀ"], strict=True))
            for way in ("ours", "dense")
        )
        print(
            f"{name:16}{ours:8.2f}{ours / 2:10.2f}{slow:8.2f}{slow / ours:14.1f}"
            f"{case.difference():12.1e}",
            flush=True,
        )
        if ours / 2 > GOAL:
            print(f"{name} takes more than {GOAL} products per site.")


if __name__ == "__main__":
    main()
