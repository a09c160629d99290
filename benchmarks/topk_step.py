"""What one TopK training step costs, in units of one encoder product x Eᵀ.

Run `python benchmarks/topk_step.py`. Every way is timed in turn, round after round, in one process,
so that whatever else the machine does hits all alike; the median over rounds of each way's ratio to
the same round's product is printed, in wall seconds and in CPU seconds of all threads. Beside ours
stand two dense reimplementations of what the field's libraries do (their own code, measured by us
elsewhere: overcomplete 5.5, dictionary_learning 6.0, SAELens 7.5), and the largest difference
between our gradients and dense autograd's. Goal: 1.5 at most, never above 1.75.
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

from sae_nb.architectures import TopK, TrainingLoss
from sae_nb.kernels import paths_taken

Work = Callable[[], object]


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


def table(taken: dict[str, list[tuple[float, float]]]) -> None:
    unit = next(iter(taken))
    print(f"{'':34}{'wall ms':>9}{'units':>8}{'quartiles':>14}{'CPU units':>11}")
    for name, times in taken.items():
        wall = [mine[0] / base[0] for mine, base in zip(times, taken[unit], strict=True)]
        cpu = [mine[1] / base[1] for mine, base in zip(times, taken[unit], strict=True)]
        low, middle, high = statistics.quantiles(wall, n=4)
        print(
            f"{name:34}{1e3 * statistics.median(t[0] for t in times):9.1f}{middle:8.2f}"
            f"{f'{low:.2f} … {high:.2f}':>14}{statistics.median(cpu):11.2f}"
        )


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"rows": 2048, "d-in": 768, "n-atoms": 8192, "k": 32, "rounds": 9}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--without-dense", action="store_true", help="skip the slow baselines")
    parser.add_argument("--compile", action="store_true", help="add torch.compile's ways")
    options = parser.parse_args()
    case = Case(options.rows, options.d_in, options.n_atoms, options.k, options.device)
    ways: dict[str, Work] = {
        "x Eᵀ": case.product,
        "x Eᵀ into ready memory": case.product_in_place,
        "TopK forward + backward": case.ours,
        "the same, a tenth of atoms dead": case.reviving,
        "sae(x), torch's loss + backward": case.plain,
        "TopK whole optimiser step": case.step,
    }
    if not options.without_dense:
        ways["dense autograd"] = case.dense
        ways["dense, normalised in forward"] = case.dense_normalised
    if options.compile:
        ways["TopK under torch.compile"] = case.ours_compiled
        ways["dense autograd, torch.compile"] = case.dense_compiled
    print(
        f"B {options.rows}, d {options.d_in}, n {options.n_atoms}, k {options.k} · "
        f"{torch.get_num_threads()} threads on {platform.machine()} · torch {torch.__version__}, "
        f"numba {numba.__version__}"
    )
    table(measure(ways, options.rounds, options.device))
    compare_gradients(case)
    if options.device == "cpu":
        print(f"Numba's threading layer: {numba.threading_layer()}")
    for path in paths_taken().values():
        print(path)


if __name__ == "__main__":
    main()
