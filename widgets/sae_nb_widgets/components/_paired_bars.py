"""PairedBars: rows with two bars each, such as how strongly an atom fired and how much it mattered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import traitlets as t

from sae_nb.figures import current_theme, theme
from sae_nb.figures._svg_layout import (
    filled,
    hstack,
    key,
    paragraph,
    random_tick,
    solid_tick,
    stacked,
)
from sae_nb.figures._svg_shapes import Drawing, Label, Polyline, Rectangle, Stroke, text_width
from sae_nb.figures.theme import css_colour, escape, format_number
from sae_nb_widgets.components._base import (
    TRACK,
    Component,
    float_list,
    icon_html,
    label_strokes,
    tag_html,
    tick_strokes,
    title_drawing,
)
from sae_nb_widgets.components._scripts import script

NEGATIVE, POSITIVE = (css_colour(theme.SIGNED[end]) for end in (0, -1))
MARKS = ("", "control", "before", "above", "below", "hollow")
"""Nothing, the dashed tick, the solid one, a bar above zero, one below it, an outlined one."""


HOLLOW_PX = 2
"""Line of an outlined bar, as in the style sheet."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of bars."""

    title: str
    """Meaning of the bars, with their unit."""

    values: Sequence[float | None]
    """Length of each bar; None for absent."""

    notes: Sequence[str] = ()
    """Text next to each bar in place of its number."""

    control: Sequence[float | None] = ()
    """Values by chance or by a random direction: a dashed grey tick."""

    exact: Sequence[float | None] = ()
    """The same measured exactly: a solid tick."""

    hollow: Sequence[bool] = ()
    """Bars that are drawn as outlines, for example those that are no more than chance."""

    signed: bool = False
    """Draw from a zero in the middle, negative blue, positive orange."""

    maximum: float | None = None
    """Value of the longest bar, for columns of one scale; None: the largest of the column."""

    tips: Sequence[str] = ()
    """Tooltip of a tick or bar; the numbers when empty."""


