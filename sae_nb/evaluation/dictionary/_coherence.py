"""How alike atoms are: all of them (Babel function), and those used together.

μ₁(r) = max_j max_{|S| = r, j ∉ S} Σ_{i ∈ S} |⟨d_i, d_j⟩| for unit atoms; μ₁(1) is the coherence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_count, check_matrix
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.report._row_pass import check_dictionary

_TILE = 2**24


def babel(dictionary: Float[Tensor, "n_atoms d_in"], sizes: Sequence[int]) -> list[float]:
    """The Babel function: how much one atom can be covered by r others, in the worst case.

    μ₁(r) = max_j (sum of the r largest |⟨d_i, d_j⟩|, i ≠ j). Orthogonal atoms have 0, copies r.
    Pursuits with k atoms provably succeed where μ₁(k) + μ₁(k − 1) < 1.

    Parameters
    ----------
    dictionary
        Atoms; only directions count.
    sizes
        Values of r, each below the number of atoms.

    Returns
    -------
    list
        μ₁(r) for each.

    Raises
    ------
    TypeError, ValueError: If the dictionary or a size does not fit.

    Source
    ------
    Tropp, "Greed is good", IEEE Transactions on Information Theory, 2004.

    Example
    -------
    >>> babel(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]), [1, 2])
    [0.8..., 1.4...]
    """
    atoms = _unit(dictionary)
    sizes = [check_count(size, name="sizes") for size in sizes]
    if not sizes or max(sizes) >= len(atoms):
        raise ValueError(
            f"`sizes` must be between 1 and n_atoms − 1 = {len(atoms) - 1}, got {list(sizes)}."
        )
    worst = torch.zeros(max(sizes), dtype=torch.float64)
    rows = max(1, _TILE // len(atoms))
    for first in range(0, len(atoms), rows):
        cosines = (atoms[first : first + rows] @ atoms.T).abs()
        own = torch.arange(len(cosines), device=cosines.device)
        cosines[own, first + own] = 0
        top = cosines.topk(max(sizes), dim=1).values.double().cumsum(dim=1)
        worst = torch.maximum(worst, top.amax(dim=0).cpu())
    return [float(worst[size - 1]) for size in sizes]


def coactive_babel(
    codes: SparseCodes, dictionary: Float[Tensor, "n_atoms d_in"]
) -> Float[np.ndarray, " rows"]:
    """How alike the atoms are that explain one input together.

    For the support S of each row, max_{j ∈ S} Σ_{i ∈ S, i ≠ j} |⟨d_i, d_j⟩|; 0 where fewer than two
    atoms are active.

    Parameters
    ----------
    codes
        Whose supports.
    dictionary
        The atoms of these codes; only directions count.

    Returns
    -------
    ndarray
        One number per row.

    Raises
    ------
    ValueError: If the codes belong to another dictionary size.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]]))
    >>> atoms = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> coactive_babel(codes, atoms).round(3).tolist()
    [0.6, 0.0]
    """
    atoms = _unit(dictionary)
    check_dictionary(codes, atoms)
    widest = max(int(codes.l0.max()), 1)
    rows = max(1, _TILE // (widest * (widest + atoms.shape[1])))
    parts = []
    for first in range(0, len(codes), rows):
        part = codes.rows(slice(first, first + rows)).detach()
        chosen, used = _supports(part, widest)
        among = atoms[chosen] * used[:, :, None]
        cosines = (among @ among.mT).abs()
        cosines.diagonal(dim1=1, dim2=2).zero_()
        parts.append(cosines.sum(dim=2).amax(dim=1).double().cpu().numpy())
    return np.concatenate(parts)


def distinct_atoms(
    dictionary: Float[Tensor, "n_atoms d_in"], *, cosine: float = 0.99
) -> Int[Tensor, " kept"]:
    """Atoms that are not copies of an earlier one.

    Parameters
    ----------
    dictionary
        Atoms; only directions count.
    cosine
        |⟨d_i, d_j⟩| from which atom j > i is a copy of atom i.

    Returns
    -------
    Tensor
        Rows kept, ascending.

    Example
    -------
    >>> distinct_atoms(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])).tolist()
    [0, 1]
    """
    atoms = _unit(dictionary)
    kept: list[int] = []
    copied = torch.zeros(len(atoms), dtype=torch.bool, device=atoms.device)
    for j in range(len(atoms)):
        if not copied[j]:
            kept.append(j)
            copied |= (atoms @ atoms[j]).abs() >= cosine
    return torch.tensor(kept, device=atoms.device)


def _unit(dictionary: Tensor) -> Tensor:
    rows = check_matrix(dictionary, name="dictionary").detach()
    return torch.nn.functional.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)))


def _supports(codes: SparseCodes, widest: int) -> tuple[Tensor, Tensor]:
    """Atoms of each row, padded, and which places are used: entries that are not zero."""
    l0 = codes.offsets.diff()
    place = torch.arange(codes.nnz, device=codes.device) - codes.offsets[:-1].repeat_interleave(l0)
    row = torch.arange(len(l0), device=codes.device).repeat_interleave(l0)
    chosen = torch.zeros(len(l0), widest, dtype=torch.int64, device=codes.device)
    used = torch.zeros_like(chosen, dtype=torch.bool)
    chosen[row, place] = codes.atoms.long()
    used[row, place] = codes.values != 0
    return chosen, used
