"""How smoothly something moves through time: autocorrelation, and path length over chord.

Vectors are centred over all tokens and compared by direction, û_t = (x_t − x̄) / ‖x_t − x̄‖.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_count


def unit_directions(
    x: Float[Tensor, "batch time width"], *, centre: bool = True
) -> Float[Tensor, "batch time width"]:
    """Directions of sequences from their common mean; zero where a vector is at the mean.

    Parameters
    ----------
    x
        Sequences.
    centre
        Whether the mean over all tokens is taken off first.

    Example
    -------
    >>> unit_directions(torch.tensor([[0.0, 5.0], [4.0, 1.0]])).round(decimals=3).tolist()
    [[[-0.7070000171661377, 0.7070000171661377], [0.7070000171661377, -0.7070000171661377]]]
    """
    x = check_sequences(x)
    moved = x - x.mean(dim=(0, 1)) if centre else x
    length = moved.norm(dim=-1, keepdim=True)
    return torch.where(length > 0, moved / length.clamp_min(torch.finfo(x.dtype).tiny), 0.0)


def lag_cosine(x: Float[Tensor, "batch time width"], lag: int = 1, *, centre: bool = True) -> float:
    """Mean cosine of a token and the one `lag` tokens before it.

    A(w) = E⟨û_t, û_{t−w}⟩. 1 for what does not move, 0 for what is new at every token.

    Parameters
    ----------
    x
        Sequences of one length: activations, parts of them, or dense codes.
    lag
        w ≥ 1, less than the sequences are long.
    centre
        Whether the mean over all tokens is taken off first.

    Raises
    ------
    ValueError
        If sequences have fewer than 2 tokens, or the lag does not fit.

    Source
    ------
    Autocorrelation A(t, w) of "Priors in Time", arXiv 2511.01836, appendix A.1.

    Example
    -------
    >>> slow = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0]).reshape(1, 6, 1)
    >>> round(lag_cosine(slow), 3), lag_cosine(slow, 3)
    (0.6, -1.0)
    """
    return autocorrelation(x, [lag], centre=centre)[lag]


def autocorrelation(
    x: Float[Tensor, "batch time width"], lags: Sequence[int], *, centre: bool = True
) -> dict[int, float]:
    """Mean cosine of tokens at several distances in time.

    Parameters
    ----------
    x
        Sequences of one length.
    lags
        Distances ≥ 1.
    centre
        Whether the mean over all tokens is taken off first.

    Raises
    ------
    ValueError
        If sequences have fewer than 2 tokens, or a lag does not fit.

    Example
    -------
    >>> x = torch.randn(40, 30, 8, generator=torch.Generator().manual_seed(0))
    >>> max(abs(value) for value in autocorrelation(x, [1, 5]).values()) < 0.05
    True
    """
    units = unit_directions(x, centre=centre)
    time = units.shape[1]
    for lag in lags:
        if check_count(lag, name="lag") >= time:
            raise ValueError(f"`lag` must be less than the {time} tokens of a sequence, got {lag}.")
    return {lag: float((units[:, lag:] * units[:, :-lag]).sum(dim=-1).mean()) for lag in lags}


def path_ratio(x: Float[Tensor, "batch time width"], *, centre: bool = True) -> float:
    """Length of the path over the distance of its ends: 1 for a straight line.

    Σ_t ‖û_{t+1} − û_t‖ / ‖û_T − û_1‖, sums over sequences before dividing, so that one that ends where
    it began does not decide.

    Parameters
    ----------
    x
        Sequences of one length.
    centre
        Whether the mean over all tokens is taken off first.

    Raises
    ------
    ValueError
        If sequences have fewer than 2 tokens.

    Source
    ------
    Tortuosity of "Priors in Time", arXiv 2511.01836, there in UMAP space; ours on the sphere itself, where
    nothing depends on a projection.

    Example
    -------
    >>> turn = torch.linspace(0, 1, 11)
    >>> arc = torch.stack([turn.cos(), turn.sin()], dim=1)[None]
    >>> 1 < path_ratio(arc, centre=False) < 1.05
    True
    """
    units = unit_directions(x, centre=centre)
    path = (units[:, 1:] - units[:, :-1]).norm(dim=-1).sum()
    chord = (units[:, -1] - units[:, 0]).norm(dim=-1).sum()
    return float(path / chord) if chord > 0 else float("inf")


def permuted_order(
    x: Float[Tensor, "batch time width"], seed: int
) -> Float[Tensor, "batch time width"]:
    """The same tokens of each sequence in an order of chance: the null of everything about time.

    Parameters
    ----------
    x
        Sequences.
    seed
        Of the orders, one for each sequence.

    Example
    -------
    >>> x = torch.arange(6.0).reshape(1, 6, 1)
    >>> sorted(permuted_order(x, 0).flatten().tolist()) == x.flatten().tolist()
    True
    """
    x = check_sequences(x)
    draws = torch.rand(x.shape[:2], generator=torch.Generator().manual_seed(seed)).to(x.device)
    return x.gather(1, draws.argsort(dim=1)[..., None].expand_as(x))


def check_sequences(x: Tensor, *, name: str = "x") -> Float[Tensor, "batch time width"]:
    """Return sequences as (batch, time, width), if each has two tokens or more.

    Parameters
    ----------
    x
        (batch, time, width) or one (time, width).
    name
        For the message.

    Raises
    ------
    TypeError
        If it is not a floating-point tensor.
    ValueError
        If it is of another shape, or shorter than 2 tokens.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"`{name}` must be a floating-point tensor, got {kind}.")
    if x.ndim not in (2, 3) or x.shape[-2] < 2 or x.numel() == 0:
        raise ValueError(
            f"`{name}` must be sequences of 2 tokens or more, (batch, time, width) or (time, width), got "
            f"shape {tuple(x.shape)}. Order is what is measured here."
        )
    return x if x.ndim == 3 else x[None]
