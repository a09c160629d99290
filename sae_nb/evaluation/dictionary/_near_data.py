"""Closeness of atoms to the data, and to the heads of a layer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.checks import Count, Resamples, Seed, check_matrix, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.report._measurement import Measurement, Resampling, chance_generator
from sae_nb.geometry._coherence import copied_atoms, rows_of
from sae_nb.geometry._cosines import largest_cosines

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder


# -------------------------------------------------------------------------------------------------
# Does an atom look like anything in the data? OOD = 1 − mean_j max_t ⟨d_j, x_t − μ⟩ / ‖x_t − μ‖.


@checked
def ood_score(
    sae: Any,
    x: Float[Tensor, "n d_in"],
    *,
    mean: Float[Tensor, " d_in"] | None = None,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> Measurement:
    """Measure how far the atoms are from every input: 0 if each points at one, 1 if each is orthogonal
    to all.

    A copy (|cosine| > 0.99) of an earlier atom counts 1, so that a collapsed dictionary gains nothing.
    A random dictionary is floor and control.

    Parameters
    ----------
    sae, x
        An SAE or a dictionary; activations: the score falls with their number, compare at the same one.
    mean
        Vector that is subtracted first; None: the mean of `x`. Zeros leave the rows as they are.

    Raises
    ------
    ValueError: If widths differ, or all rows are the mean.

    Source
    ------
    "Archetypal SAE", arXiv 2502.12892, eq. 9. Centring is ours: with a mean far from zero every row
    points the same way. So is leaving out copies.

    Example
    -------
    >>> rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    >>> round(ood_score(rows[:2], rows).value, 6)
    0.0
    """
    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    atoms = rows_of(sae)
    rows = check_matrix(x, d_in=atoms.shape[1]).detach()
    away = distances_to_data(atoms, rows, mean)
    random = torch.randn(atoms.shape, generator=chance_generator(seed)).to(atoms)
    control = float(distances_to_data(random, rows, mean).mean())
    return resampling.mean(
        "ood_score",
        away,
        floor=control,
        control=control,
        unit="atoms",
        seconds=time.perf_counter() - start,
    )


def distances_to_data(
    atoms: Float[Tensor, "n_atoms d_in"],
    x: Float[Tensor, "n d_in"],
    mean: Float[Tensor, " d_in"] | None = None,
    *,
    copied: Bool[np.ndarray, " n_atoms"] | None = None,
    strongest: SparseCodes | None = None,
) -> Float[np.ndarray, " n_atoms"]:
    """Return 1 − the largest cosine with any row, per atom; 1 for copies of an earlier atom.

    What is known already need not be computed: which atoms are `copied`, and the `strongest` products of each
    row less the mean with unit atoms.
    """
    centre = x.double().mean(dim=0).to(atoms) if mean is None else mean.to(atoms)
    rows = x.to(atoms) - centre
    lengths = rows.norm(dim=1)
    varied = lengths > 1e-6 * x.to(atoms).norm(dim=1).amax()
    if not bool(varied.any()):
        raise ValueError(
            f"`x` must vary for atoms to be near to it, got {len(x)} rows that are all their mean."
        )
    rows = rows[varied] / lengths[varied, None]
    unit = torch.nn.functional.normalize(atoms)
    if strongest is None:
        best = largest_cosines(unit, rows)
    else:
        known = strongest.to(unit.device).rows(varied)
        best = _largest_of_known(
            unit, rows, known.with_values(known.values / lengths[varied][known.support.rows])
        )
    away = 1 - best.double().cpu().numpy()
    return np.where(copied_atoms(unit) if copied is None else copied, 1.0, away)


def _largest_of_known(
    unit: Float[Tensor, "n_atoms d_in"], rows: Float[Tensor, "n d_in"], cosines: SparseCodes
) -> Float[Tensor, " n_atoms"]:
    """`largest_cosines` where those of each row that are largest, or largest in size, are known.

    No other cosine of a row is above the smallest that is known of it, so that an atom which is above that in
    every row has its largest among the known ones.
    """
    values, row = cosines.values, cosines.support.rows
    least = values.new_full((len(rows),), torch.inf).scatter_reduce(0, row, values.abs(), "amin")
    bound = torch.where(cosines.l0 > 0, least, 0).amax()
    best = values.new_full((len(unit),), -torch.inf)
    best = best.scatter_reduce(0, cosines.atoms.long(), values, "amax")
    unsure = best < bound
    if bool(unsure.any()):
        best[unsure] = largest_cosines(unit[unsure], rows)
    return best


# -------------------------------------------------------------------------------------------------
# Which attention heads does an atom belong to, where an SAE reads their outputs side by side?


@checked
def head_shares(sae: SparseAutoencoder, n_heads: Count) -> Float[np.ndarray, "n_atoms n_heads"]:
    """Return how an SAE's atoms at `head_out.L` are spread over the heads of the layer.

    The share of head h in atom j is ‖d_jʰ‖ / Σ_g ‖d_jᵍ‖, with d_jʰ the head's part of the atom: 1 for an atom
    that one head writes alone. A random direction has about 1 / n_heads everywhere.

    Parameters
    ----------
    sae
        Trained on `head_out.L`.
    n_heads
        Of the layer: `model.n_heads`.

    Raises
    ------
    ValueError: If `n_heads` does not divide `d_in`.

    Source
    ------
    Kissane et al., "Interpreting Attention Layer Outputs with Sparse Autoencoders", arXiv 2406.17759, §4.

    Example
    -------
    >>> import sae_nb as sn
    >>> sae = sn.TopK(d_in=4, n_atoms=2, k=1)
    >>> with torch.no_grad():
    ...     _ = sae.operator.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0.6, 0, 0.8, 0]]))
    >>> print(head_shares(sae, 2).round(2))
    [[1.   0.  ]
     [0.43 0.57]]
    """
    if sae.d_in % n_heads:
        raise ValueError(
            f"`n_heads` must divide the SAE's width, {sae.d_in}, into equal parts, got {n_heads}. It is the "
            "model's number of heads where the SAE reads `head_out`: `model.n_heads`."
        )
    norms = sae.dictionary.detach().float().reshape(sae.n_atoms, n_heads, -1).norm(dim=2)
    shares: np.ndarray = (norms / norms.sum(dim=1, keepdim=True)).cpu().numpy()
    return shares
