"""The fraction of an activation that is reconstructed: R², FVU, cosine, norm; R² = 1 − Σ‖e_t‖² / Σ‖x_t
− μ‖².

Sums are pooled over the whole set in fp64; batch ratios are never averaged. μ is the mean row of the
set per dimension: with one scalar mean instead, an offset per dimension turns 0.75 into 0.98.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_matrix, checked
from sae_nb.evaluation.report._measurement import Measurement, Resampling, measured

# Columns of the per-group table.
_N, _SSE, _SST, _COSINE, _CENTRED, _RATIO, _X_HAT2, _INNER = range(8)
_TOP_NORM_FRACTION = 0.001
_ROUNDING = 1e-6  # of a row in single precision
_ROWS = 256  # compared at a time
_DIM_GROUPS = 128  # coarser groups for sums per dimension: (128, d_in) instead of (4096, d_in)

ExplainedVariance = Literal[
    "r2_pooled", "r2_perdim", "r2_varratio", "r2_pertoken", "r2_scalar", "r2_uncentred",
    "ev_saelens618",
]  # fmt: skip


class Moments:
    """Mean and sum of squared deviations per dimension, merged chunk by chunk in fp64.

    n = n_a + n_b, δ = μ_b − μ_a: μ = μ_a + δ n_b / n, M2 = M2_a + M2_b + δ² n_a n_b / n (Chan et al.).
    """

    def __init__(self, d_in: int) -> None:
        self.n = 0
        self.mean = torch.zeros(d_in, dtype=torch.float64)
        self.m2 = torch.zeros(d_in, dtype=torch.float64)

    def update(self, x: Float[Tensor, "batch d_in"]) -> None:
        """Take in another chunk of rows."""
        x = x.detach().double()
        mean = x.mean(dim=0)
        self._merge(len(x), mean.cpu(), (x - mean).square().sum(dim=0).cpu())

    def _merge(self, n: int, mean: Float[Tensor, " d_in"], m2: Float[Tensor, " d_in"]) -> None:
        total = self.n + n
        delta = mean - self.mean
        self.m2 = self.m2 + m2 + delta.square() * (self.n * n / total)
        self.mean = self.mean + delta * (n / total)
        self.n = total


class ReconstructionSums:
    """Everything the reconstruction metrics need, summed over chunks of rows."""

    def __init__(self, moments: Moments, n_groups: int) -> None:
        self.moments = moments
        self.groups = np.zeros((n_groups, 8))
        shape = (min(n_groups, _DIM_GROUPS), len(moments.mean))
        self.sse_dim = torch.zeros(shape, dtype=torch.float64)
        self.sst_dim = torch.zeros(shape, dtype=torch.float64)
        self._rows: list[tuple[np.ndarray, ...]] = []

    def update(
        self,
        x: Float[Tensor, "batch d_in"],
        x_hat: Float[Tensor, "batch d_in"],
        group: Int[np.ndarray, " batch"],
    ) -> None:
        """Take in another chunk and its reconstruction, some rows at a time: their doubles stay in cache."""
        for start in range(0, len(x), _ROWS):
            some = slice(start, start + _ROWS)
            self._update(x[some], x_hat[some], group[some])

    def _update(
        self,
        x: Float[Tensor, "some d_in"],
        x_hat: Float[Tensor, "some d_in"],
        group: Int[np.ndarray, " some"],
    ) -> None:
        mean = self.moments.mean.to(x.device)
        x, x_hat = x.detach().double(), x_hat.detach().double()
        error, centred, centred_hat = x - x_hat, x - mean, x_hat - mean
        # A small matrix product: index_add_ takes 20 times as long on the CPU.
        members = torch.from_numpy(group % len(self.sse_dim)).to(x.device)
        members = (members == torch.arange(len(self.sse_dim), device=x.device)[:, None]).double()
        squared, deviation = error.square(), centred.square()
        self.sse_dim += (members @ squared).cpu()
        self.sst_dim += (members @ deviation).cpu()
        norm, norm_hat = x.norm(dim=1), x_hat.norm(dim=1)
        sse, sst = squared.sum(dim=1), deviation.sum(dim=1)
        inner = (x * x_hat).sum(dim=1)
        length_hat = centred_hat.norm(dim=1)
        # Rounding alone parts x̂ from μ there: its direction says nothing.
        length_hat[length_hat < _ROUNDING * norm_hat] = 0.0
        columns = (
            torch.ones_like(norm),
            sse,
            sst,
            _ratio(inner, norm * norm_hat),
            _ratio((centred * centred_hat).sum(dim=1), sst.sqrt() * length_hat),
            _ratio(norm_hat, norm),
            norm_hat.square(),
            inner,
        )
        for column, values in enumerate(columns):
            self.groups[:, column] += np.bincount(
                group, weights=values.cpu().numpy(), minlength=len(self.groups)
            )
        # Per-row numbers are needed for quantiles only, so single precision is enough.
        self._rows.append((*(v.float().cpu().numpy() for v in (sse, sst, norm)), group))

    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return ‖e‖², ‖x − μ‖², ‖x‖ and the group of every row."""
        sse, sst, norm, group = (np.concatenate(column) for column in zip(*self._rows, strict=True))
        return sse, sst, norm, group


