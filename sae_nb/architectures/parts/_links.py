"""Links: how a reconstruction η = A z + b speaks of data, as the mean of a distribution.

A link is a negative log-likelihood that is convex in η, its mean μ(η) with ∂nll/∂η = μ(η) − x, and
a bound on its curvature, which together with ‖A‖² gives every solver its step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know

from sae_nb.architectures.parts._proxes import PerRow, Rows
from sae_nb.checks import Positive, checked


@runtime_checkable
class Link(Protocol):
    """The functions of a likelihood that a solver needs."""

    @property
    def curvature(self) -> float:
        """Largest second derivative of the negative log-likelihood in η."""

    def mean(self, eta: Rows) -> Rows:
        """Return the expected data; ∂nll/∂η = mean(η) − x."""

    def nll(self, x: Rows, eta: Rows) -> PerRow:
        """Return negative log-likelihood of each row, up to a constant."""


@dataclass(frozen=True)
class GaussianLink:
    """Real numbers: nll = ½‖x − η‖², mean η."""

    curvature = 1.0
    """∂²nll/∂η² everywhere."""

    def mean(self, eta: Rows) -> Rows:
        """η itself."""
        return eta

    def nll(self, x: Rows, eta: Rows) -> PerRow:
        """½‖x − η‖²."""
        return 0.5 * (x - eta).square().sum(dim=1)


@dataclass(frozen=True)
class BinomialLink:
    """Shares of successes in [0, 1]: nll = Σ log(1 + e^η) − x η, mean 1 / (1 + e^−η).

    Source: Tolooshams et al., DUNL: btolooshams/dunl-compneuro, dunl/lossfunc.py.
    """

    curvature = 0.25
    """The variance of a fair coin."""

    def mean(self, eta: Rows) -> Rows:
        """Return the logistic function of η."""
        return torch.sigmoid(eta)

    def nll(self, x: Rows, eta: Rows) -> PerRow:
        """Σ log(1 + e^η) − x η."""
        return (F.softplus(eta) - x * eta).sum(dim=1)


@checked
@dataclass(frozen=True)
class PoissonLink:
    """Counts: nll = Σ e^η − x η, mean e^η, made linear above the largest rate.

    e^η has no bounded curvature, so no step would be safe. Above log(max_rate) the nll continues as a
    straight line: it stays convex with curvature at most max_rate, and its minimum is the same as long
    as the data stay below max_rate.

    Source: Tolooshams et al., DUNL: btolooshams/dunl-compneuro, dunl/lossfunc.py, which clips the
    residual instead.
    """

    max_rate: Positive
    """Largest mean count, in the units of the data; above every count."""

    @property
    def curvature(self) -> float:
        """The largest rate."""
        return self.max_rate

    def mean(self, eta: Rows) -> Rows:
        """Return e^η, at most `max_rate`."""
        return eta.clamp_max(math.log(self.max_rate)).exp()

    def nll(self, x: Rows, eta: Rows) -> PerRow:
        """Σ e^η − x η, with a straight line above the largest rate."""
        beyond = (eta - math.log(self.max_rate)).clamp_min(0)
        return (self.mean(eta) * (1 + beyond) - x * eta).sum(dim=1)
