"""What a training step of each one-step SAE costs, in units of one encoder product x Eᵀ.

Run `python benchmarks/one_step.py`; `--family` times every SAE instead of TopK's step in all its ways. Every
way is timed in turn, round after round, in one process, so that whatever else the machine does hits all alike;
a number is the median over rounds of a way's time over the same round's product. Beside ours stand dense
versions of what the field's libraries do: all pre-codes, a dense code, dense decoding, torch's autograd.
Goals: TopK 1.5 at most, never above 1.75; TopK, BatchTopK, JumpReLU and Matryoshka twice as fast as dense.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numba
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sae_nb.architectures import ARCHITECTURES, TopK, TrainingLoss
from sae_nb.architectures._one_step import OneStep
from sae_nb.kernels import paths_taken

Work = Callable[[], object]
Loss = Callable[[Any, Tensor], Tensor]


class Case:
    """One SAE, one batch, and the ways to compute the step."""

    def __init__(self, rows: int, d_in: int, n_atoms: int, k: int, device: str) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(rows, d_in, generator=generator).to(device)
        self.sae = TopK(d_in, n_atoms, k, generator=generator).to(device)
        self.sae.initialise(self.x, generator)
        self.silent = torch.zeros(n_atoms, dtype=torch.int64, device=device)
        self.memory = torch.empty(rows, n_atoms, device=device)
        self.compiled: dict[Callable[..., Any], Callable[..., Any]] = {}
        self.optimiser = torch.optim.Adam(self.sae.parameters(), lr=1e-3, fused=True)

    @torch.no_grad()
    def product(self) -> object:
        """The unit: x Eᵀ as anyone writes it."""
        return self.x @ self.sae.encoder.weight.T

    @torch.no_grad()
    def product_in_place(self) -> object:
        """The same into memory that is there already."""
        return torch.mm(self.x, self.sae.encoder.weight.T, out=self.memory)

    def loss(self) -> TrainingLoss:
        self.sae.zero_grad()
        return self.sae.training_loss(self.x, self.silent, 10**9, 0.0)

    def ours(self) -> object:
        """Forward and backward of the loss."""
        return self.loss().total.backward()

    def reviving(self) -> object:
        """Forward and backward while every tenth atom is dead, AuxK included."""
        silent = self.silent.clone()
        silent[::10] = 10**9
        self.sae.zero_grad()
        return self.sae.training_loss(self.x, silent, 10**9, 0.0).total.backward()

    def plain(self) -> object:
        """Forward and backward as a user's own loop writes them: sae(x) and torch's loss."""
        self.sae.zero_grad()
        return (self.sae(self.x) - self.x).square().sum().backward()

    def step(self) -> object:
        """The loss of the training loop, and everything an optimiser step adds."""
        self.loss().total.backward()
        self.sae.before_optimiser_step()
        torch.nn.utils.clip_grad_norm_(self.sae.parameters(), 1.0)
        self.optimiser.step()
        return self.sae.after_optimiser_step()

    def dense(self) -> object:
        """SAELens style: topk, scatter into zeros, a product to decode, autograd."""
        return self._dense(self.sae.operator.weight).backward()

    def dense_normalised(self) -> object:
        """Overcomplete style: the same, with the dictionary normalised in the forward pass."""
        return self._dense(normalize(self.sae.operator.weight, dim=1)).backward()

    def dense_compiled(self) -> object:
        """SAELens style under torch.compile."""
        self.sae.zero_grad()
        return self._compiled(Case._dense)(self, self.sae.operator.weight).backward()

    def ours_compiled(self) -> object:
        """Ours under torch.compile, which must break its graph at every compiled loop."""
        self.sae.zero_grad()
        loss = self._compiled(type(self.sae).training_loss)
        return loss(self.sae, self.x, self.silent, 10**9, 0.0).total.backward()

    def _compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if function not in self.compiled:
            self.compiled[function] = torch.compile(function)
        return self.compiled[function]

    def _dense(self, dictionary: Tensor) -> Tensor:
        self.sae.zero_grad()
        bias = self.sae.bias
        pre_codes = self.sae.encoder(self.x - bias, self.sae.scaling.scale)
        values, atoms = pre_codes.topk(self.sae.k, dim=1)
        z = torch.zeros_like(pre_codes).scatter(1, atoms, values.relu())
        error = (self.x - (z @ dictionary + bias)).square().sum()
        return error / (len(self.x) * self.sae.scaling.variance)

    def gradients(self, work: Work) -> dict[str, Tensor]:
        work()
        return {name: p.grad.clone() for name, p in self.sae.named_parameters()}


def seconds(work: Work, device: str) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(
    ways: dict[str, Work], rounds: int, device: str
) -> dict[str, list[tuple[float, float]]]:
    for work in ways.values():
        work()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            taken[name].append(seconds(work, device))
    return taken


def median(
    mine: list[tuple[float, float]], base: list[tuple[float, float]], clock: int = 0
) -> float:
    """Of the rounds' ratios, by the wall clock (0) or by CPU time (1)."""
    return statistics.median(a[clock] / b[clock] for a, b in zip(mine, base, strict=True))


