"""DotRows: one row per measure, a dot on its scale with interval, floor and control; rows can be chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import traitlets as t

from sae_nb.figures import current_theme, fade, theme
from sae_nb.figures.shapes import (
    Dot,
    Drawing,
    Label,
    Polyline,
    Rectangle,
    Stroke,
    legend,
    shortened,
)
from sae_nb.figures.theme import escape
from sae_nb_widgets.components._base import Component, one_of_rows, style_sheet
from sae_nb_widgets.components._scripts import read_static, script
from sae_nb_widgets.components._sheets import stacked

Tone = Literal["good", "bad", "plain"]

COLOURS = {"good": theme.OKABE_ITO[2], "bad": theme.ALARM, "plain": theme.NEUTRAL}
"""Of the dot on a picture without a style sheet."""

LEGEND = (
    ("good", "better than each floor and control it has"),
    ("bad", "no better"),
    ("plain", "neither good nor bad"),
    ("floor", "floor: a trivial answer"),
    ("control", "control: random"),
    ("interval", "95 % interval"),
)
"""Each mark with its meaning; the first three only where there is such a dot."""

NAME_SHARE, NUMBER_EM, ROW_EM = 0.36, 5.2, 3.3
"""Of a picture: room of the names, of a number, and height of a row, in letters' sizes."""


@dataclass(frozen=True, kw_only=True)
class DotMark:
    """One number on its row's scale; places are 0 … 1, better to the right, NaN: not drawn."""

    text: str
    """The number, as it is written."""

    at: float
    low: float = math.nan
    """Where its interval begins, and where it ends."""

    high: float = math.nan
    floor: float = math.nan
    control: float = math.nan
    tone: Tone = "plain"
    note: str = ""
    """A few words under the number."""

    tooltip: str = ""
    """Words shown on pointing at it."""

    def packed(self) -> dict[str, Any]:
        """Return the mark as JSON; NaN, which JSON lacks, as None."""
        places = {
            name: round(value, 4) if math.isfinite(value := getattr(self, name)) else None
            for name in ("at", "low", "high", "floor", "control")
        }
        return {
            "text": self.text,
            "tone": self.tone,
            "note": self.note,
            "tooltip": self.tooltip,
            **places,
        }


class DotRows(Component):
    """Measures as rows, things that are compared as columns; a click or Enter on a row chooses it.

    Examples
    --------
    >>> rows = DotRows(description="how well it does")
    >>> mark = DotMark(text="0.96", at=0.9, floor=0.0, control=0.4, tone="good")
    >>> rows.show(["variance explained"], ["mine"], [[mark]], hints=["higher is better"])
    >>> rows.selected = 0
    >>> "0.96" in rows.static_html()
    True
    """

    _esm = script("dot_rows")
    _css = style_sheet("components.css", "dot_rows.css")

    rows = t.List(t.Unicode(), help="Name of each row.").tag(sync=True)
    hints = t.List(t.Unicode(), help="A few words under each name.").tag(sync=True)
    columns = t.List(t.Unicode(), help="What is compared.").tag(sync=True)
    marks = t.List(t.List(t.Dict(allow_none=True)), help="Marks, row by row.").tag(sync=True)
    legend = t.List(t.Tuple(t.Unicode(), t.Unicode()), help="Mark and meaning.").tag(sync=True)
    selected = t.Int(-1, help="Index of the row chosen; -1 for none.").tag(sync=True)

    def show(
        self,
        rows: Sequence[str],
        columns: Sequence[str],
        marks: Sequence[Sequence[DotMark | None]],
        *,
        hints: Sequence[str] = (),
    ) -> None:
        """Replace what is shown, in one message to the browser; None is a gap."""
        if len(marks) != len(rows) or any(len(line) != len(columns) for line in marks):
            raise ValueError(
                f"`marks` must be {len(rows)} rows of {len(columns)}, got {[len(m) for m in marks]}."
            )
        tones = {mark.tone for line in marks for mark in line if mark is not None}
        with self.hold_sync(), self.hold_trait_notifications():
            self.selected = -1
            self.rows, self.columns = list(map(str, rows)), list(map(str, columns))
            self.hints = [*map(str, hints)] or [""] * len(rows)
            self.marks = [[None if m is None else m.packed() for m in line] for line in marks]
            self.legend = [
                (name, words) for name, words in LEGEND if name not in COLOURS or name in tones
            ]

    @t.validate("selected")
    def _selected_exists(self, proposal: t.Bunch) -> int:
        return one_of_rows(proposal, len(self.rows))

    def static_html(self) -> str:
        """Return rows, dots and legend as escaped HTML."""
        if not self.rows:
            return self._empty_html()
        several = len(self.columns) > 1
        names = "".join(f"<span>{escape(c)}</span>" for c in self.columns)
        head = f'<div class="sae-nb-dothead"><span></span>{names}</div>' if several else ""
        lines = "".join(map(self._row_html, range(len(self.rows))))
        keys = "".join(
            f'<span class="sae-nb-key"><i class="sae-nb-dotmark sae-nb-{name}"></i> {escape(words)}</span>'
            for name, words in self.legend
        )
        return (
            f"<style>{read_static('dot_rows.css')}</style><div class='sae-nb-component sae-nb-dotbox' "
            f"style='--columns:{len(self.columns)}'><div class='sae-nb-dotlist'>{head}{lines}</div>"
            f'<div class="sae-nb-dotlegend">{keys}</div></div>'
        )

    def _row_html(self, row: int) -> str:
        chosen = " sae-nb-selected" if row == self.selected else ""
        hint = f"<small>{escape(self.hints[row])}</small>" if self.hints[row] else ""
        cells = "".join(map(self._cell_html, self.columns, self.marks[row]))
        return (
            f'<div class="sae-nb-dotrow{chosen}"><div class="sae-nb-dotname">{escape(self.rows[row])}{hint}'
            f"</div>{cells}</div>"
        )

    def _cell_html(self, column: str, mark: dict[str, Any] | None) -> str:
        who = (
            f'<span class="sae-nb-dotwho">{escape(column)}</span>' if len(self.columns) > 1 else ""
        )
        if mark is None:
            return f'<div class="sae-nb-dotcell">{who}<span class="sae-nb-dotnumber">–</span></div>'
        note = f'<small class="sae-nb-{mark["tone"]}">{escape(mark["note"])}</small>'
        marks = "".join(
            f'<i class="sae-nb-dotmark sae-nb-{kind}" style="left:{100 * start:.2f}%{more}"></i>'
            for kind, start, more in _places(mark)
        )
        return (
            f'<div class="sae-nb-dotcell" title="{escape(mark["tooltip"])}">{who}'
            f'<span class="sae-nb-dotstrip">{marks}</span>'
            f'<span class="sae-nb-dotnumber">{escape(mark["text"])}{note if mark["note"] else ""}</span></div>'
        )

    def drawing(self, width: float) -> Drawing:
        """Return rows, dots and legend as strokes."""
        size = current_theme().font_px
        several = len(self.columns) > 1
        left, top, step = NAME_SHARE * width, 1.6 * size * several, ROW_EM * size
        room = (width - left) / max(len(self.columns), 1)
        strokes: list[Stroke] = [
            Label(
                left + room * i + 6, size, shortened(name, size, room - 8), "start", size, bold=True
            )
            for i, name in enumerate(self.columns)
            if several
        ]
        for row, name in enumerate(self.rows):
            y = top + row * step + 1.4 * size
            strokes.append(Label(0, y, shortened(name, size, left - 8), "start", size, bold=True))
            hint = shortened(self.hints[row], size - 1, left - 8)
            strokes.append(Label(0, y + 1.3 * size, hint, "start", size - 1, colour=theme.MID_GREY))
            for column, mark in enumerate(self.marks[row]):
                if mark is not None:
                    strokes += _mark_strokes(mark, left + room * column + 10, y - 0.3 * size, room)
        rows = Drawing(width, top + len(self.rows) * step, tuple(strokes))
        return stacked(
            [rows, legend([(_key_mark(name), words) for name, words in self.legend], width)]
        )


