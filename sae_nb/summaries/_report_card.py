"""Reports of several SAEs side by side, each number judged against its floor and its control."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.codes import SparseCodes
from sae_nb.evaluation import Definition, Measurement, as_published, define, published_formulas
from sae_nb.evaluation.report._measurement import definition_families
from sae_nb.evaluation.report._report import HEADLINES
from sae_nb.evaluation.report._row_pass import encoded_rows

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder


Verdict = Literal["clear", "not clear", "description", "undefined"]
Shown = Literal["key", "all", "not clear"]

PERFECT = 0.005
"""A value as near as this to the best there is is printed as that. Ours."""

MARGIN = 0.05
"""A value nearer than this to floor or control, as a share of the larger one, is not apart from it, however
narrow its interval: another random dictionary would differ by as much. Ours."""

FEW = 6
"""Rows that are shown first: as many as are read at a glance. Ours."""

UNRIVALLED = ("dead_fraction", "rare_fraction")
"""Definitions of which a random dictionary is no control: its atoms point anywhere and nearly all fire, so
that an SAE with atoms for rare things could only lose to it."""

_OF_EVALUATE = (
    "Reconstruction", "Sparsity and use", "The model's answer (splicing)", "The dictionary itself",
    "Atoms used together", "The geometry of rows",
)  # fmt: skip
"""Families of definitions that `evaluate` measures; what is of another was added by hand."""


@dataclass(frozen=True, kw_only=True)
class ReportCell:
    """One metric of one SAE, judged and placed on its row's scale."""

    metric: str
    sae: str
    measurement: Measurement
    """The number with its interval, floor and control."""

    verdict: Verdict
    """"not clear": its floor or control would do as well, within what is known."""

    reason: str
    at: float
    """Place of the value, 0 … 1; better is to the right where there is a better; NaN: undefined.
    `low` and `high` are the places of its interval's ends."""

    low: float
    high: float
    floor: float
    control: float
    ends: tuple[float, float] = (math.nan, math.nan)
    """Values at 0 and at 1 of the row's scale; NaN where all that is drawn is one number."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportCardSummary:
    """Metrics × SAEs."""

    metrics: tuple[str, ...]
    """Rows, in the order of the reports."""

    saes: tuple[str, ...]
    cells: Mapping[tuple[str, str], ReportCell]
    """By metric and SAE; where a report has no such row there is none."""

    def cell(self, metric: str, sae: str) -> ReportCell | None:
        """Return one cell, or None."""
        return self.cells.get((metric, sae))

    def row(self, metric: str) -> list[ReportCell]:
        """Return the cells of a metric, column by column."""
        return [self.cells[metric, sae] for sae in self.saes if (metric, sae) in self.cells]

    def definition(self, metric: str) -> Definition:
        """Return what a row is."""
        return define(self.row(metric)[0].measurement.definition)

    def n_clear(self, sae: str) -> tuple[int, int]:
        """Return how many judged rows of an SAE are clear, and how many are judged."""
        mine = [c.verdict for c in self.cells.values() if c.sae == sae]
        return mine.count("clear"), mine.count("not clear") + mine.count("clear")

    @property
    def n_marked(self) -> int:
        """Number of cells that are not clear: those that carry a red mark."""
        return sum(cell.verdict == "not clear" for cell in self.cells.values())


def summarise_report_card(
    reports: Sequence[Mapping[str, Measurement]] | Mapping[str, Measurement],
    names: Sequence[str] | None = None,
    *,
    show: Shown = "key",
) -> ReportCardSummary:
    """Put reports (one, or a list of them) side by side, judge every number, and place it on its row's scale.

    "key" are at most six rows: what `evaluate` does not give comes first, then the rows of `HEADLINES`.
    """
    columns = _named(reports, names)
    rows = {metric: m for report in columns.values() for metric, m in report.items()}
    placed = {
        metric: _placed(metric, {s: r[metric] for s, r in columns.items() if metric in r})
        for metric in rows
    }
    failing = [m for m, row in placed.items() if any(c.verdict == "not clear" for c in row)]
    wanted = {"all": rows, "not clear": failing, "key": _first_looks(rows)}[show]
    metrics = tuple(metric for metric in rows if metric in wanted)
    cells = {(metric, cell.sae): cell for metric in metrics for cell in placed[metric]}
    return ReportCardSummary(metrics=metrics, saes=tuple(columns), cells=cells)


def _first_looks(rows: Mapping[str, Measurement]) -> list[str]:
    """Return the rows to look at first."""
    families = definition_families()
    usual = {name for title in _OF_EVALUATE for name in families[title]}
    own = [metric for metric, m in rows.items() if m.definition not in usual]
    return list(dict.fromkeys([*own, *(m for m in HEADLINES if m in rows), *rows]))[:FEW]


def judge(measurement: Measurement) -> tuple[Verdict, str]:
    """Return whether a number is apart from its floor and its control, and why.

    It is where it is better than both, neither lies in its interval, and the gap is more than a
    twentieth of the larger of the two numbers.
    """
    definition = define(measurement.definition)
    if math.isnan(measurement.value):
        return "undefined", "Not defined here: too little varies, or nothing fires."
    rivals = _rivals(measurement, definition)
    if not rivals and definition.better == "none":
        return "description", "No good or bad direction, so there is nothing to beat."
    if not rivals:
        return "description", "There is nothing to beat: no merit by itself, and no fault."
    for name, rival in rivals.items():
        objection = _not_apart(measurement, definition, rival)
        if objection:
            return "not clear", f"Its {name} ({_short(rival)}) {objection}."
    if definition.floor.startswith("none: a description"):  # it can be blamed, and not praised
        return "description", "Better than its control, which is no merit by itself."
    beaten = " and ".join(f"its {name} ({_short(rival)})" for name, rival in rivals.items())
    return "clear", f"Better than {beaten}, with the whole interval."


def _rivals(m: Measurement, definition: Definition) -> dict[str, float]:
    """Return what the value must beat; a floor that nothing can go below is a limit and no rival."""
    if definition.better == "none":
        return {}
    limit = definition.better == "lower" and definition.floor.startswith(("0", "Welch", "m times"))
    known = {"control": m.control, "floor": None if limit else m.floor}
    rivals = {k: float(v) for k, v in known.items() if v is not None and not math.isnan(v)}
    best, near = (1.0, MARGIN) if definition.better == "one" else (definition.best, PERFECT)
    if best is not None and abs(m.value - best) <= near:
        # Where the trivial answer is there as well, being there is no merit and no fault.
        rivals = {k: v for k, v in rivals.items() if abs(v - best) > MARGIN}
    return rivals


def _not_apart(m: Measurement, definition: Definition, rival: float) -> str:
    """Return the reason why the rival would do as well; empty if it would not."""
    low, high = m.interval
    if not math.isnan(low) and low <= rival <= high:
        return "lies within its interval"
    size = max(abs(m.value), abs(rival), 1e-300)
    if abs(m.value - rival) <= MARGIN * size:
        return f"is within {MARGIN:.0%} of it"
    if _goodness(m.value, definition) <= _goodness(rival, definition):
        return "is better"
    return ""


def _goodness(value: float, definition: Definition) -> float:
    if definition.better == "one":
        return -abs(value - 1)
    return -value if definition.better == "lower" else value


def _placed(metric: str, row: Mapping[str, Measurement]) -> list[ReportCell]:
    """Cells of one row on one scale: from the least to the largest of all that is drawn."""
    drawn = [
        value
        for m in row.values()
        for value in (m.value, *m.interval, m.floor, m.control)
        if value is not None and math.isfinite(value)
    ]
    least, most = (min(drawn), max(drawn)) if drawn else (0.0, 1.0)
    span = most - least
    turned = define(next(iter(row.values())).definition).better == "lower"

    ends = (most, least) if turned else (least, most)

    def place(value: float | None) -> float:
        if value is None or not math.isfinite(value):
            return math.nan
        share = (value - least) / span if span > 0 else 0.5
        return 1 - share if turned else share

    def cell(sae: str, m: Measurement) -> ReportCell:
        verdict, reason = judge(m)
        return ReportCell(
            metric=metric,
            sae=sae,
            measurement=m,
            verdict=verdict,
            reason=reason,
            at=place(m.value),
            low=place(m.interval[0]),
            high=place(m.interval[1]),
            floor=place(m.floor),
            control=place(m.control),
            ends=ends if span > 0 else (math.nan, math.nan),
        )

    return [cell(sae, m) for sae, m in row.items()]


def as_reports(
    reports: Sequence[Mapping[str, Measurement]] | Mapping[str, Measurement],
) -> Sequence[Mapping[str, Measurement]]:
    """Return one report as a list of one; refuse what is neither that nor a list."""
    if isinstance(reports, Mapping) and not any(isinstance(m, Mapping) for m in reports.values()):
        return [reports]
    if isinstance(reports, Mapping) or not isinstance(reports, Sequence):
        raise TypeError(
            f"`reports` must be a report or a list of them, got {type(reports).__name__}. Pass names= for "
            "what they are called."
        )
    return reports


def _named(
    reports: Sequence[Mapping[str, Measurement]] | Mapping[str, Measurement],
    names: Sequence[str] | None,
) -> dict[str, Mapping[str, Measurement]]:
    reports = as_reports(reports)
    if not reports:
        raise ValueError("`reports` must hold at least one, got none. Use sn.evaluate(sae, acts).")
    wrong = next((r for r in reports if not isinstance(r, Mapping)), None)
    if wrong is not None:
        raise TypeError(f"`reports` must hold reports of `evaluate`, got {type(wrong).__name__}.")
    if names is None:
        own = [getattr(r, "provenance", {}).get("sae", type(r).__name__) for r in reports]
        columns = own if len(set(own)) == len(own) else [f"{n} {i}" for i, n in enumerate(own, 1)]
    else:
        columns = [str(name) for name in names]
        if len(columns) != len(reports) or len(set(columns)) < len(columns):
            raise ValueError(
                f"`names` must be one for each of {len(reports)} reports and all different, got "
                f"{columns}."
            )
    return {
        column: {metric: _comparable(m) for metric, m in report.items()}
        for column, report in zip(columns, reports, strict=True)
    }


def _comparable(m: Measurement) -> Measurement:
    return replace(m, control=None) if m.definition in UNRIVALLED else m


def _short(value: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:.3g}"  # what is 0 but for rounding


# -------------------------------------------------------------------------------------------------
# What is behind a row of a report: which sample moves it most, and what other libraries would report.


MOST_ROWS = 16_384
"""Rows that are read, up to a chunk more: a click should be answered at once. Ours."""

CHUNK = 4096
"""Rows encoded at a time."""


@dataclass(frozen=True, kw_only=True)
class MovingSample:
    """The sample without which a number changes most."""

    sample: int
    value: float
    """The number over all rows that were read."""

    without: float
    """The number without this sample."""

    n_samples: int
    """Number of samples tried."""

    typical: float
    """Median |change| over the samples: how much any one moves it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RowSums:
    """Sums per sample from which many definitions follow."""

    samples: Int[np.ndarray, " n_samples"]
    """Index of each sample."""

    columns: dict[str, Float[np.ndarray, " n_samples"]]
    """Sums over the rows of each sample, by name."""


