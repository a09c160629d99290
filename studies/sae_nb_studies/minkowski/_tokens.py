"""The information of a vision transformer about its tokens: which values its heads mix, and where a
token is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.capturing import capture
from sae_nb.checks import Between, at_least, check_matrix, checked, in_own_modes
from sae_nb.geometry import effective_rank
from sae_nb.models import HookPointNotFound, LiveModel

# -------------------------------------------------------------------------------------------------
# What attention gives by construction: each head puts out a mixture of its values, y_h = α_h V_h.
#
# α_h on the simplex, so y_h ∈ conv(V_h), and the output Σ_h W_O^h y_h + b lies in a sum of hulls.


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadMixtures:
    """The mixtures of one layer's heads."""

    n_used: Float[Tensor, " heads"]
    """exp H(α), mean over queries: how many values a head mixes; at most the number of tokens."""

    rest: float
    """Largest |attn_out − (Σ_h W_O^h α_h V_h + b)| over its largest entry: 0 up to rounding."""

    off_simplex: float
    """Largest |Σ α − 1|, or a negative weight where there is one."""

    n_tokens: int
    """Values there are to mix."""


@checked
@torch.no_grad()
def head_mixtures(
    model: LiveModel, inputs: Any, layer: Annotated[int, at_least(0)]
) -> HeadMixtures:
    """Rebuild a layer's attention from its mixtures, and count how many values each head mixes.

    With the model given the decomposition is identified, which it is not from the last states alone.
    That the rest is zero is not evidence of training: it is so for any weights.

    Parameters
    ----------
    model
        A bundled vision transformer: its attention is read by its parts (`qkv`, `out`, `n_heads`).
    layer
        Block, from 0.

    Raises
    ------
    TypeError, ValueError: If the layer is not there, or its attention has other parts.

    Source
    ------
    arXiv 2510.08638 argues from it; the count exp H(α) is inferred (ours).

    Example
    -------
    >>> import sae_nb as sn
    >>> found = head_mixtures(sn.load_model("tiny-vit"), sn.data.scenes(2), 3)
    >>> found.rest < 1e-4, found.n_tokens, tuple(found.n_used.shape)
    (True, 69, (4,))
    """
    attention = _attention(model, layer)
    points = [f"blocks.{layer}.norm_1", f"attn_out.{layer}"]
    acts = capture(model, inputs, points, progress=False)
    n = int(acts[points[0]].sample.max()) + 1
    x, out = (acts[point].x.view(n, -1, acts[point].d_in).float() for point in points)
    heads = int(attention.n_heads)
    qkv = attention.qkv(x).view(n, x.shape[1], 3, heads, x.shape[2] // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    alpha = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
    rebuilt = attention.out((alpha @ v).transpose(1, 2).reshape(x.shape))
    entropy = -(alpha * alpha.clamp_min(1e-30).log()).sum(dim=-1)
    return HeadMixtures(
        n_used=entropy.exp().mean(dim=(0, 2)),
        rest=float((out - rebuilt).abs().max() / out.abs().max()),
        off_simplex=float((alpha.sum(dim=-1) - 1).abs().max().maximum(-alpha.min())),
        n_tokens=x.shape[1],
    )


def _attention(model: LiveModel, layer: int) -> Any:
    path = f"blocks.{layer}.attn"
    try:
        found = model.get_module(path)
    except HookPointNotFound as error:
        raise ValueError(
            f"`layer` must be a block with attention at {path!r}, got {layer}, which this model lacks. "
            "Pass a bundled vision transformer and one of its layers."
        ) from error
    missing = [part for part in ("qkv", "out", "n_heads") if not hasattr(found, part)]
    if missing:
        raise TypeError(
            f"`model` must have attention made of qkv, out and n_heads, got one without "
            f"{', '.join(missing)}. Pass a bundled vision transformer."
        )
    return found


# -------------------------------------------------------------------------------------------------
# Where a token stands in its image, read off linearly: the position subspace, and rows without it.


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

    @in_own_modes
    def remove(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
        """Return rows without position: x − (x − mean) Qᵀ Q."""
        rows = check_matrix(x, d_in=self.directions.shape[1])
        directions = self.directions.to(rows)
        return rows - ((rows - self.mean.to(rows)) @ directions.T) @ directions


@checked
@torch.no_grad()
def position_subspace(
    x: Float[Tensor, "n d_in"],
    patch: Int[Tensor, " n"],
    grid: tuple[int, int],
    *,
    ridge: float = 1e-3,
    held_out: Annotated[float, Between(0, 1, "()")] = 0.25,
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
    if min(grid) < 2:
        raise ValueError(f"`grid` must have two rows and columns at least, got {grid}.")
    place = torch.stack([patch // grid[1], patch % grid[1]], dim=1).double()
    n = max(round((1 - held_out) * len(rows)), 2)
    middle, centre = rows[:n].mean(dim=0), place[:n].mean(dim=0)
    centred = rows[:n] - middle
    gram = centred.T @ centred
    if not 0 < float(gram.trace()) < float("inf"):
        raise ValueError(
            "`x` must vary for a position to be read off it, got rows that are all one."
        )
    guard = ridge * gram.diagonal().mean() * torch.eye(len(gram)).to(gram)
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
