"""Chips: words in a row, confirmed or not, and how sure a name is as dots."""

from __future__ import annotations

from collections.abc import Sequence

import traitlets as t

from sae_nb.checks import one_of
from sae_nb.figures import current_theme, fade, theme, visible_token
from sae_nb.figures.shapes import Drawing, Label, Polyline, Rectangle, Stroke, shortened, text_width
from sae_nb.figures.theme import escape
from sae_nb_widgets.components._base import Component, one_of_rows, tag_html, title_drawing
from sae_nb_widgets.components._scripts import script
from sae_nb_widgets.components._sheets import paragraph, stacked

DOTS = 4
"""Dots of a name's evidence."""

SURE_SAYS = (
    "name: failed its test",
    "name: a guess",
    "name: half sure",
    "name: fairly sure",
    "name: passed its test",
)
"""Meaning of no dot, one, and so on, in words."""

STATES = {
    "plain": "",
    "confirmed": "confirmed",
    "unconfirmed": "not confirmed",
    "low": "less likely",
}
"""States of a chip, and the words that readers without colours get."""


def sure_dots(sure: int | None, words: str = "", *, spelt_out: bool = False) -> str:
    """Return four dots that show how sure a name is, with the reasons in words on hover, as HTML.

    Parameters
    ----------
    sure
        Filled dots, 0 to 4; None draws nothing, for what was not measured.
    words
        What was measured, for hovering and for screen readers.
    spelt_out
        Whether the meaning of the dots is written next to them.

    >>> sure_dots(3, "Finds 86 % of what fires.").count("sae-nb-off")
    1
    """
    if sure is None:
        return ""
    filled = min(max(int(sure), 0), DOTS)
    said = escape(f"{filled} of {DOTS} dots. {words}".strip())
    dots = "".join(f"<i{' class=sae-nb-off' * (i >= filled)}></i>" for i in range(DOTS))
    certainty = f'<small class="sae-nb-surewords">{SURE_SAYS[filled]}</small>' if spelt_out else ""
    return (
        f'<span class="sae-nb-sure" role="img" tabindex="0" title="{said}" aria-label="{said}">{dots}</span>'
        f"{certainty}"
    )