Formula = Callable[[dict[str, Any]], Any]

_FORMULAS: dict[str, Formula] = {
    "r2_pooled": lambda s: 1 - s["e2"] / s["v2"],
    "fvu_pooled": lambda s: s["e2"] / s["v2"],
    "mse_token": lambda s: s["e2"] / s["n"],
    "r2_uncentred": lambda s: 1 - s["e2"] / s["x2"],
    "cosine_uncentred": lambda s: s["cos"] / s["n"],
    "cosine_centred": lambda s: s["cosc"] / s["n"],
    "norm_ratio": lambda s: s["ratio"] / s["n"],
    "shrinkage_gamma": lambda s: s["xh2"] / s["xxh"],
    "l0_mean": lambda s: s["l0"] / s["n"],
    "l1_mean": lambda s: s["l1"] / s["n"],
}


def sums_by_sample(
    sae: SparseAutoencoder, acts: Activations, *, most_rows: int = MOST_ROWS
) -> RowSums:
    """Return what `most_moving` needs, in one pass over the rows."""
    with torch.no_grad():
        x, codes, x_hat = _read(sae, acts, most_rows)
        counts = codes.l0.double()
        sizes = codes.values.double().abs()
        wide, x_hat = x.double(), x_hat.double()
        mean = wide.mean(dim=0)
        parts = {
            "n": torch.ones_like(counts),
            "e2": (wide - x_hat).square().sum(dim=1),
            "v2": (wide - mean).square().sum(dim=1),
            "x2": wide.square().sum(dim=1),
            "xh2": x_hat.square().sum(dim=1),
            "xxh": (wide * x_hat).sum(dim=1),
            "cos": torch.cosine_similarity(wide, x_hat, dim=1),
            "cosc": torch.cosine_similarity(wide - mean, x_hat - mean, dim=1),
            "ratio": x_hat.norm(dim=1) / wide.norm(dim=1).clamp_min(1e-12),
            "l0": counts,
            "l1": torch.zeros_like(counts).index_add_(0, codes.support.rows, sizes),
        }
    samples, index = np.unique(acts.sample[: len(x)].numpy(), return_inverse=True)
    columns = {
        name: np.bincount(index, weights=values.cpu().numpy(), minlength=len(samples))
        for name, values in parts.items()
    }
    return RowSums(samples=samples, columns=columns)