def table(name: str, taken: dict[str, list[tuple[float, float]]]) -> None:
    unit = next(iter(taken.values()))
    print(
        f"\n## {name}\n\n| way | × `x Eᵀ` | quartiles | × `x Eᵀ`, CPU |\n| --- | --- | --- | --- |"
    )
    for way, times in taken.items():
        ratios = [mine[0] / base[0] for mine, base in zip(times, unit, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"| {way} | {middle:.2f} | {low:.2f} … {high:.2f} | {median(times, unit, 1):.2f} |")


def compare_gradients(case: Case, rows: int = 256) -> None:
    """Ours and dense autograd's in fp32, each also against dense autograd in fp64."""
    case.x = case.x[:rows]
    found = {"ours": case.gradients(case.ours), "dense": case.gradients(case.dense)}
    case.sae, case.x = copy.deepcopy(case.sae).double(), case.x.double()
    found["dense fp64"] = case.gradients(case.dense)
    pairs = (("ours", "dense"), ("ours", "dense fp64"), ("dense", "dense fp64"))
    for mine, other in pairs:
        a, b = found[mine], found[other]
        norm = {n: float((a[n] - b[n]).norm() / b[n].norm()) for n in b}
        entry = {n: float((a[n] - b[n]).abs().max() / b[n].abs().max()) for n in b}
        each = ", ".join(f"{n} {norm[n]:.1e}" for n in norm)
        print(f"gradients, {mine} against {other}: {each}; worst entry {max(entry.values()):.1e}")


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


class Member:
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


def family(options: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(options.rows, options.d_in, generator=generator).to(options.device)
    print("\n## every one-step SAE\n")
    print("| SAE | entries a row | ours | dense | dense ÷ ours | gradients |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.only:
        member = Member(name, x, options.n_atoms, options.k)
        weight = member.sae.encoder.weight.detach()
        ways = {"x Eᵀ": lambda w=weight: x @ w.T, "ours": member.ours, "dense": member.dense}
        taken = measure(ways, options.rounds, options.device)
        ours, dense = (median(taken[way], taken["x Eᵀ"]) for way in ("ours", "dense"))
        ratio = median(taken["dense"], taken["ours"])
        print(
            f"| {name} | {member.l0:.0f} | {ours:.2f} | {dense:.2f} | {ratio:.1f} | "
            f"{member.difference():.1e} |",
            flush=True,
        )


def topk_step(options: argparse.Namespace) -> None:
    case = Case(options.rows, options.d_in, options.n_atoms, options.k, options.device)
    if options.compile:
        ways: dict[str, Work] = {
            "x Eᵀ": case.product,
            "TopK under torch.compile": case.ours_compiled,
            "dense autograd, torch.compile": case.dense_compiled,
        }
        table("TopK step, compiled", measure(ways, options.rounds, options.device))
        return
    ways = {
        "x Eᵀ": case.product,
        "x Eᵀ into ready memory": case.product_in_place,
        "TopK forward + backward, sparse": case.ours,
        "the same with a tenth of the atoms dead (AuxK)": case.reviving,
        "`sae(x)` with torch's own loss, backward": case.plain,
        "the whole optimiser step": case.step,
        "dense autograd, as SAELens computes it": case.dense,
        "dense, normalised in the forward pass as overcomplete does": case.dense_normalised,
    }
    table("TopK step", measure(ways, options.rounds, options.device))
    compare_gradients(case)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"rows": 2048, "d-in": 768, "n-atoms": 8192, "k": 32, "rounds": 9}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile's ways")
    parser.add_argument("--family", action="store_true", help="every one-step SAE")
    parser.add_argument("--only", nargs="+", choices=DENSE, default=list(DENSE))
    options = parser.parse_args()
    print(
        f"B {options.rows}, d {options.d_in}, n {options.n_atoms}, k {options.k} · "
        f"{torch.get_num_threads()} threads on {platform.machine()} · torch {torch.__version__}, "
        f"numba {numba.__version__}"
    )
    (family if options.family else topk_step)(options)
    for path in paths_taken().values():
        print(path)


if __name__ == "__main__":
    main()
