"""The movement of activations through time, whether they are alike at every position, and simple forecasts.

Sequences are (batch, time, width), of one length: activations, parts of them, or dense codes. `centre`:
whether the mean over all tokens is subtracted first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Count, Seed, between, check_count, checked

# -------------------------------------------------------------------------------------------------
# How smoothly something moves through time: autocorrelation, and path length over chord.
#
# Vectors are centred over all tokens and compared by direction, û_t = (x_t − x̄) / ‖x_t − x̄‖.


def unit_directions(
    x: Float[Tensor, "*batch time width"], *, centre: bool = True
) -> Float[Tensor, "batch time width"]:
    """Return the directions of sequences from their common mean; zero if a vector is at the mean."""
    x = check_sequences(x)
    moved = x - x.mean(dim=(0, 1)) if centre else x
    length = moved.norm(dim=-1, keepdim=True)
    return torch.where(length > 0, moved / length.clamp_min(torch.finfo(x.dtype).tiny), 0.0)


@checked
def lag_cosine(
    x: Float[Tensor, "*batch time width"], lag: int = 1, *, centre: bool = True
) -> float:
    """Return mean cosine of a token and the one `lag` tokens before it.

    A(w) = E⟨û_t, û_{t−w}⟩. 1 for what does not move, 0 for what is new at every token.

    Parameters
    ----------
    x
        Sequences of one length: activations, parts of them, or dense codes.
    lag
        w ≥ 1, less than the sequences are long.
    centre
        Whether the mean over all tokens is subtracted first.

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


@checked
def autocorrelation(
    x: Float[Tensor, "*batch time width"], lags: Sequence[int], *, centre: bool = True
) -> dict[int, float]:
    """Return mean cosine of tokens at several distances in time; parameters as for `lag_cosine`.

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


@checked
def path_ratio(x: Float[Tensor, "*batch time width"], *, centre: bool = True) -> float:
    """Return length of the path over the distance of its ends: 1 for a straight line.

    Σ_t ‖û_{t+1} − û_t‖ / ‖û_T − û_1‖, sums over sequences before dividing, so that one that ends where
    it began does not decide.

    Parameters as for `lag_cosine`.

    Raises
    ------
    ValueError: If sequences have fewer than 2 tokens.

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


@checked
def permuted_order(
    x: Float[Tensor, "*batch time width"], seed: Seed
) -> Float[Tensor, "batch time width"]:
    """Return the same tokens in a random order, another for each sequence: the null of everything about
    time.

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
    """Return sequences as (batch, time, width), if each has two tokens or more."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"`{name}` must be a floating-point tensor, got {kind}.")
    if x.ndim not in (2, 3) or x.shape[-2] < 2 or x.numel() == 0:
        raise ValueError(
            f"`{name}` must be sequences of 2 tokens or more, (batch, time, width) or (time, width), got "
            f"shape {tuple(x.shape)}. Order is what is measured here."
        )
    if x.layout != torch.strided:
        raise ValueError(f"`{name}` must be dense, got layout {x.layout}. Use {name}.to_dense().")
    return x if x.ndim == 3 else x[None]


def _around(x: Tensor, mean: Float[Tensor, " d_in"]) -> Float[Tensor, "batch time d_in"]:
    """Sequences around the mean of those that a forecast was fitted on."""
    rows = check_sequences(x)
    if rows.shape[-1] != len(mean):
        raise ValueError(
            f"`x` must have last dimension {len(mean)}, as what was fitted on, got shape {tuple(x.shape)}."
        )
    return rows - mean


# -------------------------------------------------------------------------------------------------
# How many directions activations use at every position, and how much of them their past spans.


