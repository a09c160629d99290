"""The plain questions that a report card opens on, each answered in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sae_nb.atoms import KeptFirings
from sae_nb.evaluation import Measurement, define
from sae_nb.figures.theme import THIN_SPACE, escape, format_count, format_number, format_percent
from sae_nb_widgets.components._dot_rows import Tone
from sae_nb_widgets.report_card._record import ReportCardSummary, ReportCell
from sae_nb_widgets.report_card._words import metric_words, snapped

MOST_OF_THE_WAY = 0.5
"""Share of the way from the better of floor and control to the best there is, from which the answer is yes.
Ours."""

FEW_DEAD, MANY_DEAD = 0.05, 0.3
"""Shares of dead atoms up to which the atoms are in use, and mostly in use. Ours."""


@dataclass(frozen=True)
class Asked:
    """A plain question to a report, and the measures that answer it: the first that is there is said."""

    question: str
    metrics: tuple[str, ...]
    instead: str = ""
    """What to do where a report has none of them."""


QUESTIONS = (
    Asked(
        "Does it rebuild what it reads?", ("r2", "cosine_centred"), "Use sn.evaluate(sae, acts)."
    ),
    Asked(
        "Does the model still answer as before?",
        ("ce_recovered_mean", "accuracy", "agreement"),
        "Pass model= to sn.evaluate.",
    ),
    Asked("Are its atoms in use?", ("dead_fraction",), "Use sn.evaluate(sae, acts)."),
)

SECOND = Asked(
    "Does another solver have its firings, too?",
    ("kept_by_second_code",),
    "Use sn.second_code(sae, acts).measurements.",
)
"""Asked where a report has it."""

SAID = {
    "r2": "It explains {} of the variance",
    "ce_recovered_mean": "On what it rebuilds, the model keeps {} of its skill",
    "accuracy": "On what it rebuilds, the model is right in {} of cases",
    "agreement": "On what it rebuilds, the model gives the same answer in {} of cases",
}
"""How an answer begins; of other measures it is their name and the number."""


@dataclass(frozen=True)
class PlainVerdict:
    """An answer to a plain question, of one SAE."""

    word: str
    """Yes, Mostly, In part or No; a dash where nothing was measured."""

    sentence: str
    tone: Tone = "plain"


def plain_verdicts(card: ReportCardSummary) -> dict[str, dict[str, PlainVerdict]]:
    """Return question → SAE → answer; of reports that answer no question, their first measures."""
    asked: Sequence[Asked] = QUESTIONS
    if not any(metric in card.metrics for one in asked for metric in one.metrics):
        few = card.metrics[: len(QUESTIONS)]
        asked = [Asked(metric_words(metric).capitalize(), (metric,)) for metric in few]
    if SECOND.metrics[0] in card.metrics:
        asked = [*asked, SECOND]
    return {one.question: {sae: _verdict(card, sae, one) for sae in card.saes} for one in asked}


def _verdict(card: ReportCardSummary, sae: str, asked: Asked) -> PlainVerdict:
    """Return the answer of the first measure, as far as no other one of the same question denies it."""
    found = [one for metric in asked.metrics if (one := card.cell(metric, sae)) is not None]
    if not found:
        return PlainVerdict("–", f"Not measured. {asked.instead}".strip())
    defined = [one for one in found if not math.isnan(one.measurement.value)]
    if not defined:
        return PlainVerdict("–", found[0].reason)
    clear = [one for one in defined if one.verdict == "clear"]
    first = _of_one(card, sae, (clear or defined)[0])
    against = next((one for one in defined if one.verdict == "not clear"), None)
    if not clear or against is None:
        return first
    said = f"{first.sentence} But {metric_words(against.metric)} is no better: {_lower(against.reason)}"
    return PlainVerdict("In part", said, "good")


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _of_one(card: ReportCardSummary, sae: str, cell: ReportCell) -> PlainVerdict:
    m = cell.measurement
    if cell.metric == "dead_fraction":
        return _in_use(m)
    if cell.metric in SECOND.metrics:
        rows = {metric: one.measurement for (metric, of), one in card.cells.items() if of == sae}
        return _judged(cell, KeptFirings.of_report(rows))
    write = format_percent if cell.metric in SAID else format_number
    said = SAID.get(cell.metric, "It reaches {}").format(write(m.value))
    rivals = (("a random dictionary", m.control), ("a trivial answer", m.floor))
    beside = [f"{name} {write(snapped(v))}" for name, v in rivals if v is not None]
    return _judged(cell, "; ".join([said, ", ".join(beside)]).strip("; ") + ".")


def _judged(cell: ReportCell, sentence: str) -> PlainVerdict:
    """Return yes where a number is clear of floor and control by most of what could be gained."""
    if cell.verdict == "not clear":
        return PlainVerdict("No", f"{sentence} {cell.reason}", "bad")
    if cell.verdict != "clear":
        return PlainVerdict("–", f"{sentence} {cell.reason}")
    m = cell.measurement
    best = define(m.definition).best
    rivals = [v for v in (m.floor, m.control) if v is not None]
    if best is not None and rivals:
        nearest = min(abs(best - v) for v in rivals)
        if abs(best - m.value) > (1 - MOST_OF_THE_WAY) * nearest:
            return PlainVerdict("In part", sentence, "good")
    return PlainVerdict("Yes", sentence, "good")


def _in_use(m: Measurement) -> PlainVerdict:
    """Return how many atoms fire at all; a random dictionary, whose atoms nearly all do, is no control."""
    low, high = m.interval
    ends = (
        ""
        if math.isnan(low)
        else f" (95{THIN_SPACE}%: {format_percent(low)} to {format_percent(high)})"
    )
    said = (
        f"{format_percent(m.value)} of its {format_count(m.n)} atoms never fire here{ends}; none would be "
        "best, and more inputs may wake some."
    )
    if m.value <= FEW_DEAD:
        return PlainVerdict("Yes", said, "good")
    return PlainVerdict("Mostly" if m.value <= MANY_DEAD else "In part", said)


def verdicts_html(verdicts: Mapping[str, Mapping[str, PlainVerdict]]) -> str:
    """Return questions and answers as escaped HTML."""
    rows = []
    for question, answers in verdicts.items():
        rows.append(f"<dt>{escape(question)}</dt>")
        for sae, one in answers.items():
            who = f"“{sae}”: " if len(answers) > 1 else ""
            said = f"<b>{escape(one.word)}</b><p>{escape(who + one.sentence)}</p>"
            rows.append(f'<dd class="sae-nb-{one.tone}">{said}</dd>')
    return f'<dl class="sae-nb-verdicts">{"".join(rows)}</dl>'
