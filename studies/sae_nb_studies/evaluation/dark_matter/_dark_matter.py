"""Dark matter: how much of what an SAE misses could have been predicted from its input, and how.

x − μ = explained + shrinkage + linear + nonlinear + rest, in shares of Σ‖x_t − μ‖² on held-out rows:
shrinkage is what one gain and a constant win back, linear what e ≈ Bx predicts after that, nonlinear
what random ReLU features of x add to it, and the rest neither finds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import Activations, acts_for, check_one_place, reconstruction
from sae_nb.checks import Count, Resamples, Seed, checked
from sae_nb.evaluation import Measurement, RandomDictionary, Resampling, SpliceTask, splice_task
from sae_nb.statistics import Interval, Statistic

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


ROWS_PER_DIMENSION = 10
"""From so many training rows per dimension on, least squares is used as it is; below, ridge."""

FEWEST_PER_DIMENSION = 2
"""Below so many training rows per dimension nothing is measured."""

PARTS = ("explained", "shrinkage", "linear", "nonlinear", "rest")
_BATCH = 4096
_MOST_FEATURES = 1024


class ErrorSplit(Measurement):
    """The error of an SAE, split by how it could have been predicted.

    `value` is R²(e | x) on held-out rows after one gain and a constant are refitted: the share of the
    error that a linear map of the input predicts. Its floor is the same regression with inputs and
    errors shuffled against each other; its control that of a random dictionary of the same L0.
    """

    HEADLINE = (
        "R²(e | x) {value:.3f}, 95 % {interval[0]:.3f} … {interval[1]:.3f}, shuffled {floor:.3f}, "
        "random dictionary {control:.3f}; shares of variance: {shares:.3f}; R²(‖e‖² | x) "
        "{norm:.3f}; {guard}"
    )

    shares: dict[str, Measurement]
    """Shares of the variance of x by part, adding up to 1; explained is R² as it is."""

    norm: NormPrediction
    """Accuracy of predicting ‖e‖², and the predictors."""

    gain: float
    """The factor ≥ 1 on x̂ − mean that fits best; 1 where nothing shrinks."""

    ridge: float
    """λ of the linear fit in units of the mean variance of x; 0 is plain least squares."""

    n_train: int
    guard: str
    """Rows that were fitted on, and what their number allowed, in words."""

    downstream: dict[str, Measurement]
    """Loss of the model on x̂, on x̂ with the linear part of the error given back, and with all the
    rest given back; empty without a model.
    """

    @property
    def measurements(self) -> dict[str, Measurement]:
        """Everything as rows of a report."""
        shares = {f"share_{name}": share for name, share in self.shares.items()}
        costs = {f"loss_{name}": cost for name, cost in self.downstream.items()}
        return {"error_linear_r2": self, "error_norm_r2": self.norm, **shares, **costs}

    @property
    def table(self) -> pd.DataFrame:
        """One row per part."""
        import pandas as pd

        rows = {name: (m.value, *m.interval) for name, m in self.shares.items()}
        return pd.DataFrame(rows, index=["share", "low", "high"]).T


@checked(leave=("acts",))
def split_error(
    sae: SparseAutoencoder,
    acts: Activations | Float[Tensor, "n d_in"],
    *,
    train_fraction: float = 0.5,
    model: LiveModel | None = None,
    labels: Int[Tensor, " samples"] | None = None,
    hook_point: str | None = None,
    max_rows: Count = 40_000,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> ErrorSplit:
    """Split what an SAE misses into what a linear map, a nonlinear one and neither predicts from x.

    e' = (x − μ) − s(x̂ − m) with the gain s ≥ 1 refitted, B = argmin ‖e' − B(x − μ)‖² on training samples,
    φ(x) random ReLU features: on other samples, 1 = R² + shrinkage + linear + nonlinear + rest, each
    the part of Σ‖x − μ‖² that its step wins back.

    Parameters
    ----------
    sae, acts
        An SAE that reads one row at a time (not a temporal one), and activations in its units that it was
        not trained on; samples are split in two.
    train_fraction
        Share of the samples that maps are fitted on. If that leaves 2 to 10 rows per dimension a ridge
        penalty is chosen on a quarter of them, as noted in `.guard`.
    model, labels, hook_point
        Also run the model on the held-out samples with each part of the error given back: four passes
        over them. `acts` must carry their samples; labels are one per sample.
    max_rows
        Rows used at most, whole samples drawn at random: what they take in memory is fp64.

    Raises
    ------
    TypeError, ValueError: If the SAE explains everything, or rows are too few.

    Source
    ------
    Engels et al., "Decomposing the dark matter of sparse autoencoders", arXiv 2410.14670: sections 3
    and 4 without the refit (shrinkage alone makes e = (1 − s)x, which is linear in x) and without
    splitting what is not linear.

    Example
    -------
    >>> import sae_nb as sn
    >>> x = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    >>> split = split_error(sn.TopK(8, 32, 2), x, n_bootstrap=0)
    >>> round(sum(part.value for part in split.shares.values()), 6)
    1.0
    """
    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    train, test = _halves(sae, acts, train_fraction, max_rows, seed)
    task = splice_task(sae, test, model, None, labels, hook_point)
    fitted, held = _rows_of(sae, train), _rows_of(sae, test)
    if float(((fitted.x - fitted.x_hat) ** 2).sum()) < 1e-12 * float((fitted.x**2).sum()):
        raise ValueError(
            "`sae` must leave an error to be split, but it reconstructs every row to rounding. Look at "
            "an SAE with fewer atoms per row."
        )
    steps = _steps(fitted, held, seed=seed)
    shares, r2 = _measured(steps, held, resampling)
    mean = steps.refit.mean
    fitted_norms, held_norms = (
        Norms((error**2).sum(axis=1), rows.x, rows.plain(mean))
        for rows, error in ((fitted, steps.error_train), (held, steps.error_held))
    )
    shuffled = np.random.default_rng(seed).permutation(len(fitted.x))
    return ErrorSplit.measured(
        "dark_matter_linear",
        *r2,
        n=len(held.x),
        floor=_linear_r2(fitted, held, shuffled),
        control=_random_r2(fitted, held, sae.n_atoms, seed=seed),
        shares=shares,
        norm=predict_norms(fitted_norms, held_norms, held.sample, resampling),
        gain=steps.refit.gain,
        ridge=steps.linear.ridge,
        n_train=len(fitted.x),
        downstream={} if task is None else splice_parts(task, sae, fitted, resampling),
        guard=_guard(len(fitted.x), train.d_in, steps.linear.ridge),
        seconds=round(time.perf_counter() - start, 3),
    )


@dataclass(frozen=True, eq=False)
class _RowsOf:
    """Rows, the SAE's codes of them, and the places that they come from."""

    x: Float[np.ndarray, "n d_in"]
    x_hat: Float[np.ndarray, "n d_in"]
    l0: Float[np.ndarray, " n"]
    sample: Int[np.ndarray, " n"]
    tokens: Int[np.ndarray, " n"] | None

    def plain(self, mean: Float[np.ndarray, " d_in"]) -> dict[str, np.ndarray]:
        """Return the inputs of the plain predictors of ‖e‖²."""
        known = {"activation norm": ((self.x - mean) ** 2).sum(axis=1), "l0": self.l0}
        return known if self.tokens is None else {**known, "token": self.tokens}


