"""How well a monitor tells texts apart, beside mean pooling, a bag of words and random directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from sae_nb.findings import Finding
from sae_nb.monitoring._attention import TextSet, Weights, fitted
from sae_nb.monitoring._channels import by_hook_point, pooled
from sae_nb.monitoring._rows import TextRows, read_text, rows_of_texts
from sae_nb.statistics import auroc, bootstrap_counts, logistic_probe, percentile_interval
from sae_nb.steering._direction import listed

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from sae_nb.models import LiveModel
    from sae_nb.monitoring._monitor import Monitor

Scores = Float[np.ndarray, " texts"]
Truth = Bool[np.ndarray, " texts"]
CHANNEL, FLOOR = "channel", "floor"
WORD = r"[^\W_]+"


class MonitorReport(Finding):
    """A row per test and method: AUC with its 95 % interval, true positives at fixed false-positive rates."""

    test: tuple[str, ...]
    method: tuple[str, ...]
    kind: tuple[str, ...]
    """"channel" of the monitor, or "floor"."""

    auc: Float[np.ndarray, " rows"]
    low: Float[np.ndarray, " rows"]
    high: Float[np.ndarray, " rows"]
    """Bootstrap over texts; of random directions, the 2.5th and 97.5th percentile of the draws."""

    rates: Float[np.ndarray, "rows fprs"]
    """Share of positive texts above the negative text that so many are above."""

    fprs: tuple[float, ...]
    alarms: Float[np.ndarray, "rows 2"]
    """Shares of positive and of negative texts above the threshold of the monitor; NaN for a floor."""

    n_texts: Mapping[str, tuple[int, int]]
    """Positive and negative texts of each test."""

    n_random: int

    @property
    def headline(self) -> str:
        """The best channel of each test, next to its best floor."""
        parts = []
        for test in self.n_texts:
            at = [i for i, one in enumerate(self.test) if one == test]
            best = {
                kind: max((i for i in at if self.kind[i] == kind), key=lambda i: self.auc[i])
                for kind in (CHANNEL, FLOOR)
            }
            a, b = best[CHANNEL], best[FLOOR]
            parts.append(
                f"{test}: {self.method[a]} AUC {self.auc[a]:.2f} ({self.low[a]:.2f}–{self.high[a]:.2f}), "
                f"{self.method[b]} {self.auc[b]:.2f}"
            )
        return "; ".join(parts)

    @property
    def table(self) -> pd.DataFrame:
        """One row per test and method."""
        import pandas as pd

        table = pd.DataFrame(
            {
                "test": self.test,
                "method": self.method,
                "AUC": self.auc,
                "low": self.low,
                "high": self.high,
            }
        )
        for i, fpr in enumerate(self.fprs):
            table[f"found at {fpr:g} false"] = self.rates[:, i]
        table["alarms"], table["false alarms"] = self.alarms.T
        return table


@dataclass(frozen=True, eq=False)
class _Row:
    test: str
    method: str
    kind: str
    scores: Float[np.ndarray, "draws texts"]
    threshold: float = np.nan


def report(
    meter: Monitor,
    tests: Mapping[str, tuple[Any, Any]],
    trained_on: tuple[Any, Any],
    fprs: Sequence[float],
    n_random: int,
    n_resamples: int,
    seed: int,
    batch_size: int | None,
) -> MonitorReport:
    """Score every test by every method; see `Monitor.report`."""
    tests, trained_on = _listed(meter.model, tests, trained_on, fprs)
    benches = by_hook_point(meter.channels)
    floors = _Floors(meter, trained_on, n_random, seed, batch_size)
    rows: list[_Row] = []
    truths: dict[str, Truth] = {}
    for test, groups in tests.items():
        truths[test] = np.arange(sum(map(len, groups))) < len(groups[0])
        scored = _Scored(meter, floors)
        for group in groups:
            name = f"tests[{test!r}]"
            for text in rows_of_texts(meter.model, group, list(benches), batch_size, name):
                scored.add(text)
        rows += [*scored.of_channels(test), *floors.rows(test, groups, scored)]
    measured = [_measured(row.scores, truths[row.test], fprs, n_resamples, seed) for row in rows]
    alarms = np.array([_alarms(row, truths[row.test]) for row in rows])
    return MonitorReport(
        test=tuple(row.test for row in rows),
        method=tuple(row.method for row in rows),
        kind=tuple(row.kind for row in rows),
        auc=np.array([one[0] for one in measured]),
        low=np.array([one[1] for one in measured]),
        high=np.array([one[2] for one in measured]),
        rates=np.array([one[3] for one in measured]),
        fprs=tuple(fprs),
        alarms=alarms,
        n_texts={name: (int(one.sum()), int((~one).sum())) for name, one in truths.items()},
        n_random=n_random,
    )


def _listed(
    model: LiveModel,
    tests: Mapping[str, tuple[Any, Any]],
    trained_on: tuple[Any, Any],
    fprs: Sequence[float],
) -> tuple[dict[str, tuple[Any, Any]], tuple[Any, Any]]:
    """Return tests and what was trained on as texts that can be counted; refuse what is in both."""
    if not isinstance(tests, Mapping) or not tests:
        raise ValueError(
            f"`tests` must name at least one test, got {tests!r:.60}. Pass {{name: (positive, negative)}}."
        )
    if not fprs or not all(0 < one < 1 for one in fprs):
        raise ValueError(f"`fprs` must be rates between 0 and 1, got {fprs}.")
    first, second = (listed(model, group, "trained_on") for group in trained_on)
    known = {one for group in (first, second) for one in group if isinstance(one, str)}
    found: dict[str, tuple[Any, Any]] = {}
    for name, groups in tests.items():
        positive, negative = (listed(model, group, f"tests[{name!r}]") for group in groups)
        found[name] = positive, negative
        for some in found[name]:
            if len(some) < 2:
                raise ValueError(
                    f"`tests[{name!r}]` must have at least two texts of each group, got {len(some)}."
                )
            if shared := [one for one in some if isinstance(one, str) and one in known]:
                raise ValueError(
                    f"`tests[{name!r}]` must be of texts that were not trained on, got {shared[0][:60]!r}. "
                    "Leave them out."
                )
    return found, (first, second)


class _Scored:
    """What each text of a test is to channels, to their means, and to random directions."""

    def __init__(self, meter: Monitor, floors: _Floors) -> None:
        self._meter, self._benches = meter, by_hook_point(meter.channels)
        self._random = floors.random
        self._scores: list[list[float]] = []
        self._channel_means: list[np.ndarray] = []
        self.means: dict[str, list[Tensor]] = {point: [] for point in self._benches}
        self.drawn: dict[str, list[list[float]]] = {point: [] for point in self._benches}

    def add(self, text: TextRows) -> None:
        """Read one text."""
        meter = self._meter
        read = read_text(text, meter.channels, self._benches, meter.pool, meter.k)
        self._scores.append(read.scores)
        self._channel_means.append(read.values.mean(axis=0))
        for point in self._benches:
            x = text.rows[point].cpu()
            self.means[point].append(x.double().mean(dim=0))
            columns = (x @ self._random[point]).numpy().T
            self.drawn[point].append([pooled(one, meter.pool, meter.k) for one in columns])

    def of_channels(self, test: str) -> list[_Row]:
        """Return the scores of every channel, and of its mean where it is pooled otherwise."""
        meter, rows = self._meter, list[_Row]()
        table, mean = np.array(self._scores).T, np.array(self._channel_means).T
        for i, one in enumerate(meter.channels):
            pool = meter.pool if one.query is None else "attention"
            limit = float(meter.thresholds[i])
            rows.append(_Row(test, f"{one.name}, {pool}", CHANNEL, table[i : i + 1], limit))
            if pool != "mean":
                rows.append(_Row(test, f"{one.name}, mean", CHANNEL, mean[i : i + 1]))
        return rows


class _Floors:
    """What a monitor must beat: a probe of mean rows, words, random directions; trained once."""

    def __init__(
        self,
        meter: Monitor,
        trained_on: tuple[Any, Any],
        n_random: int,
        seed: int,
        batch_size: int | None,
    ) -> None:
        self._meter = meter
        points = list(by_hook_point(meter.channels))
        rng = torch.Generator().manual_seed(seed)
        widths = {one.hook_point: len(one.vector) for one in meter.channels}
        self.random = {p: torch.randn(widths[p], n_random, generator=rng) for p in points}
        means = self._means(trained_on, points, batch_size, "trained_on")
        truth = np.arange(sum(map(len, trained_on))) < len(trained_on[0])
        self._probes: dict[str, Weights] = {}
        for point, x in means.items():
            self._probes[point], _, _ = fitted(_one_row_each(x, truth), attends=False)
        self._words = _Words(trained_on, truth) if _are_texts(trained_on) else None

    def _means(
        self, groups: tuple[Any, Any], points: list[str], batch_size: int | None, name: str
    ) -> dict[str, Tensor]:
        found: dict[str, list[Tensor]] = {point: [] for point in points}
        for group in groups:
            for text in rows_of_texts(self._meter.model, group, points, batch_size, name):
                for point in points:
                    found[point].append(text.rows[point].cpu().double().mean(dim=0))
        return {point: torch.stack(rows) for point, rows in found.items()}

    def rows(self, test: str, groups: tuple[Any, Any], scored: _Scored) -> list[_Row]:
        """Return the floors of one test."""
        rows = []
        for point, probe in self._probes.items():
            x = torch.stack(scored.means[point])
            scores = probe.scores(_one_row_each(x, np.zeros(len(x), bool)))
            rows.append(_Row(test, f"probe of mean rows, {point}", FLOOR, scores[None]))
            drawn = np.array(scored.drawn[point]).T
            name = f"random direction, {self._meter.pool}, {point}"
            rows.append(_Row(test, name, FLOOR, drawn))
        if self._words is not None and _are_texts(groups):
            rows.append(_Row(test, "bag of words", FLOOR, self._words.scores(groups)[None]))
        return rows


def _one_row_each(x: Tensor, truth: Truth) -> TextSet:
    return TextSet(x=x, text=torch.arange(len(x)), truth=truth)


def _are_texts(groups: tuple[Any, Any]) -> bool:
    return all(isinstance(one, str) for group in groups for one in group)


class _Words:
    """Logistic regression on tf–idf of words."""

    def __init__(self, groups: tuple[Any, Any], truth: Truth) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._count = TfidfVectorizer(sublinear_tf=True, token_pattern=WORD)
        x = self._count.fit_transform([one for group in groups for one in group])
        self._probe = logistic_probe(
            x, truth, scale=1.0, inverse_penalty=10.0, balanced=True, quiet=True
        )

    def scores(self, groups: tuple[Any, Any]) -> Scores:
        """Return the score of each text."""
        return self._probe.scores(self._count.transform([one for group in groups for one in group]))


def _measured(
    scores: Float[np.ndarray, "draws texts"],
    truth: Truth,
    fprs: Sequence[float],
    n_resamples: int,
    seed: int,
) -> tuple[float, float, float, list[float]]:
    """AUC, its interval, true-positive rates; of several draws, each of its better sign, their mean."""
    found = np.array([auroc(one, truth)[0] for one in scores])
    if len(scores) > 1:
        signs = np.where(found < 0.5, -1.0, 1.0)
        folded = np.maximum(found, 1 - found)
        rates = [
            [_found_at(s * one, truth, f) for f in fprs]
            for s, one in zip(signs, scores, strict=True)
        ]
        low, high = percentile_interval(folded)
        return float(folded.mean()), low, high, np.mean(rates, axis=0).tolist()
    counts = bootstrap_counts(len(truth), n_resamples, seed)
    low, high = percentile_interval(auroc(scores[0], truth, counts))
    return float(found[0]), low, high, [_found_at(scores[0], truth, fpr) for fpr in fprs]


def _found_at(scores: Scores, truth: Truth, fpr: float) -> float:
    """Share of positive texts above a threshold that at most this share of negative ones is above."""
    negative = np.sort(scores[~truth])[::-1]
    return float((scores[truth] > negative[int(fpr * len(negative) + 1e-9)]).mean())


def _alarms(row: _Row, truth: Truth) -> tuple[float, float]:
    if not np.isfinite(row.threshold):
        return np.nan, np.nan
    above = row.scores[0] > row.threshold
    return float(above[truth].mean()), float(above[~truth].mean())
