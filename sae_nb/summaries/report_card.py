"""Reports of several SAEs side by side, each number judged against its floor and its control."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sae_nb.evaluation.definitions import Definition, define
from sae_nb.evaluation.measurement import Measurement

Verdict = Literal["clear", "not clear", "description", "undefined"]
Shown = Literal["key", "all", "not clear"]

MARGIN = 0.05
"""A value nearer than this to floor or control, as a share of the larger one, is not apart from it, however
narrow its interval: another random dictionary would differ by as much. Ours."""

KEY = (
    "r2",
    "cosine_centred",
    "shrinkage_gamma",
    "l0",
    "dead_fraction",
    "max_cosine",
    "effective_rank",
    "ood",
    "ce_recovered_mean",
    "delta_ce",
    "accuracy",
    "kl",
    "agreement",
)
"""Rows of `evaluate` that are shown first; rows that it does not have are always shown."""

# What `evaluate` gives beyond them: kept behind "all".
_MORE = (
    "fvu", "mse", "cosine", "norm_ratio", "r2_per_dimension", "fvu_token_median", "fvu_trimmed",
    "l1", "hoyer", "l0_p5", "l0_p50", "l0_p95", "dense_fraction", "rare_fraction", "density_median",
    "coherence", "max_cosine_p95", "babel", "stable_rank", "duplicate_fraction", "encoder_cosine",
    "connectivity", "negative_interference", "npmi_top", "ce_recovered", "ce", "ce_clean", "ce_zero",
    "accuracy_recovered", "accuracy_recovered_mean", "accuracy_clean", "accuracy_zero", "kl_score",
    "output_cosine", "cosine_recovered",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ReportCell:
    """One metric of one SAE, judged and placed on its row's scale."""

    metric: str
    """Name of the row."""

    sae: str
    """Name of the column."""

    measurement: Measurement
    """The number with all that stands beside it."""

    verdict: Verdict
    """"not clear": its floor or control would do as well, within what is known."""

    reason: str
    """The verdict in a sentence."""

    at: float
    """Place of the value, 0 … 1; better is to the right where there is a better; NaN: undefined."""

    low: float
    """Place of one end of the interval; NaN: unknown."""

    high: float
    """Of the other."""

    floor: float
    """Place of the floor; NaN: none."""

    control: float
    """Place of the control; NaN: none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportCardSummary:
    """Metrics × SAEs."""

    metrics: tuple[str, ...]
    """Rows, in the order of the reports."""

    saes: tuple[str, ...]
    """Columns."""

    cells: Mapping[tuple[str, str], ReportCell]
    """By metric and SAE; where a report has no such row there is none."""

    def cell(self, metric: str, sae: str) -> ReportCell | None:
        """Return one cell, or None.

        Parameters
        ----------
        metric, sae
            Row and column.
        """
        return self.cells.get((metric, sae))

    def row(self, metric: str) -> list[ReportCell]:
        """Return the cells of a metric, column by column.

        Parameters
        ----------
        metric
            Which.
        """
        found = (self.cell(metric, sae) for sae in self.saes)
        return [cell for cell in found if cell is not None]

    def definition(self, metric: str) -> Definition:
        """Return what a row is.

        Parameters
        ----------
        metric
            Which.
        """
        return define(self.row(metric)[0].measurement.definition)

    def n_not_clear(self, sae: str) -> tuple[int, int]:
        """Return how many judged rows of an SAE are not clear, and how many are judged.

        Parameters
        ----------
        sae
            Which.
        """
        mine = [c.verdict for c in self.cells.values() if c.sae == sae]
        return mine.count("not clear"), mine.count("not clear") + mine.count("clear")


def summarise_report_card(
    reports: Sequence[Mapping[str, Measurement]],
    names: Sequence[str] | None = None,
    *,
    show: Shown = "key",
) -> ReportCardSummary:
    """Put reports side by side, judge every number, and place it on its row's scale.

    Parameters
    ----------
    reports
        From `evaluate`, or any mapping from name to `Measurement`.
    names
        Of the SAEs; None: what the reports say.
    show
        "key" rows, "all" rows, or those "not clear" in some column.

    Returns
    -------
    ReportCardSummary
        Cells by metric and SAE.

    Raises
    ------
    ValueError, TypeError
        If there are no reports, or names do not fit.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> sae = sn.TopK(d_in=8, n_atoms=16, k=2, generator=torch.Generator().manual_seed(0))
    >>> card = summarise_report_card([sn.evaluate(sae, x, n_bootstrap=50)], ["mine"])
    >>> card.cell("r2", "mine").verdict  # never trained
    'not clear'
    """
    columns = _named(reports, names)
    rows: dict[str, None] = {}
    for report in columns.values():
        rows.update(dict.fromkeys(report))
    chosen = [name for name in rows if show != "key" or name in KEY or name not in _MORE]
    cells: dict[tuple[str, str], ReportCell] = {}
    for metric in chosen:
        found = {sae: report[metric] for sae, report in columns.items() if metric in report}
        placed = _placed(metric, found)
        if show != "not clear" or any(cell.verdict == "not clear" for cell in placed):
            cells |= {(metric, cell.sae): cell for cell in placed}
    kept = {metric for metric, _ in cells}
    return ReportCardSummary(
        metrics=tuple(metric for metric in chosen if metric in kept),
        saes=tuple(columns),
        cells=cells,
    )


def judge(measurement: Measurement) -> tuple[Verdict, str]:
    """Return whether a number is apart from its floor and its control, and why.

    It is where it is better than both, neither lies in its interval, and the gap is more than a
    twentieth of the larger of the two numbers.

    Parameters
    ----------
    measurement
        With its definition.

    Example
    -------
    >>> judge(Measurement(value=0.58, floor=0.0, control=0.57, interval=(0.579, 0.581),
    ...                   definition="r2_pooled", n=9, unit="samples"))[0]
    'not clear'
    """
    definition = define(measurement.definition)
    if math.isnan(measurement.value):
        return "undefined", "It is not defined here: too little varies, or nothing fires."
    rivals = _rivals(measurement, definition)
    if not rivals:
        return "description", "A description: nothing stands beside it that it should beat."
    for name, rival in rivals.items():
        told = _not_apart(measurement, definition, rival)
        if told:
            return "not clear", f"Its {name} ({_short(rival)}) {told}."
    if definition.floor.startswith("none: a description"):  # it can be blamed, and not praised
        return "description", "Not a score: better than its control, which is no merit by itself."
    beside = " and ".join(f"its {name} ({_short(rival)})" for name, rival in rivals.items())
    return "clear", f"Better than {beside}, with the whole interval."


def _rivals(m: Measurement, definition: Definition) -> dict[str, float]:
    """What the value is to beat. A floor that nothing can go below is a limit and no rival."""
    if definition.better == "none":
        return {}
    limit = definition.better == "lower" and definition.floor.startswith(("0", "Welch", "m times"))
    given = {"control": m.control, "floor": None if limit else m.floor}
    found = {k: float(v) for k, v in given.items() if v is not None and not math.isnan(v)}
    if definition.better == "one" and abs(m.value - 1) <= MARGIN:
        # Where the trivial answer is at 1 as well, being there is no merit and no fault.
        found = {k: v for k, v in found.items() if abs(v - 1) > MARGIN}
    return found


def _not_apart(m: Measurement, definition: Definition, rival: float) -> str:
    """Why the rival would do as well; empty where it would not."""
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


def _placed(metric: str, found: Mapping[str, Measurement]) -> list[ReportCell]:
    """Cells of one row on one scale: from the least to the largest of all that is drawn."""
    drawn = [
        value
        for m in found.values()
        for value in (m.value, *m.interval, m.floor, m.control)
        if value is not None and math.isfinite(value)
    ]
    least, most = (min(drawn), max(drawn)) if drawn else (0.0, 1.0)
    span = most - least
    turned = define(next(iter(found.values())).definition).better == "lower"

    def place(value: float | None) -> float:
        if value is None or not math.isfinite(value):
            return math.nan
        share = (value - least) / span if span > 0 else 0.5
        return 1 - share if turned else share

    cells = []
    for sae, m in found.items():
        verdict, reason = judge(m)
        cells.append(
            ReportCell(
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
            )
        )
    return cells


def _named(
    reports: Sequence[Mapping[str, Measurement]], names: Sequence[str] | None
) -> dict[str, Mapping[str, Measurement]]:
    if isinstance(reports, Mapping) or not isinstance(reports, Sequence):
        raise TypeError(
            "`reports` must be a list of reports, got one "
            f"{type(reports).__name__}. Put it in brackets: ReportCard([report])."
        )
    if not reports:
        raise ValueError("`reports` must hold at least one, got none. Use sn.evaluate(sae, acts).")
    wrong = next((r for r in reports if not isinstance(r, Mapping)), None)
    if wrong is not None:
        raise TypeError(f"`reports` must hold reports of `evaluate`, got {type(wrong).__name__}.")
    given = [_own_name(r) for r in reports] if names is None else [str(name) for name in names]
    if len(given) != len(reports) or (names is not None and len(set(given)) < len(given)):
        raise ValueError(
            f"`names` must be one for each of {len(reports)} reports and all different, got {given}."
        )
    if len(set(given)) < len(given):
        given = [f"{name} {i}" for i, name in enumerate(given, start=1)]
    return dict(zip(given, reports, strict=True))


def _own_name(report: Any) -> str:
    facts = getattr(report, "provenance", {})
    return str(facts.get("sae", type(report).__name__))


def _short(value: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:.3g}"  # what is 0 but for rounding
