"""Facts about a dictionary that outlive a call: that its rows are unit vectors, and its Gram matrix.

They are kept as long as the memory of the dictionary lives, for the version of it they were made
from. `tensor.data` and numpy can write without raising the version, so one product D v with a fixed
random v (a pass over D, far cheaper than G = D Dᵀ) confirms at every call that nothing changed.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

PANEL = 1024
"""Rows of the Gram matrix per product; the part below the diagonal is copied from the one above."""

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

    gram: Tensor | None = None
    spare: Tensor | None = None
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
            entry.spare = old.gram if old.gram is not None else old.spare
            old.gram = old.spare = None
        _KNOWN[key] = entry
    return entry


@contextmanager
def gram_of(entry: Known, atoms: Atoms) -> Iterator[Gram]:
    """Lend the Gram matrix G = D Dᵀ, made at the first use."""
    with _LOCK:
        entry.users += 1
    try:
        with entry.making:
            gram = entry.gram
            if gram is None:
                gram = gram_matrix(atoms, out=entry.spare)
                entry.gram, entry.spare = gram, None
        yield gram
    finally:
        with _LOCK:
            entry.users -= 1


@torch.no_grad()
def gram_matrix(dictionary: Atoms, out: Gram | None = None) -> Gram:
    """Return all products of two atoms, G = D Dᵀ, at little more than half the cost of a full product."""
    n = len(dictionary)
    gram = dictionary.new_empty(n, n) if out is None else out
    for first in range(0, n, PANEL):
        last = min(first + PANEL, n)
        torch.mm(dictionary[first:last], dictionary[first:].T, out=gram[first:last, first:])
        if gram.device.type != "cpu":
            gram[last:, first:last] = gram[first:last, last:].T
    if gram.device.type == "cpu":
        _mirror(gram)
    return gram


def _mirror(gram: Tensor) -> None:
    """Fill the part below the diagonal; torch's copy of a transposed block takes a third longer."""
    from sae_nb.kernels import parallel
    from sae_nb.pursuit._mirroring import mirror

    with parallel():
        mirror(gram.numpy())


def forget() -> None:
    """Drop every kept Gram matrix now, instead of when its dictionary goes."""
    with _LOCK:
        for entry in _KNOWN.values():
            entry.version, entry.gram, entry.spare = -2, None, None


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
