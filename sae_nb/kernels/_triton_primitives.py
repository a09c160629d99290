"""The primitives on a card with Triton: products by cuBLAS, the rest by kernels that never ask the host.

Within a training step codes have a fixed number of entries, with padding of value 0 behind those of a row
or of a batch, so that no shape depends on data. Elsewhere the padding is taken off, with one wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, wraps
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.codes._support import Support, offsets_of
from sae_nb.kernels import _triton as kernels
from sae_nb.kernels._adam import half_of
from sae_nb.kernels._backends import (
    Atoms,
    Entries,
    PerAtom,
    PreCodes,
    Residuals,
    Row,
    Rows,
    Values,
    kept_pre_codes,
)

BLOCK = 32
"""Neighbours of which the largest is kept."""

IN_REGISTERS = 2**13
"""Numbers of a row, or of its hottest blocks, that one program searches in registers, 32 a thread."""

COLUMNS = 4096
"""Columns of a row that one program holds."""

SHARE = 8
"""A tile of pre-codes takes at most this part of the card's memory."""


class Padded(Support):
    """A support whose last entries are padding, of a row or of the batch."""

    def __init__(
        self,
        atoms: Int[Tensor, " nnz"],
        offsets: Int[Tensor, " rows_plus_1"],
        n_atoms: int,
        *,
        keys: Int[Tensor, " nnz"],
        counts: Int[Tensor, " rows"],
        k: int = 0,
        of_rows: Int[Tensor, " nnz"] | None = None,
    ) -> None:
        super().__init__(atoms, offsets, n_atoms)
        self.keys, self.counts, self.k, self.of_rows = keys, counts, k, of_rows

    @property
    def fills(self) -> Bool[Tensor, " nnz"]:
        """Which entries are none: padding."""
        return self.keys == self.n_atoms

    @cached_property
    def sorted(self) -> tuple[Tensor, Tensor]:
        """Atoms in order, and the entry of each; padding last."""
        keys, order = torch.sort(self.keys, stable=True)
        return keys, order


class Selection(Entries):
    """Entries of a selection that made their support, and kept the rows that its product took."""

    support: Support | None = None
    centred: Rows | None = None

    @classmethod
    def of(cls, values: Values, support: Padded, centred: Rows) -> Selection:
        """Return the entries of a support."""
        made = cls(values, support.atoms, support.offsets)
        made.support, made.centred = support, centred
        return made

    def alone(self) -> Entries:
        """Return the same entries alone: what a user sees. It waits for their number."""
        support = self.support
        if not isinstance(support, Padded):
            return self
        kept = ~support.fills
        made = Selection(self.values[kept], self.atoms[kept], offsets_of(support.counts))
        made.centred = self.centred
        return made


def padded(support: Support) -> Padded:
    """Return a support as the kernels read it; one without padding is read as it is."""
    if isinstance(support, Padded):
        return support
    if "padded" not in vars(support):
        keys = support.atoms.to(key_dtype(support.n_atoms))
        counts = support.offsets.diff().to(torch.int32)
        vars(support)["padded"] = Padded(
            support.atoms, support.offsets, support.n_atoms,
            keys=keys, counts=counts, of_rows=support.rows.to(torch.int32),
        )  # fmt: skip
    found: Padded = vars(support)["padded"]
    return found


def key_dtype(n_atoms: int) -> torch.dtype:
    """Return the narrowest dtype that holds an atom's number, and n_atoms itself."""
    return torch.int16 if n_atoms < 2**15 else torch.int32


def _there(method: Callable[..., Any]) -> Callable[..., Any]:
    """Launch on the device of the first tensor, whichever is current."""

    @wraps(method)
    def launched(self: Triton, first: Any, *more: Any, **options: Any) -> Any:
        with torch.cuda.device_of(first.x if isinstance(first, PreCodes) else first):  # type: ignore[no-untyped-call]
            return method(self, first, *more, **options)

    return launched