def _read(
    sae: SparseAutoencoder, acts: Activations, most: int
) -> tuple[Tensor, SparseCodes, Tensor]:
    """The first rows with codes and reconstructions; in whole samples where the SAE reads those."""
    parts: list[tuple[Tensor, SparseCodes, Tensor]] = []
    n = 0
    for _, x, codes, x_hat in encoded_rows(sae, acts, min(most, CHUNK)):
        parts.append((x, codes, x_hat))
        n += len(x)
        if n >= most:
            break
    rows, codes_of_parts, reconstructions = zip(*parts)
    return torch.cat(rows), SparseCodes.concatenate(codes_of_parts), torch.cat(reconstructions)


def most_moving(sums: RowSums, definition: str) -> MovingSample | None:
    """Return the sample whose removal changes a number most; None if it is not a sum over samples."""
    formula = _FORMULAS.get(definition)
    if formula is None or len(sums.samples) < 2:
        return None
    total = {name: values.sum() for name, values in sums.columns.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(formula(total))
        without = np.asarray(formula({k: total[k] - v for k, v in sums.columns.items()}))
    change = np.abs(without - value)
    if not np.isfinite(change).any():
        return None
    place = int(np.nanargmax(np.where(np.isfinite(change), change, -1.0)))
    return MovingSample(
        sample=int(sums.samples[place]),
        value=value,
        without=float(without[place]),
        n_samples=len(sums.samples),
        typical=float(np.nanmedian(change)),
    )


def elsewhere(sae: SparseAutoencoder, acts: Activations, definition: str) -> dict[str, float]:
    """Return what other libraries' formulas of a quantity give on these very rows, by formula id.

    `definition`: Id of ours.
    """
    chosen = [f for f in published_formulas().values() if f.ours == definition]
    chosen = [f for f in chosen if set(f.needs) <= {"x", "x_hat", "codes", "dictionary"}]
    if not chosen:
        return {}
    with torch.no_grad():
        x, codes, x_hat = _read(sae, acts, MOST_ROWS)
        known: dict[str, Any] = {
            "x": x,
            "x_hat": x_hat,
            "codes": codes,
            "dictionary": sae.dictionary,
        }
        return {f.id: as_published(f.id, **{n: known[n] for n in f.needs}) for f in chosen}
