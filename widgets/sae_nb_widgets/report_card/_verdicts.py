"""The plain questions that a report card opens on: one share each, beside a random dictionary's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from sae_nb.evaluation import Measurement, objection
from sae_nb.figures.theme import MINUS, THIN_SPACE, escape, format_count
from sae_nb_widgets.report_card._record import Reports

MOST_ROWS = 5
"""Questions that are asked at most: the first that a report can answer."""

TOO_EASY = 0.05
"""A random dictionary as near as this to 100 % leaves a test nothing to tell. Ours."""

NUMBERS = ("none", "one", "two", "three", "four", "five")


@dataclass(frozen=True)
class Asked:
    """A plain question, and the share that answers it; fixed before any number is seen."""

    question: str
    hint: str
    """What the share is, under the question."""

    topic: str
    """What an SAE is better in, in a sentence."""

    definitions: tuple[str, ...]
    """Definitions of the measure, of which a report has one."""

    turned: bool = False
    """Whether the share is what is missing from 1."""

    random_is_floor: bool = False
    """Whether the random dictionary of the measure is its floor, and the trivial answer its control."""


QUESTIONS = (
    Asked("Does it rebuild what it reads?", "share of the variance", "rebuilding", ("r2_pooled",)),
    Asked(
        "Does one atom tell one label?",
        "right on new inputs, best atom a label",
        "atoms that tell a label",
        ("identifiability",),
    ),
    Asked(
        "Does a second training agree?",
        "likeness of matched atoms",
        "atoms that return in a second training",
        ("stability_hungarian", "stability_auction"),
        random_is_floor=True,
    ),
    Asked(
        "Does the model answer alike?",
        "same answer from what was rebuilt",
        "the model’s answers",
        ("agreement",),
    ),
    Asked(
        "Are all atoms in use?",
        "fire at least once in these inputs",
        "atoms in use",
        ("dead_fraction",),
        turned=True,
    ),
    Asked(
        "Does another solver have its firings, too?",
        "share of an atom’s firings",
        "firings that another solver has, too",
        ("kept_by_second_code",),
    ),
)


@dataclass(frozen=True)
class PlainRow:
    """A question to one SAE: its share, a random dictionary's, a trivial answer's (NaN: there is none)."""

    asked: Asked
    sae: str
    measured: Measurement
    """As a share of which more is better: `floor` is the trivial answer, `control` the random dictionary."""

    @property
    def rivals(self) -> dict[str, float]:
        """What the share must beat, by name."""
        found = {"a random one": self.measured.control, "a trivial answer": self.measured.floor}
        return {name: v for name, v in found.items() if v is not None and not math.isnan(v)}

    @property
    def objections(self) -> dict[str, str]:
        """The rivals that would do as well, and why."""
        found = {name: objection(self.measured, v, "higher") for name, v in self.rivals.items()}
        return {name: why for name, why in found.items() if why}

    @property
    def word(self) -> str:
        """Return better than every rival, worse than one, hardly better (by less than counts), or no better."""
        against, low = self.objections, self.measured.interval[0]
        if not against or "is better" in against.values():
            return "worse" if against else "better"
        end = self.measured.value if math.isnan(low) else low
        return "hardly better" if all(self.rivals[who] < end for who in against) else "no better"

    @property
    def meaning(self) -> str:
        """Return how far the share is from the best rival, by the numbers as they are written."""
        who = max(self.rivals, key=lambda name: self.rivals[name])
        apart = round(points(self.measured.value) - points(self.rivals[who]), 1)
        less = "less" if apart < 0 else "more"
        said = f"{abs(apart):g} points {less} than {who}" if apart else f"as much as {who}"
        if self.word in ("hardly better", "no better"):
            easy = 1 - self.rivals["a random one"] <= TOO_EASY
            said += ": too easy a test" if easy else ": too little to count"
        return f"{said}. {self._silent}".strip()

    @property
    def _silent(self) -> str:
        silent = round((1 - self.measured.value) * self.measured.n) if self.asked.turned else 0
        if not silent:
            return ""
        return (
            f"{format_count(silent)} of {format_count(self.measured.n)} never fired; more inputs may wake "
            "some."
        )


def points(share: float) -> float:
    """Return a share in percent as it is written: to a tenth."""
    return round(100 * share, 1) + 0.0


def plain_rows(reports: Reports) -> list[PlainRow]:
    """Return the rows of every SAE, question by question: those questions that a report has the numbers for."""
    rows: list[PlainRow] = []
    for asked in QUESTIONS:
        found = [
            PlainRow(asked, sae, m)
            for sae, report in reports.items()
            if (m := _share(asked, report)) is not None
        ]
        rows += found if len({row.asked for row in rows}) < MOST_ROWS else []
    return rows


def _share(asked: Asked, report: Mapping[str, Measurement]) -> Measurement | None:
    """Return the share that answers, beside its random dictionary; None where one of the two is not known."""
    m = next((m for m in report.values() if m.definition in asked.definitions), None)
    if m is None:
        return None
    floor, control = (m.control, m.floor) if asked.random_is_floor else (m.floor, m.control)
    low, high = m.interval
    if asked.turned:
        m = replace(m, value=1 - m.value, interval=(1 - high, 1 - low))
        floor, control = None, None if control is None else 1 - control
    if control is None or not all(math.isfinite(v) and v <= 1 for v in (m.value, control)):
        return None
    return replace(m, floor=floor, control=control)


def headline_words(rows: Sequence[PlainRow]) -> str:
    """Return in how many tests an SAE beats a random one by more than counts; of several the best of them."""
    counts = _counts(rows)
    (better, n) = max(counts.values(), key=lambda found: (found[0] / found[1], found[1]))
    who = "This SAE" if len(counts) == 1 else f"The best of {len(counts)} SAEs"
    if n == 1:
        return f"{who} {'clearly beats' if better else 'does not clearly beat'} a random one in the test"
    many = "all" if better == n else f"{NUMBERS[better]} of"
    return f"{who} clearly beats a random one in {many} {NUMBERS[n]} tests"


def _counts(rows: Iterable[PlainRow]) -> dict[str, tuple[int, int]]:
    """Return SAE → rows in which it is better, and rows."""
    words: dict[str, list[str]] = {}
    for row in rows:
        words.setdefault(row.sae, []).append(row.word)
    return {sae: (found.count("better"), len(found)) for sae, found in words.items()}


def answer_words(rows: Sequence[PlainRow]) -> str:
    """Return in what an SAE is better, no better and worse; of several how many tests each passes."""
    counts = _counts(rows)
    if len(counts) > 1:
        said = (f"“{sae}” in {NUMBERS[b]} of {NUMBERS[n]}" for sae, (b, n) in counts.items())
        return f"Better than random: {', '.join(said)}."
    parts = []
    for word in ("better", "hardly better", "no better", "worse"):
        topics = [row.asked.topic for row in rows if row.word == word]
        if topics:
            parts.append(
                f"{word} in {' and '.join(filter(None, (', '.join(topics[:-1]), topics[-1])))}"
            )
    return f"{'; '.join(parts).capitalize()}."


def rows_html(rows: Sequence[PlainRow]) -> str:
    """Return questions, shares and words as escaped HTML."""
    several = len({row.sae for row in rows}) > 1
    items = []
    for asked, found in groupby(rows, key=lambda row: row.asked):
        answers = "".join(_answer_html(row, several) for row in found)
        items.append(
            f"<dt>{escape(asked.question)}<small>{escape(asked.hint)}</small></dt><dd>{answers}</dd>"
        )
    keys = (
        ("ours", "this SAE, filled green where better"),
        ("random", "a random dictionary of the same size"),
        ("trivial", "a trivial answer"),
    )
    legend = "".join(f'<span><i class="sae-nb-{kind}"></i>{words}</span>' for kind, words in keys)
    return (
        f'<dl class="sae-nb-verdicts">{"".join(items)}</dl><div class="sae-nb-verdictkey">{legend}'
        "<span>all rows: 0 % left, 100 % right; better, worse: by more than a twentieth</span></div>"
    )


def _answer_html(row: PlainRow, several: bool) -> str:
    m = row.measured
    ours, random = (100 * min(max(float(v), 0.0), 1.0) for v in (m.value, m.control or 0.0))
    said, beside = (
        f"{points(float(one or 0.0)):g}{THIN_SPACE}%".replace("-", MINUS)
        for one in (m.value, m.control)
    )
    trivial = row.rivals.get("a trivial answer")
    tick = (
        ""
        if trivial is None
        else f'<i class="sae-nb-trivial" style="left:{100 * min(max(trivial, 0), 1):.1f}%"></i>'
    )
    low, high = sorted((ours, random))
    low_end, high_end = m.interval
    spread = "" if math.isnan(low_end) else f" (95 %: {low_end:.3g} … {high_end:.3g})"
    tip = ", ".join(
        [f"{row.sae} {m.value:.3g}{spread}", f"random {m.control:.3g}"]
        + ([] if trivial is None else [f"trivial {trivial:.3g}"])
    )
    who = f'<span class="sae-nb-dotwho">{escape(row.sae)}</span>' if several else ""
    return (
        f'<div class="sae-nb-{row.word.replace(" ", "")}">{who}'
        f'<div class="sae-nb-sharescale" title="{escape(tip)}">'
        f'<i class="sae-nb-gap" style="left:{low:.1f}%;width:{high - low:.1f}%"></i>{tick}'
        f'<i class="sae-nb-random" style="left:{random:.1f}%"></i>'
        f'<i class="sae-nb-ours" style="left:{ours:.1f}%"></i>'
        f'<b style="left:{ours:.1f}%">{escape(said)}</b>'
        f'<span style="left:{random:.1f}%">{escape(beside)}</span>'
        f"</div><p><b>{row.word}</b> {escape(row.meaning)}</p></div>"
    )