class Chips(Component):
    """Words as chips: green where confirmed, hollow where not, blue where less likely, else to be clicked.

    One line below holds the score and, next to it, what a random direction reaches.

    Examples
    --------
    >>> chips = Chips(description="What it makes the model say")
    >>> chips.show([" groom", "john"], ["confirmed", "unconfirmed"], score="1 of 2 confirmed",
    ...            control="random direction: 0 of 2")
    >>> chips.selected = 0
    >>> chips.labels[chips.selected]
    ' groom'
    """

    _esm = script("chips")

    labels = t.List(t.Unicode(), help="What each chip says.").tag(sync=True)
    states = t.List(t.Unicode(), help="Plain, confirmed, unconfirmed or low, per chip.").tag(
        sync=True
    )
    tips = t.List(t.Unicode(), help="What hovering says of each chip.").tag(sync=True)
    score = t.Unicode("", help="Score of the chips, written below them.").tag(sync=True)
    control = t.Unicode("", help="Score of a random direction, next to it.").tag(sync=True)
    clickable = t.Bool(False, help="Whether a click selects a chip.").tag(sync=True)
    selected = t.Int(-1, help="Index of the chip chosen; -1 for none.").tag(sync=True)

    def show(
        self,
        labels: Sequence[str],
        states: str | Sequence[str] = "plain",
        *,
        tips: Sequence[str] = (),
        atoms: Sequence[int] = (),
        score: str = "",
        control: str = "",
    ) -> None:
        """Replace what is shown, in one message to the browser.

        Parameters
        ----------
        labels
            One per chip; white space of tokens is kept in sight.
        states
            One of "plain", "confirmed", "unconfirmed", "low" for all, or one for each.
        tips
            Words shown on hovering, one per chip.
        atoms
            Atom of each chip, whose card is shown on pointing at it.
        score, control
            One line below: what was reached, and by a random direction.

        Raises
        ------
        ValueError: If a list has not one entry per label, or a state is unknown.
        """
        given = [states] * len(labels) if isinstance(states, str) else [*states]
        for name, entries in (("states", given), ("tips", tips), ("atoms", atoms)):
            if len(entries) != len(labels) and (len(entries) or name == "states"):
                raise ValueError(
                    f"`{name}` must have one entry per label ({len(labels)}), got {len(entries)}."
                )
        for state in given:
            one_of(state, STATES, name="state")
        with self.hold_sync(), self.hold_trait_notifications():
            self.labels, self.states = [str(label) for label in labels], given
            self.tips, self.atoms = [str(tip) for tip in tips], [int(atom) for atom in atoms]
            self.score, self.control, self.selected = str(score), str(control), -1

    @t.validate("selected")
    def _selected_exists(self, proposal: t.Bunch) -> int:
        return one_of_rows(proposal, len(self.labels), "chips")

    def _tip(self, i: int) -> str:
        parts = [STATES[self.states[i]], self.tips[i] if i < len(self.tips) else ""]
        return " · ".join(filter(None, parts))

    def static_html(self) -> str:
        """Return the chips as an escaped list."""
        title = f'<div class="sae-nb-cardtitle">{escape(self.description)}</div>'
        title = title if self.description else ""
        if not self.labels:
            return f'<div class="sae-nb-component">{title}{self._empty_html()}</div>'
        words = [escape(visible_token(label, bare=True)) for label in self.labels]
        chips = "".join(
            f'<li class="sae-nb-pill sae-nb-{self.states[i]}{" sae-nb-selected" * (i == self.selected)}" '
            f'dir="auto" title="{escape(self._tip(i))}"{tag_html(self, i)}>{words[i]}</li>'
            for i in range(len(words))
        )
        return (
            f'<div class="sae-nb-component">{title}<ul class="sae-nb-chiplist">{chips}</ul>'
            f"{self._score_html()}</div>"
        )

    def _score_html(self) -> str:
        parts = [f"<span>{escape(self.score)}</span>"] * bool(self.score)
        parts += [f'<span class="sae-nb-bychance">{escape(self.control)}</span>'] * bool(
            self.control
        )
        return f'<p class="sae-nb-chipscore">{" ".join(parts)}</p>' if parts else ""

    def drawing(self, width: float) -> Drawing:
        """Return the chips as strokes: a box behind each, an outline around those not confirmed."""
        title = title_drawing(self.description, width)
        if not self.labels:
            return stacked([title, paragraph(self.empty_text, width)], gap=4)
        size = current_theme().font_px
        x, y, high = 0.0, 0.0, 1.8 * size
        strokes: list[Stroke] = []
        for label, state in zip(self.labels, self.states, strict=True):
            text = shortened(visible_token(label, bare=True), size, width - 18)
            wide = text_width(text, size) + 18
            if x and x + wide > width:
                x, y = 0.0, y + high + 5
            strokes += _chip_strokes(text, state, x, y, wide, high, size)
            x += wide + 5
        rows = Drawing(width, y + high, tuple(strokes))
        below = " · ".join(filter(None, (self.score, self.control)))
        return stacked([title, rows, *([paragraph(below, width)] if below else [])], gap=4)


def _chip_strokes(
    text: str, state: str, x: float, y: float, wide: float, high: float, size: float
) -> list[Stroke]:
    label = Label(x + 9, y + 1.25 * size, text, "start", size)
    if state == "unconfirmed":
        corners = [(x, y), (x + wide, y), (x + wide, y + high), (x, y + high), (x, y)]
        return [Polyline(corners, theme.GREY, 1), label]
    tints = {"confirmed": theme.OK, "low": theme.BLUE}
    return [Rectangle(x, y, wide, high, fade(tints.get(state, theme.GREY), 0.13)), label]
