"""The replies of an exercise: records that show themselves as a card in a notebook and as text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sae_nb.figures import theme

State = Literal["right", "wrong", "form", "blank", "noted", "refused", "hint", "assessed"]

HEADINGS: dict[State, str] = {
    "right": "Right",
    "wrong": "Not yet",
    "form": "Cannot judge this",
    "blank": "Not answered yet",
    "noted": "Noted",
    "refused": "Not now",
    "hint": "Hint",
    "assessed": "Assessed",
}
_BLUE, _VERMILLION, _GREEN = theme.OKABE_ITO[:3]
# JupyterLab's own colours, with Okabe–Ito's where there is no JupyterLab.
COLOURS: dict[State, str] = {
    "right": f"var(--jp-success-color1, {_GREEN})",
    "wrong": f"var(--jp-warn-color1, {_VERMILLION})",
    "form": f"var(--jp-warn-color1, {_VERMILLION})",
    "blank": f"var(--jp-border-color1, {theme.CONTROL})",
    "noted": f"var(--jp-info-color1, {_BLUE})",
    "refused": f"var(--jp-border-color1, {theme.CONTROL})",
    "hint": f"var(--jp-info-color1, {_BLUE})",
    "assessed": f"var(--jp-success-color1, {_GREEN})",
}
RECORD = "application/vnd.sae-nb.exercises+json"
"""Kind of output that carries what was answered, in a saved notebook, next to what is seen of it."""

CARD = f"var(--jp-brand-color1, {_BLUE})"
"""Colour of cards without a judgement."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Verdict:
    """The reply to an answer; true only if that was right."""

    exercise: str
    """Number of the exercise."""

    state: State
    """One of right, wrong, form (cannot be judged), blank, noted, refused, hint, assessed (by its writer)."""

    said: str = ""
    """Sentence about this answer."""

    hint: str = ""
    """The next hint, if one was due."""

    record: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What was answered to this exercise so far, as a saved notebook keeps it; see `Exercise.record`."""

    @property
    def passed(self) -> bool:
        """Whether this solves the exercise."""
        return self.state in ("right", "assessed")

    @property
    def message(self) -> str:
        """The whole reply as one text."""
        return " ".join(part for part in (f"{HEADINGS[self.state]}.", *self._parts()) if part)

    def _parts(self) -> tuple[str, ...]:
        return (self.said, self.hint)

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return f"[{self.exercise}] {self.message}"

    def _repr_html_(self) -> str:
        title = f"{self.exercise} · {HEADINGS[self.state]}"
        return card(title, self._parts(), COLOURS[self.state], role="status")

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {RECORD: [dict(self.record)]} if self.record else {}


@dataclass(frozen=True, kw_only=True, repr=False)
class Revelation(Verdict):
    """A prediction next to the measurement.

    Any prediction passes: the point is the surprise, not the luck.
    """

    predicted: float | str
    """The student's prediction."""

    measured: float | str
    """The measurement."""

    unit: str = ""
    """Of both numbers."""

    @property
    def error(self) -> float | None:
        """Prediction minus measurement; None if they are words."""
        if isinstance(self.predicted, str) or isinstance(self.measured, str):
            return None
        return self.predicted - self.measured

    @property
    def message(self) -> str:
        """The whole reply as one text."""
        return " ".join(part for part in self._parts() if part)

    def _parts(self) -> tuple[str, ...]:
        both = (
            f"You predicted {with_unit(self.predicted, self.unit)}, measured is "
            f"{with_unit(self.measured, self.unit)}"
        )
        return (f"{both}{self._distance()}.", self.said)

    def _distance(self) -> str:
        if self.error is None:
            return "" if self.predicted == self.measured else ", so it went the other way"
        if with_unit(self.predicted) == with_unit(self.measured):
            return ": equal to three digits"
        return f": {with_unit(abs(self.error), self.unit)} {'too high' if self.error > 0 else 'too low'}"


def with_unit(value: float | str, unit: str = "") -> str:
    """Write a number with three digits and its unit; a word stays as it is."""
    text = value if isinstance(value, str) else f"{value:.3g}"
    return f"{text} {unit}" if unit else text


def count(n: int, one: str, many: str = "") -> str:
    """Write a number of things, in the plural unless there is one."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def card(title: str, parts: Iterable[str], colour: str, *, role: str = "note") -> str:
    """Set escaped paragraphs next to a coloured bar; `code` in backticks is set as code.

    `parts`: paragraphs, of which empty ones are left out; `colour` of the bar, as CSS, which is never
    the only sign of anything; `role` of the card for screen readers.
    """
    body = "".join(f'<p style="margin: 2px 0">{rich(part)}</p>' for part in parts if part)
    return (
        f'<div role="{role}" style="border-left: 4px solid {colour}; padding: 6px 12px; '
        f'margin: 4px 0; max-width: 46em; line-height: 1.45"><b>{html.escape(title)}</b>{body}</div>'
    )


def rich(text: str) -> str:
    """Escape text for HTML and set text in backticks as code."""
    return re.sub(r"`([^`]+)`", _code, html.escape(text))


def _code(found: re.Match[str]) -> str:
    lines = ' style="white-space: pre-wrap"' if "\n    " in found[1] else ""
    return f"<code{lines}>{found[1]}</code>"