def _places(mark: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Kind, place and further style of what is drawn on a strip, the dot last: on top."""
    places: list[tuple[str, float, str]] = []
    if mark["low"] is not None and mark["high"] is not None:
        low, high = sorted((mark["low"], mark["high"]))
        places.append(("interval", low, f";width:{100 * (high - low):.2f}%"))
    kinds = [("floor", mark["floor"]), ("control", mark["control"]), (mark["tone"], mark["at"])]
    return [*places, *((kind, place, "") for kind, place in kinds if place is not None)]


def _mark_strokes(mark: dict[str, Any], x: float, y: float, room: float) -> list[Stroke]:
    size = current_theme().font_px
    wide = max(room - NUMBER_EM * size - 26, 20)
    colour = COLOURS[mark["tone"]]
    strokes: list[Stroke] = [Polyline([(x, y), (x + wide, y)], fade(theme.GREY, 0.35), 1)]
    if mark["low"] is not None and mark["high"] is not None:
        ends = [(x + wide * mark[name], y) for name in ("low", "high")]
        strokes.append(Polyline(ends, colour, 4))
    for kind in ("floor", "control"):
        if mark[kind] is not None:
            at = x + wide * mark[kind]
            dashed = kind == "control"
            ink = theme.CONTROL if dashed else theme.NEUTRAL
            strokes.append(Polyline([(at, y - 8), (at, y + 8)], ink, 2, dashed))
    if mark["at"] is not None:
        strokes.append(_dot(mark["tone"], x + wide * mark["at"], y))
    where = x + wide + 16
    strokes.append(Label(where, y + 0.3 * size, mark["text"], "start", size, bold=True))
    note = shortened(mark["note"], size - 1, NUMBER_EM * size)
    strokes.append(Label(where, y + 1.6 * size, note, "start", size - 1, colour=colour))
    return strokes


def _dot(tone: str, x: float, y: float) -> Dot:
    if tone == "bad":
        return Dot(x, y, 5, theme.WHITE, COLOURS[tone], 2.5)
    return Dot(x, y, 6, COLOURS[tone])


def _key_mark(name: str) -> Stroke:
    """Return the mark of an entry of the legend in a picture."""
    if name in COLOURS:
        return _dot(name, 8, 6)
    if name == "interval":
        return Rectangle(1, 4, 14, 4, COLOURS["plain"])
    ink = theme.CONTROL if name == "control" else theme.NEUTRAL
    return Polyline([(8, -2), (8, 14)], ink, 2, dashed=name == "control")