class _Refit:
    """(x − μ) ≈ gain (x̂ − m), gain ≥ 1: what one number and a constant win back."""

    def __init__(self, rows: _RowsOf) -> None:
        self.mean, self.mean_hat = rows.x.mean(axis=0), rows.x_hat.mean(axis=0)
        made = rows.x_hat - self.mean_hat
        power = float((made**2).sum())
        gain = float(((rows.x - self.mean) * made).sum()) / power if power > 0 else 1.0
        # Below 1 x̂ carries variance that x has not: no shrinkage, and a smaller gain would only put
        # a part of x itself, which is linear in x, into the error.
        self.gain = max(gain, 1.0)

    def error(self, rows: _RowsOf) -> Float[np.ndarray, "n d_in"]:
        return (rows.x - self.mean) - self.gain * (rows.x_hat - self.mean_hat)


@dataclass(frozen=True, eq=False)
class _Steps:
    """Squares of every held-out row: of x − μ, and of what is left after each step."""

    refit: _Refit
    linear: LinearFit
    left: Float[np.ndarray, "n 5"]
    error_train: Float[np.ndarray, "m d_in"]
    error_held: Float[np.ndarray, "n d_in"]


def _halves(
    sae: SparseAutoencoder, acts: Activations | Tensor, fraction: float, max_rows: int, seed: int
) -> tuple[Activations, Activations]:
    """Rows to fit on and rows to judge on, by sample."""
    check_one_place(sae)
    acts = acts_for(sae, acts)
    if getattr(sae, "reads_sequences", False):
        raise ValueError(
            f"`sae` must read one row at a time, got {type(sae).__name__}, whose error depends on the "
            "rows before. Use an SAE that is not temporal."
        )
    if len(acts) > max_rows:
        acts = acts.split(max_rows / len(acts), seed=seed)[0]
    train, test = acts.split(fraction, seed=seed)
    n, d_in = len(train), acts.d_in
    if n < FEWEST_PER_DIMENSION * d_in:
        wanted = int(np.ceil(ROWS_PER_DIMENSION * d_in / fraction))
        raise ValueError(
            f"`acts` must leave at least {FEWEST_PER_DIMENSION} training rows per dimension, "
            f"{FEWEST_PER_DIMENSION * d_in} for d_in={d_in}, got {n}: a linear map of {d_in} inputs "
            f"fits so few rows exactly. Capture about {wanted} rows."
        )
    return train, test