class PairedBars(Component):
    """Rows with a label and two bars; hover one to look, click to choose.

    Examples
    --------
    >>> bars = PairedBars(description="atoms")
    >>> bars.show(["17 digit 7", "4"], Column(title="fired", values=[2.0, 1.0]),
    ...           Column(title="mattered", values=[-0.5, 0.1], signed=True))
    >>> bars.selected = 1
    >>> bars.labels[bars.selected]
    '4'
    """

    _esm = script("paired_bars")

    labels = t.List(t.Unicode(), help="What each row is.").tag(sync=True)
    columns = t.List(t.Dict(), help="Titles, values, notes and ticks of the two columns.").tag(
        sync=True
    )
    key = t.List(help="What the marks mean: pairs of a mark of `MARKS` and its words.").tag(
        sync=True
    )
    selected = t.Int(-1, help="Index of the row chosen; -1 for none.").tag(sync=True)
    hovered = t.Int(-1, help="Index of the row pointed at; -1 for none.").tag(sync=True)

    def show(
        self,
        labels: Sequence[str],
        *columns: Column,
        selected: int = -1,
        atoms: Sequence[int] = (),
        icons: Sequence[str] = (),
        key: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Replace what is shown, in one message to the browser.

        Parameters
        ----------
        labels
            One per row.
        columns
            Bars of each column.
        selected
            Row chosen.
        atoms, icons
            Atom of each row, whose card is shown on pointing at it; an image before each label.
        key
            Meaning of the marks, written under the rows: a mark of `MARKS` and its words.

        Raises
        ------
        ValueError: If a list has not one entry per label, or the key names no mark.
        """
        plain = [_plain(column, len(labels)) for column in columns]
        if unknown := {mark for mark, _ in key} - set(MARKS):
            raise ValueError(f"`key` must name marks of {MARKS}, got {sorted(unknown)}.")
        with self.hold_sync(), self.hold_trait_notifications():
            self.labels, self.columns = [str(label) for label in labels], plain
            self.atoms, self.icons = [int(a) for a in atoms], list(icons)
            self.key = [[mark, str(words)] for mark, words in key]
            self.selected, self.hovered = selected, -1

    def on_again(self, callback: Callable[[int], None]) -> None:
        """Call back with the row when the one that is chosen already is clicked once more."""

        def take(_: object, content: object, __: object) -> None:
            if isinstance(content, dict) and content.get("kind") == "again":
                callback(self.selected)

        self.on_msg(take)

    @t.validate("selected", "hovered")
    def _row_exists(self, proposal: t.Bunch) -> int:
        if not -1 <= proposal["value"] < len(self.labels):
            raise t.TraitError(
                f"`{proposal['trait'].name}` must be the index of one of {len(self.labels)} rows, or "
                f"-1, got {proposal['value']}."
            )
        return int(proposal["value"])

    def static_html(self) -> str:
        """Return the bars as escaped HTML."""
        if not self.labels:
            return self._empty_html()
        heads = "".join(
            f'<div class="sae-nb-cardtitle">{escape(column["title"])}</div>'
            for column in self.columns
        )
        rows = "".join(self._row_html(i) for i in range(len(self.labels)))
        return (
            f'<div class="sae-nb-component"><div class="sae-nb-paired sae-nb-of{len(self.columns)}">'
            f'<div class="sae-nb-pairrow sae-nb-pairhead"><div class="sae-nb-cardtitle">'
            f"{escape(self.description)}</div>{heads}</div>{rows}</div>{self._key_html()}</div>"
        )

    def _key_html(self) -> str:
        entries = "".join(
            f'<span class="sae-nb-keypart">{_mark_html(mark)}{escape(words)}</span>'
            for mark, words in self.key
        )
        return f'<div class="sae-nb-key">{entries}</div>' if entries else ""

    def drawing(self, width: float) -> Drawing:
        """Return the rows as strokes, with a key of the ticks that are drawn."""
        if not self.labels:
            return paragraph(self.empty_text, width)
        size = current_theme().font_px
        icon = 1.3 * size + 4 if any(self.icons) else 0
        names = min(0.34 * width, 10 + icon + max(text_width(x, size) for x in self.labels))
        column = (width - names - 10 * len(self.columns)) / max(len(self.columns), 1)
        heads = [(self.description, names), *((str(c["title"]), column) for c in self.columns)]
        head = hstack([title_drawing(text, wide) for text, wide in heads], gap=10)
        labels = [
            stroke
            for i, label in enumerate(self.labels)
            for stroke in label_strokes(self, i, label, i * 1.5 * size, names - 4)
        ]
        high = 1.5 * size * len(self.labels)
        parts = [Drawing(names, high, tuple(labels))]
        parts += [_column_drawing(c, column, len(self.labels)) for c in self.columns]
        marks = [(_mark_stroke(mark), words) for mark, words in self.key]
        return stacked([head, hstack(parts, gap=10), key(marks, width)], gap=4)

    def _row_html(self, row: int) -> str:
        chosen = " sae-nb-selected" if self.selected == row else ""
        cells = "".join(_cell_html(column, row) for column in self.columns)
        label = escape(self.labels[row])
        return (
            f'<div class="sae-nb-pairrow{chosen}"{tag_html(self, row)}><div class="sae-nb-label" dir="auto" '
            f'title="{label}">{icon_html(self, row)}{label}</div>{cells}</div>'
        )


def _mark_stroke(mark: str) -> Stroke:
    """Return the mark of an entry of the key; nothing if the words have none."""
    if mark == "hollow":
        return _bar(2, 0, 12, theme.NEUTRAL, hollow=True)
    if mark == "control":
        return random_tick()
    if mark == "before":
        return solid_tick()
    return filled({"above": POSITIVE, "below": NEGATIVE}.get(mark, theme.CLEAR))


def _mark_html(mark: str) -> str:
    colour = {"above": POSITIVE, "below": NEGATIVE}.get(mark, "")
    style = f' style="background:{colour}"' if colour else ""
    return f'<span class="sae-nb-keymark sae-nb-key-{mark}"{style}></span>' if mark else ""


def _plain(column: Column, n: int) -> dict[str, object]:
    given = {
        name: getattr(column, name)
        for name in ("values", "notes", "control", "exact", "tips", "hollow")
    }
    for name, entries in given.items():
        if len(entries) != n and (len(entries) or name == "values"):
            raise ValueError(
                f"`{name}` of {column.title!r} must have one entry per label ({n}), got {len(entries)}."
            )
    numbers = {name: float_list(given[name]) for name in ("values", "control", "exact")}
    known = [abs(v) for values in numbers.values() for v in values if v is not None]
    top = column.maximum or max(known, default=0.0) or 1.0
    notes = [str(note) for note in column.notes] or [format_number(v) for v in numbers["values"]]
    words = {"notes": notes, "tips": [str(tip) for tip in column.tips]}
    hollow = [bool(one) for one in column.hollow] or [False] * n
    look = {"signed": column.signed, "maximum": top, "hollow": hollow}
    return {"title": column.title, **look, **numbers, **words}


def _column_drawing(column: dict[str, Any], width: float, rows: int) -> Drawing:
    """Bars, ticks and numbers of one column."""
    size = current_theme().font_px
    long = max(width - 10 - max(text_width(note, size) for note in column["notes"]), 20)
    low = -1.0 if column["signed"] else 0.0

    def place(value: float) -> float:
        return long * float(np.clip((value / column["maximum"] - low) / (1 - low), 0, 1))

    strokes: list[Stroke] = []
    for i in range(rows):
        y, value = 1.5 * size * i, column["values"][i] or 0.0
        strokes.append(Rectangle(0, y + 3, long, 12, TRACK))
        colour = (NEGATIVE if value < 0 else POSITIVE) if column["signed"] else theme.NEUTRAL
        zero, end = place(0.0), place(value)
        strokes.append(_bar(min(zero, end), y + 3, abs(end - zero), colour, column["hollow"][i]))
        if column["signed"]:
            strokes.append(Polyline([(zero, y + 3), (zero, y + 15)], theme.AXIS, 1))
        for name in ("control", "exact"):
            if column[name] and column[name][i] is not None:
                strokes += tick_strokes(place(column[name][i]), y + 3, 12, name == "control")
        strokes.append(Label(width, y + size, column["notes"][i], "end", size))
    return Drawing(width, 1.5 * size * rows, tuple(strokes))


def _bar(x: float, y: float, width: float, colour: str, hollow: bool) -> Stroke:
    if not hollow:
        return Rectangle(x, y, width, 12, colour)
    corners = [(x, y), (x + width, y), (x + width, y + 12), (x, y + 12), (x, y)]
    return Polyline(corners, colour, HOLLOW_PX)


def _cell_html(column: dict[str, object], row: int) -> str:
    low = -1.0 if column["signed"] else 0.0

    def percent(value: float) -> float:
        share = value / float(column["maximum"])  # type: ignore[arg-type]
        return 100 * float(np.clip((share - low) / (1 - low), 0, 1))

    value = column["values"][row]  # type: ignore[index]
    zero, end = percent(0.0), percent(value or 0.0)
    colour = ""
    if column["signed"]:
        colour = f";--fill:{NEGATIVE if (value or 0) < 0 else POSITIVE}"
    hollow = " sae-nb-hollow" if column["hollow"][row] else ""  # type: ignore[index]
    track = (
        f'<div class="sae-nb-fill{hollow}" style="left:{min(zero, end):.1f}%;'
        f'width:{abs(end - zero):.1f}%{colour}"></div>'
    )
    for name, style in (("control", "control"), ("exact", "before")):
        ticks = column[name]
        if ticks and ticks[row] is not None:  # type: ignore[index]
            at = percent(ticks[row])  # type: ignore[index]
            track += f'<div class="sae-nb-{style}" style="left:{at:.1f}%"></div>'
    tips = column["tips"]
    tip = escape(tips[row]) if tips else ""  # type: ignore[index]
    note = escape(column["notes"][row])  # type: ignore[index]
    longest = max(map(len, column["notes"]))  # type: ignore[call-overload]
    zero_line = '<div class="sae-nb-zero"></div>' if column["signed"] else ""
    return (
        f'<div class="sae-nb-paircell" style="--number-width:{longest + 1}ch" title="{tip}">'
        f'<div class="sae-nb-track">{zero_line}{track}'
        f'</div><div class="sae-nb-number">{note}</div></div>'
    )
