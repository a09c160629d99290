"""What an exercise says back: records that show themselves as a card in a notebook and as text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sae_nb.figures import theme

State = Literal["right", "wrong", "form", "blank", "noted", "refused", "hint"]

HEADINGS: dict[State, str] = {
    "right": "Right",
    "wrong": "Not yet",
    "form": "Cannot judge this",
    "blank": "Not answered yet",
    "noted": "Noted",
    "refused": "Not now",
    "hint": "Hint",
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
}
CARD = f"var(--jp-brand-color1, {_BLUE})"
"""Of cards that judge nothing."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Verdict:
    """What was made of an answer; true only if it was right."""

    exercise: str
    """Its number."""

    state: State
    """What it is: right, wrong, form (nothing that can be judged), blank, noted, refused, hint."""

    said: str = ""
    """About this answer."""

    hint: str = ""
    """The next hint, where one was due."""

    @property
    def passed(self) -> bool:
        """Whether the exercise is solved by this."""
        return self.state == "right"

    @property
    def message(self) -> str:
        """Everything it says, as one text."""
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


@dataclass(frozen=True, kw_only=True, repr=False)
class Revelation(Verdict):
    """A prediction beside what was measured.

    To have predicted is to have passed: the point is the surprise, not the luck.
    """

    predicted: float | str
    """What the student said."""

    measured: float | str
    """What came out."""

    unit: str = ""
    """Of both numbers."""

    @property
    def error(self) -> float | None:
        """Prediction minus measurement; None where they are words."""
        if isinstance(self.predicted, str) or isinstance(self.measured, str):
            return None
        return self.predicted - self.measured

    @property
    def message(self) -> str:
        """Everything it says, as one text."""
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
    """A number with three digits and its unit; a word stays as it is."""
    text = value if isinstance(value, str) else f"{value:.3g}"
    return f"{text} {unit}" if unit else text


def count(n: int, one: str, many: str = "") -> str:
    """A number of things, in the plural where there are several."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def card(title: str, parts: Iterable[str], colour: str, *, role: str = "note") -> str:
    """Paragraphs beside a coloured bar, escaped; `code` in backticks is set as code.

    `parts`: paragraphs; empty ones are left out; `colour` of the bar, as CSS; never the only sign
    of anything; `role`: what a screen reader is told the card is.
    """
    body = "".join(f'<p style="margin: 2px 0">{rich(part)}</p>' for part in parts if part)
    return (
        f'<div role="{role}" style="border-left: 4px solid {colour}; padding: 6px 12px; '
        f'margin: 4px 0; max-width: 46em; line-height: 1.45"><b>{html.escape(title)}</b>{body}</div>'
    )


def rich(text: str) -> str:
    """Escape text for HTML and set what stands in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