class Triton:
    """Primitives by Triton kernels, with fp32 sums. `half`: products and gathered rows in bf16."""

    def __init__(self, *, half: bool = False) -> None:
        self.half = half
        self.name = "triton bf16" if half else "triton"

    # Selection

    @_there
    def topk(
        self,
        pre_codes: PreCodes,
        k: int,
        *,
        signed: bool = False,
        among: Bool[Tensor, " n_atoms"] | None = None,
    ) -> Entries:
        """Return the k largest of each row, or of each row's atoms that are `among` some."""
        n_rows, n_atoms, device = len(pre_codes), pre_codes.n_atoms, pre_codes.x.device
        values = torch.empty(n_rows * k, device=device)
        atoms = torch.empty(n_rows * k, dtype=torch.int32, device=device)
        keys = torch.empty(n_rows * k, dtype=key_dtype(n_atoms), device=device)
        counts = torch.empty(n_rows, dtype=torch.int32, device=device)
        some = None if among is None else among.sum(dtype=torch.int32)
        size = most_rows(device, n_atoms)
        centred = []
        for first in range(0, n_rows, size):
            rows = slice(first, first + size)
            seen, u = self._product(pre_codes, rows, again=among is not None)
            centred.append(seen)
            places = slice(first * k, (first + len(u)) * k)
            _select(
                u, k, signed, among, some, values[places], atoms[places], keys[places], counts[rows]
            )
        offsets = torch.arange(0, n_rows * k + 1, k, device=device)
        support = Padded(atoms, offsets, n_atoms, keys=keys, counts=counts, k=k)
        return Selection.of(values, support, _joined(centred))

    @_there
    def batch_topk(self, pre_codes: PreCodes, n_kept: int) -> Entries:
        """Return the `n_kept` largest of all rows; of equal ones those of earlier rows, then lower atoms."""
        centred, u = self._product(pre_codes, slice(None))
        n_rows, n = u.shape
        half = u.dtype == torch.bfloat16
        maxima = _maxima(u, signed=False)
        # So many blocks reach the n_kept-th largest maximum, hence so many pre-codes do.
        floor = torch.zeros(2, dtype=torch.int32, device=u.device)
        if maxima.numel() >= n_kept:
            floor = _key_of_rank(maxima, n_kept, None, None)
        state = _key_of_rank(u, n_kept, maxima, floor)
        larger, equal = torch.empty(2, n_rows, dtype=torch.int32, device=u.device)
        how = {"T": _tile(n), "G": BLOCK, "HALF": half}
        kernels.count_against_key[(n_rows,)](u, maxima, state, larger, equal, n, **how)
        before = equal.cumsum(0, dtype=torch.int64) - equal
        equal_taken = torch.minimum((state[1] - before).clamp_min(0), equal).to(torch.int32)
        offsets = offsets_of(larger + equal_taken)
        parts = _room(n_kept, n, u.device)
        kernels.fill_against_key[(n_rows,)](
            u, maxima, state, equal_taken, offsets, *parts, n, n_kept, **how
        )
        return _of_batch(parts, offsets, n_kept, n, centred)

    @_there
    def above(self, pre_codes: PreCodes, thresholds: PerAtom) -> Entries:
        """Return the pre-codes above the threshold of their atom, as many as there is room for."""
        centred, u = self._product(pre_codes, slice(None))
        n_rows, n = u.shape
        n_blocks = _blocks(n)
        counts = torch.empty(n_rows, n_blocks, dtype=torch.int8, device=u.device)
        grid, r = _grid_of_blocks(counts.numel())
        limits = thresholds.contiguous()
        kernels.count_above[grid](u, limits, counts, n, n_blocks, counts.numel(), G=BLOCK, R=r)
        offsets = offsets_of(counts.sum(dim=1, dtype=torch.int64))
        capacity = capacity_of(n_rows, n, offsets[-1:])
        parts = _room(capacity, n, u.device)
        kernels.fill_above[(n_rows,)](
            u, limits, counts, offsets, *parts, n, capacity, T=_tile(n), G=BLOCK
        )
        return _of_batch(parts, offsets, capacity, n, centred)

    def _product(
        self, pre_codes: PreCodes, rows: slice, *, again: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return x − c and the pre-codes of some rows; in a training step they are kept to its end.

        `again`: those of the same input and weight, if they were kept.
        """
        whole = len(pre_codes.x[rows]) == len(pre_codes)
        kept = kept_pre_codes() if whole else None
        key = (pre_codes.x.data_ptr(), pre_codes.weight.data_ptr())
        if again and kept is not None and key in kept:
            return kept[key][1:]
        x = pre_codes.centred(rows)
        weight, bias = pre_codes.weight, pre_codes.bias
        if self.half:
            x, weight = x.to(torch.bfloat16), half_of(weight)
            bias = None if bias is None else bias.to(torch.bfloat16)
        u = x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)
        if kept is not None:
            kept[key] = (pre_codes, x, u)  # which holds the addresses
        return x, u

    # Sums

    @_there
    def sum_atoms(
        self, values: Values, support: Support, table: Atoms, start: Row | None = None
    ) -> Rows:
        """Add the atoms of each row."""
        at = padded(support)
        out = torch.empty(len(at.counts), table.shape[1], device=table.device)
        w, kc, warps = _width(table.shape[1])
        kernels.sum_rows[(len(out), _cdiv(table.shape[1], w))](
            self._table(table), values, at.atoms, at.offsets, at.counts, _given(start, values), out,
            table.shape[1], at.k, KC=kc, W=w, FIXED=at.k > 0, START=start is not None, num_warps=warps,
        )  # fmt: skip
        return out

    @_there
    def residuals(
        self, values: Values, support: Support, table: Atoms, start: Row | None, target: Rows
    ) -> Residuals:
        """Decode, compare and take the dots that the gradient of the values needs, in one kernel."""
        d = table.shape[1]
        if d > COLUMNS:
            x_hat = self.sum_atoms(values, support, table, start)
            residual = target - x_hat
            return Residuals(x_hat, residual, residual.square().sum(), residual.sum(dim=0))
        at = padded(support)
        x_hat, residual = torch.empty_like(target), torch.empty_like(target)
        rough = torch.empty_like(target, dtype=torch.bfloat16) if self.half else residual
        dots, errors = torch.zeros_like(values), target.new_empty(len(target))
        w, kc, warps = _width(d)
        kernels.compare_rows[(len(target),)](
            self._table(table), values, at.atoms, at.offsets, at.counts, _given(start, values),
            target, x_hat, residual, rough, dots, errors, d, at.k,
            KC=kc, W=w, FIXED=at.k > 0, START=start is not None, ROUGH=self.half, num_warps=warps,
        )  # fmt: skip
        return Residuals(x_hat, residual, errors.sum(), residual.sum(dim=0), dots, rough)

    def scaled(self, values: Values, by: Float[Tensor, ""]) -> Values:
        """Return values times one number."""
        return values * by

    @_there
    def sum_inputs(self, values: Values, support: Support, table: Rows) -> Atoms:
        """Add the inputs of each atom, in the order of rows; totals of the values come with it."""
        at = padded(support)
        out, totals = _by_atom(values, at, self._table(table))
        vars(at)["totals"] = (values, totals)
        return out

    @_there
    def dots(self, g: Rows, support: Support, table: Atoms) -> Values:
        """Return the dot product of each row with each atom it uses."""
        at = padded(support)
        out = torch.zeros(len(at.atoms), device=g.device)
        d = table.shape[1]
        w, kc, warps = _width(d)
        by_entry = at.of_rows if len(g) != len(at.counts) else None
        kernels.dot_rows[(len(at.counts),)](
            g, self._table(table), out, at.atoms, at.offsets, at.counts, _given(by_entry, at.atoms), out,
            d, at.k, KC=kc, W=w, FIXED=at.k > 0, BY_ENTRY=by_entry is not None, num_warps=warps,
        )  # fmt: skip
        return out

    @_there
    def totals(self, values: Values, support: Support) -> PerAtom:
        """Return sums by atom: those that came with the rows of the same values, if they did."""
        at = padded(support)
        of, totals = vars(at).get("totals", (None, None))
        if of is not values or totals is None:
            _, totals = _by_atom(values, at, values.new_ones(len(at.counts), 1))
        return totals

    @_there
    def nested(
        self,
        values: Values,
        support: Support,
        table: Atoms,
        start: Row | None,
        target: Rows,
        widths: tuple[int, ...] | Int[Tensor, " groups"],
    ) -> tuple[Float[Tensor, "groups rows width"], Float[Tensor, " groups"], Support]:
        """Return the residual of every prefix, its square, and the entries by row of all residuals."""
        at = padded(support)
        ends = widths if isinstance(widths, Tensor) else _on(widths, values.device)
        (n_rows, d), n_groups = target.shape, len(ends)
        w, kc, warps = _width(d)
        residuals = target.new_empty(n_groups, n_rows, d)
        errors = target.new_empty(n_groups, n_rows, _cdiv(d, w))
        kernels.nested_rows[(n_rows, errors.shape[2])](
            self._table(table), values, at.atoms, at.offsets, at.counts, _given(start, values),
            target, ends, residuals, errors, n_rows, n_groups, d, at.k,
            KC=kc, W=w, FIXED=at.k > 0, START=start is not None, num_warps=warps,
        )  # fmt: skip
        rows = at.of_rows
        if rows is None:
            rows = torch.arange(len(at.atoms), dtype=torch.int32, device=values.device) // at.k
        group = torch.searchsorted(ends, at.atoms, right=True).clamp_max(n_groups - 1)
        stacked = Padded(
            at.atoms, at.offsets, at.n_atoms, keys=at.keys, counts=at.counts, k=at.k,
            of_rows=(group * n_rows + rows).to(torch.int32),
        )  # fmt: skip
        vars(stacked)["sorted"] = at.sorted
        return residuals, errors.sum(dim=(1, 2)), stacked

    def _table(self, table: Tensor) -> Tensor:
        return half_of(table) if self.half else table.contiguous()


# -------------------------------------------------------------------------------------------------
# Launches.


def _select(
    u: Tensor,
    k: int,
    signed: bool,
    among: Tensor | None,
    some: Tensor | None,
    values: Tensor,
    atoms: Tensor,
    keys: Tensor,
    counts: Tensor,
) -> None:
    """Write the k largest of each row."""
    n_rows, n = u.shape
    half, n_blocks = u.dtype == torch.bfloat16, _blocks(n)
    found = (values, atoms, keys, counts, n, k)
    how = {
        "SIGNED": signed, "AMONG": among is not None, "HALF": half, "BITS": 15 if half else 31,
    }  # fmt: skip
    allowed = _given(None if among is None else among.view(torch.uint8), counts)
    lanes = max(_power(k) * BLOCK, _power(n_blocks))
    if n_blocks > 2 * k and lanes <= IN_REGISTERS:
        maxima = _maxima(u, signed=signed, among=among, some=some)
        scratch = torch.empty(n_rows, k, dtype=torch.int32, device=u.device)
        kernels.select_blocks[(n_rows,)](
            u, maxima, allowed, scratch, *found, **how, K2=_power(k), NB2=_power(n_blocks), G=BLOCK,
            num_warps=max(1, lanes // 1024),
        )  # fmt: skip
    elif _power(n) <= IN_REGISTERS:
        kernels.select_rows[(n_rows,)](
            u, allowed, _given(some, counts), *found, **how, K2=_power(k), N2=_power(n),
            num_warps=max(1, _power(n) // 1024),
        )  # fmt: skip
    else:
        kernels.select_long_rows[(n_rows,)](
            u, allowed, _given(some, counts), *found, **how, T=2048, num_warps=8
        )


def _maxima(
    u: Tensor, *, signed: bool, among: Tensor | None = None, some: Tensor | None = None
) -> Tensor:
    n_rows, n = u.shape
    maxima = u.new_empty(n_rows, _blocks(n))
    grid, r = _grid_of_blocks(maxima.numel())
    allowed = u if among is None else among.view(torch.uint8)
    kernels.block_maxima[grid](
        u, allowed, _given(some, u), maxima, n, _blocks(n), maxima.numel(),
        G=BLOCK, R=r, SIGNED=signed, AMONG=among is not None, WHOLE=n % BLOCK == 0, num_warps=8,
    )  # fmt: skip
    return maxima


def _key_of_rank(u: Tensor, rank: int, maxima: Tensor | None, floor: Tensor | None) -> Tensor:
    """Return the rank-th largest key, and how many of the keys equal to it are among the first `rank`."""
    half, (n_rows, n) = u.dtype == torch.bfloat16, u.shape
    state = torch.zeros(2, dtype=torch.int32, device=u.device)
    state[1:].fill_(rank)
    bins = torch.zeros(256, dtype=torch.int32, device=u.device)
    total = n_rows * _blocks(n)
    r = 128
    programs = min(1024, _cdiv(total, r))
    rounds = _cdiv(total, r * programs)
    for shift, width in ((7, 8), (0, 7)) if half else ((23, 8), (15, 8), (7, 8), (0, 7)):
        kernels.count_digits[(programs,)](
            u, _given(maxima, u), state, _given(floor, state), bins, n, _blocks(n), total, rounds,
            SHIFT=shift, WIDTH=width, G=BLOCK, R=r, GATED=maxima is not None, HALF=half, num_warps=8,
        )  # fmt: skip
        kernels.pick_digit[(1,)](bins, state, SHIFT=shift, WIDTH=width)
    return state


def _by_atom(values: Tensor, at: Padded, table: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σ v t and Σ v over the entries of each atom."""
    keys, order = at.sorted
    total, d = len(keys), table.shape[1]
    out = torch.zeros(at.n_atoms, d, device=values.device)
    totals = torch.zeros(at.n_atoms, device=values.device)
    if not total:
        return out, totals
    # As many chunks as keep a card busy, and no more: each may leave two partial rows.
    chunk = 16 if total < 2**16 else max(64, _power(_cdiv(total, 2**16)))
    n_chunks, w = _cdiv(total, chunk), min(_power(d), 1024)
    head, tail = out.new_empty(n_chunks, d), out.new_empty(n_chunks, d)
    sums = out.new_empty(n_chunks, 2)
    grid = (n_chunks, _cdiv(d, w))
    fixed = at.of_rows is None
    kernels.sum_chunks[grid](
        keys, order, _given(at.of_rows, order), values, table, out, totals, head, tail, sums,
        at.n_atoms, total, d, at.k, C=chunk, W=w, FIXED=fixed, num_warps=1,
    )  # fmt: skip
    kernels.join_chunks[grid](
        keys, out, totals, head, tail, sums, at.n_atoms, total, d, C=chunk, W=w, num_warps=1
    )
    return out, totals


def _room(capacity: int, n_atoms: int, device: torch.device) -> tuple[Tensor, ...]:
    """Return values, atoms, keys and rows of entries that are all padding yet."""
    return (
        torch.zeros(capacity, device=device),
        torch.zeros(capacity, dtype=torch.int32, device=device),
        torch.full((capacity,), n_atoms, dtype=key_dtype(n_atoms), device=device),
        torch.zeros(capacity, dtype=torch.int32, device=device),
    )


def _of_batch(
    parts: tuple[Tensor, ...], offsets: Tensor, capacity: int, n_atoms: int, centred: Tensor
) -> Entries:
    """Entries that lie row behind row; by the offsets, the padding behind them is the last row's."""
    values, atoms, keys, rows = parts
    offsets = offsets.clamp_max(capacity)
    counts = offsets.diff().to(torch.int32)
    offsets[-1:].fill_(capacity)
    support = Padded(atoms, offsets, n_atoms, keys=keys, counts=counts, of_rows=rows)
    return Selection.of(values, support, centred)


# -------------------------------------------------------------------------------------------------
# Room for entries whose number is not known before.


@dataclass(eq=False)
class Capacity:
    """Room for the entries above a threshold, and what steps needed."""

    entries: int
    """How many a step holds."""

    needed: Int[Tensor, " 1"]
    """The most that any step needed, on the card."""

    seen: Int[Tensor, " 1"]
    """The same in the host's memory, some steps late."""

    copied: Any = None
    """The copy under way."""

    def look(self) -> bool:
        """Take what has arrived, without waiting; return whether there was too little room."""
        if self.copied is not None and not self.copied.query():
            return False
        needed = int(self.seen.numpy()[0])
        short = needed > self.entries
        if short:
            self.entries = with_reserve(needed)
        return short

    def count(self, needed: Int[Tensor, " 1"]) -> None:
        """Count a step on the card."""
        torch.maximum(self.needed, needed, out=self.needed)
        self.seen.copy_(self.needed, non_blocking=True)
        if needed.is_cuda and not torch.cuda.is_current_stream_capturing():
            self.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.copied.record()


_CAPACITIES: dict[tuple[torch.device, int, int], Capacity] = {}
_LOCK = threading.Lock()


def with_reserve(needed: int) -> int:
    """Return room for half as much again, in steps of a few percent so that it rarely changes."""
    wanted = max(needed + needed // 2, 256)
    step = 1 << max(0, wanted.bit_length() - 4)
    return -(-wanted // step) * step


def capacity_of(n_rows: int, n_atoms: int, needed: Int[Tensor, " 1"]) -> int:
    """Return the room of a step; the first batch of a size is waited for, no other one is."""
    key = (needed.device, n_rows, n_atoms)
    with _LOCK:
        known = _CAPACITIES.get(key)
        if known is None or kept_pre_codes() is None:
            # Codes that people keep hold all entries.
            count = int(needed)
            if known is None:
                seen = torch.zeros(1, dtype=torch.int64, pin_memory=needed.is_cuda)
                known = Capacity(with_reserve(count), torch.zeros_like(needed), seen)
                _CAPACITIES[key] = known
            if kept_pre_codes() is None:
                return max(count, 1)
        if not (needed.is_cuda and torch.cuda.is_current_stream_capturing()):
            known.look()
        known.count(needed)
        return min(known.entries, n_rows * n_atoms)


def overflowed(device: torch.device) -> Bool[Tensor, ""]:
    """Return, on the card, whether entries of any step were left out for want of room."""
    of_device = [c for (on, *_), c in _CAPACITIES.items() if on == device]
    flags = [c.needed[0] > c.entries for c in of_device]
    return torch.stack(flags).any() if flags else torch.zeros((), dtype=torch.bool, device=device)


def make_room() -> bool:
    """Give every selection the room it was found to need; return whether any had too little.

    For a loop that has waited for the card.
    """
    with _LOCK:
        short = [known.look() for known in _CAPACITIES.values()]
    return any(short)


def rooms() -> tuple[int, ...]:
    """Return the room of every selection: steps captured with another have to be captured anew."""
    return tuple(known.entries for known in _CAPACITIES.values())


# -------------------------------------------------------------------------------------------------
# Sizes.


def most_rows(device: torch.device, n_atoms: int, item: int = 4) -> int:
    """Return the rows whose pre-codes exist at once."""
    if device.type != "cuda":
        return max(1, 2**24 // n_atoms)
    total = torch.cuda.get_device_properties(device).total_memory
    return int(max(1, total // SHARE // (item * n_atoms)))


def fits(pre_codes: PreCodes) -> bool:
    """Return whether the pre-codes of all rows may exist at once."""
    return len(pre_codes) <= most_rows(pre_codes.x.device, pre_codes.n_atoms)


@cache
def _on(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    """Whole numbers on a device, sent once."""
    return torch.tensor(numbers, dtype=torch.int32, device=device)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _given(tensor: Tensor | None, instead: Tensor) -> Tensor:
    """A kernel takes a pointer, read or not."""
    return instead if tensor is None else tensor.contiguous()


def _blocks(n: int) -> int:
    return _cdiv(n, BLOCK)


def _grid_of_blocks(total: int) -> tuple[tuple[int], int]:
    r = 256 if total >= 2**14 else 32
    return (_cdiv(total, r),), r


def _tile(n: int) -> int:
    return min(_power(n), 1024)


def _width(d: int) -> tuple[int, int, int]:
    """Columns of a program, entries it takes at once, and its warps."""
    w = min(_power(d), COLUMNS)
    return w, max(1, min(8, 8192 // w)), 1 if w <= 128 else 4 if w <= 2048 else 8


def _cdiv(a: int, b: int) -> int:
    return -(-a // b)


def _power(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()
