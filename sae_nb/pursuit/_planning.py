"""The strategy of a pursuit, the size of its tiles, and their cost in memory and time.

Three strategies compute the same steps. `gram` keeps G = D Dᵀ and updates correlations with one row of
it per step. `rows` makes only the rows of G that are chosen. `direct` recomputes correlations at every
step. The fastest one that fits under the cap is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from sae_nb.checks import available_memory
from sae_nb.pursuit._gram import ROUNDED_PANEL as PANEL

Strategy = Literal["gram", "rows", "direct"]

TILE_BYTES = {"cpu": 64 * 2**20, "cuda": 4 * 2**30}
"""Correlations that exist at once: enough rows for a matrix product at full rate."""

PACKED_ENTRIES = {4: 6528 * 192, 8: 6528 * 40}
"""Maximum size of the packed part of a factor in a thread of the CPU's matrix product, by item size;
PACKED_DEPTH is the slice of d_in taken at once. Measured with MKL on an AMD EPYC, 1 and 2 threads, d_in
64 … 1536, n_atoms 512 … 8192: within 5 %. Kept by MKL for the next product, so it adds up once.
"""

PACKED_DEPTH = 204

PRODUCT_BYTES = 2**20
"""Further memory of a large product, in the same measurements; a small one in proportion."""

WORKSPACE_BYTES = 12 * 2**20
"""A GPU product's own memory; unmeasured."""

MOST_IN_REGISTERS = 2**15
"""Correlations of an input that Triton's kernel of matching pursuit holds in registers."""


@dataclass(frozen=True)
class Machine:
    """Rates of the time model. Only their ratio decides."""

    products: float
    """Floating-point operations per second of a large matrix product."""

    stream: float
    """Bytes per second of correlations updated with Gram rows."""

    small: float
    """Operations per second where all chosen Gram rows are combined; on a GPU, half a number read from memory
    each: step t reads the rows of t atoms, k² / 2 in all."""


def machine(device: torch.device, dtype: torch.dtype) -> Machine:
    """Return rates of a device: measured per core on the CPU, an H100's data sheet for a GPU."""
    slower = 2 if dtype == torch.float64 else 1
    if device.type == "cuda":
        stream = 2e12
        return Machine(5e13 / slower, stream, 2 * stream / dtype.itemsize)
    cores = torch.get_num_threads()
    return Machine(5e10 * cores / slower, 3e9 * cores, 6e9 * cores / slower)


@dataclass(frozen=True, kw_only=True)
class Size:
    """All that a plan depends on."""

    rows: int
    d_in: int
    n_atoms: int
    k: int
    dtype: torch.dtype
    device: torch.device
    refits: bool
    trace: bool
    refresh_every: int
    gram_known: bool
    seconds_without: float = 0.0
    """Extra seconds of earlier calls with this dictionary for lack of its Gram matrix."""

    triton: bool = False
    """Whether Triton's kernels take the steps."""

    solves: bool = False
    """Whether coefficients are solved for, which takes the products of the atoms chosen."""

    @property
    def rounds(self) -> bool:
        """Whether a whole Gram matrix has 16 bits: that of matching pursuit in fp32 on the CPU."""
        return not self.refits and self.dtype == torch.float32 and self.device.type == "cpu"


@dataclass(frozen=True)
class Plan:
    """The way chosen, with its predicted cost; print it to read it."""

    strategy: Strategy
    """`gram`, `rows` or `direct`."""

    tile_rows: int
    """Rows whose correlations exist at once."""

    gram_rows: int
    """Rows of the Gram matrix kept at once: all for `gram`, some for `rows`, none for `direct`."""

    bytes: dict[str, int]
    """Predicted memory by part; inputs are not counted."""

    seconds: float
    """Predicted time on this machine."""

    others: tuple[str, ...] = ()
    """Reasons against the other strategies."""

    @property
    def peak_bytes(self) -> int:
        """Predicted peak of memory beyond the inputs."""
        return sum(self.bytes.values())

    def __str__(self) -> str:
        parts = [f"  {name:<24}{_size(size):>12}" for name, size in self.bytes.items() if size]
        head = f"{self.strategy}: tiles of {self.tile_rows} rows, about {self.seconds:.3g} s"
        peak = f"  {'peak beyond the inputs':<24}{_size(self.peak_bytes):>12}"
        return "\n".join([head, *parts, peak, *(f"  not {other}" for other in self.others)])


