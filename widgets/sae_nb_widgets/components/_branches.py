"""Branches: how a text continues when an atom is turned up, untouched, and along random directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import traitlets as t
from jaxtyping import Float

from sae_nb.activations.tokens import is_special, texts_to_draw
from sae_nb.checks import one_of
from sae_nb.figures import current_theme, fade, theme, visible_token
from sae_nb.figures.shapes import Drawing, Label, Rectangle, Stroke, text_width
from sae_nb.figures.theme import escape, format_number
from sae_nb.generation import shared_beginning
from sae_nb_widgets.components._base import Component, common_maximum, shade
from sae_nb_widgets.components._concordance import INSIDE, joins_of
from sae_nb_widgets.components._scripts import script
from sae_nb_widgets.components._sheets import hstack, paragraph, stacked
from sae_nb_widgets.components._spread_characters import directed, gathered

KINDS = {
    "up": "turned up",
    "down": "turned down",
    "same": "untouched",
    "random": "random, same length",
}
"""Kinds of branches, each with its usual label."""

TINTED = {"up": theme.WARM, "down": theme.BLUE}
TINT_NOTE = "tinted: longer words and numbers that only this text has"


def pushed_note(word: str) -> str:
    """Return the line under ways on which the model is pushed from a word of the text before on.

    >>> pushed_note(" he").partition(" · ")[0]
    'push: from “he” on'
    """
    return f"push: from “{visible_token(word.strip())}” on · {TINT_NOTE}"


SPACE = " "
LONG_WORD = 4
"""Letters of the words that are tinted: shorter ones are mostly "the" and "on"."""

NAMES_PX = 120.0
"""Room for the labels at the left."""


@dataclass(frozen=True)
class Way:
    """One way in which a text continues."""

    kind: str
    """One of `KINDS`."""

    tokens: Sequence[str]
    label: str = ""
    """Text at the left; that of its kind when empty."""

    ended: bool = False
    """Whether nothing follows: others end in "…"."""

    marked: Sequence[bool] | None = None
    """Tokens whose words are tinted; None: words that the other ways and the text before lack."""


def words_of_its_own(tokens: Sequence[str], others: Sequence[Sequence[str]]) -> list[bool]:
    """Return which tokens belong to words of four letters and more, or numbers, that occur in none of the other
    texts, letter case aside.

    >>> words_of_its_own([" a", " film", " star", "."], [[" a", " star"], [" the"]])
    [False, True, False, False]
    """
    known = {word for other in others for word, _ in _words(other)}
    marked = [False] * len(tokens)
    for word, places in _words(tokens):
        for place in places:
            marked[place] = (len(word) >= LONG_WORD or word.isdigit()) and word not in known
    return marked


def whole_words(tokens: Sequence[str], marked: Sequence[bool]) -> list[bool]:
    """Return which tokens belong to words of which any token is marked.

    >>> whole_words([" S", "o", " it", "."], [True, False, False, True])
    [True, True, False, False]
    """
    whole = [False] * len(tokens)
    for _, places in _words(tokens):
        for place in places:
            whole[place] = any(marked[one] for one in places)
    return whole


def _words(tokens: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Return the words of a text without punctuation, each with its tokens."""
    words: list[list[int]] = []
    for place, join in enumerate(joins_of(list(tokens))):
        if join == INSIDE and words:
            words[-1].append(place)
        else:
            words.append([place])
    texts = ["".join(tokens[place] for place in word) for word in words]
    kept = ["".join(c for c in text.casefold() if c.isalnum()) for text in texts]
    return [
        (word, [p for p in places if any(map(str.isalnum, tokens[p]))])
        for word, places in zip(kept, words, strict=True)
    ]


