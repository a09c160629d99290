"""Typical strengths of atoms: quantiles of non-zero |z|, the scale steering is given in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_matrix, is_array
from sae_nb.codes import SparseCodes

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder

_CHUNK = 4096  # rows encoded at a time


def strength_quantile(
    sae: SparseAutoencoder, acts: Activations | Tensor | SparseCodes, share: float
) -> Float[np.ndarray, " n_atoms"]:
    """Return a quantile of every atom's non-zero strengths |z|; 0 for an atom that never fires."""
    atoms, strengths = [], []
    for codes in _codes(sae, acts):
        values = codes.values.detach().abs().float().cpu().numpy()
        atoms.append(codes.atoms.cpu().numpy()[values > 0])
        strengths.append(values[values > 0])
    return _quantile_by_atom(np.concatenate(atoms), np.concatenate(strengths), sae.n_atoms, share)


def _quantile_by_atom(
    atoms: np.ndarray, strengths: np.ndarray, n_atoms: int, share: float
) -> Float[np.ndarray, " n_atoms"]:
    """Interpolate linearly between order statistics, as numpy.quantile does, for all at once."""
    strengths = strengths[np.lexsort((strengths, atoms))].astype(np.float64)
    counts = np.bincount(atoms, minlength=n_atoms)
    first = np.cumsum(counts) - counts
    fires = counts > 0
    place = share * (counts[fires] - 1)
    low = np.floor(place).astype(np.int64)
    below = strengths[first[fires] + low]
    above = strengths[first[fires] + np.minimum(low + 1, counts[fires] - 1)]
    quantile = np.zeros(n_atoms)
    quantile[fires] = below + (place - low) * (above - below)
    return quantile


def _codes(
    sae: SparseAutoencoder, acts: Activations | Tensor | SparseCodes
) -> Iterator[SparseCodes]:
    if isinstance(acts, SparseCodes):
        _require("codes of this SAE", "atoms", acts.n_atoms, sae.n_atoms)
        yield acts
        return
    if isinstance(acts, Tensor) or is_array(acts):  # the first for type checkers
        x = check_matrix(acts, name="acts", d_in=sae.d_in, flatten=True)
        chunks: Iterable[Tensor] = cast("Sequence[Tensor]", torch.split(x, _CHUNK))
    else:
        _require("activations of its hook point", "width", acts.d_in, sae.d_in)
        starts = range(0, len(acts), _CHUNK)
        chunks = (acts.rows(range(i, min(i + _CHUNK, len(acts)))) for i in starts)
    like = sae.dictionary
    for chunk in chunks:
        with torch.no_grad():
            codes = sae.encode(chunk.to(like))
        yield codes


def _require(what: str, quantity: str, got: int, expected: int) -> None:
    if got != expected:
        raise ValueError(
            f"`acts` must be {what}, with {quantity} {expected}, got {quantity} {got}. See "
            "`sae.hook_point`."
        )
