"""Does an SAE capture a manifold, tile it, or dilute it? Restricted R², support size, receptive fields.

R²_i(n): affine least squares from the n best latents to what manifold i adds to x, on held-out rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_count
from sae_nb.codes import SparseCodes
from sae_nb.data import PlantedManifolds

OWN = 0.5
"""Share of an atom's strength on rows of a manifold from which it counts as that manifold's (ours)."""

FIRES = 1e-3
"""Least frequency of an atom that is looked at, as in the grouping of arXiv 2604.28119."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ManifoldCapture:
    """How the atoms of an SAE hold each planted manifold."""

    r2: Float[np.ndarray, " n_manifolds"]
    """Restricted R² of the n best latents."""

    support: Float[np.ndarray, " n_manifolds"]
    """Atoms with half of their strength or more on rows of the manifold."""

    spread: Float[np.ndarray, " n_manifolds"]
    """Median over these atoms of the width of their receptive field, 1 = the whole manifold; NaN without."""

    n_atoms: int
    """n, latents that the regression may use."""


@torch.no_grad()
def manifold_capture(
    codes: SparseCodes, planted: PlantedManifolds, *, n_atoms: int = 8
) -> ManifoldCapture:
    """Measure how latents hold each planted manifold.

    Latents are ranked by their squared correlation with the manifold's coordinates on the first half of
    the rows, fitted there, and judged on the second. Decoding through the SAE's own atoms instead would
    give badly low values, since they also carry other manifolds.

    Parameters
    ----------
    codes
        Of the planted rows.
    planted
        The rows, with their truth.
    n_atoms
        Latents the regression may use.

    Raises
    ------
    TypeError, ValueError: If codes and rows do not match, or there are fewer atoms than asked for.

    Source
    ------
    arXiv 2604.28119 from abstract and public re-implementations; support's threshold is ours.

    Example
    -------
    >>> from sae_nb.data import planted_manifolds
    >>> planted = planted_manifolds(600, n_circles=1, n_segments=0, n_active=1, d_in=4)
    >>> there = planted.x @ planted.directions[0].T
    >>> codes = SparseCodes.from_dense(torch.relu(torch.cat([there, -there], dim=1)))
    >>> found = manifold_capture(codes, planted, n_atoms=4)
    >>> found.support.tolist(), bool(found.r2[0] > 0.99)
    ([4.0], True)
    """
    n_atoms = check_count(n_atoms, name="n_atoms")
    if len(codes) != len(planted.x):
        raise ValueError(
            f"`codes` must have the {len(planted.x)} rows that were planted, got {len(codes)}."
        )
    if n_atoms > codes.n_atoms:
        raise ValueError(f"`n_atoms` must be at most {codes.n_atoms}, got {n_atoms}.")
    z = codes.to_dense().double()
    strength = z.abs().sum(dim=0).clamp_min(1e-30)
    fires = (z != 0).double().mean(dim=0) >= FIRES
    r2, support, spread = [], [], []
    for i in range(planted.active.shape[1]):
        r2.append(_restricted_r2(z, planted.part(i).double(), n_atoms))
        on = planted.active[:, i]
        own = (z[on].abs().sum(dim=0) / strength >= OWN) & fires
        support.append(int(own.sum()))
        fields = _receptive_fields(z[on][:, own].abs(), planted.theta[on, i], i < planted.n_circles)
        spread.append(float(fields.median()) if len(fields) else float("nan"))
    return ManifoldCapture(
        r2=np.array(r2),
        support=np.array(support, dtype=np.float64),
        spread=np.array(spread),
        n_atoms=n_atoms,
    )


def _restricted_r2(z: Tensor, target: Tensor, n_atoms: int) -> float:
    half = len(z) // 2
    middle = z[:half].mean(dim=0)
    centred, wanted = z[:half] - middle, target[:half] - target[:half].mean(dim=0)
    size = centred.square().sum(dim=0).clamp_min(1e-30)
    score = (centred.T @ wanted).square().sum(dim=1) / size
    best = score.topk(n_atoms).indices
    ones = torch.ones(len(z), 1, dtype=z.dtype)
    regressors = torch.cat([z[:, best], ones], dim=1)
    weight = torch.linalg.lstsq(regressors[:half], target[:half], driver="gelsd").solution
    missed = target[half:] - regressors[half:] @ weight
    spread = target[half:] - target[half:].mean(dim=0)
    return float(1 - missed.square().sum() / spread.square().sum())


def _receptive_fields(
    weight: Float[Tensor, "rows own"], theta: Float[Tensor, " rows"], circle: bool
) -> Float[Tensor, " own"]:
    """1 − |mean e^{iθ}| on a circle, Var_w(θ) / Var(θ) on a segment, weighted by strength."""
    share = weight / weight.sum(dim=0).clamp_min(1e-30)
    place = theta.double()
    if circle:
        cos, sin = (share * f(place)[:, None] for f in (torch.cos, torch.sin))
        return 1 - torch.hypot(cos.sum(dim=0), sin.sum(dim=0))
    mean = (share * place[:, None]).sum(dim=0)
    squares = (share * (place[:, None] - mean).square()).sum(dim=0)
    return squares / place.var(correction=0).clamp_min(1e-30)
