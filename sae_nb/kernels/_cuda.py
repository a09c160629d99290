"""The GPU primitives: gathers with fp32 sums, or dense bf16 products, whichever a measurement finds faster.

`embedding_bag` adds weighted table rows segment by segment without atomics, so one call each gives
decoding (segments are rows) and gradients by atom (segments are atoms), and repeats bit for bit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from sae_nb.codes._support import Support
from sae_nb.kernels._backends import (
    Atoms,
    Entries,
    PreCodes,
    Primitives,
    Row,
    Rows,
    Values,
    is_exact,
    kept_pre_codes,
    takes_triton,
)
from sae_nb.kernels._dense import Dense, is_dense, note

Choose = Callable[[Primitives], Entries]
"""A selection with its number, waiting for the primitives that make it."""

_LOCK = threading.Lock()
_CHOICES: dict[tuple[object, ...], Primitives] = {}


class Sparse(Dense):
    """Primitives by gathers, in the precision of the inputs; selections go through dense tiles in `dtype`.

    For rows · k entries of width d_in a gather moves rows · k · d_in numbers, of the dictionary from the L2
    cache where it fits, of inputs from memory; a bf16 product has 2 · rows · n_atoms · d_in operations. On an
    H100 both take about as long at n_atoms 16 384 and k 32, so neither is built in as the better one.
    """

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        super().__init__(dtype)
        self.name = "sparse, chosen in bf16" if dtype == torch.bfloat16 else "sparse"

    def sum_atoms(
        self, values: Values, support: Support, table: Atoms, start: Row | None = None
    ) -> Rows:
        """Gather and add the atoms of each row."""
        if is_dense("sum_atoms", support):
            return super().sum_atoms(values, support, table, start)
        out = _bags(values, support.atoms, support.offsets, table)
        return out if start is None else out.add_(start)

    def sum_inputs(self, values: Values, support: Support, table: Rows) -> Atoms:
        """Gather and add the inputs of each atom."""
        if is_dense("sum_inputs", support):
            return super().sum_inputs(values, support, table)
        index = support.by_atom
        return _bags(values[index.order], index.rows, index.offsets, table)

    def dots(self, g: Rows, support: Support, table: Atoms) -> Values:
        """Return the dot product of each row with each atom it uses: what `embedding_bag` calls the gradient
        of its weights. Both are read where they lie; gathering them first would move them four times.
        """
        if is_dense("dots", support):
            return super().dots(g, support, table)
        entries = (support.atoms.long(), support.offsets[:-1].long(), support.rows.long())
        return torch.ops.aten._embedding_bag_per_sample_weights_backward(g, table, *entries, 0, -1)


def _bags(values: Tensor, index: Tensor, offsets: Tensor, table: Tensor) -> Tensor:
    return embedding_bag(
        index.long(),
        table,
        offsets,
        mode="sum",
        per_sample_weights=values,
        include_last_offset=True,
    )


def of(values: Values) -> Primitives:
    """Return the primitives for codes that no selection here has made."""
    if takes_triton(values):
        from sae_nb.kernels._triton_primitives import Triton

        return Triton()
    return Sparse()


def _triton(pre_codes: PreCodes, name: str) -> Primitives:
    """Triton's kernels, in bf16 where a training step may have it; torch's where pre-codes do not fit."""
    from sae_nb.kernels._triton_primitives import Triton, fits

    half = kept_pre_codes() is not None and not is_exact()
    by_row = name.split()[0] in ("topk", "abs-topk")
    chosen: Primitives = Triton(half=half) if by_row or fits(pre_codes) else Sparse()
    shape = f"{len(pre_codes)} × {pre_codes.x.shape[1]}, {pre_codes.n_atoms} atoms, {name}"
    note(f"{name.split()[0]} step", chosen.name, f"{shape} on {pre_codes.x.device}")
    return chosen


def primitives(pre_codes: PreCodes, choose: Choose, name: str) -> Primitives:
    """Return the path for these sizes: measured once where gradients are wanted, exact fp32 elsewhere.

    Codes that are kept are always made in the precision of the SAE. bf16 is considered only for a
    training step, and neither under `torch.use_deterministic_algorithms`, because a timing decides, nor
    where `precision("float32")` holds.
    """
    x = pre_codes.x
    if takes_triton(x):
        return _triton(pre_codes, name)
    repeatable = torch.are_deterministic_algorithms_enabled()
    if x.dtype != torch.float32 or repeatable or is_exact() or not pre_codes.trains:
        return Sparse()
    rows = 1 << (len(x) - 1).bit_length()
    key = (x.device, rows, *pre_codes.weight.shape, name)
    with _LOCK:
        if key not in _CHOICES:
            rough = torch.bfloat16
            candidates = (Sparse(), Sparse(rough), Dense(rough))
            _CHOICES[key] = fastest(candidates, pre_codes.detach(), choose, name)
        return _CHOICES[key]


@torch.no_grad()
def fastest(
    candidates: tuple[Primitives, ...],
    pre_codes: PreCodes,
    choose: Choose,
    name: str,
    repeats: int = 3,
) -> Primitives:
    """Time a forward and backward of every candidate; note and return the fastest.

    `repeats`: Timed runs after one unmeasured; the shortest counts.
    """
    x, n_atoms = pre_codes.x, pre_codes.n_atoms
    seconds = [_shortest(partial(_step, p, pre_codes, choose), x, repeats) for p in candidates]
    best = min(range(len(candidates)), key=seconds.__getitem__)
    times = ", ".join(
        f"{p.name} {1e3 * s:.2f} ms" for p, s in zip(candidates, seconds, strict=True)
    )
    shape = f"{len(x)} × {x.shape[1]}, {n_atoms} atoms, {name}"
    note(f"{name.split()[0]} step", candidates[best].name, f"{times} at {shape} on {x.device}")
    return candidates[best]


def _step(p: Primitives, pre_codes: PreCodes, choose: Choose) -> None:
    entries, weight = choose(p), pre_codes.weight
    support = Support(entries.atoms, entries.offsets, len(weight))
    g = p.sum_atoms(entries.values, support, weight)
    grad_values = p.dots(g, support, weight)
    p.sum_inputs(entries.values, support, g)
    p.sum_inputs(grad_values, support, pre_codes.x)


def _shortest(work: Callable[[], None], x: Tensor, repeats: int) -> float:
    seconds = []
    for _ in range(repeats + 1):
        _wait_for(x.device)
        start = time.perf_counter()
        work()
        _wait_for(x.device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
