"""How the atoms of a dictionary lie to each other: nearest neighbours, copies, ranks, Babel; tile by tile.

Welch: no c unit vectors in d dimensions have a coherence below √((c − d) / (d (c − 1))).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import check_count, check_matrix
from sae_nb.geometry import stable_rank

ALIKE = 0.9
"""|Cosine| above which two atoms are copies. Convention (evaluation of SAEs, several libraries)."""

COPIED = 0.99
"""|Cosine| above which an atom adds nothing to an earlier one, and is not credited with anything."""

_TILE = 2**24


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomGeometry:
    """What the Gram matrix of unit atoms says, without keeping it."""

    max_cosine: Float[np.ndarray, " n_atoms"]
    """max_{j≠i} |⟨d_i, d_j⟩| of each atom."""

    babel: float
    """max_i of the sum of the m largest |⟨d_i, d_j⟩|."""

    alike: Float[np.ndarray, " n_atoms"]
    """1 where an atom of smaller number has |cosine| > 0.9, else 0."""

    stable_rank: float
    """‖D‖_F² / σ₁²."""

    effective_rank: float
    """exp(−Σ p log p), p = σ / Σσ."""

    welch: float
    """The Welch bound on the coherence; 0 where there are no more atoms than dimensions."""

    m: int
    """Atoms in the Babel sum."""

    @property
    def coherence(self) -> float:
        """Largest |cosine| of two atoms."""
        return float(self.max_cosine.max())


def welch_bound(n_atoms: int, d_in: int) -> float:
    """Smallest coherence that so many unit vectors can have: √((c − d) / (d (c − 1))).

    Parameters
    ----------
    n_atoms, d_in
        How many, in how many dimensions.

    Source
    ------
    Welch, "Lower bounds on the maximum cross correlation of signals", IEEE Transactions on Information
    Theory, 1974.

    Example
    -------
    >>> welch_bound(3, 2), welch_bound(4, 8)
    (0.5, 0.0)
    """
    c, d = check_count(n_atoms, name="n_atoms"), check_count(d_in, name="d_in")
    return math.sqrt((c - d) / (d * (c - 1))) if c > max(d, 1) else 0.0


def atom_geometry(dictionary: Any, *, m: int = 1) -> AtomGeometry:
    """Measure how the atoms of an SAE or a dictionary lie to each other.

    Parameters
    ----------
    dictionary
        An SAE or a (n_atoms, d_in) tensor, two atoms or more; only directions count, and a zero row is
        orthogonal to everything.
    m
        Atoms in the Babel sum, below n_atoms.

    Returns
    -------
    AtomGeometry
        Per atom and overall; the (n_atoms, n_atoms) matrix is never stored.

    Raises
    ------
    ValueError: If there are fewer than two atoms, or m is too large.

    Source
    ------
    Ranks: "Archetypal SAE", arXiv 2502.12892, eq. 10 and 11.

    Example
    -------
    >>> found = atom_geometry(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]))
    >>> round(found.coherence, 3), found.max_cosine.round(3).tolist()
    (0.8, [0.6, 0.8, 0.8])
    """
    unit = _unit(dictionary)
    if len(unit) < 2:
        raise ValueError(f"`dictionary` must have at least two atoms, got {len(unit)}.")
    m = check_count(m, name="m")
    if m >= len(unit):
        raise ValueError(f"`m` must be below n_atoms={len(unit)}, got {m}.")
    best, sums = [], []
    alike = []
    rows = max(1, _TILE // len(unit))
    for first in range(0, len(unit), rows):
        cosines = (unit[first : first + rows] @ unit.T).abs()
        own = torch.arange(len(cosines), device=cosines.device)
        cosines[own, first + own] = 0
        largest = cosines.topk(m, dim=1).values
        best.append(largest[:, 0].cpu())
        sums.append(float(largest.double().sum(dim=1).max()))
        alike.append(_has_earlier(cosines > ALIKE, first).cpu())
    sigma = torch.linalg.svdvals(unit.double())
    p = sigma / sigma.sum()
    return AtomGeometry(
        max_cosine=torch.cat(best).double().numpy(),
        babel=max(sums),
        alike=torch.cat(alike).double().numpy(),
        stable_rank=stable_rank(unit),
        effective_rank=float((-(p * p.clamp_min(1e-300).log()).sum()).exp()),
        welch=welch_bound(len(unit), unit.shape[1]),
        m=m,
    )


def copied_atoms(dictionary: Any, *, cosine: float = COPIED) -> Bool[np.ndarray, " n_atoms"]:
    """Which atoms have an |cosine| above this with an atom of smaller number."""
    unit = _unit(dictionary)
    rows = max(1, _TILE // len(unit))
    near = [
        _has_earlier((unit[first : first + rows] @ unit.T).abs() > cosine, first)
        for first in range(0, len(unit), rows)
    ]
    copied: np.ndarray = torch.cat(near).cpu().numpy()
    return copied


def duplicate_groups(
    dictionary: Any, *, cosine: float = ALIKE
) -> tuple[Int[np.ndarray, " members"], ...]:
    """Atoms that are copies of each other: connected components of |⟨d_i, d_j⟩| > cosine.

    Parameters
    ----------
    dictionary
        An SAE or a (n_atoms, d_in) tensor.
    cosine
        Above it, two atoms are linked.

    Returns
    -------
    tuple
        Groups of two or more, largest first.

    Example
    -------
    >>> atoms = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.1], [-1.0, 0.0]])
    >>> [group.tolist() for group in duplicate_groups(atoms)]
    [[0, 2, 3]]
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    unit = _unit(dictionary)
    rows = max(1, _TILE // len(unit))
    links = []
    for first in range(0, len(unit), rows):
        near = ((unit[first : first + rows] @ unit.T).abs() > cosine).nonzero().cpu().numpy()
        links.append(near + np.array([first, 0]))
    i, j = np.concatenate(links).T
    graph = coo_matrix((np.ones(len(i), np.int8), (i, j)), shape=(len(unit), len(unit)))
    _, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
    return tuple(sorted((g for g in groups if len(g) > 1), key=len, reverse=True))


def encoder_cosines(sae: Any) -> Float[np.ndarray, " n_atoms"] | None:
    """Cosine of every atom with the row of the encoder that reads it; None without such rows.

    Low where the encoder reads something else than the decoder writes: to tell correlated atoms apart,
    or because the atom is dead.

    Parameters
    ----------
    sae
        An SAE whose encoder has one row per atom, as all one-step ones have.

    Example
    -------
    >>> import sae_nb as sn
    >>> encoder_cosines(sn.TopK(d_in=4, n_atoms=8, k=2)).round(3).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    weight = getattr(getattr(sae, "encoder", None), "weight", None)
    if not isinstance(weight, Tensor) or weight.shape != sae.dictionary.shape:
        return None
    rows = torch.nn.functional.normalize(weight.detach().double(), dim=1)
    cosines: np.ndarray = (rows * _unit(sae).double()).sum(dim=1).cpu().numpy()
    return cosines


def _has_earlier(near: Tensor, first: int) -> Tensor:
    """Whether a row is near to one of smaller number."""
    columns = torch.arange(near.shape[1], device=near.device)
    own = first + torch.arange(len(near), device=near.device)
    return (near & (columns < own[:, None])).any(dim=1)


def _unit(dictionary: Any) -> Float[Tensor, "n_atoms d_in"]:
    rows = dictionary if isinstance(dictionary, Tensor) else dictionary.dictionary
    checked = check_matrix(rows, name="dictionary").detach()
    return torch.nn.functional.normalize(
        checked.to(torch.promote_types(checked.dtype, torch.float32))
    )
