"""The fit of SparKer's kernels: toys, one fit with its gradients, and units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import answered, check_data, check_matrix

if TYPE_CHECKING:
    from sae_nb_studies.lab._sparker import SparKer

Rows = Float[Tensor, "n d_in"]
Kernels = Float[Tensor, "n_kernels n"]
Draw = Callable[[int, torch.Generator], Tensor]

WIDE, NARROW = 0.9, 0.02
"""Quantiles of the distances between rows at which the width begins and ends."""

RATES = (0.03, 0.05)
"""Adam's, of centres in units of the rows' spread, and of amplitudes."""

TINY = 1e-30
"""Of a sum of kernels that is as good as none, and no number below the smallest of float32."""

PAIRS = 1000
"""Rows whose distances set the widths."""


# --- toys -----------------------------------------------------------------------------------------


def dealt(
    reference: Rows, data: Rows, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Return rows of both sides in random order, cut where the sides were."""
    both = torch.cat([reference, data])
    while True:
        order = torch.randperm(len(both), generator=generator).to(both.device)
        yield both[order[: len(reference)]], both[order[len(reference) :]]


def drawn(
    reference: Rows, draw: Draw, expected: float, vary: bool, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Return the reference, and fresh rows by `draw`."""
    mean = torch.tensor(float(expected))
    while True:
        n = max(1, int(torch.poisson(mean, generator=generator))) if vary else int(expected)
        rows = answered(draw, n, generator, name="draw")
        toy = check_data(check_matrix(rows, name="draw", d_in=reference.shape[1]), name="draw")
        yield reference, toy.detach().to(reference)


# --- one fit --------------------------------------------------------------------------------------


def fit(
    rows: Rows,
    n_reference: int,
    weight: float,
    widths: Float[Tensor, " n_steps"],
    settings: SparKer,
    generator: torch.Generator,
) -> tuple[float, Float[Tensor, "n_steps n_kernels d_in"], Float[Tensor, " n_kernels"]]:
    """Return statistic, centres after every step, amplitudes; rows of the reference come first."""
    first = torch.randint(len(rows) - n_reference, (settings.n_kernels,), generator=generator)
    centres = rows[n_reference + first.to(rows.device)].clone()
    amplitudes = rows.new_zeros(settings.n_kernels)
    parameters = (centres, amplitudes)
    adam = torch.optim.Adam(
        [{"params": [p], "lr": rate} for p, rate in zip(parameters, RATES, strict=True)]
    )
    squares, weights = rows.square().sum(dim=1), rows.new_full((len(rows),), weight)
    weights[n_reference:] = 0
    path = rows.new_empty(len(widths), *centres.shape)
    for step, width in enumerate(widths.tolist()):
        parts = kernels_at(rows, squares, centres, width, settings.competition)
        # ∂L/∂f is w e^f at a row of the reference, and −1 at a row of the data.
        slope = (amplitudes @ parts[0]).exp_().mul_(weights)
        slope[n_reference:] = -1
        slopes = gradients(rows, centres, amplitudes, width, parts, slope)
        for parameter, gradient in zip(parameters, slopes, strict=True):
            parameter.grad = gradient
        adam.step()
        amplitudes.clamp_(-settings.largest, settings.largest)
        path[step] = centres
    last, _ = kernels_at(rows, squares, centres, width, settings.competition)
    f = amplitudes @ last
    loss = weight * f[:n_reference].expm1().double().sum() - f[n_reference:].double().sum()
    return -2 * float(loss), path, amplitudes


def kernels_at(
    rows: Rows,
    squares: Float[Tensor, " n"],
    centres: Float[Tensor, "n_kernels d_in"],
    width: float,
    competition: bool,
) -> tuple[Kernels, Kernels | None]:
    """Return what f adds up, e^{−q} softmax(−q) with q = ‖x − μ‖² / 2σ², and the softmax; else e^{−q}."""
    from_middle = centres.square().sum(dim=1, keepdim=True)
    distances = torch.addmm(squares + from_middle, centres, rows.T, alpha=-2).clamp_min_(0)
    kernels = distances.div_(-2 * width**2).exp_()
    if not competition:
        return kernels, None
    # Where all are so small that their sum is none, e^{−q} makes the product 0 as well.
    share = kernels / kernels.sum(dim=0).clamp_min(TINY)
    return kernels * share, share


def gradients(
    rows: Rows,
    centres: Float[Tensor, "n_kernels d_in"],
    amplitudes: Float[Tensor, " n_kernels"],
    width: float,
    parts: tuple[Kernels, Kernels | None],
    slope: Float[Tensor, " n"],
) -> tuple[Float[Tensor, "n_kernels d_in"], Float[Tensor, " n_kernels"]]:
    """Return the gradients of L by centres and amplitudes: a fifth of the time of automatic
    differentiation.
    """
    kernels, share = parts
    by_log = (
        amplitudes[:, None] * kernels
    )  # ∂f/∂(−q_m) = a_m k_m, with competition 2 a_m k_m s_m − s_m f
    if share is not None:
        by_log = 2 * by_log - share * by_log.sum(dim=0)
    by_log *= slope
    return (by_log @ rows - by_log.sum(dim=1, keepdim=True) * centres) / width**2, kernels @ slope


# --- units ----------------------------------------------------------------------------------------


def spread(rows: Rows) -> float:
    """Return root of the mean variance of entries, weighted by itself: atoms that never fire do not count."""
    variances = (rows - rows.mean(dim=0)).double().square().mean(dim=0)
    if not float(variances.sum().sqrt()) > 1e-6 * float(rows.double().abs().max()):
        raise ValueError(
            "`reference` and `data` must hold rows that differ, got the same row everywhere. There is "
            "nothing to compare."
        )
    return float((variances.square().sum() / variances.sum()).sqrt())


def distance_quantiles(rows: Rows, generator: torch.Generator) -> tuple[float, float]:
    """Return a high and a low quantile of the distances between rows that differ."""
    some = rows[torch.randperm(len(rows), generator=generator)[:PAIRS].to(rows.device)]
    distances = torch.pdist(some.double().cpu())
    ends = torch.tensor([WIDE, NARROW], dtype=torch.float64)
    first, last = distances[distances > 0].quantile(ends).tolist()
    return first, last