def _guard(n: int, d_in: int, ridge: float) -> str:
    per = f"{n / d_in:.3g} training rows per dimension"
    if ridge == 0:
        return f"{per}: least squares"
    return (
        f"{per}, fewer than {ROWS_PER_DIMENSION}: ridge λ = {ridge:g}; more rows would find "
        "somewhat more"
    )


@torch.no_grad()
def _rows_of(sae: SparseAutoencoder, acts: Activations) -> _RowsOf:
    x_hat, l0 = [], []
    for part in torch.split(acts.x, _BATCH):
        codes = sae.encode(part)
        x_hat.append(reconstruction(sae, codes, part).float().cpu())
        row = torch.repeat_interleave(torch.arange(codes.n_rows), codes.l0.cpu())
        active = (codes.values != 0).cpu()
        l0.append(torch.bincount(row[active], minlength=codes.n_rows))
    tokens = acts.tokens
    language = tokens is not None and acts.context.modality.is_text
    return _RowsOf(
        acts.x.float().cpu().numpy().astype(np.float64),
        torch.cat(x_hat).numpy().astype(np.float64),
        torch.cat(l0).numpy().astype(np.float64),
        acts.sample.numpy(),
        tokens.ids.numpy() if tokens is not None and language else None,
    )


def _steps(fitted: _RowsOf, held: _RowsOf, *, seed: int) -> _Steps:
    """Fit every step on what the one before leaves, on training rows alone."""
    refit = _Refit(fitted)
    error, left = refit.error(fitted), refit.error(held)
    linear, features = _fit(fitted, fitted.x, error), _Features(fitted.x, seed=seed)
    nonlinear = _ridge(fitted, features(fitted.x), error - linear(fitted.x))
    after = left - linear(held.x)
    parts = (
        held.x - held.x.mean(axis=0),
        held.x - held.x_hat,
        left,
        after,
        after - nonlinear(features(held.x)),
    )
    squares = np.stack([(part**2).sum(axis=1) for part in parts], axis=1)
    return _Steps(refit, linear, squares, error, left)


