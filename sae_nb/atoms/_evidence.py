"""LabelEvidence: the trustworthiness of a label, and the badge that shows it wherever the label appears."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import Literal

By = Literal["rule", "attribute", "words", "judge", "caption", ""]
Standing = Literal["holds", "open", "fails"]
Verdict = Literal["real", "unclear", "chance"]
Worth = Literal["sure", "mostly", "unclear"]

SURE, LEAST, MOSTLY = 0.7, 0.3, 0.5
"""F1 from which a name is quoted as it is, and at all; share of strong firings from which "mostly" is true."""

STEERS = 0.8
"""Share of beginnings on which an atom's words come more often than under a random direction, from which its
name may lead others. Ours."""

_SIGNS: dict[Standing, str] = {"holds": "✓", "open": "?", "fails": "✗"}
VERDICTS: dict[Verdict, tuple[Standing, str]] = {
    "real": ("holds", "Trainings from other seeds and on halves of the data find this atom again."),
    "unclear": ("open", "Other trainings find it in part, or its direction depends on the bias."),
    "chance": (
        "fails",
        "Other trainings find it no better than a random direction, or it never fires.",
    ),
}
"""Verdicts of a certificate on an atom: the standing of the badge, and the sentence behind it."""

_HOW: dict[By, str] = {
    "rule": "The label is a rule, applied to the letter.",
    "attribute": "The label is an attribute of the data, known for every row.",
    "words": "Without a judge the label was looked for by its words alone: a low score says little "
    "against a label that names no word of the text.",
    "judge": "A language model read the label and sentences where the atom fires.",
    "caption": "The name was made from one half of the samples and judged on the other half.",
    "": "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelEvidence:
    """Measurements of one label: whether it describes where its atom fires, and whether the atom returns.

    Example
    -------
    >>> found = LabelEvidence(by="rule", detection=0.9, control=0.55, n=40, returns=2, n_sisters=3)
    >>> badge(found).text
    '✓ detects 0.90 · another’s 0.55 · returns 2 of 3'
    """

    by: By = ""
    """Source of the guess from the label: its rule, an attribute of the data, its words, or a judge."""

    detection: float = math.nan
    """Balanced accuracy: is this a window in which the atom fires? ½ by chance; NaN if not measured."""

    control: float = math.nan
    """The same windows, guessed from labels of other atoms, mean."""

    n: int = 0
    """Windows, about half of them firing; none was seen by the one who wrote a label here."""

    returns: int | None = None
    n_sisters: int = 0
    """In how many trainings from other seeds an atom of the same direction is found, and of how many."""

    f1: float = math.nan
    """F1 of the label and strong firings, on samples that it was not chosen on; NaN if not measured."""

    fits: float = math.nan
    """Share of the strong firings that the label is true of."""

    fits_floor: float = math.nan
    """Share of everything that could fire that it is true of: what fits by chance."""

    f1_control: float = math.nan
    """F1 of other atoms' labels on the same firings, mean."""

    turned: int | None = None
    n_turned: int = 0
    """On how many beginnings of texts the atom, turned up, brought more words of its name than a random
    direction of the same norm, and of how many."""

    why: str = ""
    """Reason why there is no detection score, if there is none."""

    def _measured(self) -> tuple[object, ...]:
        """Return the fields; None for NaN, which would be equal to nothing."""
        return tuple(None if value != value else value for value in astuple(self))

    def __eq__(self, other: object) -> bool:
        """Return whether the same was measured, with the same results."""
        if not isinstance(other, LabelEvidence):
            return NotImplemented
        return self._measured() == other._measured()

    def __hash__(self) -> int:
        return hash(self._measured())

    @property
    def steers(self) -> bool:
        """Whether its name was seen to come when it was turned up, on four beginnings of five."""
        return self.turned is not None and self.turned >= STEERS * self.n_turned

    @property
    def worth(self) -> Worth:
        """Whether the label may be quoted as a fact ("sure"), with "mostly", or not ("unclear")."""
        if math.isfinite(self.f1):
            if self.f1 >= SURE:
                return "sure"
            return "mostly" if self.f1 >= LEAST and self.fits >= MOSTLY else "unclear"
        return "unclear" if self.standing == "fails" else "sure"

    @property
    def beyond_chance(self) -> float:
        """Share of the way from chance (0) to certainty (1) that the label goes; NaN if not measured.

        Chance is what other atoms' labels reach on the same windows or firings, at least ½ for a balanced
        accuracy. The F1 counts where there is one, since it is measured on strong firings.
        """
        score, chance, least = self.f1, self.f1_control, 0.0
        if not math.isfinite(score):
            score, chance, least = self.detection, self.control, 0.5
        chance = max(chance, least) if math.isfinite(chance) else least
        return (score - chance) / (1 - chance) if chance < 1 else 0.0

    @property
    def dots(self) -> int | None:
        """That in quarters, from 0 to 4; None if not measured."""
        share = self.beyond_chance
        return max(0, min(4, round(4 * share))) if math.isfinite(share) else None

    def worded(self, label: str) -> str:
        """Return a label as it may be quoted: "digit 7", "mostly digit 9", "perhaps thing coat"."""
        return {"sure": "", "mostly": "mostly ", "unclear": "perhaps "}[self.worth] + label

    @property
    def standing(self) -> Standing:
        """Whether the label beats another atom's by two standard errors: "holds", "open" or "fails".

        A balanced accuracy over n windows has a standard error of at most 1 / (2√n). Of an automatic name
        the F1 counts: it holds if the name may be quoted as it is.
        """
        if self.by == "caption":
            return "holds" if self.worth == "sure" else "open"
        if not math.isfinite(self.detection) or not self.n:
            return "open"
        least = self.control if math.isfinite(self.control) else 0.5
        if self.detection - max(least, 0.5) > 1 / math.sqrt(self.n):
            return "holds"
        return "open" if self.by == "words" else "fails"


