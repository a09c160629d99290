"""Whether activations are the same at every position: how many directions they use, and their past's span."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.temporal.smoothness import check_sequences, unit_directions


def dimension_by_position(
    x: Float[Tensor, "batch time width"],
    positions: Sequence[int] | None = None,
    *,
    centre: bool = True,
) -> dict[int, float]:
    """Effective dimension of the activations at each position, an unbiased participation ratio.

    With unit rows û_i of M sequences at position t,
    d_eff(t) = (M² − M) / (Σ_{i,j} ⟨û_i, û_j⟩² − M): one over the mean squared cosine of two sequences.

    Parameters
    ----------
    x
        Sequences of one length; hundreds of them, for a dimension of tens.
    positions
        Where; None is everywhere.
    centre
        Whether the mean over all tokens is taken off first.

    Returns
    -------
    dict
        By position. Infinite where no two sequences have anything in common.

    Raises
    ------
    ValueError
        If there are fewer than 2 sequences or 2 tokens, or a position does not exist.

    Source
    ------
    "Priors in Time", arXiv 2511.01836, appendix A.3 (a U-statistic). The surrogate is `permuted_order`.

    Example
    -------
    >>> x = torch.randn(500, 3, 8, generator=torch.Generator().manual_seed(0))
    >>> 7 < dimension_by_position(x, [1])[1] < 9
    True
    """
    units = unit_directions(x, centre=centre).double()
    m, time = units.shape[:2]
    if m < 2:
        raise ValueError(f"`x` must hold at least 2 sequences to compare, got {m}.")
    chosen = range(time) if positions is None else list(positions)
    if any(not 0 <= t < time for t in chosen):
        raise ValueError(f"`positions` must be from 0 to {time - 1}, got {list(chosen)}.")
    found = {}
    for t in chosen:
        rows = units[:, t]
        # ‖X Xᵀ‖ and ‖Xᵀ X‖ are equal; the smaller Gram is cheaper.
        gram = rows.T @ rows if rows.shape[1] < m else rows @ rows.T
        shared = float(gram.square().sum()) - float(rows.square().sum(dim=1).square().sum())
        found[t] = (m * m - m) / shared if shared > 0 else float("inf")
    return found


def context_projection(
    x: Float[Tensor, "batch time width"], position: int, windows: Sequence[int]
) -> dict[int, tuple[float, float]]:
    """Share of a token's variance that lies in the span of the tokens before it, and what chance gives.

    Σ_d Var(P_w x_t)_d / Σ_d Var(x_t)_d, with P_w the projector on the span of x_{t−w} … x_{t−1}, for each
    sequence its own. A span of random directions has w / width.

    Parameters
    ----------
    x
        Sequences of one length; centred here over all tokens.
    position
        t.
    windows
        Values of w, at most `position` and less than half the width: a span of as many vectors as there
        are dimensions contains everything.

    Returns
    -------
    dict
        By w: the share, and w / width.

    Raises
    ------
    ValueError
        If a window does not fit.

    Source
    ------
    "Priors in Time", arXiv 2511.01836, appendix A.2; the floor is ours.

    Example
    -------
    >>> x = torch.randn(200, 12, 32, generator=torch.Generator().manual_seed(0))
    >>> share, chance = context_projection(x, 10, [4])[4]
    >>> chance, abs(share - chance) < 0.05
    (0.125, True)
    """
    x = check_sequences(x).double()
    x = x - x.mean(dim=(0, 1))
    width = x.shape[2]
    if not 1 <= position < x.shape[1]:
        raise ValueError(f"`position` must be from 1 to {x.shape[1] - 1}, got {position}.")
    found = {}
    for w in windows:
        if not 1 <= w <= position or 2 * w >= width:
            raise ValueError(
                f"`windows` must be from 1 to position={position} and below half the width, {width / 2:g}, "
                f"got {w}: a span of so many vectors would hold nearly everything."
            )
        basis, _ = torch.linalg.qr(x[:, position - w : position].mT)
        now = x[:, position]
        held = torch.einsum("bdw,be,bew->bd", basis, now, basis)
        found[w] = (float(_spread(held) / _spread(now)), w / width)
    return found


def _spread(x: Float[Tensor, "batch width"]) -> Float[Tensor, ""]:
    return (x - x.mean(dim=0)).square().sum()