class _Features:
    """relu(W x̃ + b), x̃ standardised by the training rows; fewer where rows are few."""

    def __init__(self, x: Float[np.ndarray, "n d_in"], *, seed: int) -> None:
        generator = np.random.default_rng(seed)
        n_features = int(np.clip(len(x) // ROWS_PER_DIMENSION, 8, _MOST_FEATURES))
        self.mean, self.scale = x.mean(axis=0), x.std(axis=0)
        self.scale[self.scale == 0] = 1.0
        self.weights = generator.standard_normal((x.shape[1], n_features)) / np.sqrt(x.shape[1])
        self.bias = generator.standard_normal(n_features)

    def __call__(self, x: Float[np.ndarray, "n d_in"]) -> Float[np.ndarray, "n features"]:
        standard = (x - self.mean) / self.scale
        return np.maximum(standard @ self.weights + self.bias, 0)


def _fit(rows: _RowsOf, x: np.ndarray, error: np.ndarray) -> LinearFit:
    if len(x) >= ROWS_PER_DIMENSION * x.shape[1]:
        return fit_linear(x, error)
    return _ridge(rows, x, error)


def _ridge(rows: _RowsOf, x: np.ndarray, error: np.ndarray) -> LinearFit:
    """Choose λ on a quarter of the training samples."""
    samples = np.unique(rows.sample)
    later = np.isin(rows.sample, samples[-max(1, len(samples) // 4) :])
    return fit_ridge(x[~later], error[~later], x[later], error[later])


def _linear_r2(fitted: _RowsOf, held: _RowsOf, order: np.ndarray | slice = slice(None)) -> float:
    """R²(e | x) on held-out rows; with an order, inputs are shuffled against errors."""
    refit = _Refit(fitted)
    fit, error = _fit(fitted, fitted.x[order], refit.error(fitted)), refit.error(held)
    return 1 - float(((error - fit(held.x)) ** 2).sum() / (error**2).sum())


def _random_r2(fitted: _RowsOf, held: _RowsOf, n_atoms: int, *, seed: int) -> float:
    """R²(e | x) of random atoms with the same mean L0 and the best gain."""
    k = int(np.clip(round(float(fitted.l0.mean())), 1, n_atoms))
    mean = torch.from_numpy(fitted.x.mean(axis=0)).float()
    random = RandomDictionary(len(mean), n_atoms, k, mean=mean, seed=seed)
    x_train, x_test = (torch.from_numpy(r.x).float() for r in (fitted, held))
    random.fit(x_train[:_BATCH])

    def like(rows: _RowsOf, x: Tensor) -> _RowsOf:
        made = torch.cat([random(part) for part in torch.split(x, _BATCH)]).numpy()
        return replace(rows, x_hat=made.astype(np.float64))

    return _linear_r2(like(fitted, x_train), like(held, x_test))


def _measured(
    steps: _Steps, held: _RowsOf, resampling: Resampling
) -> tuple[dict[str, Measurement], tuple[float, Interval]]:
    def won(step: int) -> Statistic:
        """Return the part of Σ‖x − μ‖² won by a step; the last one is the remainder."""
        if step == len(PARTS) - 1:
            return lambda s: s[:, step] / s[:, 0]
        return lambda s: (s[:, step] - s[:, step + 1]) / s[:, 0]

    statistics = {name: won(i) for i, name in enumerate(PARTS)}
    statistics["r2"] = lambda s: 1 - s[:, 3] / s[:, 2]
    estimates = resampling.estimates(resampling.grouped(steps.left, held.sample), statistics)
    r2 = estimates.pop("r2")
    shares = {
        name: Measurement.measured(f"error_share_{name}", *estimate, n=len(held.x))
        for name, estimate in estimates.items()
    }
    return shares, r2


# -------------------------------------------------------------------------------------------------
# Where an SAE errs most: R²(‖e‖² | x, 1), and predictors that know far less of the input.


class NormPrediction(Measurement):
    """R² of the squared length of the error, predicted by a linear map of x and a constant.

    The floor is the best of the plain predictors in `baselines`: what a direction of x adds to
    knowing the token, the size of the activation, or how many atoms fired.
    """

    baselines: dict[str, float]
    """R² on held-out rows by predictor: "token" (its mean in training), "activation norm", "l0"."""


class Norms(NamedTuple):
    """‖e‖² of some rows, and what may predict it."""

    squares: Float[np.ndarray, " n"]
    x: Float[np.ndarray, "n d_in"]
    plain: Mapping[str, np.ndarray]


def predict_norms(
    train: Norms, held: Norms, sample: Int[np.ndarray, " n"], resampling: Resampling
) -> NormPrediction:
    """Fit ‖e‖² on training rows by x and by each plain predictor, and score them on held-out rows."""
    x, squares, truth = train.x, train.squares[:, None], held.squares
    if len(x) >= ROWS_PER_DIMENSION * x.shape[1]:
        fit = fit_linear(x, squares)
    else:
        first = len(x) * 3 // 4
        fit = fit_ridge(x[:first], squares[:first], x[first:], squares[first:])
    predicted = fit(held.x)[:, 0]
    baselines = {
        name: _r2(truth, _by_token(train.squares, values, held.plain[name]))
        if name == "token"
        else _r2(truth, fit_linear(values[:, None], squares)(held.plain[name][:, None])[:, 0])
        for name, values in train.plain.items()
    }
    columns = np.stack([(truth - predicted) ** 2, truth, truth**2, np.ones_like(truth)], axis=1)
    interval = resampling.interval(
        resampling.grouped(columns, sample),
        lambda s: 1 - s[:, 0] / (s[:, 2] - s[:, 1] ** 2 / s[:, 3]),
    )
    r2, best = _r2(truth, predicted), max(baselines.values())
    n = len(truth)
    return NormPrediction.measured(
        "dark_matter_norm", r2, interval, n=n, floor=best, baselines=baselines
    )


def _by_token(
    train: Float[np.ndarray, " m"], ids: Int[np.ndarray, " m"], held_ids: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """The mean of each token in training; of all tokens where it never occurred there."""
    known, place = np.unique(ids, return_inverse=True)
    means = np.bincount(place, weights=train) / np.bincount(place)
    at = np.minimum(np.searchsorted(known, held_ids), len(known) - 1)
    return np.where(known[at] == held_ids, means[at], train.mean())


def _r2(truth: Float[np.ndarray, " n"], predicted: Float[np.ndarray, " n"]) -> float:
    varies = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((truth - predicted) ** 2).sum()) / varies if varies > 0 else float("nan")


# -------------------------------------------------------------------------------------------------
# What each part of an SAE's error costs the model: its loss on x̂, on x̂ + linear part, on x̂ + the rest.


_SPLICED_AT_ONCE = 16
_MEASURED = {
    "next_token": ("ce", "delta_ce", "tokens"),
    "labels": ("ce", "delta_ce", "samples"),
    "classes": ("kl", "kl_clean_spliced", "samples"),
    "vectors": ("cosine", "output_cosine", "outputs"),
}


def splice_parts(
    task: SpliceTask, sae: SparseAutoencoder, fitted: _RowsOf, resampling: Resampling
) -> dict[str, Measurement]:
    """Run the model on reconstructions with one part of the error as it is given back at a time.

    Without the refit, shrinkage is a part of what is linear.
    """
    error = _fit(fitted, fitted.x, fitted.x - fitted.x_hat)
    weights, offset, centre, mu = (
        torch.from_numpy(part).float()
        for part in (error.weights, error.offset, error.mean, fitted.x.mean(axis=0))
    )

    def linear(x: Tensor) -> Tensor:
        predicted = (x.float() - centre.to(x.device)) @ weights.to(x.device) + offset.to(x.device)
        return predicted.to(x.dtype)

    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "spliced": sae,
        "linear": lambda x: sae(x) + linear(x),
        "rest": lambda x: x - linear(x),
        "mean": lambda x: mu.to(x).expand_as(x),
    }
    scores = task.scores(changes, task.model.batches(task.inputs, batch_size=_SPLICED_AT_ONCE))
    quantity, definition, unit = _MEASURED[scores.scoring]
    sums, place = scores.by_group(resampling), scores.columns.index

    def cost(variant: str) -> Statistic:
        def per_output(
            s: Float[np.ndarray, "resamples columns"],
        ) -> Float[np.ndarray, " resamples"]:
            value = s[:, place(f"{quantity}_{variant}")]
            value = value - s[:, place("ce_clean")] if quantity == "ce" else value
            return np.asarray(value / s[:, place("n")])

        return per_output

    variants = {"x_hat": "spliced", "x_hat_and_linear": "linear", "x_hat_and_rest": "rest"}
    statistics = {name: cost(variant) for name, variant in variants.items()}
    total = sums.sum(axis=0, keepdims=True)
    shared: Any = {"floor": cost("mean")(total)[0], "n": int(total[0, place("n")]), "unit": unit}
    return {
        name: Measurement.measured(definition, *estimate, **shared)
        for name, estimate in resampling.estimates(sums, statistics).items()
    }


# -------------------------------------------------------------------------------------------------
# Least squares on many rows without a large matrix: Gram sums in fp64, solved with or without ridge.
#
# B = argmin Σ‖t − (x − μ)B‖² + λ n ‖B‖², t centred too; directions in which x does not vary are left out.


_ROWS = 8192  # rows turned to fp64 at a time
_RANK = 1e-10  # eigenvalues of the covariance below this share of the largest count as zero
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""λ tried, in units of the mean variance of a column of x."""


@dataclass(frozen=True, eq=False)
class LinearFit:
    """t ≈ (x − mean) B + offset."""

    mean: Float[np.ndarray, " d_in"]
    weights: Float[np.ndarray, "d_in targets"]
    offset: Float[np.ndarray, " targets"]
    ridge: float  # λ in units of the mean variance; 0 is least squares

    def __call__(self, x: Float[np.ndarray, "n d_in"]) -> Float[np.ndarray, "n targets"]:
        return (x - self.mean) @ self.weights + self.offset


@dataclass(frozen=True, eq=False)
class GramSums:
    """The statistics of some rows that least squares needs: means, and centred second moments per row."""

    n: int
    mean: Float[np.ndarray, " d_in"]
    offset: Float[np.ndarray, " targets"]
    covariance: Float[np.ndarray, "d_in d_in"]
    cross: Float[np.ndarray, "d_in targets"]

    @classmethod
    def of(
        cls, x: Float[np.ndarray, "n d_in"], targets: Float[np.ndarray, "n targets"]
    ) -> GramSums:
        """Return sum over rows, some at a time, in fp64."""
        n, mean, offset = len(x), x.mean(axis=0, dtype=float), targets.mean(axis=0, dtype=float)
        covariance = np.zeros((x.shape[1], x.shape[1]))
        cross = np.zeros((x.shape[1], targets.shape[1]))
        for start in range(0, n, _ROWS):
            part = x[start : start + _ROWS].astype(np.float64) - mean
            covariance += part.T @ part
            cross += part.T @ (targets[start : start + _ROWS].astype(np.float64) - offset)
        return cls(n, mean, offset, covariance / n, cross / n)

    def solve(self, ridges: tuple[float, ...] = (0.0,)) -> list[LinearFit]:
        """Return one fit for each λ, from one eigendecomposition."""
        values, vectors = np.linalg.eigh(self.covariance)
        kept = values > _RANK * max(values[-1], np.finfo(float).tiny)
        values, vectors = values[kept], vectors[:, kept]
        turned, unit = vectors.T @ self.cross, float(np.trace(self.covariance)) / len(self.mean)
        return [
            LinearFit(
                self.mean, vectors @ (turned / (values + r * unit)[:, None]), self.offset, float(r)
            )
            for r in ridges
        ]


def fit_linear(
    x: Float[np.ndarray, "n d_in"], targets: Float[np.ndarray, "n targets"]
) -> LinearFit:
    """Return the least-squares fit of targets by x and a constant."""
    return GramSums.of(x, targets).solve()[0]


def fit_ridge(
    x: Float[np.ndarray, "n d_in"],
    targets: Float[np.ndarray, "n targets"],
    x_validation: Float[np.ndarray, "m d_in"],
    targets_validation: Float[np.ndarray, "m targets"],
) -> LinearFit:
    """Return the ridge fit whose λ of `RIDGES` errs least on rows that it was not fitted on."""
    fits = GramSums.of(x, targets).solve(RIDGES)
    errors = [float(((targets_validation - fit(x_validation)) ** 2).sum()) for fit in fits]
    return fits[int(np.argmin(errors))]