class Branches(Component):
    """A text and the ways in which it continues, one under the other, in the order they are given.

    What all ways begin with stands once, after the text before, and the word at which they part is underlined.
    In rows turned up or down, words that the other rows and the text before lack are tinted. The text
    before is shaded by how strongly the atom fires at each token. A click on a token selects it: row 0 is
    the text before, then the branches; arrow keys move.

    Examples
    --------
    >>> branches = Branches(description="the text, three ways")
    >>> branches.show(["Last", " summer"], [Way("up", [" a", " film", " star"]),
    ...               Way("same", [" a", " star"]), Way("random", [" the"])], note="same seed")
    >>> branches.marked[0], branches.leaves
    ([False, True, False], 'after “summer”')
    >>> branches.selected = (1, 1)
    """

    _esm = script("branches")

    prompt = t.List(t.Unicode(), help="Tokens of the text before.").tag(sync=True)
    special = t.List(t.Bool(), help="Tokens that represent no text; they are not drawn.").tag(
        sync=True
    )
    strengths = t.Bytes(b"", help="float32 strength of each of them.").tag(sync=True)
    maximum = t.Float(1.0, help="Strength of the brightest colour.").tag(sync=True)
    unit = t.Unicode("", help="Unit of strengths.").tag(sync=True)
    kinds = t.List(t.Unicode(), help="What each branch is.").tag(sync=True)
    labels = t.List(t.Unicode(), help="Text at the left of each branch.").tag(sync=True)
    rows = t.List(t.List(t.Unicode()), help="Tokens of each branch.").tag(sync=True)
    marked = t.List(t.List(t.Bool()), help="Tinted tokens of each branch.").tag(sync=True)
    ended = t.List(t.Bool(), help="Branches after which nothing follows.").tag(sync=True)
    common = t.Int(0, help="Tokens with which all branches begin.").tag(sync=True)
    fork = t.Int(-1, help="Token of the text before after which they begin.").tag(sync=True)
    leaves = t.Unicode("", help="Where they part, in words.").tag(sync=True)
    earlier = t.List(t.Tuple(t.Unicode(), t.Unicode()), help="Earlier ways: what, and text.").tag(
        sync=True
    )
    abreast = t.Bool(False, help="The ways side by side, where there is room.").tag(sync=True)
    note = t.Unicode("", help="One quiet line below.").tag(sync=True)
    stale = t.Bool(False, help="Whether it no longer answers what is asked: dimmed.").tag(sync=True)
    selected = t.Tuple(
        t.Int(), t.Int(), default_value=(-1, -1), help="Row and token; -1 for none."
    ).tag(sync=True)

    def show(
        self,
        prompt: Sequence[str],
        rows: Sequence[Way] = (),
        *,
        strengths: Float[np.ndarray, " tokens"] | None = None,
        maximum: float | None = None,
        fork: int | None = None,
        earlier: Sequence[tuple[str, str]] = (),
        note: str = "",
        stale: bool = False,
    ) -> None:
        """Replace what is shown, in one message to the browser.

        Parameters
        ----------
        prompt
            Tokens of the text before.
        rows
            The ways it continues, in the order of their lines.
        strengths
            One per token of the prompt, NaN where nothing was read; None shades nothing.
        maximum
            Strength of the brightest colour; the largest shown when None.
        fork
            Token of the prompt after which the ways begin; None: the last.
        earlier
            Ways that the prompt took before, a line each: what was done, and what the others were.
        note
            One quiet line below.
        stale
            Whether it no longer answers what is asked: it is dimmed.

        Raises
        ------
        ValueError: If a row is of no known kind, or there is not one strength per token.
        """
        for row in rows:
            one_of(row.kind, KINDS, name="kind")
        before = texts_to_draw([str(token) for token in prompt])
        shades = np.zeros(len(before)) if strengths is None else np.asarray(strengths, np.float64)
        if len(shades) != len(before):
            raise ValueError(
                f"`strengths` must have one entry per token of the prompt ({len(before)}), got {len(shades)}."
            )
        shown = [texts_to_draw([str(token) for token in row.tokens]) for row in rows]
        last = len(before) - 1
        fork = last if fork is None else fork
        common = shared_beginning(shown) if len(rows) > 1 and fork == last else 0
        marked = []
        for i, row in enumerate(rows):
            others = [before, *(other for j, other in enumerate(shown) if j != i)]
            tinted = row.kind in TINTED and len(rows) > 1
            if row.marked is not None:
                marked.append(whole_words(shown[i], row.marked))
                continue
            marked.append(words_of_its_own(shown[i], others) if tinted else [False] * len(shown[i]))
        with self.hold_sync(), self.hold_trait_notifications():
            self.special = [is_special(token) for token in before]
            self.prompt = directed(before, self.special)
            self.strengths = gathered(before, shades).astype(np.float32).tobytes()
            self.maximum = common_maximum(shades, maximum)
            self.kinds = [row.kind for row in rows]
            self.labels = _labels(rows)
            self.rows, self.marked, self.common, self.fork = shown, marked, common, fork
            after = [*self.prompt[: fork + 1], *(shown[0][:common] if common else [])]
            self.leaves = _leaves(after, bool(earlier)) if len(rows) > 1 else ""
            self.earlier = [(str(what), str(text)) for what, text in earlier]
            self.ended = [row.ended for row in rows]
            self.note, self.stale = str(note), stale
            if not self._holds(*self.selected):
                self.selected = (-1, -1)

    def _holds(self, row: int, token: int) -> bool:
        lengths = [len(self.prompt), *map(len, self.rows)]
        return 0 <= row < len(lengths) and 0 <= token < lengths[row]

    @t.validate("selected")
    def _selected_exists(self, proposal: t.Bunch) -> tuple[int, int]:
        row, token = proposal["value"]
        if not self._holds(row, token) and (row, token) != (-1, -1):
            raise t.TraitError(
                f"`selected` must be (row, token) of a token shown, or (-1, -1); there are "
                f"{1 + len(self.rows)} rows, got {(row, token)}."
            )
        return row, token

    def static_html(self) -> str:
        """Return the texts as escaped HTML."""
        if not self.prompt and not self.rows:
            return self._empty_html()
        rows = "".join(
            f'<dt class="sae-nb-{self.kinds[i]}">{escape(self.labels[i])}</dt>'
            f'<dd class="sae-nb-way sae-nb-{self.kinds[i]}" dir="auto">{self._row_html(i)}</dd>'
            for i in range(len(self.rows))
        )
        earlier = "".join(
            f'<details class="sae-nb-earlier"><summary><b>{escape(what)}</b> {escape(text)}</summary></details>'
            for what, text in self.earlier
        )
        leaves = f'<p class="sae-nb-leaves">↳ {escape(self.leaves)}</p>' if self.leaves else ""
        note = f'<p class="sae-nb-note">{escape(self.note)}</p>' if self.note else ""
        stale = " sae-nb-abreast" * self.abreast + " sae-nb-stale" * self.stale
        return (
            f'<div class="sae-nb-component sae-nb-branches{stale}" role="group" '
            f'aria-label="{escape(self.description)}">{earlier}<p class="sae-nb-prompt" dir="auto">'
            f'{self._prompt_html()}</p>{leaves}<dl class="sae-nb-ways">{rows}</dl>{note}</div>'
        )

    def _prompt_html(self) -> str:
        values = np.frombuffer(self.strengths, np.float32).tolist()
        parts = []
        for i, (token, value, special) in enumerate(
            zip(self.prompt, values, self.special, strict=True)
        ):
            said = escape(self.absent) if np.isnan(value) else format_number(value, self.unit)
            tint = "" if np.isnan(value) else f"background-color:{shade(value / self.maximum)}"
            kind = " sae-nb-special" * special + self._place_class(i, self.common == 0)
            parts.append(
                f'<span class="sae-nb-token{kind}" data-row="0" title="{said}" style="{tint}">'
                f"{escape(_in_text(token))}</span>"
            )
        for j, token in enumerate(self.rows[0][: self.common] if self.rows else []):
            forks, (space, word) = " sae-nb-forks" * (j + 1 == self.common), _parted(token)
            parts.append(
                f'{space}<span class="sae-nb-token{forks}" data-row="1">{escape(_in_text(word))}</span>'
            )
        return "".join(parts) + " …" * (not self.rows)

    def _place_class(self, i: int, forks: bool) -> str:
        """Return how a token of the text before is marked: where the ways leave it, and what stands after."""
        if not self.leaves or i < self.fork:
            return ""
        return " sae-nb-forks" * forks if i == self.fork else " sae-nb-later"

    def _row_html(self, i: int) -> str:
        parts = []
        both = list(zip(self.rows[i], self.marked[i], strict=True))[self.common :]
        for j, (token, new) in enumerate(both):
            space, word = _parted(token)
            tag = "mark" if new else "span"
            shown = _in_text(word) if j else visible_token(word)
            parts.append(f"{space * (j > 0)}<{tag}>{escape(shown)}</{tag}>")
        return "".join(parts) + " …" * (not self.ended[i])

    def drawing(self, width: float) -> Drawing:
        """Return the texts as strokes: labels at the left, tinted words."""
        if not self.prompt and not self.rows:
            return paragraph(self.empty_text, width)
        size = current_theme().font_px * 15 / 13
        values = np.frombuffer(self.strengths, np.float32)
        tints = [shade(v / self.maximum) for v in np.nan_to_num(values).tolist()]
        shown = [(x, tint) for x, tint, no in zip(self.prompt, tints, self.special) if not no]
        shown += [(x, theme.CLEAR) for x in (self.rows[0][: self.common] if self.rows else [])]
        parts = [_flowing([x for x, _ in shown], [tint for _, tint in shown], width, size)]
        if self.leaves:
            parts.append(paragraph(f"↳ {self.leaves}", width))
        for i, row in enumerate(self.rows):
            hue, tokens = TINTED.get(self.kinds[i], theme.GREY), row[self.common :]
            tints = [
                fade(hue, 0.3) if new else theme.CLEAR for new in self.marked[i][self.common :]
            ]
            label = paragraph(self.labels[i], NAMES_PX)
            rest = [] if self.ended[i] else [" …"]
            room = width - NAMES_PX - 14
            text = _flowing([*tokens, *rest], [*tints, *[theme.CLEAR] * len(rest)], room, size)
            parts.append(hstack([label, text], gap=14))
        return stacked([*parts, *([paragraph(self.note, width)] if self.note else [])], gap=10)


