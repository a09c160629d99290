"""TokenStrip: rows of tokens shaded by strength, in the reading direction of the text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import traitlets as t
from jaxtyping import Float

from sae_nb.activations.tokens import CONTINUED, texts_to_draw
from sae_nb.figures import current_theme, theme, visible_token
from sae_nb.figures.shapes import Drawing, Label, Rectangle, Stroke, shortened, text_width
from sae_nb.figures.theme import css_colour, escape, format_number, heat_colour
from sae_nb_widgets.components._base import (
    Component,
    bar_html,
    bar_strokes,
    common_maximum,
    legend_drawing,
    legend_html,
    shade,
)
from sae_nb_widgets.components._scripts import script
from sae_nb_widgets.components._sheets import paragraph, stacked
from sae_nb_widgets.components._spread_characters import directed, gathered

TEN = 10
"""Letters of a sequence that are drawn together."""

BLACK_FROM = 0.58
"""Opacity of the strength's hue from which black is easier to read than white on a dark page too."""


class TokenStrip(Component):
    """Texts as rows of shaded tokens; hover a token to read its strength, click to select it.

    Tokens are data: in the browser they are written as text nodes, in exported HTML they are
    escaped. A character cut into several tokens is written whole where it begins, with the largest
    strength of its tokens. NaN marks a token that was not captured; it is shown unshaded. Sequences that
    are written letter by letter, such as residues, are drawn in tens, each below the number of its last.

    Examples
    --------
    >>> strip = TokenStrip()
    >>> strip.show([["a", " cat"]], [np.array([0.0, 2.0])], captions=["sample 0"])
    >>> strip.selected = (0, 1)
    >>> strip.token_strength(0, 1)
    2.0
    """

    _esm = script("token_strip")

    tokens = t.List(t.List(t.Unicode()), help="Rows of token texts.").tag(sync=True)
    token_strengths = t.Bytes(b"", help="float32 strength of every token, row after row.").tag(
        sync=True
    )
    special = t.Bytes(b"", help="One byte per token: 1 for special tokens.").tag(sync=True)
    captions = t.List(t.Unicode(), help="Caption of each row.").tag(sync=True)
    strengths = t.List(t.Float(), help="Length of the bar next to each row.").tag(sync=True)
    peaks = t.List(t.Int(), help="Token drawn bold in each row; -1 for none.").tag(sync=True)
    clipped = t.List(help="Per row: is text left out before, after?").tag(sync=True)
    first_positions = t.List(t.Int(), help="Position in its sample of each row's first token.").tag(
        sync=True
    )
    numbers = t.List(
        t.List(t.Int()), help="Number of each letter, where rows are sequences of letters; 0: none."
    ).tag(sync=True)
    place = t.Unicode("token", help="Word for such a letter.").tag(sync=True)
    maximum = t.Float(1.0, help="Strength of the brightest colour.").tag(sync=True)
    unit = t.Unicode("", help="Unit written in the legend.").tag(sync=True)
    signed = t.Bool(False, help="Shade blue below zero, orange above.").tag(sync=True)
    tone = t.Enum(tuple(theme.TONES), "strength", help="What shades without a sign mean.").tag(
        sync=True
    )
    bare = t.Bool(False, help="Leave out the read-out and the legend.").tag(sync=True)
    buttons = t.List(
        t.Tuple(t.Unicode(), t.Enum(("", "good", "bad")), t.Unicode()),
        help="Each row as a button: its words, which answer it was, its name. Empty: no buttons.",
    ).tag(sync=True)
    hint = t.Unicode("", help="Said in the read-out while nothing is hovered.").tag(sync=True)
    selected = t.Tuple(
        t.Int(), t.Int(), default_value=(-1, -1), help="Row and token; -1 for none."
    ).tag(sync=True)

    def show(
        self,
        tokens: Sequence[Sequence[str]],
        token_strengths: Sequence[Float[np.ndarray, " tokens"]] | None = None,
        *,
        special: Sequence[Sequence[bool]] | None = None,
        captions: Sequence[str] = (),
        strengths: Sequence[float] = (),
        peaks: Sequence[int] | None = None,
        clipped: Sequence[tuple[bool, bool]] = (),
        first_positions: Sequence[int] = (),
        numbers: Sequence[Sequence[int]] = (),
        maximum: float | None = None,
        atoms: Sequence[int] = (),
    ) -> None:
        """Replace what is shown, in one message to the browser.

        Parameters
        ----------
        tokens
            Rows of token texts, white space included.
        token_strengths
            One array per row; NaN where no activation was captured. None shades nothing.
        special
            True at special tokens; they are drawn quietly.
        captions, strengths
            Text and bar next to each row; both may be left out.
        peaks
            Token drawn bold in each row; the strongest when None.
        clipped
            Whether text was left out before and after each row.
        first_positions
            Position in its sample of each row's first token, for the read-out.
        numbers
            Number of every letter in a sequence that is written letter by letter, 0 at other tokens; empty:
            texts.
        maximum
            Strength of the brightest colour; the largest shown when None.
        atoms
            Atom of each row, if it is of one.

        Raises
        ------
        ValueError: If a row of strengths, special marks or numbers has not one entry per token.
        """
        rows = [texts_to_draw([str(token) for token in row]) for row in tokens]
        counted = [[int(n) for n in row] for row in numbers]
        if any(counted):
            _rows_of(counted, rows, "numbers", 0.0)
            rows = [[token.strip() for token in row] for row in rows]
        shades = _rows_of(token_strengths, rows, "token_strengths", 0.0)
        shades = [gathered(row, values) for row, values in zip(rows, shades, strict=True)]
        marks = _rows_of(special, rows, "special", 0.0)
        rows = [directed(row, mark.astype(bool).tolist()) for row, mark in zip(rows, marks)]
        flat = np.concatenate([*shades, np.zeros(0)])
        tops = [_peak(row) for row in shades] if peaks is None else [int(p) for p in peaks]
        with self.hold_sync(), self.hold_trait_notifications():
            self.tokens = rows
            self.token_strengths = flat.astype(np.float32).tobytes()
            self.special = np.concatenate([*marks, np.zeros(0)]).astype(np.uint8).tobytes()
            self.atoms = [int(atom) for atom in atoms]
            self.captions = [str(c) for c in captions]
            self.strengths = [float(s) for s in strengths]
            self.peaks = tops
            self.clipped = [[bool(a), bool(b)] for a, b in clipped]
            self.first_positions = [int(p) for p in first_positions]
            self.numbers = counted if any(counted) else []
            self.maximum = common_maximum(flat, maximum)
            self.selected = (-1, -1)

    def token_strength(self, row: int, token: int) -> float:
        """Return the strength of a token, as hovering shows it."""
        return float(self._row_values(row)[token])

    def _row_values(self, row: int) -> Float[np.ndarray, " tokens"]:
        start = sum(len(r) for r in self.tokens[:row])
        flat = np.frombuffer(self.token_strengths, np.float32)
        return flat[start : start + len(self.tokens[row])]

    @t.validate("selected")
    def _selected_exists(self, proposal: t.Bunch) -> tuple[int, int]:
        row, token = proposal["value"]
        inside = 0 <= row < len(self.tokens) and 0 <= token < len(self.tokens[row])
        if not inside and (row, token) != (-1, -1):
            raise t.TraitError(
                f"`selected` must be (row, token) of a token shown, or (-1, -1); there are "
                f"{len(self.tokens)} rows, got {(row, token)}."
            )
        return row, token

    def static_html(self) -> str:
        """Return the rows as escaped HTML with titles on the tokens."""
        if not self.tokens:
            return self._empty_html()
        rows = "".join(self._row_html(i) for i in range(len(self.tokens)))
        return (
            f'<div class="sae-nb-component" role="group" aria-label="{escape(self.description)}">'
            f'<div class="sae-nb-strip{" sae-nb-apart" * self._apart}">{rows}</div>{self._foot_html()}</div>'
        )

    @property
    def _apart(self) -> bool:
        """Whether no token brings the space before it: words of such a tokenizer would run together."""
        later = [token for row in self.tokens for token in row[1:]]
        return not self.numbers and bool(later) and not any(token[:1].isspace() for token in later)

    def drawing(self, width: float) -> Drawing:
        """Return the rows as strokes: captions and bars at the left, shaded tokens at the right."""
        if not self.tokens:
            return paragraph(self.empty_text, width)
        rows = [self._row_drawing(row, width) for row in range(len(self.tokens))]
        legend = legend_drawing(self.maximum, width, self.unit, self.signed, self.tone)
        return stacked(rows if self.bare else [*rows, legend])

    def _row_drawing(self, row: int, width: float) -> Drawing:
        size = current_theme().font_px
        named = row < len(self.captions) and bool(self.captions[row])
        barred = row < len(self.strengths)
        side = 106.0 if named or barred else 0.0
        strokes: list[Stroke] = []
        if named:
            strokes.append(Label(0, size, shortened(self.captions[row], size, 96), "start", size))
        if barred:
            strength = self.strengths[row]
            strokes += bar_strokes(0, 1.35 * size, 96, strength / self.maximum)
            strokes.append(Label(0, 2.6 * size, format_number(strength), "start", size))
        before, after = self.clipped[row] if row < len(self.clipped) else (False, False)
        above = size if self.numbers else 0.0  # of the numbers of tens
        x, y, high = side, 0.0, 1.6 * size + above
        for group in [[-1]] * before + self._groups(row) + [[-2]] * after:
            wides = [self._width(row, place, size) for place in group]
            if x > side and x + sum(wides) > width:
                x, y = side, y + high
            for place, wide in zip(group, wides, strict=True):
                strokes += self._token_strokes(row, place, (x, y + above), wide, size)
                x += wide
            if number := self._ends_ten(row, group[-1]):
                strokes.append(Label(x, y + 0.9 * size, str(number), "end", 0.8 * size))
            x += size if self._number(row, group[-1]) else 0
        return Drawing(width, max(y + high, 2.9 * size if barred else high), tuple(strokes))

    def _width(self, row: int, place: int, size: float) -> float:
        text = self._text(row, place)
        wide = text_width(text, size, self._bold(row, place))
        return max(wide, text_width("W", size)) if self._number(row, place) else wide

    def _text(self, row: int, place: int) -> str:
        return {-1: "… ", -2: " …"}.get(place) or visible_token(self.tokens[row][place])

    def _bold(self, row: int, place: int) -> bool:
        return place >= 0 and self.peaks[row] == place

    def _token_strokes(
        self, row: int, place: int, at: tuple[float, float], wide: float, size: float
    ) -> list[Stroke]:
        (x, y), text = at, self._text(row, place)
        label = Label(x, y + 1.1 * size, text, "start", size, bold=self._bold(row, place))
        if place < 0:
            return [label]
        colour = shade(self.token_strength(row, place) / self.maximum, self.signed, self.tone)
        return [Rectangle(x, y + 2, wide, 1.6 * size - 4, colour), label]

    def _number(self, row: int, token: int) -> int:
        """Number of a letter; 0 where it is none."""
        return self.numbers[row][token] if self.numbers and token >= 0 else 0

    def _ends_ten(self, row: int, token: int) -> int:
        number = self._number(row, token)
        return number if number % TEN == 0 else 0

    def _groups(self, row: int) -> list[list[int]]:
        """Return the tokens of a row: letters of one ten together, others alone."""
        groups: list[list[int]] = []
        for token in range(len(self.tokens[row])):
            number = self._number(row, token)
            follows = number % TEN != 1 and groups and self._number(row, groups[-1][-1])
            if number and follows:
                groups[-1].append(token)
            else:
                groups.append([token])
        return groups

    def _foot_html(self) -> str:
        if self.bare:
            return ""
        coloured = np.nan_to_num(np.frombuffer(self.token_strengths, np.float32)).any()
        legend = ""
        if coloured:
            legend = legend_html(self.maximum, self.unit, self.signed, self.tone)
        return f'<div class="sae-nb-foot"><span></span>{legend}</div>'

    def _row_html(self, row: int) -> str:
        caption = escape(self.captions[row]) if row < len(self.captions) else ""
        side = f'<div class="sae-nb-caption" title="{caption}">{caption}</div>'
        if row < len(self.strengths):
            number = format_number(self.strengths[row])
            side += bar_html(self.strengths[row], self.maximum)
            side += f'<div class="sae-nb-number">{number}</div>'
        before, after = self.clipped[row] if row < len(self.clipped) else (False, False)
        text = "".join(self._group_html(row, group) for group in self._groups(row))
        alone = not caption and row >= len(self.strengths)
        kind, side = (
            (" sae-nb-alone", "") if alone else ("", f'<div class="sae-nb-side">{side}</div>')
        )
        kind += " sae-nb-named" * (row < len(self.atoms))
        return (
            f'<div class="sae-nb-row{kind}">{side}'
            f'<div class="sae-nb-text" dir="auto">{"… " if before else ""}{text}'
            f"{' …' if after else ''}</div></div>"
        )

    def _group_html(self, row: int, group: Sequence[int]) -> str:
        text = "".join(self._token_html(row, token) for token in group)
        if not self._number(row, group[0]):
            return text
        number = self._ends_ten(row, group[-1])
        return f'<span class="sae-nb-ten" data-number="{number or ""}">{text}</span>'

    def _place_name(self, row: int, token: int) -> str:
        if number := self._number(row, token):
            return f"{self.place} {escape(self.tokens[row][token])}{number}"
        return (
            f"token {token + (self.first_positions[row] if row < len(self.first_positions) else 0)}"
        )

    def _token_html(self, row: int, token: int) -> str:
        value = self.token_strength(row, token)
        special = self.special[sum(len(r) for r in self.tokens[:row]) + token]
        classes = ["sae-nb-token"]
        classes += ["sae-nb-special"] if special else []
        classes += ["sae-nb-continued"] if self.tokens[row][token] == CONTINUED else []
        classes += ["sae-nb-peak"] if self.peaks[row] == token else []
        classes += ["sae-nb-selected"] if self.selected == (row, token) else []
        shown = escape(self.absent) if np.isnan(value) else format_number(value)
        style = "" if np.isnan(value) else _heat_css(value / self.maximum, self.signed, self.tone)
        return (
            f'<span class="{" ".join(classes)}" title="{self._place_name(row, token)}: {shown}"{style}>'
            f"{escape(visible_token(self.tokens[row][token]))}</span>"
        )


def _heat_css(share: float, signed: bool, tone: str) -> str:
    """Heat behind a token as an attribute; its ink is black where a light one would be hard to read."""
    *rgb, opacity = heat_colour(share, signed, tone)
    if not opacity:
        return ""
    ink = f";color:{theme.BLACK}" if opacity > BLACK_FROM and not signed else ""
    return f' style="background-color:{css_colour(rgb, opacity)}{ink}"'


def _rows_of(
    given: Sequence[Sequence[float]] | Sequence[Float[np.ndarray, " tokens"]] | None,
    rows: list[list[str]],
    name: str,
    missing: float,
) -> list[Float[np.ndarray, " tokens"]]:
    if given is None:
        return [np.full(len(row), missing) for row in rows]
    lengths, wanted = [len(g) for g in given], [len(row) for row in rows]
    if lengths != wanted:
        raise ValueError(
            f"`{name}` must have one entry per token: rows of {wanted} tokens, got {lengths}."
        )
    return [np.asarray(g, dtype=np.float64) for g in given]


def _peak(strengths: Float[np.ndarray, " tokens"]) -> int:
    if not strengths.size or not np.nan_to_num(strengths).max(initial=0.0) > 0:
        return -1
    return int(np.nanargmax(strengths))
