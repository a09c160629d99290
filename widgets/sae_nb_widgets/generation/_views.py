"""The views of a GenerationLens: the text, strips of pinned atoms, newest tokens, one token, its
explanation, branches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import ipywidgets as ipw
import numpy as np
from jaxtyping import Float, Int

from sae_nb.activations.tokens import is_special
from sae_nb.corpora import BaseRate, InputSummary
from sae_nb.figures import quoted_token
from sae_nb.figures.theme import escape, format_number
from sae_nb.generation import Branch, Continuation, Generation, Written
from sae_nb_widgets.components import Branches, PairedBars, TokenStrip
from sae_nb_widgets.components._branches import TINT_NOTE, Way
from sae_nb_widgets.components._picture_grid import StillGrid, of_one_grid
from sae_nb_widgets.components._row_table import RowTable
from sae_nb_widgets.generation import _words as words
from sae_nb_widgets.generation._margin import Margin
from sae_nb_widgets.generation._meter import MeterStrip
from sae_nb_widgets.generation._queries import Ways
from sae_nb_widgets.input_lens._figure import columns_of, key_of, shown_atoms
from sae_nb_widgets.panel._declaring import show
from sae_nb_widgets.steering._scale import StrengthScale
from sae_nb_widgets.steering._words import WORDS, push_words

if TYPE_CHECKING:
    from sae_nb.atoms import AtomNames

EMPTY = "Type a prompt above: at least one word."
IMAGE_HINT = "Hover: strength at this patch. Click: atoms active there."
PINS_HINT = "Pinned atoms, token by token."
COMING = [Way(kind, []) for kind in ("up", "same", *["random"] * Continuation.N_RANDOM)]
"""The room of texts that are not written yet."""

LOG_ROWS, PINNED_TOKENS, WHY_ROWS, HERE_ROWS = 5, 40, 5, 6

Strengths = Float[np.ndarray, "*tokens"]
Found = Sequence[tuple[int, float]]


def strong_and_rare(
    codes: tuple[Int[np.ndarray, " active"], Float[np.ndarray, " active"]],
    n: int,
    *,
    p99: Float[np.ndarray, " n_atoms"] | None = None,
    frequency: Float[np.ndarray, " n_atoms"] | None = None,
) -> list[tuple[int, float]]:
    """Return the first `n` atoms of a token and their strengths, first what is strong and rare.

    By (|z| / p99)·(−ln f), f how often the atom fires elsewhere: the surprise that it fires at all, and
    more of it where it does so strongly. An atom that fires everywhere has no surprise. Unknown values
    count as 1.
    """
    atoms, values = codes
    size = np.abs(values).astype(np.float64)
    if p99 is not None:
        usual = p99[atoms]
        size = size / np.where(usual > 0, usual, size.max(initial=1.0))
    if frequency is not None:
        size = size * -np.log(frequency[atoms])
    order = np.argsort(-size, kind="stable")[:n]
    return [(int(atoms[i]), float(values[i])) for i in order]


@dataclass(frozen=True, kw_only=True, eq=False)
class Now:
    """The state on screen: text, token, atoms, and what is known of them elsewhere."""

    generation: Generation
    branch: int
    token: int
    """−1 follows the newest."""

    atom: int
    pinned: Sequence[int]
    n_named: int
    names: AtomNames
    scale: StrengthScale
    base: BaseRate | None
    strengths: Sequence[tuple[float, str]]
    """Amount that each branch adds, as it was chosen."""

    ways: Ways | None
    """Continuations of the text from the token shown, as far as they are written."""

    fresh: bool
    """Whether that is of the atom and the strength shown."""

    coming: bool
    """Whether continuations will be written from the token shown."""

    @property
    def shown(self) -> Branch:
        """The branch."""
        return self.generation.branches[self.branch]

    @property
    def text(self) -> Written:
        """Its text."""
        return self.shown.text

    @property
    def tokens(self) -> list[str]:
        """The text's tokens."""
        return self.generation.tokens(self.branch)

    @property
    def runs(self) -> dict[int, range]:
        """The positions of the patches of each image in the prompt."""
        placed = self.generation.images
        return {} if placed is None else {i: placed.patches(i) for i in placed.of_sample(0)}

    def whole(self, tokens: Sequence[str]) -> list[str]:
        """Return a text's tokens, in which each image is one."""
        placed = self.generation.images
        return list(tokens) if placed is None else placed.one_token_each(tokens)

    @property
    def place(self) -> int:
        """The token that is chosen, or the newest."""
        return len(self.text.ids) - 1 if self.token < 0 else self.token

    @property
    def start(self) -> int:
        """Number of tokens that stand before the rows: the prompt, the text up to the fork, or all of it."""
        fork = self.shown.fork
        if self.ways is not None:
            return len(self.text.ids)
        return self.generation.n_prompt if fork is None else fork.position + 1

    @property
    def n_new(self) -> int:
        """Number of tokens after those, in the longest row."""
        return self.shown.n_tokens - self.start

    @property
    def unit(self) -> str:
        """Unit of strengths; empty if the usual strengths of atoms are unknown."""
        return "" if self.scale.sizes is None else self.scale.measured.words

    def share(self, atom: int, strengths: Strengths) -> Strengths:
        """Return strengths as shares of the atom's 99th percentile; 1 for one that never fired elsewhere."""
        if self.scale.sizes is None:
            return strengths
        usual = self.scale.of(atom, "set")
        return np.sign(strengths) if usual is None else strengths / usual

    def notable(self, position: int, n: int) -> list[tuple[int, float]]:
        """Return the first atoms at a token, strong and rare ones first, and their shares."""
        frequency = None if self.base is None else self.base.at_least
        codes = self.text.codes[position]
        found = strong_and_rare(codes, n, p99=self.scale.sizes, frequency=frequency)
        return [(atom, float(self.share(atom, np.array(z)))) for atom, z in found]


