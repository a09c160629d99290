"""What a training step of each one-step SAE costs, beside the same method in dense autograd.

Run `python benchmarks/sae_family.py`. Forward and backward of the loss, in units of one encoder
product x Eᵀ of the same round; ours and the dense version of the same loss in turn, round after
round, in one process. The dense versions are what the field's libraries do: all pre-codes, a dense
code, dense decoding (Matryoshka: group by group), torch's autograd. The last column is the largest
relative difference between our gradients and the dense ones, on 256 rows in fp64.
Goal: TopK, BatchTopK, JumpReLU and Matryoshka at least twice as fast as dense.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
from collections.abc import Callable
from typing import Any

import numba
import torch
from topk_step import measure
from torch import Tensor

from sae_nb.architectures import ARCHITECTURES, OneStep
from sae_nb.kernels import paths_taken

Loss = Callable[[Any, Tensor], Tensor]


def pre_codes(sae: Any, x: Tensor) -> Tensor:
    return sae.encoder(x - sae.bias, sae.scaling.scale)


def share(sae: Any, x: Tensor, x_hat: Tensor) -> Tensor:
    return (x - x_hat).square().sum() / (len(x) * sae.scaling.variance)


def decoded(sae: Any, z: Tensor) -> Tensor:
    return z @ sae.operator.weight + sae.bias


def topk(sae: Any, x: Tensor) -> Tensor:
    u = pre_codes(sae, x)
    values, atoms = u.topk(sae.k, dim=1)
    z = torch.zeros_like(u).scatter(1, atoms, values.relu())
    return share(sae, x, decoded(sae, z))


def abs_topk(sae: Any, x: Tensor) -> Tensor:
    u = pre_codes(sae, x)
    atoms = u.abs().topk(sae.k, dim=1).indices
    z = torch.zeros_like(u).scatter(1, atoms, u.gather(1, atoms))
    return share(sae, x, decoded(sae, z))


def batch_code(sae: Any, x: Tensor) -> Tensor:
    flat = pre_codes(sae, x).relu().flatten()
    values, places = flat.topk(round(sae.k * len(x)))
    return torch.zeros_like(flat).scatter(0, places, values).view(len(x), -1)


def batch_topk(sae: Any, x: Tensor) -> Tensor:
    return share(sae, x, decoded(sae, batch_code(sae, x)))


def matryoshka(sae: Any, x: Tensor) -> Tensor:
    z, x_hat, shares, first = batch_code(sae, x), sae.bias, [], 0
    for last in sae.widths:
        x_hat = x_hat + z[:, first:last] @ sae.operator.weight[first:last]
        shares.append(share(sae, x, x_hat))
        first = last
    return torch.stack(shares).mean()


def relu(sae: Any, x: Tensor) -> Tensor:
    z = pre_codes(sae, x).relu()
    l1 = z.sum() / (len(x) * sae.scaling.variance.sqrt())
    return share(sae, x, decoded(sae, z)) + sae.sparsity * l1


class DenseJump(torch.autograd.Function):
    """The two straight-through functions on dense pre-codes."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, theta: Tensor, bandwidth: float) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(u, theta)
        ctx.bandwidth = bandwidth
        above = (u > theta).to(u.dtype)
        return u * above, above

    @staticmethod
    def backward(ctx: Any, grad_z: Tensor, grad_h: Tensor) -> tuple[Tensor | None, ...]:
        u, theta = ctx.saved_tensors
        near = ((u - theta).abs() < ctx.bandwidth / 2 * theta).to(u.dtype)
        slope = -(grad_z + grad_h / theta) * near / ctx.bandwidth
        return grad_z * (u > theta), slope.sum(dim=0), None


def jump_relu(sae: Any, x: Tensor) -> Tensor:
    z, active = DenseJump.apply(pre_codes(sae, x), sae.thresholds, sae.bandwidth)
    missed = (active.sum() / len(x) / sae.l0 - 1).square()
    return share(sae, x, decoded(sae, z)) + sae.sparsity * missed


