"""Linear maps beside an SAE: forecasts from the past, and what can be read off codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import between, check_count
from sae_nb.temporal._stationarity import check_sequences

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

    def predict(self, x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_in"]:
        """What it forecasts of each token from those before it."""
        centred = check_sequences(x) - self.mean
        return self.mean + _lagged(centred, len(self.weights)) @ self.weights.flatten(0, 1)


def fit_autoregression(x: Float[Tensor, "batch time d_in"], lags: int = 1) -> LinearForecast:
    """Fit a linear forecast of each token from the `lags` before it, by ridge regression.

    Raises
    ------
    ValueError: If sequences are shorter than 2 tokens, or lags do not fit.

    Example
    -------
    >>> x = 0.5 ** torch.arange(8.0).reshape(1, 8, 1)
    >>> model = fit_autoregression(x - x.mean())
    >>> bool((model.predict(x - x.mean())[:, 1:] - (x - x.mean())[:, 1:]).abs().max() < 0.2)
    True
    """
    x = check_sequences(x)
    if check_count(lags, name="lags") >= x.shape[1]:
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

    def predict(self, x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_in"]:
        """What the average of the past forecasts of each token."""
        centred = check_sequences(x) - self.mean
        return self.mean + self.gain * past_average(centred, self.decay)


def past_average(
    x: Float[Tensor, "batch time d_in"], decay: float
) -> Float[Tensor, "batch time d_in"]:
    """Exponential average of the tokens before each."""
    between(decay, 0, 1, name="decay", ends="[)")
    average, out = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        out.append(average)
        average = decay * average + (1 - decay) * x[:, t]
    return torch.stack(out, dim=1)


def fit_average(
    x: Float[Tensor, "batch time d_in"], decays: Sequence[float] = DECAYS
) -> AverageForecast:
    """Choose the decay and gain of an exponential average that forecast best.

    Example
    -------
    >>> x = torch.ones(1, 50, 1).cumsum(1).sin()
    >>> fit_average(x).decay in DECAYS
    True
    """
    x = check_sequences(x)
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


def unexplained(
    x: Float[Tensor, "batch time d_in"], x_hat: Float[Tensor, "batch time d_in"]
) -> float:
    """FVU of a reconstruction or forecast: Σ‖x − x̂‖² / Σ‖x − x̄‖², x̄ the mean over all tokens.

    Example
    -------
    >>> x = torch.tensor([[[1.0], [3.0]]])
    >>> unexplained(x, torch.full_like(x, 2.0)), unexplained(x, x)
    (1.0, 0.0)
    """
    spread = (x - x.mean(dim=(0, 1))).square().sum()
    return float((x - x_hat).square().sum() / spread)


def readout_r2(
    codes: Float[Tensor, "n width"],
    target: Float[Tensor, "n m"],
    held_out_codes: Float[Tensor, "p width"],
    held_out_target: Float[Tensor, "p m"],
) -> float:
    """R² on held-out rows of target ≈ codes A + b, fitted by least squares on the others.

    Rows to fit on should be ten times the width of the codes, or more.

    Raises
    ------
    ValueError: If rows do not match.

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
    ridge = share * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram + ridge, x.T @ y)