@checked
def dimension_by_position(
    x: Float[Tensor, "batch time width"],
    positions: Sequence[int] | None = None,
    *,
    centre: bool = True,
) -> dict[int, float]:
    """Return effective dimension of the activations at each position, an unbiased participation ratio.

    With unit rows û_i of M sequences at position t,
    d_eff(t) = (M² − M) / (Σ_{i,j} ⟨û_i, û_j⟩² − M): one over the mean squared cosine of two sequences.

    Infinite where no two sequences have anything in common.

    Parameters
    ----------
    x
        Sequences of one length; hundreds of them, for a dimension of tens.

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
    dimensions = {}
    for t in chosen:
        rows = units[:, t]
        # ‖X Xᵀ‖ and ‖Xᵀ X‖ are equal; the smaller Gram is cheaper.
        gram = rows.T @ rows if rows.shape[1] < m else rows @ rows.T
        shared = float(gram.square().sum()) - float(rows.square().sum(dim=1).square().sum())
        dimensions[t] = (m * m - m) / shared if shared > 0 else float("inf")
    return dimensions


@checked
def context_projection(
    x: Float[Tensor, "*batch time width"], position: int, windows: Sequence[int]
) -> dict[int, tuple[float, float]]:
    """Return share of a token's variance in the span of the tokens before it, and in a random span.

    Σ_d Var(P_w x_t)_d / Σ_d Var(x_t)_d, with P_w the projector on the span of x_{t−w} … x_{t−1}, for each
    sequence its own. A span of random directions has w / width.

    The result has both by w: the share, and w / width.

    Parameters
    ----------
    x
        Sequences of one length; centred here over all tokens.
    position
        t.
    windows
        Values of w, at most `position` and less than half the width: a span of one vector per dimension
        contains everything.

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
    between(position, 1, x.shape[1] - 1, name="position")
    shares = {}
    for w in windows:
        if not 1 <= w <= position or 2 * w >= width:
            raise ValueError(
                f"`windows` must be from 1 to position={position} and below half the width, {width / 2:g}, "
                f"got {w}: a span of so many vectors would hold nearly everything."
            )
        basis, _ = torch.linalg.qr(x[:, position - w : position].mT)
        now = x[:, position]
        held = torch.einsum("bdw,be,bew->bd", basis, now, basis)
        shares[w] = (float(_spread(held) / _spread(now)), w / width)
    return shares


def _spread(x: Float[Tensor, "batch width"]) -> Float[Tensor, ""]:
    return (x - x.mean(dim=0)).square().sum()


# -------------------------------------------------------------------------------------------------
# Linear maps beside an SAE: forecasts from the past, and what can be read off codes.


RIDGE = 1e-3
"""Share of the mean squared activation added to the diagonal of a regression: enough to invert it. Ours."""

READOUT_RIDGE = 1e-4
"""The same share for codes, some of whose atoms are dead and have only zeros. Ours."""

DECAYS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
"""Decays of the exponential average that are tried. Ours."""


@dataclass(frozen=True, eq=False)
class LinearForecast:
    """x̂_t = μ + Σ_j (x_{t−j} − μ) A_j, fitted on other sequences; before enough past there is, less of it."""

    weights: Float[Tensor, "lags d_in d_in"]
    """A_1 … A_lags."""

    mean: Float[Tensor, " d_in"]

    @checked
    def predict(self, x: Float[Tensor, "*batch time d_in"]) -> Float[Tensor, "batch time d_in"]:
        """Return a forecast of each token from those before it."""
        centred = _around(x, self.mean)
        return self.mean + _lagged(centred, len(self.weights)) @ self.weights.flatten(0, 1)


@checked(leave=("x",))
def fit_autoregression(x: Float[Tensor, "*batch time d_in"], lags: Count = 1) -> LinearForecast:
    """Fit a linear forecast of each token from the `lags` before it, by ridge regression.

    Example
    -------
    >>> x = 0.5 ** torch.arange(8.0).reshape(1, 8, 1)
    >>> model = fit_autoregression(x - x.mean())
    >>> bool((model.predict(x - x.mean())[:, 1:] - (x - x.mean())[:, 1:]).abs().max() < 0.2)
    True
    """
    x = check_sequences(x)
    if lags >= x.shape[1]:
        raise ValueError(
            f"`lags` must be less than the {x.shape[1]} tokens of a sequence, got {lags}."
        )
    mean = x.mean(dim=(0, 1))
    centred = (x - mean).double()
    past = _lagged(centred, lags)[:, 1:].flatten(0, 1)
    weights = _ridge(past, centred[:, 1:].flatten(0, 1), RIDGE)
    return LinearForecast(weights.reshape(lags, x.shape[2], x.shape[2]).to(x.dtype), mean)


def _lagged(x: Tensor, lags: int) -> Float[Tensor, "batch time wide"]:
    """The tokens 1 … lags before each, side by side; zeros where there is none."""
    shifts = [torch.nn.functional.pad(x[:, :-j], (0, 0, j, 0)) for j in range(1, lags + 1)]
    return torch.cat(shifts, dim=-1)


