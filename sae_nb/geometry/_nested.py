"""Is a geometry in all coordinates, or in a few? Two halves of the coordinates, their distances compared.

ρ = mean over splits of Spearman(RDM(X_A), RDM(X_B)), RDM the cosine distances of all pairs of rows.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_count, check_matrix
from sae_nb.codes import SparseCodes

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


def nested_directions(
    x: Float[Tensor, "n d_in"], most: int, generator: torch.Generator | None = None
) -> Float[Tensor, "n_atoms d_in"]:
    """Unit directions that rows, or what others leave of them, gather around.

    Cheap (one product of 256 rows with all rows per direction), and blind where rows are sums of many
    directions, because no cone is then fuller than others: see how much the result explains. A
    direction less than 60° from an earlier one is given with that one taken out.

    Parameters
    ----------
    x
        Rows, from an origin that means something: centring would tilt every cone.
    most
        Directions at most.
    generator
        Draws the candidates; None is torch's global generator.

    Returns
    -------
    Tensor
        In the order found; maybe none.

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
    left = check_matrix(x).detach().clone()
    lengths = left.norm(dim=1)
    found: list[Tensor] = []
    while len(found) < most:
        direction = _fullest_cone(left, lengths, generator)
        if direction is None:
            break
        found.append(direction)
        along = left @ direction
        leaning = along > LEANING * left.norm(dim=1)
        left[leaning] -= along[leaning, None] * direction
    return torch.stack(found) if found else left.new_zeros(0, left.shape[1])


def _fullest_cone(
    left: Tensor, lengths: Tensor, generator: torch.Generator | None
) -> Tensor | None:
    """Mean direction of the fullest of the cones around some rows, or None if it is nearly empty."""
    open_rows = torch.where(left.norm(dim=1) > LEFT * lengths)[0]
    if len(open_rows) < FEWEST_ROWS:
        return None
    unit = F.normalize(left[open_rows], dim=1)
    drawn = unit[torch.randperm(len(unit), generator=generator)[:CANDIDATES]]
    direction = drawn[(drawn @ unit.T > NARROW).sum(dim=1).argmax()]
    for _ in range(3):
        members = unit @ direction > MEMBER
        direction = F.normalize(unit[members].sum(dim=0), dim=0)
    full = int((unit @ direction > MEMBER).sum()) >= FEWEST_ROWS
    return direction if full else None


def nested_fraction(codes: SparseCodes) -> float:
    """Share of atoms that hardly fire without a certain other one, which often fires without them.

    Atom i counts if some j has P(j | i) ≥ 0.9, P(i | j) ≤ 0.6 and P(j) < 0.5, and their codes on common
    rows correlate by less than 0.7: codes in proportion are one direction seen as a sum of two. Atoms
    that fire on fewer than 20 rows are left out.

    Parameters
    ----------
    codes
        Of rows of one kind, in any dictionary.

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
# Is a geometry in all coordinates, or in a few? Two halves of the coordinates, their distances compared.


MOST_ROWS = 1600
"""Rows compared pair by pair, drawn at random from more."""


@torch.no_grad()
def feature_split_stability(
    x: Float[Tensor, "n d_in"], *, n_splits: int = 30, seed: int = 0
) -> float:
    """How alike the distances are that two random halves of the coordinates give.

    1 if every half gives the same geometry, 0 for coordinates that share nothing. Rows, not
    coordinates, must not be split: distances of two different sets of rows have no common pairs.

    Parameters
    ----------
    x
        Rows, with four coordinates or more; 1600 of them are looked at.
    n_splits
        Random halves.
    seed
        Of all draws.

    Raises
    ------
    TypeError, ValueError: If there are fewer than three rows or four coordinates, or a half of them is zero
        in a row.

    Source
    ------
    Shesha's feature split (shesha-geometry 0.2.22), the one of its splits whose pairs correspond.

    Example
    -------
    >>> draws = torch.Generator().manual_seed(0)
    >>> low_rank = torch.randn(80, 3, generator=draws) @ torch.randn(3, 200, generator=draws)
    >>> feature_split_stability(low_rank, n_splits=5) > 0.9
    True
    """
    from scipy.stats import spearmanr

    rows = check_matrix(x).double()
    n_splits = check_count(n_splits, name="n_splits")
    generator = torch.Generator().manual_seed(seed)
    if len(rows) > MOST_ROWS:
        rows = rows[torch.randperm(len(rows), generator=generator)[:MOST_ROWS]]
    n, d = rows.shape
    if n < 3 or d < 4:
        raise ValueError(
            f"`x` must have three rows and four coordinates at least, got {n} and {d}."
        )
    upper = torch.triu_indices(n, n, offset=1)
    correlations = []
    for _ in range(n_splits):
        order = torch.randperm(d, generator=generator)
        halves = (
            _distances(rows[:, part])[tuple(upper)].numpy()
            for part in (order[: d // 2], order[d // 2 :])
        )
        correlations.append(float(spearmanr(*halves).statistic))
    return float(np.mean(correlations))


def _distances(x: Tensor) -> Tensor:
    norms = x.norm(dim=1, keepdim=True)
    if bool((norms == 0).any()):
        raise ValueError(
            "`x` must have no row that is zero in half of its coordinates: it has no direction there. "
            "Leave such rows out."
        )
    unit = x / norms
    return 1 - unit @ unit.T
