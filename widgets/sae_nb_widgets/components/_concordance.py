"""Concordance: examples of text under each other, the strongest token of each in one column."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import traitlets as t

from sae_nb.activations.tokens import CONTINUED, is_special
from sae_nb.figures import current_theme, theme, visible_token
from sae_nb.figures.shapes import Drawing, Label, Rectangle, Stroke, shortened, text_width
from sae_nb.figures.theme import escape, format_number
from sae_nb_widgets.components._base import TRACK, legend_drawing, one_of_rows, shade, tag_html
from sae_nb_widgets.components._scripts import script
from sae_nb_widgets.components._sheets import paragraph, stacked
from sae_nb_widgets.components._token_strip import TokenStrip

INSIDE, AFTER_SPACE, NO_SPACE = range(3)
"""Ways a token follows the one before: in the same word, after white space, or as a word without a space."""

LONGEST_WORD = 24
"""Letters after which tokens without white space count as another word."""

NARROWEST, WIDEST = 3.0, 14.0
"""Width of the middle column in times the size of its letters, at least and at most."""

ON_A_SIDE = 40
"""Words on each side that a line may show; the unfolded text has them all."""


class Concordance(TokenStrip):
    """Examples of text, one line each: the token where the atom fires most is in one column.

    Takes what a `TokenStrip` takes, in `show`. Left context ends at the column, right context begins there, and
    a line shows whole words only. The bar at the left is the example's maximum. A click, Enter or Space unfolds
    the whole text below its line, and folds it again; a click on a token there selects it.

    Examples
    --------
    >>> lines = Concordance(hint="1 of 727 texts")
    >>> lines.show([["They", " mar", "ried", " in", " May"]], [np.array([0, 1.0, 3.0, 0, 0])])
    >>> lines.words_of(0)
    (['They'], ['married'], ['in', 'May'])
    >>> lines.unfolded = 0
    """

    _esm = script("concordance")

    joins = t.Bytes(
        b"", help="One byte per token: inside a word, after a space, or without one."
    ).tag(sync=True)
    right_to_left = t.List(t.Bool(), help="Per row: is it written from the right?").tag(sync=True)
    focus_em = t.Float(NARROWEST, help="Width of the middle column, in times its letters.").tag(
        sync=True
    )
    unfolded = t.Int(-1, help="Row whose whole text is shown below it; -1 for none.").tag(sync=True)

    @t.observe("tokens", "peaks")
    def _split(self, _: t.Bunch) -> None:
        """Find the words of every row; `show` changes tokens and peaks together."""
        if len(self.peaks) != len(self.tokens):
            return
        joins = [joins_of(row, apart=self._apart) for row in self.tokens]
        with self.hold_sync():
            self.joins = bytes(join for row in joins for join in row)
            self.right_to_left = [_from_right(row) for row in self.tokens]
            self.unfolded = -1
            size = 100.0
            widths = [
                text_width("".join(self.words_of(row)[1]), size, bold=True) / size
                for row in range(len(self.tokens))
            ]
            self.focus_em = float(np.clip(max(widths, default=0) + 0.6, NARROWEST, WIDEST))

    @t.validate("unfolded")
    def _row_exists(self, proposal: t.Bunch) -> int:
        return one_of_rows(proposal, len(self.tokens))

    def words_of(self, row: int) -> tuple[list[str], list[str], list[str]]:
        """Return the words of a row before, at and after its strongest token."""
        parts = ([self._word(row, word) for word in part] for part in self._parts(row))
        before, focus, after = parts
        return before, focus, after

    def _parts(self, row: int) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
        """Return words as lists of tokens: before the focus, the focus itself, after it."""
        first = sum(map(len, self.tokens[:row]))
        words: list[list[int]] = []
        for token in range(len(self.tokens[row])):
            if words and self.joins[first + token] == INSIDE:
                words[-1].append(token)
            else:
                words.append([token])
        focus = self.peaks[row] if self.peaks[row] >= 0 else (len(self.tokens[row]) - 1) // 2
        at = next((i for i, word in enumerate(words) if focus in word), 0)
        return words[:at], words[at : at + 1], words[at + 1 :]

    def _word(self, row: int, word: Sequence[int]) -> str:
        return "".join(visible_token(self.tokens[row][token], bare=True) for token in word)

    def _spaced(self, row: int, word: Sequence[int]) -> bool:
        first = sum(map(len, self.tokens[:row]))
        return self.joins[first + word[0]] == AFTER_SPACE

    # --- without a script -------------------------------------------------------------------------

    def static_html(self) -> str:
        """Return the lines as escaped HTML; each unfolds without a script."""
        if not self.tokens:
            return self._empty_html()
        rows = "".join(self._line_html(i) for i in range(len(self.tokens)))
        return (
            f'<div class="sae-nb-component" role="group" aria-label="{escape(self.description)}">'
            f'<div class="sae-nb-kwic" style="--focus:{self.focus_em:.2f}em">{rows}</div>'
            f"{self._foot_html()}</div>"
        )

    def _foot_html(self) -> str:
        foot = super()._foot_html()
        return foot.replace("<span></span>", f"<span>{escape(self.hint)}</span>", 1)

    def _line_html(self, row: int) -> str:
        before, focus, after = self._parts(row)
        strength = self.strengths[row] if row < len(self.strengths) else self._largest(row)
        share = float(np.clip(np.nan_to_num(strength / self.maximum), 0, 1))
        caption = self.captions[row] if row < len(self.captions) else ""
        tip = f"{caption} · {format_number(strength)}" if caption else format_number(strength)
        side = ' dir="rtl"' if self.right_to_left[row] else ' dir="ltr"'
        cells = "".join(
            f'<span class="sae-nb-{name}"{side}>{self._cell_html(row, words)}</span>'
            for name, words in (
                ("preceding", before[::-1][:ON_A_SIDE]),
                ("focusword", focus),
                ("following", after[:ON_A_SIDE]),
            )
        )
        whole = "".join(self._token_html(row, token) for token in range(len(self.tokens[row])))
        return (
            f'<details class="sae-nb-kwicitem"{tag_html(self, row)}><summary class="sae-nb-kwicrow"{side} '
            f'title="{escape(tip)}"><span class="sae-nb-max" style="--s:{share:.3f}"></span>{cells}</summary>'
            f'<div class="sae-nb-text" dir="auto">{whole}</div></details>'
        )

    def _cell_html(self, row: int, words: Sequence[Sequence[int]]) -> str:
        return "".join(
            f'<span class="sae-nb-word{" sae-nb-spaced" * self._spaced(row, word)}">'
            f"{''.join(self._token_html(row, token, inside=True) for token in word)}</span>"
            for word in words
        )

    def _token_html(self, row: int, token: int, inside: bool = False) -> str:
        html = super()._token_html(row, token)
        if inside:  # the space between words is the style sheet's
            whole = escape(visible_token(self.tokens[row][token]))
            html = html.removesuffix(f">{whole}</span>")
            html += f">{escape(visible_token(self.tokens[row][token], bare=True))}</span>"
        return html

    def _largest(self, row: int) -> float:
        return float(np.nan_to_num(self._row_values(row)).max(initial=0.0))

    def drawing(self, width: float) -> Drawing:
        """Return the lines as strokes."""
        if not self.tokens:
            return paragraph(self.empty_text, width)
        rows = [self._line_drawing(row, width) for row in range(len(self.tokens))]
        hint = [paragraph(self.hint, width)] if self.hint else []
        legend = legend_drawing(self.maximum, width, self.unit, self.signed, self.tone)
        return stacked([*rows, *hint, *([] if self.bare else [legend])])

    def _line_drawing(self, row: int, width: float) -> Drawing:
        size = current_theme().font_px * 14 / 13
        high, gap = 2.2 * size, 0.3 * size
        middle = min(self.focus_em * size, 0.4 * width)
        side = (width - 14 - middle) / 2
        before, focus, after = self._parts(row)
        if self.right_to_left[row]:
            before, after = after[::-1], before[::-1]
        strength = self.strengths[row] if row < len(self.strengths) else self._largest(row)
        share = float(np.clip(np.nan_to_num(strength / self.maximum), 0, 1))
        bar = [
            Rectangle(0, 3, 3, high - 6, TRACK),
            Rectangle(0, 3 + (1 - share) * (high - 6), 3, share * (high - 6), theme.NEUTRAL),
        ]
        strokes: list[Stroke] = [*bar]
        x = 14 + side - gap
        for word in before[::-1]:
            wide = text_width(self._word(row, word), size)
            if x - wide < 14:
                break
            x -= wide
            strokes += self._word_strokes(row, word, x, size)
            x -= gap * self._spaced(row, word)
        wide = text_width("".join(self._word(row, word) for word in focus), size, bold=True)
        x = 14 + side + max(middle - wide, 0) / 2
        for word in focus:
            strokes += self._word_strokes(row, word, x, size, room=middle)
        x = 14 + side + middle + gap
        for word in after:
            x += gap * self._spaced(row, word)
            wide = text_width(self._word(row, word), size)
            if x + wide > width:
                break
            strokes += self._word_strokes(row, word, x, size)
            x += wide
        return Drawing(width, high, tuple(strokes))

    def _word_strokes(
        self, row: int, word: Sequence[int], x: float, size: float, room: float = 0.0
    ) -> list[Stroke]:
        strokes: list[Stroke] = []
        left = x
        for token in word:
            bold = room > 0 and self._bold(row, token)
            text = visible_token(self.tokens[row][token], bare=True)
            if room:
                text = shortened(text, size, max(room - (x - left), size))
            wide = text_width(text, size, bold)
            colour = shade(self.token_strength(row, token) / self.maximum, self.signed, self.tone)
            strokes.append(Rectangle(x, 0.35 * size, wide, 1.5 * size, colour))
            strokes.append(Label(x, 1.45 * size, text, "start", size, bold=bold))
            x += wide
        return strokes


def joins_of(tokens: Sequence[str], *, apart: bool = False) -> list[int]:
    """Return how each token follows the one before it.

    >>> joins_of(["They", " mar", "ried", "!"])
    [1, 1, 0, 0]
    >>> joins_of(["彼", "は"]), joins_of(["play", "##ed", "on"], apart=True)
    ([1, 2], [1, 0, 1])
    """
    joins: list[int] = []
    length = 0
    for i, token in enumerate(tokens):
        before = tokens[i - 1] if i else ""
        if token == CONTINUED and i:
            join = INSIDE
        elif not i or _begins_word(before, token, apart):
            join = AFTER_SPACE
        elif _wide(token) or length + len(token) > LONGEST_WORD:
            join = NO_SPACE
        else:
            join = INSIDE
        length = len(token) + length * (join == INSIDE)
        joins.append(join)
    return joins


def word_at(tokens: Sequence[str], place: int) -> str:
    """Return the whole word that a token is in.

    >>> word_at(["They", " mar", "ried", " in"], 2)
    'married'
    """
    return words_around(tokens, place)[1]


def words_around(tokens: Sequence[str], place: int) -> tuple[str, str, str]:
    """Return the whole word that a token is in, between what stands before and after it.

    >>> words_around(["They", " mar", "ried", " in", " May"], 2)
    ('They', 'married', 'in May')
    """
    joins = joins_of(tokens)
    first = max(i for i in range(place + 1) if i == 0 or joins[i] != INSIDE)
    last = next((i for i in range(place + 1, len(tokens)) if joins[i] != INSIDE), len(tokens))
    shown = [
        f"{' ' * (join == AFTER_SPACE)}{visible_token(token, bare=True)}"
        for token, join in zip(tokens, joins, strict=True)
    ]
    before, word, after = ("".join(x) for x in (shown[:first], shown[first:last], shown[last:]))
    return before.strip(), word.strip(), after.strip()


def _begins_word(before: str, token: str, apart: bool) -> bool:
    spaced = token[:1].isspace() or before[-1:].isspace()
    return (
        spaced or is_special(token) or is_special(before) or (apart and not token.startswith("##"))
    )


def _wide(token: str) -> bool:
    """Return whether a token is of a writing without spaces between its words."""
    return any(unicodedata.east_asian_width(letter) in "WF" for letter in token)


def _from_right(tokens: Sequence[str]) -> bool:
    """Return whether the first letter of a text with a direction is written from the right."""
    letters = (letter for token in tokens if not is_special(token) for letter in token)
    kinds = map(unicodedata.bidirectional, letters)
    return next((kind for kind in kinds if kind in ("L", "R", "AL")), "L") != "L"