def make_plan(size: Size, memory_cap: int | None = None, tile_rows: int | None = None) -> Plan:
    """Choose the fastest strategy that fits."""
    cap = memory_cap
    if cap is None:
        free = available_memory(size.device)
        cap = 4 * 2**30 if free is None else free // 2
    wanted: tuple[Strategy, ...] = ("gram", "direct") if size.refits else ("gram", "rows", "direct")
    if size.triton:
        wanted = ("gram", "direct") if size.solves or not size.refits else ("direct",)
    plans = {name: _fit(size, name, cap, tile_rows) for name in wanted}
    fitting = [plan for plan in plans.values() if plan is not None]
    if not fitting:
        least = _plan(size, "direct", 1, 0)
        raise MemoryError(
            f"A pursuit of {size.rows} rows with {size.n_atoms} atoms must fit under `memory_cap`: it "
            f"needs at least {least.peak_bytes} bytes ({_size(least.peak_bytes)}), got {cap}. Raise "
            "the cap, or encode fewer rows at a time."
        )
    best = min(fitting, key=lambda plan: plan.seconds)
    others = tuple(_why_not(name, plans[name], best, cap) for name in wanted if plans[name] != best)
    return replace(best, others=others)


def lost_without_gram(size: Size, plan: Plan) -> float:
    """Return the seconds that a plan takes longer than it would with a stored Gram matrix."""
    if plan.strategy == "gram" or (size.triton and size.refits and not size.solves):
        return 0.0
    ready = replace(size, gram_known=True)
    return max(0.0, plan.seconds - _seconds(ready, "gram", plan.tile_rows, size.n_atoms))


