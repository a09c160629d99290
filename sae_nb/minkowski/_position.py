"""Where a token stands in its image, read off linearly: the position subspace, and rows without it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_matrix
from sae_nb.geometry import effective_rank


@dataclass(frozen=True, kw_only=True, eq=False)
class PositionSubspace:
    """Directions from which row and column of a token can be read."""

    directions: Float[Tensor, "2 d_in"]
    """Q: orthonormal, the row space of the decoder."""

    r2: float
    """Of (row, column) on held-out samples."""

    rank: float
    """Effective rank of the mean states per position, centred: how many directions position takes up."""

    energy_fraction: float
    """Share of the rows' variance in the subspace; 2 / d_in for a random one."""

    mean: Float[Tensor, " d_in"]
    """Of the rows it was fitted to."""

    def remove(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
        """Rows without position: x − (x − mean) Qᵀ Q."""
        rows = check_matrix(x, d_in=self.directions.shape[1])
        directions = self.directions.to(rows)
        return rows - ((rows - self.mean.to(rows)) @ directions.T) @ directions


@torch.no_grad()
def position_subspace(
    x: Float[Tensor, "n d_in"],
    patch: Int[Tensor, " n"],
    grid: tuple[int, int],
    *,
    ridge: float = 1e-3,
    held_out: float = 0.25,
) -> PositionSubspace:
    """Fit a ridge decoder from tokens to (row, column), and take the space it reads.

    Parameters
    ----------
    x
        States of patches, sample after sample.
    patch
        Index of each in its image, row by row.
    grid
        Rows and columns of patches.
    ridge
        Penalty in units of the mean eigenvalue of the covariance.
    held_out
        Share of rows, the last ones, that R² is measured on.

    Raises
    ------
    TypeError, ValueError: If rows, patches and grid do not fit together.

    Source
    ------
    arXiv 2510.08638 decodes (row, column) and removes the decoder's row space; split and ridge are ours.

    Example
    -------
    >>> patch = torch.arange(400) % 16
    >>> place = torch.stack([patch // 4, patch % 4], dim=1).float()
    >>> x = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
    >>> x[:, :2] = place
    >>> found = position_subspace(x, patch, (4, 4))
    >>> found.r2 > 0.99, bool(found.remove(x)[:, :2].std() < 0.1)
    (True, True)
    """
    rows = check_matrix(x).detach().double()
    n_patches = grid[0] * grid[1]
    if patch.shape != (len(rows),) or not bool(((patch >= 0) & (patch < n_patches)).all()):
        raise ValueError(
            f"`patch` must be an index below {n_patches} for each of the {len(rows)} rows, got shape "
            f"{tuple(patch.shape)}. Leave cls and registers out."
        )
    if min(grid) < 2 or not 0 < held_out < 1:
        raise ValueError(
            f"`grid` must have two rows and columns, `held_out` be between 0 and 1, got {grid} and "
            f"{held_out}."
        )
    place = torch.stack([patch // grid[1], patch % grid[1]], dim=1).double()
    n = max(round((1 - held_out) * len(rows)), 2)
    middle, centre = rows[:n].mean(dim=0), place[:n].mean(dim=0)
    centred = rows[:n] - middle
    gram = centred.T @ centred
    guard = ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weight = torch.linalg.solve(gram + guard, centred.T @ (place[:n] - centre))
    missed = place[n:] - centre - (rows[n:] - middle) @ weight
    spread = (place[n:] - place[n:].mean(dim=0)).square().sum()
    directions = torch.linalg.qr(weight).Q.T
    means = torch.stack([rows[patch == p].mean(dim=0) for p in torch.unique(patch).tolist()])
    everything = rows - rows.mean(dim=0)
    inside = (everything @ directions.T).square().sum() / everything.square().sum()
    return PositionSubspace(
        directions=directions.to(x),
        r2=float(1 - missed.square().sum() / spread),
        rank=effective_rank(means - means.mean(dim=0)),
        energy_fraction=float(inside),
        mean=middle.to(x),
    )
