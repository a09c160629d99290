"""Reports of several SAEs side by side, each number judged against its floor and its control."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sae_nb.evaluation import Definition, Measurement, comparable, define, judge, key_rows

Shown = Literal["key", "all", "not clear"]
Reports = Mapping[str, Mapping[str, Measurement]]
"""SAE → measure → number, as it was measured."""


@dataclass(frozen=True, kw_only=True)
class ReportCell:
    """One metric of one SAE, judged and placed on its row's scale."""

    metric: str
    sae: str
    measurement: Measurement
    """The number with its interval, floor and control."""

    verdict: str
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

    "key" are at most six rows: what `evaluate` does not give comes first, then its short report.
    """
    columns = {
        column: {metric: comparable(m) for metric, m in report.items()}
        for column, report in named_reports(reports, names).items()
    }
    rows = {metric: m for report in columns.values() for metric, m in report.items()}
    placed = {
        metric: _placed(metric, {s: r[metric] for s, r in columns.items() if metric in r})
        for metric in rows
    }
    failing = [m for m, row in placed.items() if any(c.verdict == "not clear" for c in row)]
    wanted = {"all": rows, "not clear": failing, "key": key_rows(rows)}[show]
    metrics = tuple(metric for metric in rows if metric in wanted)
    cells = {(metric, cell.sae): cell for metric in metrics for cell in placed[metric]}
    return ReportCardSummary(metrics=metrics, saes=tuple(columns), cells=cells)


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


def named_reports(
    reports: Sequence[Mapping[str, Measurement]] | Mapping[str, Measurement],
    names: Sequence[str] | None,
) -> dict[str, Mapping[str, Measurement]]:
    """Return the reports by the names of their SAEs, which differ; refuse what is no report."""
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
    return dict(zip(columns, reports, strict=True))
