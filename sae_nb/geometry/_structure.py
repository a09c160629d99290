"""Directions that rows gather around, found one below another, and which of them imply another."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Count, check_matrix, checked
from sae_nb.codes import SparseCodes

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
    x: Float[Tensor, "n d_in"], most: Count, generator: torch.Generator | None = None
) -> Float[Tensor, "n_atoms d_in"]:
    """Return unit directions that rows, or what others leave of them, gather around.

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
    """Return share of atoms that hardly fire without a certain other one, which often fires without them.

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