class GenerationViews:
    """The components of a GenerationLens; their events while they are filled are ignored."""

    def __init__(self, margin: Margin, with_images: bool, meter: MeterStrip) -> None:
        self.filling = False
        self.meter = meter
        self.on_images = (self.images,) if with_images else ()
        self.margin = margin
        self.text = Branches(description="the text", empty_text=EMPTY)
        self.pins = TokenStrip(description="pinned atoms", empty_text="", hint=PINS_HINT)
        self.log, self.why_words = ipw.HTML(), ipw.HTML()
        self.here = margin.here
        self.why = PairedBars(description="atoms that mattered for it", empty_text="")
        self.table = (
            RowTable(description="branches").add_class("sae-nb-wide").add_class("sae-nb-wrapped")
        )
        self.here_atoms: list[int] = []
        self.why_atoms: list[int] = []
        self.main = [
            *self.on_images,
            self.text,
            *meter.widgets,
            margin.says,
            self.why_words,
            self.why,
            self.pins,
            self.table,
            self.log,
        ]

    @cached_property
    def images(self) -> StillGrid:
        """The images of the prompt, of a model that reads both."""
        return StillGrid(description="the image in the prompt", hint=IMAGE_HINT)

    @contextmanager
    def fill(self) -> Iterator[None]:
        """Fill components."""
        before, self.filling = self.filling, True
        try:
            yield
        finally:
            self.filling = before

    def clear(self, empty_text: str = EMPTY, prompt: str = "") -> None:
        """Show a prompt with the room of what will follow it, or `empty_text` in its place."""
        with self.fill():
            self.text.empty_text = empty_text
            self.text.show(WORDS.findall(prompt), COMING if prompt.strip() else [], note=TINT_NOTE)
            self.pins.show([])
            self.here.show([], [])
        self.log.value = ""
        self.meter.draw([], [])
        for widget in (
            *self.margin.widgets,
            self.margin.says,
            self.table,
            self.pins,
            *self.on_images,
        ):
            show(widget, False)
        self.explain(None, None)

    def draw(self, now: Now) -> None:
        """Draw what a new token changes."""
        self.draw_text(now)
        self.meter.draw(now.whole(now.tokens), now.text.metered)
        self.draw_pins(now)
        self._draw_log(now)
        self.draw_token(now)
        self._draw_branches(now)

    def draw_text(self, now: Now) -> None:
        """Draw the text, and what follows: what is written, or the ways in which it continues.

        Those leave all that is written, which stands before them; every earlier fork is a line.
        """
        shades = now.share(now.atom, now.shown.rows[Branch.STEERED].strengths(now.atom))
        self._draw_images(now, shades)
        ways, earlier = self._written(now), list[tuple[str, str]]()
        if now.ways is None and now.coming and not ways:
            ways = COMING
        if now.ways is not None:
            ways, earlier = self._ahead(now, now.ways), words.earlier_ways(now)
        note = words.ways_note(now, len(ways))
        self.text.description = f"the text, shaded by atom {now.names.name(now.atom)}"
        self.text.unit = now.unit
        with self.fill():
            self.text.show(
                now.whole(now.tokens)[: now.start],
                ways,
                strengths=shades[: now.start],
                maximum=1.0 if now.unit else None,
                fork=None if now.ways is None else now.ways.ask.place,
                earlier=earlier,
                note=note,
                stale=now.ways is not None and not now.fresh,
            )
        self.mark_token(now)

    def _written(self, now: Now) -> list[Way]:
        """Return what was written: one row, or after a fork several."""
        rows = [now.generation.tokens(now.branch, row) for row in range(len(now.shown.rows))]
        ended, longest = now.generation.ended(now.branch), max(map(len, rows))
        if len(rows) == 1:
            return [Way("same", row[now.start :], "written", ended) for row in rows if now.n_new]
        strength, push = now.strengths[now.branch][0], words.pushed(now, now.branch)
        return [
            Way(
                words.kind_of(number, strength), row[now.start :], push * (number == Branch.STEERED),
                ended or len(row) < longest,
            )
            for number, row in enumerate(rows)
        ]  # fmt: skip

    def _ahead(self, now: Now, ways: Ways) -> list[Way]:
        """Return the ways on."""
        ask = ways.ask
        push = push_words(now.names, ask.atom, ask.strength, ask.unit)
        return [
            Way(words.kind_of(i, ask.strength), row, push * (i == Branch.STEERED))
            for i, row in enumerate(ways.rows())
        ]

    def _draw_images(self, now: Now, shades: Strengths) -> None:
        """Draw the images of the prompt, shaded as its tokens are."""
        placed, runs = now.generation.images, now.runs
        for one in self.on_images:
            show(one, bool(runs))
        if placed is None or not runs:
            return
        maps = [shades[run.start : run.stop].reshape(placed.grid(i)) for i, run in runs.items()]
        self.images.unit = now.unit
        with self.fill():
            self.images.show(
                placed.pictures[list(runs)].numpy(),
                heat=np.stack(of_one_grid(maps)),
                captions=["image" if len(runs) == 1 else f"image {i}" for i in range(len(runs))],
                maximum=1.0 if now.unit else None,
            )

    def mark_token(self, now: Now) -> None:
        """Outline the chosen token, or patch; none while the newest is followed."""
        place, start, on_image = now.token, now.start, (-1, -1)
        for number, run in enumerate(now.runs.values()):
            if place in run:
                on_image, place = (number, place - run.start), run.start
        where = (-1, -1) if place < 0 else (0, place) if place < start else (1, place - start)
        with self.fill():
            self.text.selected = where
            for one in self.on_images:
                one.selected = on_image

    def draw_pins(self, now: Now) -> None:
        """Draw one row for each pinned atom: the last tokens of the text, shaded by it."""
        show(self.pins, bool(now.pinned))
        tokens = now.whole(now.tokens)
        first = max(len(tokens) - PINNED_TOKENS, 0)
        n, row = len(now.pinned), tokens[first:]
        self.pins.unit = now.unit
        self.pins.show(
            [row] * n,
            [now.share(atom, now.text.strengths(atom))[first:] for atom in now.pinned],
            captions=[now.names.name(atom) for atom in now.pinned],
            peaks=[-1] * n,
            clipped=[(first > 0, False)] * n,
            first_positions=[first] * n,
            special=[[is_special(token) for token in row]] * n,
            maximum=1.0 if now.unit else None,
            atoms=now.pinned,
        )

    def _draw_log(self, now: Now) -> None:
        tokens = now.tokens
        newest = range(len(tokens) - 1, max(len(tokens) - 1 - LOG_ROWS, -1), -1)
        rows = [(place, tokens[place], now.notable(place, now.n_named)) for place in newest]
        self.log.value = words.log_html(rows, now.names, now.unit)

    def draw_token(self, now: Now) -> None:
        """Draw the atoms at the chosen token, or at the newest."""
        place = now.place
        found = now.notable(place, HERE_ROWS)
        self.here_atoms = [atom for atom, _ in found]
        self.here.description = f"Firing at {quoted_token(now.tokens[place])}"
        with self.fill():
            self.here.show(
                [now.names.short(atom) for atom in self.here_atoms],
                [abs(share) for _, share in found],
                notes=[format_number(share) for _, share in found],
                atoms=self.here_atoms,
            )
            if now.atom in self.here_atoms:
                self.here.selected = self.here_atoms.index(now.atom)
        self.here.empty_text = "None fires." if place else "A first token is read by no atom."
        show(self.here, True)

    def _draw_branches(self, now: Now) -> None:
        several = len(now.generation.branches) > 1
        show(self.table, several)
        if several:
            with self.fill():
                cells = words.branch_cells(now.generation, now.names, now.strengths)
                self.table.show(words.BRANCH_COLUMNS, cells)
                self.table.selected = now.branch

    def explain(self, now: Now | None, found: InputSummary | None) -> None:
        """Show which atoms before the chosen token moved its score; nothing where that is not known."""
        for widget in (self.why_words, self.why):
            show(widget, found is not None)
        self.why_words.value, self.why_atoms = "", []
        if found is None or now is None:
            return
        title = f"why {quoted_token(now.tokens[now.token])}? The atoms before it that moved its score most"
        self.why_words.value = (
            f'<div class="sae-nb-cardtitle" style="margin-top:8px">{escape(title)}</div>'
        )
        atoms = self.why_atoms = shown_atoms(found, None, "attribution", WHY_ROWS, names=now.names)
        with self.fill():
            self.why.show(
                [now.names.name(atom) for atom in atoms],
                *columns_of(found, atoms, {}),
                selected=atoms.index(now.atom) if now.atom in atoms else -1,
                atoms=atoms,
                key=key_of(found, atoms),
            )

    def say_of_why(self, text: str) -> None:
        """Explain why there is no explanation."""
        self.why_words.value = f"<div>{escape(text)}</div>"
        show(self.why_words, True)