def _ratio(numerator: Float[Tensor, " n"], denominator: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Divide, with 0 where there is nothing to divide by."""
    safe = denominator > 1e-12
    return torch.where(safe, numerator / torch.where(safe, denominator, 1.0), 0.0)


_POOLED: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "r2": ("r2_pooled", lambda s: 1 - s[..., _SSE] / s[..., _SST]),
    "fvu": ("fvu_pooled", lambda s: s[..., _SSE] / s[..., _SST]),
    "mse": ("mse_token", lambda s: s[..., _SSE] / s[..., _N]),
    "cosine": ("cosine_uncentred", lambda s: s[..., _COSINE] / s[..., _N]),
    "cosine_centred": ("cosine_centred", lambda s: s[..., _CENTRED] / s[..., _N]),
    "norm_ratio": ("norm_ratio", lambda s: s[..., _RATIO] / s[..., _N]),
    "shrinkage_gamma": ("shrinkage_gamma", lambda s: s[..., _X_HAT2] / s[..., _INNER]),
}


def reconstruction_values(sums: ReconstructionSums) -> dict[str, float]:
    """Return every reconstruction metric of finished sums."""
    total = sums.groups.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = {name: float(value(total)) for name, (_, value) in _POOLED.items()}
        trimmed, trimmed_total = _trimmed_sums(sums).sum(axis=0)
        values["fvu_trimmed"] = float(trimmed / trimmed_total)
    values["r2_per_dimension"] = float(_per_dimension(_dimension_sums(sums).sum(axis=0)))
    sse, sst, _, _ = sums.rows()
    values["fvu_token_median"] = float(np.median(_row_fvu(sse, sst)))
    # Rows that do not vary leave nothing to explain: undefined, not infinitely bad.
    return {name: v if np.isfinite(v) else float("nan") for name, v in values.items()}


def with_massive(
    rows: dict[str, Measurement], sums: ReconstructionSums, resampling: Resampling
) -> dict[str, Measurement]:
    """Return a report's rows with the R² of all rows after that of those without a massive norm."""
    definition, r2 = _POOLED["r2"]
    value = reconstruction_values(sums)["r2"]
    (interval,) = resampling.intervals(sums.groups, {"r2": r2}).values()
    every = measured(definition, value, interval, floor=0.0, n=sums.moments.n)
    return {"r2": rows["r2"], "r2_with_massive": every} | rows


def _dimension_sums(sums: ReconstructionSums) -> Float[np.ndarray, "groups columns"]:
    return torch.cat((sums.sse_dim, sums.sst_dim), dim=1).numpy()


def _per_dimension(sums: Float[np.ndarray, "*resamples columns"]) -> np.ndarray:
    """Average R² over the dimensions that vary at all."""
    sse, sst = np.split(sums, 2, axis=-1)
    varied = sst > 0
    r2 = 1 - np.divide(sse, sst, out=np.ones_like(sse), where=varied)
    with np.errstate(invalid="ignore"):
        return (r2 * varied).sum(axis=-1) / varied.sum(axis=-1)


def _row_fvu(sse: Float[np.ndarray, " n"], sst: Float[np.ndarray, " n"]) -> np.ndarray:
    start = np.where(sse > 0, np.inf, 0.0).astype(sse.dtype)
    return np.divide(sse, sst, out=start, where=sst > 0)


def _trimmed_sums(sums: ReconstructionSums) -> Float[np.ndarray, "groups 2"]:
    """Sum without the 0.1 % of rows with the largest norm (none are left out below 1000 rows)."""
    sse, sst, norm, group = sums.rows()
    n_dropped = int(len(norm) * _TOP_NORM_FRACTION)
    rest = np.argsort(norm, kind="stable")[: len(norm) - n_dropped]
    n_groups = len(sums.groups)
    return np.stack(
        [np.bincount(group[rest], weights=v[rest], minlength=n_groups) for v in (sse, sst)], axis=1
    )


def reconstruction_rows(
    sums: ReconstructionSums,
    floor: ReconstructionSums,
    control: ReconstructionSums,
    resampling: Resampling,
) -> dict[str, Measurement]:
    """Return the report's reconstruction rows: the SAE's sums, the mean predictor's, a control's."""
    values, floors, controls = (reconstruction_values(s) for s in (sums, floor, control))
    statistics = {name: value for name, (_, value) in _POOLED.items()}
    statistics["fvu_trimmed"] = lambda s: s[..., -2] / s[..., -1]
    columns = np.concatenate((sums.groups, _trimmed_sums(sums)), axis=1)
    intervals = resampling.intervals(columns, statistics)
    intervals["r2_per_dimension"] = resampling.interval(_dimension_sums(sums), _per_dimension)
    sse, sst, _, _ = sums.rows()
    intervals["fvu_token_median"] = resampling.spread(_row_fvu(sse, sst), "median")
    ids = {name: definition for name, (definition, _) in _POOLED.items()}
    ids |= {
        "r2_per_dimension": "r2_perdim",
        "fvu_token_median": "fvu_token_median",
        "fvu_trimmed": "fvu_trimmed",
    }
    return {
        name: measured(
            definition,
            values[name],
            floor=floors[name],
            control=controls[name],
            interval=intervals[name],
            n=sums.moments.n,
        )
        for name, definition in ids.items()
    }


@checked(leave=("x_hat",))
def explained_variance(
    x: Float[Tensor, "n d_in"],
    x_hat: Float[Tensor, "n d_in"],
    definition: ExplainedVariance = "r2_pooled",
) -> float:
    """Return R² by one of the definitions in circulation, to reproduce a published number.

    On data whose dimensions have different means they disagree wildly: where the pooled R² is 0.75, the
    scalar one is 0.98. `define(definition).formula` gives the formula; reports use "r2_pooled".

    Raises
    ------
    ValueError: If the shapes differ.

    Source
    ------
    "Archetypal SAE", arXiv 2502.12892, appendix C, eq. 5 (pooled). The others are what
    dictionary_learning (varratio), SAELens (pertoken), overcomplete (scalar) and SAE-Dark-Matter
    (perdim) compute.

    Example
    -------
    >>> import torch
    >>> x = torch.tensor([[0.0, 10.0], [2.0, 10.0]])
    >>> constant = torch.tensor([[1.0, 10.0], [1.0, 10.0]])
    >>> explained_variance(x, constant)
    0.0
    >>> round(explained_variance(x, constant, "r2_scalar"), 2)
    0.98
    """
    rows = check_matrix(x)
    rows_hat = check_matrix(x_hat, name="x_hat", d_in=rows.shape[1])
    check_same_shape(rows, rows_hat)
    return float(EXPLAINED[definition](rows.detach().double(), rows_hat.detach().double()))


def check_same_shape(x: Tensor, x_hat: Tensor) -> None:
    """Refuse reconstructions of other rows."""
    if x.shape != x_hat.shape:
        raise ValueError(
            f"`x_hat` must have the shape of `x`, {tuple(x.shape)}, got {tuple(x_hat.shape)}."
        )


def _r2_perdim(x: Float[Tensor, "n d_in"], x_hat: Float[Tensor, "n d_in"]) -> Tensor:
    sst = (x - x.mean(dim=0)).square().sum(dim=0)
    varied = sst > 0
    return (1 - (x - x_hat).square().sum(dim=0)[varied] / sst[varied]).mean()


EXPLAINED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "r2_pooled": lambda x, x_hat: (
        1 - (x - x_hat).square().sum() / (x - x.mean(dim=0)).square().sum()
    ),
    "r2_perdim": _r2_perdim,
    "r2_varratio": lambda x, x_hat: 1 - (x - x_hat).var(dim=0).sum() / x.var(dim=0).sum(),
    "r2_pertoken": lambda x, x_hat: (
        1 - (x - x_hat).square().sum(dim=1) / (x - x.mean(dim=0)).square().sum(dim=1)
    ).mean(),
    "r2_scalar": lambda x, x_hat: 1 - (x - x_hat).square().mean() / (x - x.mean()).square().mean(),
    "r2_uncentred": lambda x, x_hat: 1 - (x - x_hat).square().sum() / x.square().sum(),
    "ev_saelens618": lambda x, x_hat: (
        1 - (x - x_hat).square().sum() / (x.square().sum() - len(x) * x.square().mean() ** 2)
    ),
}