@dataclass(frozen=True, eq=False)
class AverageForecast:
    """x̂_t = μ + g m_t,  m_t = δ m_{t−1} + (1 − δ)(x_{t−1} − μ),  m_0 = 0."""

    decay: float
    """δ: what is kept of the average from one token to the next."""

    gain: float
    """g, by least squares."""

    mean: Float[Tensor, " d_in"]

    @checked
    def predict(self, x: Float[Tensor, "*batch time d_in"]) -> Float[Tensor, "batch time d_in"]:
        """Return the average of the past as a forecast of each token."""
        centred = _around(x, self.mean)
        return self.mean + self.gain * past_average(centred, self.decay)


def past_average(
    x: Float[Tensor, "batch time d_in"], decay: float
) -> Float[Tensor, "batch time d_in"]:
    """Return exponential average of the tokens before each."""
    between(decay, 0, 1, name="decay", ends="[)")
    average, out = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        out.append(average)
        average = decay * average + (1 - decay) * x[:, t]
    return torch.stack(out, dim=1)


@checked(leave=("x",))
def fit_average(
    x: Float[Tensor, "*batch time d_in"], decays: Sequence[float] = DECAYS
) -> AverageForecast:
    """Choose the decay and gain of an exponential average that forecast best.

    Example
    -------
    >>> x = torch.ones(1, 50, 1).cumsum(1).sin()
    >>> fit_average(x).decay in DECAYS
    True
    """
    x = check_sequences(x)
    if x.is_meta:  # what is best is decided by numbers
        raise ValueError("`x` must have values, got the device meta. Load them first.")
    mean = x.mean(dim=(0, 1))
    centred = x - mean
    fits = []
    for decay in decays:
        average = past_average(centred, decay)
        power = float(average.square().sum())
        gain = float((average * centred).sum()) / power if power > 0 else 0.0
        error = float((centred - gain * average).square().sum())
        fits.append((error, decay, gain))
    _, decay, gain = min(fits)
    return AverageForecast(decay, gain, mean)


@checked
def unexplained(
    x: Float[Tensor, "batch time d_in"], x_hat: Float[Tensor, "batch time d_in"]
) -> float:
    """Return FVU of a reconstruction or forecast: Σ‖x − x̂‖² / Σ‖x − x̄‖², x̄ the mean over all tokens.

    Example
    -------
    >>> x = torch.tensor([[[1.0], [3.0]]])
    >>> unexplained(x, torch.full_like(x, 2.0)), unexplained(x, x)
    (1.0, 0.0)
    """
    spread = (x - x.mean(dim=(0, 1))).square().sum()
    return float((x - x_hat).square().sum() / spread)


@checked
def readout_r2(
    codes: Float[Tensor, "n width"],
    target: Float[Tensor, "n m"],
    held_out_codes: Float[Tensor, "p width"],
    held_out_target: Float[Tensor, "p m"],
) -> float:
    """Return R² on held-out rows of target ≈ codes A + b, fitted by least squares on the others.

    Rows to fit on should be ten times the width of the codes, or more.

    Example
    -------
    >>> codes = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> target = codes @ torch.tensor([[1.0], [2.0], [0.0]]) + 1
    >>> readout_r2(codes[:100], target[:100], codes[100:], target[100:]) > 0.999
    True
    """
    if len(codes) != len(target) or len(held_out_codes) != len(held_out_target):
        raise ValueError(
            "`codes` and `target` must have the same number of rows, got "
            f"{len(codes)} and {len(target)}, held out {len(held_out_codes)} and {len(held_out_target)}."
        )
    mean, level = codes.double().mean(dim=0), target.double().mean(dim=0)
    z, y = codes.double() - mean, target.double() - level
    weights = _ridge(z, y, READOUT_RIDGE)
    held_out = held_out_target.double()
    missed = held_out - level - (held_out_codes.double() - mean) @ weights
    spread = held_out - held_out.mean(dim=0)
    return 1 - float(missed.square().sum() / spread.square().sum())


def _ridge(
    x: Float[Tensor, "n width"], y: Float[Tensor, "n m"], share: float
) -> Float[Tensor, "width m"]:
    """Least squares from x to y, with a share of the mean of x's squares on the diagonal."""
    gram = x.T @ x
    size = gram.diagonal().mean()
    if not size.is_meta and not 0 < float(size) < float("inf"):
        raise ValueError(
            f"`x` must vary, with finite squares, for anything to be read off it, got a mean square of "
            f"{float(size):g}. Look at what was captured."
        )
    ridge = share * size * torch.eye(len(gram)).to(gram)
    return torch.linalg.solve(gram + ridge, x.T @ y)