def _fit(size: Size, strategy: Strategy, cap: int, tile_rows: int | None) -> Plan | None:
    """The plan with the largest tiles under the cap, or None."""
    item = size.dtype.itemsize
    usual = max(1, TILE_BYTES[size.device.type] // (size.n_atoms * item))
    rows = min(size.rows, tile_rows or usual)
    while rows >= 1:
        gram_rows = {"gram": size.n_atoms, "direct": 0}.get(strategy, 0)
        if strategy == "rows":
            chosen = min(rows, size.n_atoms) * size.d_in * item
            room = cap - chosen - _plan(size, strategy, rows, 0).peak_bytes
            gram_rows = min(size.n_atoms, room // (size.n_atoms * item))
            gram_rows = gram_rows if gram_rows >= min(64, size.n_atoms) else -1
        plan = _plan(size, strategy, rows, max(gram_rows, 0))
        if gram_rows >= 0 and plan.peak_bytes <= cap:
            return plan
        if rows == 1:
            return None
        rows = max(1, rows // 2)
    return None


def _plan(size: Size, strategy: Strategy, rows: int, gram_rows: int) -> Plan:
    item, k = size.dtype.itemsize, size.k
    traced = (k + 1 + (k * k if size.refits else 0)) * item if size.trace else 0
    per_step = 4 + 4 + (8 if size.refits else item)
    whole = size.rounds and strategy == "gram"
    parts = {
        "Gram matrix": size.n_atoms * gram_rows * (2 if whole else item),
        "Gram matrix, a panel": size.n_atoms * PANEL * item * (whole and not size.gram_known),
        "correlations": rows * size.n_atoms * item,
        "residuals": rows * size.d_in * item,
        "packed factors": _packed_bytes(size, rows),
        "chosen atoms": min(rows, gram_rows) * size.d_in * item * (strategy == "rows"),
        "small systems": rows * (16 * k * k + 20 * k) if size.refits else 0,
        "steps": size.rows * (k * per_step + 17 + traced),
        "codes": size.rows * (k * (item + 4 + 12) + 8),
    }
    if size.triton:
        parts |= _triton_parts(size, strategy, rows)
    return Plan(strategy, rows, gram_rows, parts, _seconds(size, strategy, rows, gram_rows))


def _triton_parts(size: Size, strategy: Strategy, rows: int) -> dict[str, int]:
    """Return what is different where Triton's kernels take the steps."""
    n, d, k = size.n_atoms, size.d_in, size.k
    kept = strategy == "gram" and not size.refits
    return {
        "Gram matrix": (strategy == "gram") * n * n * (4 if size.refits else 2),
        "Gram matrix, a panel": (kept and not size.gram_known)
        * min(16 * PANEL, n)
        * (4 * n + 6 * d),
        "correlations": rows * 4 * (n if kept else 2 * -(-n // 32)),
        "numbers of 16 bits": 2 * d * (rows + n) * (3 if kept else 1),
        "residuals": rows * d * 4 * (not kept or k > size.refresh_every),
        "small systems": rows * (12 * k * k + 24 * k) * size.refits,
    }


def _triton_seconds(size: Size, strategy: Strategy) -> float:
    """Return the time of Triton's kernels, by rates measured on an H200."""
    rows, n, d, k = size.rows, size.n_atoms, size.d_in, size.k
    split, half, stream, cache = 2e14, 4.3e14, 2.9e12, 4.4e12
    to_pay = 0.0
    if strategy == "gram" and not size.gram_known:
        whole = n * n * d / 2.5e13 if size.refits else 2 * n * n * d / split
        to_pay = max(0.0, whole - size.seconds_without)
    if strategy == "gram" and not size.refits:
        products = 1 + (k - 1) // size.refresh_every
        # Correlations that do not fit registers are read and written again.
        read = 2 if n <= MOST_IN_REGISTERS else 10
        return products * 2 * rows * d * n / split + k * rows * n * read / stream + to_pay
    steps = k * (2 * rows * d * n / half + rows * d * 16 / stream)
    passes = 0 if not size.refits else 1 if strategy == "gram" else 2
    return steps + passes * k * k / 2 * rows * d * 4 / cache + to_pay


def _packed_bytes(size: Size, rows: int) -> int:
    """Return the bytes that a matrix product takes for copies of its factors in the order it reads them."""
    item = size.dtype.itemsize
    if size.device.type != "cpu":
        return min(WORKSPACE_BYTES, size.d_in * (rows + size.n_atoms) * item // 2)
    depth = -(-size.d_in // -(-size.d_in // PACKED_DEPTH))
    entries = min(size.n_atoms * depth, PACKED_ENTRIES[item])
    packed = torch.get_num_threads() * entries * item
    return packed + min(PRODUCT_BYTES, packed // 4)


def _seconds(size: Size, strategy: Strategy, rows: int, gram_rows: int) -> float:
    if size.triton:
        return _triton_seconds(size, strategy)
    rates, n, k, item = machine(size.device, size.dtype), size.n_atoms, size.k, size.dtype.itemsize
    product = 2 * size.rows * size.d_in * n / rates.products
    refreshes = 0 if size.refits else (k - 1) // size.refresh_every
    if strategy == "direct":
        return k * (product + size.rows * n * item / rates.stream)
    if size.refits:
        updates = k * k * size.rows * n / rates.small
    else:
        updates = k * size.rows * n * item / rates.stream
    whole_gram = n * n * size.d_in / rates.products
    if strategy == "gram":
        # What was already paid for not having it counts as an instalment: many small calls then
        # never cost more than twice what they would, had their number been known.
        to_pay = 0.0 if size.gram_known else max(0.0, whole_gram - size.seconds_without)
        return (1 + refreshes) * product + updates + to_pay
    # Every tile chooses about this many different atoms; kept rows serve later tiles too.
    per_tile = n * -torch.expm1(torch.tensor(-rows * k / n, dtype=torch.float64)).item()
    tiles = -(-size.rows // rows)
    made = per_tile * tiles if gram_rows < n else min(n, per_tile * tiles)
    return (1 + refreshes) * product + 3 * updates + made * 2 * n * size.d_in / rates.products


def _why_not(name: str, plan: Plan | None, best: Plan, cap: int) -> str:
    if plan is None:
        return f"{name}: does not fit under {_size(cap)}"
    return f"{name}: about {plan.seconds / max(best.seconds, 1e-12):.3g} times as long"


def _size(n_bytes: int) -> str:
    if n_bytes < 2**20:
        return f"{n_bytes / 2**10:.1f} KiB"
    return f"{n_bytes / 2**20:.1f} MiB" if n_bytes < 2**30 else f"{n_bytes / 2**30:.2f} GiB"
