"""Facts about a dictionary that outlive a call: that its rows are unit vectors, and its Gram matrix.

They are kept as long as the memory of the dictionary lives, for the version of it they were made
from. `tensor.data` and numpy can write without raising the version, so one product D v with a fixed
random v (a pass over D, far cheaper than G = D Dᵀ) confirms at every call that nothing changed.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

PANEL = 1024
"""Rows of the Gram matrix per product; the part below the diagonal is copied from the one above."""

ROUNDED_PANEL = 256
"""The same where the matrix has 16 bits, and a panel is made in fp32 first."""

Norms = Literal["unit", "scaled", "any"]
"""Property of the rows: unit norm, unit norm once they are scaled, or nothing."""

Atoms = Float[Tensor, "n_atoms d_in"]
Gram = Float[Tensor, "n_atoms n_atoms"]

_LOCK = threading.RLock()
_KNOWN: dict[tuple[object, ...], Known] = {}


@dataclass(eq=False)
class Known:
    """Known facts about one dictionary, at one version."""

    version: int
    fingerprint: Tensor
    copy: Tensor | None
    """Its rows as they are used, where they are not its own memory, which nothing here may keep alive."""

    grams: dict[bool, Tensor] = field(default_factory=dict)
    """Its Gram matrix: in its own precision (False), of 16 bits in units of `grain` (True), or both."""

    spares: dict[bool, Tensor] = field(default_factory=dict)
    grain: float = 0.0
    users: int = 0
    seconds_without: float = 0.0
    """Predicted extra seconds of past calls for lack of a Gram matrix."""

    making: threading.Lock = field(default_factory=threading.Lock)

    def atoms(self, dictionary: Atoms) -> Atoms:
        """Return the rows as they are used, contiguous."""
        return dictionary.detach() if self.copy is None else self.copy


def known(dictionary: Atoms, *, norms: Norms) -> Known | None:
    """Return facts that still hold for this dictionary; None the first time and after every change."""
    entry = _KNOWN.get(_key(dictionary, norms))
    if entry is None or entry.version != _version(dictionary):
        return None
    return entry if torch.equal(entry.fingerprint, _fingerprint(dictionary)) else None


def remember(dictionary: Atoms, rows: Atoms, *, norms: Norms) -> Known:
    """Note that a dictionary was checked; facts about an older version of it are dropped."""
    key = _key(dictionary, norms)
    own = rows.untyped_storage()._cdata == dictionary.untyped_storage()._cdata
    entry = Known(_version(dictionary), _fingerprint(dictionary), None if own else rows)
    with _LOCK:
        old = _KNOWN.get(key)
        if old is None:
            weakref.finalize(dictionary.untyped_storage(), _KNOWN.pop, key, None)
        elif old.users == 0:
            # The memory of an outdated matrix serves the new one; fresh pages cost a fifth more.
            entry.spares = old.spares | old.grams
            old.grams, old.spares = {}, {}
        _KNOWN[key] = entry
    return entry


@contextmanager
def gram_of(
    entry: Known,
    atoms: Atoms,
    *,
    rounded: bool = False,
    make: Callable[[Gram | None], Gram] | None = None,
) -> Iterator[Gram]:
    """Lend the Gram matrix G = D Dᵀ, made at the first use; `rounded`: of 16 bits, G / grain.

    `make` does it in another way, in the memory it is handed.
    """
    with _LOCK:
        entry.users += 1
    try:
        with entry.making:
            gram = entry.grams.get(rounded)
            if gram is None and make is not None:
                gram = entry.grams[rounded] = make(entry.spares.pop(rounded, None))
            if gram is None:
                grain = 0.0
                if rounded:  # every product fits 16 bits: |⟨d_i, d_j⟩| is at most the largest ‖d‖²
                    grain = 1.001 * float(atoms.norm(dim=1).max()) ** 2 / (2**15 - 1)
                gram = gram_matrix(atoms, out=entry.spares.pop(rounded, None), grain=grain)
                entry.grams[rounded] = gram
                entry.grain = grain or entry.grain
        yield gram
    finally:
        with _LOCK:
            entry.users -= 1


@torch.no_grad()
def gram_matrix(dictionary: Atoms, out: Gram | None = None, *, grain: float = 0.0) -> Gram:
    """Return all products of two atoms, G = D Dᵀ, at little more than half the cost of a full product.

    With a `grain`, the nearest whole numbers of it, in 16 bits.
    """
    n, kind = len(dictionary), torch.int16 if grain else dictionary.dtype
    gram = dictionary.new_empty(n, n, dtype=kind) if out is None else out
    for first in range(0, n, ROUNDED_PANEL) if grain else ():
        panel = dictionary[first : first + ROUNDED_PANEL] @ dictionary[first:].T
        gram[first : first + ROUNDED_PANEL, first:] = panel.mul_(1 / grain).round_()
    for first in range(0, n, PANEL) if not grain else ():
        last = min(first + PANEL, n)
        torch.mm(dictionary[first:last], dictionary[first:].T, out=gram[first:last, first:])
        if gram.device.type != "cpu":
            gram[last:, first:last] = gram[first:last, last:].T
    if gram.device.type == "cpu":
        _mirror(gram)
    return gram


def _mirror(gram: Tensor) -> None:
    """Fill the part below the diagonal; torch's copy of a transposed block takes a third longer."""
    from sae_nb.kernels._threads import share
    from sae_nb.pursuit._mirroring import mirror

    share(mirror, -(-len(gram) // 64), gram.numpy())


def forget() -> None:
    """Drop every kept Gram matrix now, instead of when its dictionary goes."""
    with _LOCK:
        for entry in _KNOWN.values():
            entry.version, entry.grams, entry.spares = -2, {}, {}


def _key(dictionary: Tensor, norms: Norms) -> tuple[object, ...]:
    storage = dictionary.untyped_storage()
    place = (storage._cdata, dictionary.storage_offset(), tuple(dictionary.shape))
    return (*place, dictionary.stride(), dictionary.dtype, dictionary.device, norms)


def _version(dictionary: Tensor) -> int:
    # Inference tensors do not count their changes; the fingerprint watches them alone.
    return -1 if dictionary.is_inference() else dictionary._version


@torch.no_grad()
def _fingerprint(dictionary: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(dictionary.shape[1], generator=generator)
    return torch.mv(dictionary.detach(), probe.to(dictionary.device, dictionary.dtype))
