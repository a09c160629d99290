"""What rows and atoms hold of a planted structure: directions below directions, and manifolds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_count, check_matrix, checked
from sae_nb.codes import SparseCodes
from sae_nb.data import PlantedManifolds

# -------------------------------------------------------------------------------------------------
# Directions that rows gather around, found one below another, and which of them imply another.
#
# A direction is where the most rows lie within a narrow cone. It is then taken out of every row that
# leans towards it at all, so that a concept that comes only on top of another shows in what is left.


NARROW, MEMBER, LEANING = 0.9, 0.85, 0.5
"""Cosines of a cone, of the rows it is averaged over, and from which it is taken out of a row. Ours."""

FEWEST_ROWS, CANDIDATES = 20, 256
LEFT = 0.3
"""Share of its length below which a row is done."""

INSIDE, OUTSIDE, PROPORTIONAL = 0.9, 0.6, 0.7
"""Bounds on P(j | i), P(i | j) and the correlation of their codes; see `nested_fraction`. Ours."""


@checked
def nested_directions(
    x: Float[Tensor, "n d_in"], most: int, generator: torch.Generator | None = None
) -> Float[Tensor, "n_atoms d_in"]:
    """Unit directions that rows, or what others leave of them, gather around.

    Cheap (one product of 256 rows with all rows per direction), and blind where rows are sums of many
    directions, because no cone is then fuller than others: see how much the result explains. A
    direction less than 60° from an earlier one is given with that one taken out.

    They come in the order found; maybe there are none.

    Parameters
    ----------
    x
        Rows, from an origin that means something: centring would tilt every cone.

    Source
    ------
    Ours, for one question: whether a hierarchy shows before anything is trained.

    Example
    -------
    >>> x = torch.eye(3).repeat_interleave(30, dim=0)
    >>> nested_directions(x, 8, torch.Generator().manual_seed(0)).shape
    torch.Size([3, 3])
    """
    check_count(most, name="most")
    residual = check_matrix(x).detach().clone()
    lengths = residual.norm(dim=1)
    directions: list[Tensor] = []
    while len(directions) < most:
        direction = _fullest_cone(residual, lengths, generator)
        if direction is None:
            break
        directions.append(direction)
        along = residual @ direction
        leaning = along > LEANING * residual.norm(dim=1)
        residual[leaning] -= along[leaning, None] * direction
    return torch.stack(directions) if directions else residual.new_zeros(0, residual.shape[1])


def _fullest_cone(
    residual: Tensor, lengths: Tensor, generator: torch.Generator | None
) -> Tensor | None:
    """Mean direction of the fullest of the cones around some rows, or None if it is nearly empty."""
    open_rows = torch.where(residual.norm(dim=1) > LEFT * lengths)[0]
    if len(open_rows) < FEWEST_ROWS:
        return None
    unit = F.normalize(residual[open_rows], dim=1)
    drawn = unit[torch.randperm(len(unit), generator=generator)[:CANDIDATES]]
    direction = drawn[(drawn @ unit.T > NARROW).sum(dim=1).argmax()]
    for _ in range(3):
        members = unit @ direction > MEMBER
        direction = F.normalize(unit[members].sum(dim=0), dim=0)
    full = int((unit @ direction > MEMBER).sum()) >= FEWEST_ROWS
    return direction if full else None


@checked
def nested_fraction(codes: SparseCodes) -> float:
    """Share of atoms that hardly fire without a certain other one, which often fires without them.

    Atom i counts if some j has P(j | i) ≥ 0.9, P(i | j) ≤ 0.6 and P(j) < 0.5, and their codes on common
    rows correlate by less than 0.7: codes in proportion are one direction seen as a sum of two. Atoms
    that fire on fewer than 20 rows are left out.

    Example
    -------
    >>> general = torch.ones(100, 1) * (torch.arange(100) % 5 < 2)[:, None]
    >>> special = torch.rand(100, 1, generator=torch.Generator().manual_seed(0)) * (
    ...     torch.arange(100) % 5 < 1
    ... )[:, None]
    >>> nested_fraction(SparseCodes.from_dense(torch.cat([general, special], dim=1)))
    0.5
    """
    z = codes.to_dense().double()
    active = (z != 0).double()
    counts = active.sum(dim=0)
    both = active.T @ active
    given = both / counts[:, None].clamp_min(1)
    inside = (given >= INSIDE) & (given.T <= OUTSIDE) & (counts[None, :] < 0.5 * len(z))
    inside &= _correlations(z, active, both) < PROPORTIONAL
    inside.fill_diagonal_(False)
    often = counts >= FEWEST_ROWS
    return float(inside[often].any(dim=1).double().mean()) if bool(often.any()) else 0.0


def _correlations(z: Tensor, active: Tensor, both: Tensor) -> Tensor:
    """Of the codes of each pair of atoms over the rows on which both fire."""
    n = both.clamp_min(1)
    mean = (z.T @ active) / n  # of atom i over the rows shared with j
    variance = (z.square().T @ active) / n - mean.square()
    covariance = (z.T @ z) / n - mean * mean.T
    spread = (variance * variance.T).clamp_min(0).sqrt()
    return covariance / spread.clamp_min(1e-12)


# -------------------------------------------------------------------------------------------------
# Does an SAE capture a manifold, tile it, or dilute it? Restricted R², support size, receptive fields.
#
# R²_i(n): affine least squares from the n best latents to what manifold i adds to x, on held-out rows.


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


@checked
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
    planted
        The rows, with their truth.

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
    if codes.n_rows != len(planted.x):
        raise ValueError(
            f"`codes` must have the {len(planted.x)} rows that were planted, got {codes.n_rows}."
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
