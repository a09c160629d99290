"""What a training step of a transcoder or a crosscoder costs, beside the same step in dense autograd.

With `--layers 6`: a cross-layer transcoder of six layers, its cost in encoder products of one layer, and what
each way keeps for the backward pass, parameters aside, in units of the batch it was given.

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


def dense_layers(c: Any, rows: Tensor) -> Tensor:
    """The loss of a cross-layer transcoder as dense codes and one dense decoder per pair of layers."""
    x, y = c.split(rows)
    widths = list(c.widths)
    target = ((y - c.scaling.mean) / c.operator.unit).split(widths, dim=1)
    biases, codes, error = c.pre_bias.split(widths), [], 0.0
    for at, part in enumerate(x.split(widths, dim=1)):
        layer = c.layers[at]
        u = layer._seen(part)[0] @ layer.encoder.weight.T + layer.encoder.bias
        values, atoms = u.topk(int(c.k), dim=1)
        codes.append(torch.zeros_like(u).scatter(1, atoms, values.relu()))
        written = biases[at].expand_as(part)
        for a in range(at + 1):
            written = (
                written + codes[a] @ c.layers[a].operator.weight.split(widths[a:], dim=1)[at - a]
            )
        error = error + (target[at] - written).square().sum()
    return error / (len(x) * c.scaling.variance)


def kept(work: Any, case: Case) -> float:
    """What a forward pass keeps for its gradient, in units of the batch; parameters are not counted."""
    own = {p.untyped_storage().data_ptr() for p in case.t.parameters()}
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage()
        if place.data_ptr() not in own:
            storages[place.data_ptr()] = place.nbytes()
        held.append(tensor)
        return tensor

    held: list[Tensor] = []  # so that no place is used twice
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        work()
    return sum(storages.values()) / (case.rows.numel() * case.rows.element_size())


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
        generator = torch.Generator().manual_seed(0)
        if name in KINDS:
            self.t, self.in_full = KINDS[name](d, d, n_atoms, k, generator=generator), dense
        else:
            widths = [d // int(name)] * int(name)
            self.t = sn.CrossLayerTranscoder(widths, n_atoms, k, generator=generator)
            self.in_full = dense_layers
        self.t.initialise(rows)
        self.rows, self.silent = rows, torch.zeros(self.t.n_atoms, dtype=torch.int64)

    def ours(self) -> object:
        self.t.zero_grad()
        return self.t.training_loss(self.rows, self.silent, 10**9, 0.5).total.backward()

    def dense(self) -> object:
        self.t.zero_grad()
        return self.in_full(self.t, self.rows).backward()

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
    parser.add_argument(
        "--layers", type=int, nargs="*", default=[], help="of cross-layer transcoders"
    )
    options = parser.parse_args()
    if options.layers:
        return across_layers(options)
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


def across_layers(options: argparse.Namespace) -> None:
    """One line for each number of layers: cost in CPU time, and what is kept for the backward pass."""
    print(
        f"B {options.rows}, d {options.width} per layer, n {options.n_atoms} per layer, k {options.k} · "
        f"{torch.get_num_threads()} threads · torch {torch.__version__}"
    )
    print(
        f"{'layers':8}{'ours':>8}{'per layer':>11}{'dense':>8}{'dense ÷ ours':>14}{'kept':>8}"
        f"{'kept, dense':>13}{'gradients':>12}"
    )
    for n in options.layers:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(options.rows, n * options.width, generator=generator)
        y = x.relu() @ torch.randn(x.shape[1], x.shape[1], generator=generator)
        case = Case(str(n), torch.cat([x, y], dim=1), options.n_atoms, options.k)
        one, weight = x[:, : options.width].contiguous(), case.t.layers[0].encoder.weight.detach()
        ways = {"x Eᵀ": lambda x=one, w=weight: x @ w.T, "ours": case.ours, "dense": case.dense}
        taken = measure(ways, options.rounds, "cpu")
        ours, slow = (
            statistics.median(a[1] / b[1] for a, b in zip(taken[way], taken["x Eᵀ"], strict=True))
            for way in ("ours", "dense")
        )
        print(
            f"{n:<8}{ours:8.2f}{ours / n:11.2f}{slow:8.2f}{slow / ours:14.1f}"
            f"{kept(case.ours, case):8.2f}{kept(case.dense, case):13.2f}{case.difference():12.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
