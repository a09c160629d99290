"""PairedBars: rows with two bars each, such as how strongly an atom fired and how much it mattered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import traitlets as t

from sae_nb.figures import current_theme, fade, theme
from sae_nb.figures.shapes import Drawing, Label, Polyline, Rectangle, Stroke, legend, text_width
from sae_nb.figures.theme import css_colour, escape, format_number
from sae_nb_widgets.components._base import (
    TRACK,
    Component,
    float_list,
    icon_html,
    label_strokes,
    one_of_rows,
    tag_html,
    tick_strokes,
    title_drawing,
)
from sae_nb_widgets.components._scripts import script
from sae_nb_widgets.components._sheets import hstack, paragraph, random_tick, solid_tick, stacked

NEGATIVE, POSITIVE = (css_colour(theme.SIGNED[end]) for end in (0, -1))
MARKS = ("", "control", "before", "above", "below", "hollow")
"""Nothing, the dashed tick, the solid one, a bar above zero, one below it, an outlined one."""

PAIRED = "sae-nb-paired"
"""Class of a list of rows whose columns have heads."""

HOLLOW_PX = 2
"""Line of an outlined bar, as in the style sheet."""

BAND = fade(theme.CONTROL, 0.6)
"""Colour of random controls in a picture."""


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

    bands: Sequence[Sequence[float]] = ()
    """Least, median and most of random controls, drawn as a grey band; () for none."""

    colours: Sequence[str] = ()
    """CSS colour of each bar, neutral where empty, in place of the colours of a sign."""


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
    columns = t.List(t.Dict(), help="Titles, values, notes and ticks of the columns.").tag(
        sync=True
    )
    key = t.List(help="What the marks mean: pairs of a mark of `MARKS` and its words.").tag(
        sync=True
    )
    selected = t.Int(-1, help="Index of the row chosen; -1 for none.").tag(sync=True)
    hovered = t.Int(-1, help="Index of the row pointed at; -1 for none.").tag(sync=True)
    look = t.Unicode(PAIRED, help="Classes of the list: columns with heads, or bars alone.").tag(
        sync=True
    )

    @property
    def _alone(self) -> bool:
        return bool(self.look != PAIRED)

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
        return one_of_rows(proposal, len(self.labels))

    def static_html(self) -> str:
        """Return the bars as escaped HTML."""
        if not self.labels and not self._alone:
            return self._empty_html()
        rows = "".join(self._row_html(i) for i in range(len(self.labels)))
        heads = [self.description, *(column["title"] for column in self.columns)]
        titles = "".join(f'<div class="sae-nb-cardtitle">{escape(head)}</div>' for head in heads)
        if not self._alone:
            head = f'<div class="sae-nb-pairrow sae-nb-pairhead">{titles}</div>'
            style = f' sae-nb-of{len(self.columns)}"'
            return (
                f'<div class="sae-nb-component"><div class="{self.look}{style}>{head}{rows}</div>'
                f"{self._key_html()}</div>"
            )
        title = f'<div class="sae-nb-cardtitle">{escape(self.description)}</div>'
        title = title if self.description else ""
        if not rows:
            return f'<div class="sae-nb-component">{title}{self._empty_html()}</div>'
        width = max(3, *map(len, self.columns[0]["notes"]))
        return (
            f'<div class="sae-nb-component">{title}'
            f'<div class="{self.look}" style="--number-width:{width}ch">{rows}</div></div>'
        )

    def _key_html(self) -> str:
        entries = "".join(
            f'<span class="sae-nb-keypart">{_mark_html(mark)}{escape(words)}</span>'
            for mark, words in self.key
        )
        return f'<div class="sae-nb-key">{entries}</div>' if entries else ""

    def drawing(self, width: float) -> Drawing:
        """Return the rows as strokes, with a key of the ticks that are drawn."""
        title = title_drawing(self.description, width)
        if not self.labels:
            empty = paragraph(self.empty_text, width)
            return stacked([title, empty], gap=4) if self._alone else empty
        size = current_theme().font_px
        share, gap, free = (0.45, 0, 8) if self._alone else (0.34, 10, 4)
        icon = 1.3 * size + 4 if any(self.icons) else 0
        names = min(share * width, 10 + icon + max(text_width(x, size) for x in self.labels))
        column = (width - names - gap * len(self.columns)) / max(len(self.columns), 1)
        heads = [(self.description, names), *((str(c["title"]), column) for c in self.columns)]
        if not self._alone:
            title = hstack([title_drawing(text, wide) for text, wide in heads], gap=gap)
        labels = [
            stroke
            for i, label in enumerate(self.labels)
            for stroke in label_strokes(self, i, label, i * 1.5 * size, names - free)
        ]
        high = 1.5 * size * len(self.labels)
        parts = [Drawing(names, high, tuple(labels))]
        parts += [_column_drawing(c, column, len(self.labels)) for c in self.columns]
        return stacked([title, hstack(parts, gap=gap), legend(self._marks(), width)], gap=4)

    def _marks(self) -> list[tuple[Stroke, str]]:
        """Marks of the key of a picture, and what they mean."""
        return [(_mark_stroke(mark), words) for mark, words in self.key]

    def _row_html(self, row: int) -> str:
        chosen = " sae-nb-selected" if self.selected == row else ""
        label = escape(self.labels[row])
        named = f"{icon_html(self, row)}{label}</div>"
        if self._alone:
            tip = escape(" · ".join((self.labels[row], self.columns[0]["tips"][row])))
            return (
                f'<div class="sae-nb-barrow{chosen}"{tag_html(self, row)} title="{tip}">'
                f'<div class="sae-nb-label" dir="auto">{named}{_bar_html(self.columns[0], row)}</div>'
            )
        cells = "".join(_cell_html(column, row) for column in self.columns)
        return (
            f'<div class="sae-nb-pairrow{chosen}"{tag_html(self, row)}><div class="sae-nb-label" dir="auto" '
            f'title="{label}">{named}{cells}</div>'
        )


def _mark_stroke(mark: str) -> Stroke:
    """Return the mark of an entry of the key; nothing if the words have none."""
    if mark == "hollow":
        return _bar(2, 0, 12, theme.NEUTRAL, hollow=True)
    if mark == "control":
        return random_tick()
    if mark == "before":
        return solid_tick()
    return Rectangle(2, 0, 12, 12, {"above": POSITIVE, "below": NEGATIVE}.get(mark, theme.CLEAR))


def _mark_html(mark: str) -> str:
    colour = {"above": POSITIVE, "below": NEGATIVE}.get(mark, "")
    style = f' style="background:{colour}"' if colour else ""
    return f'<span class="sae-nb-keymark sae-nb-key-{mark}"{style}></span>' if mark else ""


def _plain(column: Column, n: int) -> dict[str, Any]:
    given = {
        name: getattr(column, name)
        for name in ("values", "notes", "control", "exact", "tips", "hollow", "bands", "colours")
    }
    for name, entries in given.items():
        if len(entries) != n and (len(entries) or name == "values"):
            raise ValueError(
                f"`{name}` of {column.title!r} must have one entry per label ({n}), got {len(entries)}."
            )
    numbers = {name: float_list(given[name]) for name in ("values", "control", "exact")}
    bands = [list(map(float, band)) for band in column.bands] or [[]] * n
    scaled: list[Sequence[float | None]] = [*numbers.values(), *bands]
    known = [abs(v) for values in scaled for v in values if v is not None]
    top = column.maximum or max(known, default=0.0) or 1.0
    notes = [str(note) for note in column.notes] or [format_number(v) for v in numbers["values"]]
    words = {"notes": notes, "tips": [str(tip) for tip in column.tips]}
    hollow = [bool(one) for one in column.hollow] or [False] * n
    by_sign = [NEGATIVE if (v or 0) < 0 else POSITIVE for v in numbers["values"]]
    colours = [str(one) for one in column.colours] or (by_sign if column.signed else [""] * n)
    look = {"signed": column.signed, "maximum": top, "hollow": hollow, "colours": colours}
    look["zero"] = column.signed and not column.colours
    return {"title": column.title, **look, **numbers, "bands": bands, **words}


def _share(column: dict[str, Any], value: float | None) -> float:
    """Place of a value on its track, 0 to 1."""
    low = -1.0 if column["signed"] else 0.0
    return float(np.clip(((value or 0.0) / column["maximum"] - low) / (1 - low), 0, 1))


def _column_drawing(column: dict[str, Any], width: float, rows: int) -> Drawing:
    """Bars, ticks and numbers of one column."""
    size = current_theme().font_px
    long = max(width - 10 - max(text_width(note, size) for note in column["notes"]), 20)

    def place(value: float | None) -> float:
        return long * _share(column, value)

    strokes: list[Stroke] = []
    for i in range(rows):
        y = 1.5 * size * i
        strokes.append(Rectangle(0, y + 3, long, 12, TRACK))
        zero, end = place(0.0), place(column["values"][i])
        colour = column["colours"][i] or theme.NEUTRAL
        strokes.append(_bar(min(zero, end), y + 3, abs(end - zero), colour, column["hollow"][i]))
        if column["zero"]:
            strokes.append(Polyline([(zero, y + 3), (zero, y + 15)], theme.AXIS, 1))
        if band := column["bands"][i]:
            low, middle, high = map(place, band)
            strokes.append(Rectangle(low, y + 6, high - low, 6, BAND))
            strokes += tick_strokes(middle, y + 4, 10, False)
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


def _bar_html(column: dict[str, Any], row: int) -> str:
    """The track of a bar with what lies on it, and its number."""

    def at(value: float | None) -> str:
        return f"left:{100 * _share(column, value):.1f}%"

    zero, end = (100 * _share(column, value) for value in (0.0, column["values"][row]))
    colour, band = column["colours"][row], column["bands"][row]
    fill = f";--fill:{escape(colour)}" if colour else ""
    hollow = " sae-nb-hollow" if column["hollow"][row] else ""
    track = '<div class="sae-nb-zero"></div>' if column["zero"] else ""
    track += (
        f'<div class="sae-nb-fill{hollow}" style="left:{min(zero, end):.1f}%;'
        f'width:{abs(end - zero):.1f}%{fill}"></div>'
    )
    if band:
        wide = 100 * (_share(column, band[2]) - _share(column, band[0]))
        track += f'<div class="sae-nb-band" style="{at(band[0])};width:{wide:.1f}%"></div>'
        track += f'<div class="sae-nb-median" style="{at(band[1])}"></div>'
    for name, style in (("control", "control"), ("exact", "before")):
        if column[name] and column[name][row] is not None:
            track += f'<div class="sae-nb-{style}" style="{at(column[name][row])}"></div>'
    number = f'<div class="sae-nb-number">{escape(column["notes"][row])}</div>'
    return f'<div class="sae-nb-track">{track}</div>{number}'


def _cell_html(column: dict[str, Any], row: int) -> str:
    tip = escape(column["tips"][row]) if column["tips"] else ""
    longest = max(map(len, column["notes"]))
    return (
        f'<div class="sae-nb-paircell" style="--number-width:{longest + 1}ch" title="{tip}">'
        f"{_bar_html(column, row)}</div>"
    )