@dataclass(frozen=True, slots=True)
class Badge:
    """A badge, ready to be drawn: its words, the sentences behind them, the label's verdict."""

    text: str
    title: str
    standing: Standing
    dots: int | None = None
    """Certainty of the name, 0 to 4; None if that was not measured."""


def certified(measured: Badge | None, verdict: Verdict | None) -> Badge | None:
    """Return the badge of a label with the verdict of a certificate on its atom; None without either.

    Example
    -------
    >>> certified(None, "real").text, certified(badge(LabelEvidence(returns=2, n_sisters=3)), "chance").text
    ('✓ real', '? not scored · returns 2 of 3 · chance')
    """
    if verdict is None:
        return measured
    standing, sentence = VERDICTS[verdict]
    if measured is None:
        return Badge(f"{_SIGNS[standing]} {verdict}", sentence, standing)
    return Badge(f"{measured.text} · {verdict}", f"{measured.title} {sentence}", measured.standing)


def badge(evidence: LabelEvidence | None) -> Badge | None:
    """Return the badge of a label; None where nothing was measured."""
    if evidence is None:
        return None
    parts, sentences = [], []
    if math.isfinite(evidence.detection):
        by_words = "by words " * (evidence.by == "words")
        parts.append(f"detects {by_words}{evidence.detection:.2f}")
        sentences.append(
            f"From the label, {100 * evidence.detection:.0f} % of {evidence.n} windows were sorted rightly "
            "into those where the atom fires and those where it does not (both kinds count alike; 50 % by "
            "chance)."
        )
    if math.isfinite(evidence.control):
        parts.append(f"another’s {evidence.control:.2f}")
        sentences.append(f"Labels of other atoms: {100 * evidence.control:.0f} %.")
    if math.isfinite(evidence.f1):
        parts.append(f"F1 {evidence.f1:.2f}")
        sentences.append(f"It is true of {100 * evidence.fits:.0f} % of the strong firings.")
    if math.isfinite(evidence.f1_control):
        parts.append(f"another’s {evidence.f1_control:.2f}")
        sentences.append(f"F1 of other atoms' names on these: {evidence.f1_control:.2f}.")
    if not parts:
        parts.append("not scored")
        sentences.append(evidence.why)
    if evidence.returns is not None:
        parts.append(f"returns {evidence.returns} of {evidence.n_sisters}")
        sentences.append(
            f"An atom of this direction is in {evidence.returns} of {evidence.n_sisters} trainings from other "
            "seeds."
        )
    if evidence.turned is not None:
        parts.append(f"turned up {evidence.turned} of {evidence.n_turned}")
        sentences.append(
            f"Turned up, it brings more words of its name than a random direction on {evidence.turned} of "
            f"{evidence.n_turned} beginnings of texts."
        )
    sentences.append(_HOW[evidence.by])
    text = f"{_SIGNS[evidence.standing]} {' · '.join(parts)}"
    return Badge(text, " ".join(filter(None, sentences)), evidence.standing, evidence.dots)