def gated(sae: Any, x: Tensor) -> Tensor:
    v, scale = (x - sae.bias) @ sae.encoder.weight.T, sae.scaling.scale
    pi = (v + sae.encoder.bias / scale).relu()
    z = (pi > 0) * (sae.log_gain.exp() * v + sae.magnitude_bias / scale).relu()
    l1 = pi.sum() / (len(x) * sae.scaling.variance.sqrt())
    gate_hat = pi @ sae.operator.weight.detach() + sae.bias.detach()
    return share(sae, x, decoded(sae, z)) + sae.sparsity * l1 + share(sae, x, gate_hat)


DENSE: dict[str, Loss] = {
    "TopK": topk,
    "BatchTopK": batch_topk,
    "Matryoshka": matryoshka,
    "JumpReLU": jump_relu,
    "AbsTopK": abs_topk,
    "ReLU": relu,
    "Gated": gated,
}
GOAL = ("TopK", "BatchTopK", "JumpReLU", "Matryoshka")
TWICE = 2.0


class Case:
    """One SAE and one batch; ours and dense."""

    def __init__(self, name: str, x: Tensor, n_atoms: int, k: int) -> None:
        generator = torch.Generator().manual_seed(0)
        counted = {"JumpReLU": {"l0": float(k)}, "ReLU": {}, "Gated": {}}.get(name, {"k": k})
        architecture: Any = ARCHITECTURES[name]
        sae: OneStep = architecture(x.shape[1], n_atoms, generator=generator, **counted)
        self.name, self.x, self.sae = name, x, sae.to(x.device)
        self.sae.initialise(x, None)
        self.silent = torch.zeros(n_atoms, dtype=torch.int64, device=x.device)

    def ours(self) -> object:
        self.sae.zero_grad()
        loss = self.sae.training_loss(self.x, self.silent, 10**9, 0.5)
        self.l0 = loss.codes.nnz / len(self.x)
        return loss.total.backward()

    def dense(self) -> object:
        self.sae.zero_grad()
        return DENSE[self.name](self.sae, self.x).backward()

    def difference(self, rows: int = 256) -> float:
        """Largest relative difference of a parameter's gradient, ours against dense, in fp64."""
        exact = copy.copy(self)
        exact.sae, exact.x = copy.deepcopy(self.sae).double(), self.x[:rows].double()
        found = []
        for work in (exact.ours, exact.dense):
            work()
            found.append([p.grad.clone() for p in exact.sae.parameters() if p.grad is not None])
        return max(float((a - b).norm() / b.norm()) for a, b in zip(*found, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"rows": 2048, "d-in": 768, "n-atoms": 8192, "k": 32, "rounds": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", choices=DENSE, default=list(DENSE))
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(options.rows, options.d_in, generator=generator).to(options.device)
    print(
        f"B {options.rows}, d {options.d_in}, n {options.n_atoms}, k {options.k} · "
        f"{torch.get_num_threads()} threads on {platform.machine()} · torch {torch.__version__}, "
        f"numba {numba.__version__}"
    )
    print(f"{'':12}{'entries/row':>12}{'ours':>8}{'dense':>8}{'ratio':>8}{'gradients':>12}")
    missed = []
    for name in options.only:
        case = Case(name, x, options.n_atoms, options.k)
        weight = case.sae.encoder.weight.detach()
        ways = {"x Eᵀ": lambda w=weight: x @ w.T, "ours": case.ours, "dense": case.dense}
        taken = measure(ways, options.rounds, options.device)
        ours, dense = (
            statistics.median(a[0] / b[0] for a, b in zip(taken[way], taken["x Eᵀ"], strict=True))
            for way in ("ours", "dense")
        )
        ratio = statistics.median(
            a[0] / b[0] for a, b in zip(taken["dense"], taken["ours"], strict=True)
        )
        print(
            f"{name:12}{case.l0:12.1f}{ours:8.2f}{dense:8.2f}{ratio:8.2f}{case.difference():12.1e}",
            flush=True,
        )
        if name in GOAL and ratio < TWICE:
            missed.append(name)
    print(f"At least twice as fast as dense: {'no: ' + ', '.join(missed) if missed else 'yes'}")
    for path in paths_taken().values():
        print(path)


if __name__ == "__main__":
    main()
