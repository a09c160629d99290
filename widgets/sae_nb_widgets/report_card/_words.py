"""Words of a report card: names of its measures, a line for each number, and the verdict as a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sae_nb.figures.theme import format_number
from sae_nb_widgets.components._dot_rows import DotMark
from sae_nb_widgets.report_card._record import ReportCardSummary, ReportCell

PLAIN = {
    "r2": ("variance explained", "R²"),
    "cosine_centred": ("direction kept", "cosine"),
    "shrinkage_gamma": ("size kept", "shrinkage γ"),
    "l0": ("atoms in use at a time", "L0"),
    "dead_fraction": ("atoms that never fire", "dead atoms"),
    "max_cosine": ("likeness of nearest atoms", "cosine"),
    "effective_rank": ("directions in use", "effective rank"),
    "ood": ("distance from the data", "OOD"),
    "ce_recovered_mean": ("loss recovered", "CE"),
    "delta_ce": ("rise of the model’s loss", "CE"),
    "accuracy": ("the model’s accuracy", "with the reconstruction"),
    "agreement": ("same answer as before", "agreement"),
    "kl": ("change of predictions", "KL"),
}
"""A measure in plain words, and what the field calls it."""

WORDS_OF = {
    "r2": "R²",
    "fvu": "FVU",
    "mse": "MSE",
    "l0": "L0",
    "l1": "L1",
    "ce": "CE",
    "kl": "KL",
    "ood": "OOD",
    "npmi": "NPMI",
    "gamma": "γ",
    "delta": "Δ",
}

BETTER = {
    "higher": "higher is better",
    "lower": "lower is better",
    "one": "best near 1",
    "none": "",
}
TONES = {"clear": "good", "not clear": "bad", "description": "plain", "undefined": "plain"}
NOT_CLEAR = "no better"
"""Under a number that floor or control reach as well."""

NAMED = 2
"""Measures that the sentence names, of those that fail."""

BASIS = (
    "Floor: what a trivial answer reaches, such as the mean of all rows. Control: a random dictionary of the "
    "same size. A measure counts where neither does as well, within its 95 % interval."
)


def metric_words(metric: str) -> str:
    """Return the name of a metric, in plain words if there are some."""
    if metric in PLAIN:
        return PLAIN[metric][0]
    return " ".join(WORDS_OF.get(word, word) for word in metric.split("_"))


def menu_words(metric: str) -> str:
    """Return the name of a metric with what the field calls it."""
    return ", ".join(PLAIN.get(metric, (metric_words(metric),)))


def hint_words(summary: ReportCardSummary, metric: str) -> str:
    """Return what the field calls a metric, and which values are better."""
    better = BETTER[summary.definition(metric).better]
    return " · ".join(filter(None, (*PLAIN.get(metric, ("",))[1:], better)))


def snapped(value: float) -> float:
    """Return 0 for what is 0 but for rounding."""
    return 0.0 if abs(value) < 1e-9 else value


def mark_of(cell: ReportCell | None) -> DotMark | None:
    """Return a cell as a mark on its row."""
    if cell is None:
        return None
    value = cell.measurement.value
    return DotMark(
        text="undefined" if math.isnan(value) else format_number(snapped(value)),
        at=cell.at,
        low=cell.low,
        high=cell.high,
        floor=cell.floor,
        control=cell.control,
        tone=TONES[cell.verdict],  # type: ignore[arg-type]
        note=NOT_CLEAR if cell.verdict == "not clear" else "",
        tooltip=tooltip(cell),
    )


def tooltip(cell: ReportCell) -> str:
    """Return the tooltip of a number."""
    m = cell.measurement
    low, high = m.interval
    parts = [f"{cell.sae}: {metric_words(cell.metric)} {format_number(m.value)}"]
    if not math.isnan(low):
        parts.append(f"95 % interval {format_number(low)} … {format_number(high)}")
    parts += [
        f"{name} {format_number(snapped(value))}"
        for name, value in (("floor", m.floor), ("control", m.control))
        if value is not None
    ]
    return "; ".join(parts) + f". {cell.reason}"


def verdict_words(card: ReportCardSummary) -> tuple[str, str]:
    """Return title and answer of a card whose numbers answer no plain question: how many measures are clear."""
    judged = {sae: (clear, n) for sae in card.saes for clear, n in [card.n_clear(sae)] if n}
    if not judged:
        return "Nothing here can be judged", "No measure has a floor or control to beat."
    said = ", ".join(f"“{sae}” on {_of(*found)}" for sae, found in judged.items())
    answer = f"Better than each floor and control there is: {said}."
    best, n = max(judged.values(), key=lambda found: (found[0] / found[1], found[1]))
    who = f"The best of {len(card.saes)} SAEs" if len(card.saes) > 1 else "This SAE"
    title = f"{who} beats each floor and control there is on {_of(best, n)}"
    return title, answer if len(card.saes) > 1 else ""


def reason_words(card: ReportCardSummary, shown: Sequence[str]) -> str:
    """Return what the sentence rests on; `shown` are the measures to name first."""
    failing = {sae: failing_words(card, sae, shown) for sae in card.saes if card.n_clear(sae)[0]}
    names = {sae: f"“{sae}” is" if len(card.saes) > 1 else "It is" for sae in failing}
    said = (f"{names[sae]} no better on {what}." for sae, what in failing.items() if what)
    return " ".join([BASIS, *said])


def _of(clear: int, n: int) -> str:
    return f"{clear} of {n} measures" if clear else f"none of {n} measures"


def failing_words(card: ReportCardSummary, sae: str, shown: Sequence[str]) -> str:
    """Name measures that an SAE fails, those that are shown first."""
    order = [*shown, *(metric for metric in card.metrics if metric not in shown)]
    failing = [
        metric
        for metric in order
        if (cell := card.cell(metric, sae)) is not None and cell.verdict == "not clear"
    ]
    names = [f"“{metric_words(metric)}”" for metric in failing[:NAMED]]
    more = len(failing) - NAMED
    return f"{', '.join(names)} and {more} more" if more > 0 else " or ".join(names)