def _labels(rows: Sequence[Way]) -> list[str]:
    """Return the text at the left of each row; several random ones are numbered."""
    labels = [row.label or KINDS[row.kind] for row in rows]
    drawn = [i for i, row in enumerate(rows) if row.kind == "random" and not row.label]
    for number, i in enumerate(drawn if len(drawn) > 1 else [], start=1):
        labels[i] = labels[i].replace(",", f" {number},")
    return labels


def _leaves(tokens: Sequence[str], above: bool) -> str:
    """Return after which word the ways part; `above`: the text before has a push in it already."""
    words = "".join(map(_in_text, tokens)).split()
    after = " and ".join(["the text above"] * above + [f"“{word}”" for word in words[-1:]])
    return after and f"after {after}"


def _in_text(token: str) -> str:
    """Return a token inside a text, where one space is a space."""
    return visible_token(token) if token != SPACE else token


def _parted(token: str) -> tuple[str, str]:
    """Return the spaces before a word, and the word; white space alone is one."""
    word = token.lstrip(" ")
    return (token[: len(token) - len(word)], word) if word.strip() else ("", token)


def _flowing(tokens: Sequence[str], tints: Sequence[str], width: float, size: float) -> Drawing:
    """Return tokens in lines, each on its tint."""
    strokes: list[Stroke] = []
    x = y = 0.0
    for token, tint in zip(tokens, tints, strict=True):
        text = visible_token(token)
        wide = text_width(text, size)
        if x and x + wide > width:
            x, y = 0.0, y + 1.6 * size
            text = text.lstrip()
            wide = text_width(text, size)
        strokes.append(Rectangle(x, y + 2, wide, 1.6 * size - 4, tint))
        strokes.append(Label(x, y + 1.15 * size, text, "start", size))
        x += wide
    return Drawing(width, y + 1.7 * size, tuple(strokes))
