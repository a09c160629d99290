"""LensPanel: what a model is about to answer, layer by layer, through a lens and without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets as t
from jaxtyping import UInt8

from sae_nb.checks import checked
from sae_nb.figures import visible_token
from sae_nb.figures.theme import format_count, format_number, format_percent
from sae_nb.lenses import AnswerRanks, Lens, LensReading, answer_ranks
from sae_nb.models import shown_picture, written_texts
from sae_nb_widgets.components import PictureGrid
from sae_nb_widgets.components._base import HTML, Box, VBox
from sae_nb_widgets.components._layer_grid import LayerGrid
from sae_nb_widgets.lens._atoms import Firing, firing, point_read, saes_by_layer
from sae_nb_widgets.lens._detail import BLOCKS, NAMES, SHOWN, LensControls, LensDetail
from sae_nb_widgets.lens._ranks import claim, ranks_html
from sae_nb_widgets.panel._atoms import HasAtoms
from sae_nb_widgets.panel._declaring import Whole, reacts, show
from sae_nb_widgets.panel._pages import COLUMNS

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

MOST_PLACES = 64
"""Tokens of a text that are shown: more would be a page of columns."""


FITTED = "fitted"
NOT_FITTED = "not fitted: every block is read as if it were the last"

LONGEST_HEADLINE = 52
STALE = "sae-nb-stale"
LEGEND = (
    "rows: blocks, the last on top · green: the model's own next token · blue: how sure the lens is · last "
    "column: how far it is from the model's answer (KL), mean over these tokens"
)

READABLE = 14
"""Blocks that are shown at first: more rows would not fit on a screen."""


@dataclass(frozen=True, eq=False)
class _Answer:
    """One input as both lenses read it, and the atoms that fire in it by block."""

    own: LensReading
    plain: LensReading
    atoms: dict[int, Firing]
    picture: UInt8[np.ndarray, "3 height width"] | None = None


@dataclass(frozen=True, eq=False)
class _Question:
    """The request: a text, or an image, and a second text."""

    first: str | int
    second: str | None = None
    plain_at: tuple[int, ...] | None = None
    """Blocks that the logit lens reads; None: those of the lens."""


@checked(leave=("inputs", "saes"))
class LensPanel(HasAtoms):
    """What is the model about to answer?

    Of a model that goes on with a text, the place of its next word among all outputs is drawn after each
    block, beside where the same word stands in nineteen other texts. Behind that the whole text is read at
    every block and token: each cell holds the output that a lens has on top there, green where it is the
    model's own answer, else blue, stronger where it is more probable; the last block is the
    answer itself. A click lists outputs by the fitted lens and by the logit lens, and the atoms that fire
    there. A second text is shown next to the first. Of many blocks some are shown at first (`blocks="all"` for
    the others); of a lens of few blocks the logit lens is shown below it, at blocks without a fit too. Of an
    image each block is drawn as the image, shaded where its patches push for the model's answer. `text`,
    `layer` and `place` are traits.

    Parameters
    ----------
    model
        A language model or a classifier of images.
    lens
        Of that model, from `sn.fit_lens` or `sn.load_lens`.
    inputs
        A text to begin with (of several, the second is shown next to it); or images.
    saes
        An SAE, or several of different blocks, whose atoms are listed in the cells of their block.

    Raises
    ------
    TypeError, ValueError: If the lens is of another model, the inputs are not what the model reads, or an SAE
        is of a block that the lens does not read.

    Examples
    --------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> panel = LensPanel(gpt, sn.load_lens("tiny-gpt"), "Once upon a time there was a")
    >>> panel.wait()
    >>> panel.reading.layers, panel.problem
    ((0, 1, 2), False)
    >>> panel.layer = 1
    >>> panel.close()
    """

    question = "What is the model about to answer?"
    explanation = (
        "Last word: the place of the model's answer among all outputs, every block read as if it were the last "
        "(logit lens), and the least and best place of the same word in 19 other texts. Behind it rows are "
        "blocks, the last on top; columns are positions. A cell is the output that the lens reads "
        "there: green and bold where it is the model's own answer at that position, else blue, stronger where "
        "it is more probable. Last column: distance to that answer (KL, nats), mean over the positions shown. "
        "The logit lens reads states as they are, so it is shown at every block, also where none was fitted.",
        "A lens shows what could be read out, not what the model uses: a word on the way may play no part "
        "in the answer. Early blocks agree with the answer by chance where it is a frequent word; see "
        "lens.check(texts) for the floor and a control.",
        "Logit lens: nostalgebraist (2020); tuned lens: Belrose et al., arXiv 2303.08112; Jacobian lens: "
        "Gurnee et al. (2026).",
    )
    stem = "lens"
    kept_traits = (
        "text",
        "second_text",
        "example",
        "shown",
        "blocks",
        "layer",
        "place",
        "of_second",
    )
    needs_kernel = "Other texts, blocks and positions need a running kernel and were left out."

    text = t.Unicode("", help="The text that is read.")
    second_text = t.Unicode("", help="A second text next to the first; empty for none.")
    example = Whole(0, 0, lambda panel: panel.n_examples - 1, help="Which image is read.")
    shown = t.Enum(tuple(SHOWN), default_value="lens", help="Which lens the cells are read with.")
    blocks = t.Enum(tuple(BLOCKS), default_value="some", help="Some blocks, or all of them.")
    of_second = t.Bool(False, help="Whether the cell that is listed is one of the second text.")
    layer = Whole(0, 0, lambda panel: panel.n_layers - 1, help="Block of the cell that is listed.")
    place = Whole(0, 0, lambda panel: panel.n_places - 1, help="Its position.")

    def __init__(self, model: LiveModel, lens: Lens, inputs: Any, saes: Any = None) -> None:
        if model.streams:
            raise ValueError(
                f"`model` must read one text or image, got {model.name}, which reads a source and a target. "
                "Use lens.read([(source, target), …])."
            )
        self.lens = lens.on(model)
        self.model, self.n_layers = model, int(self.lens.n_layers) - 1
        self._saes = saes_by_layer(self.lens, saes)
        self._seen: _Answer | None = None
        self._second: _Answer | None = None
        self._known: list[tuple[Any, _Answer]] = []  # what was read last: one of two texts changes
        self._images, self._opens = None, True
        self._ranks: tuple[tuple[str, int], AnswerRanks] | None = None
        self.has_ranks = model.modality.is_text and model.causal
        # Layers that are rows, by grid.
        self._drawn: list[list[int]] = [[], [], []]
        self._sparse = self.lens.kind != "logit" and 2 * len(self.lens.layers) < self.n_layers
        texts: list[str] = []
        if model.modality.is_text:
            texts = written_texts(model, inputs)
        else:
            self._images = list(model.batches(inputs, batch_size=1))
        self.n_examples = len(self._images or [0])
        super().__init__(chips=self._facts())
        self.where = (model.name, self._blocks_words(), self._fit_words())
        with self.hold_trait_notifications():
            if self.has_ranks and len(texts) < 2 and not self._saes:
                self.shown = "ranks"
            elif self._sparse and model.modality.is_text:
                self.shown = "both"
            self.text = texts[0] if texts else ""
            self.second_text = texts[1] if len(texts) > 1 else ""
            middle = self.lens.layers[len(self.lens.layers) // 2]
            self.layer = next(iter(self._saes), middle)
        self._build()
        self._request()

    def _facts(self) -> dict[str, str]:
        lens = self.lens
        unit = "steps" if lens.kind == "tuned" else self.model.modality.sample + "s"
        facts = {"model": self.model.name, "lens": NAMES[lens.kind].removesuffix(" lens")}
        if lens.kind != "logit":
            facts["fitted on"] = (
                f"{format_count(lens.n_done)} {unit[: -(lens.n_done == 1) or None]}"
            )
        if lens.partial:
            facts["partial"] = f"stopped at {lens.n_done} of {lens.n_wanted}"
        return facts

    def _blocks_words(self) -> str:
        n, of = len(self.lens.layers), self.n_layers
        return "all blocks" if n == of else f"{n} of {of} blocks before the last"

    def _fit_words(self) -> str:
        if self.lens.kind == "logit":
            return NAMES["logit"]
        return f"{NAMES[self.lens.kind]} fitted on {self.chips['fitted on']}"

    def _build(self) -> None:
        self.controls = LensControls(self)
        self.grids = [LayerGrid(names=("block", "token")) for _ in range(3)]
        self._columns = Box([VBox(self.grids[:2]), self.grids[2]])
        self._legend = HTML()
        self.pictures = [PictureGrid(titled=True), PictureGrid(titled=True)]
        for grid in self.grids:
            grid.observe(partial(self._choose_cell, grid), "selected")
        self._strip = HTML()
        self._columns_box = VBox([self._strip, self._columns, *self.pictures])
        self._detail_view = LensDetail(self.lens, self._saes)
        self.arrange(
            controls=self.controls.first,
            more=self.controls.more,
            figure=[self._columns_box, self._legend],
            detail=self._detail_view.widgets,
        )
        self.bind_key("ArrowUp", lambda: self._step_layer(1))
        self.bind_key("ArrowDown", lambda: self._step_layer(-1))
        self.bind_key("ArrowRight", lambda: self._step_place(1))
        self.bind_key("ArrowLeft", lambda: self._step_place(-1))
        self._hide()

    # --- reading ----------------------------------------------------------------------------------

    @reacts("text", "second_text", "example", "blocks", doing="reading the layers", early=True)
    def _request(self) -> None:
        """Read what is there now; an older request is dropped."""
        text = self.model.modality.is_text
        plain_at = self._plain_at() if text else None
        ask = (
            _Question(self.text, self.second_text or None, plain_at)
            if text
            else _Question(self.example)
        )
        if isinstance(ask.first, str) and not ask.first.strip():
            self.forget_async()
            self._seen = self._second = None
            self._columns_box.remove_class(STALE)
            self._hide()
            self._detail_view.clear()
            self.conclude("")
            self.say("Type at least one word.")
            return

        def work() -> tuple[_Answer, _Answer | None]:
            first = self._read(ask.first, ask.plain_at)
            return first, None if ask.second is None else self._read(ask.second, ask.plain_at)

        self._columns_box.add_class(STALE)
        if self._seen is None:
            self.loading("The model is reading, block by block")
        stale = self._columns_box.remove_class
        self.run_async(work, self._take, doing="reading the layers", otherwise=lambda: stale(STALE))

    def _plain_at(self) -> tuple[int, ...] | None:
        """Blocks at which states are read as they are, where the lens has few; else those of the lens."""
        if not self._sparse:
            return None
        every = range(self.n_layers)
        some = every if self.blocks == "all" else readable(len(every))
        return tuple(sorted({*some, *self.lens.layers}))

    def _read(self, given: str | int, plain_at: tuple[int, ...] | None) -> _Answer:
        """Read an input, or take what was read of it last."""
        for key, seen in self._known:
            if key == (given, plain_at):
                return seen
        seen = self._seen_at(given, plain_at)
        self._known = [((given, plain_at), seen), *self._known[:1]]
        return seen

    def _seen_at(self, given: str | int, plain_at: tuple[int, ...] | None) -> _Answer:
        if isinstance(given, str):
            return self._both(given, plain_at=plain_at)
        batch = (self._images or [])[given]
        return self._both(batch.as_inputs(self.model), shown_picture(batch))

    def _both(
        self,
        given: object,
        picture: np.ndarray | None = None,
        plain_at: tuple[int, ...] | None = None,
    ) -> _Answer:
        points = [point_read(sae, layer) for layer, sae in self._saes.items()]
        own, plain, states = self.lens.read_with(given, points, plain_at=plain_at)
        atoms = firing(self.lens, self._saes, states)
        return _Answer(own, plain, atoms, picture)

    def _take(self, seen: tuple[_Answer, _Answer | None]) -> None:
        self._seen, self._second = seen
        self._columns_box.remove_class(STALE)
        n = self.n_places
        opens = self._opens and self.model.modality.is_text
        self._opens = False
        with self.hold_trait_notifications():
            if opens or self.place >= n:
                self.place = n - 1
            if opens and not self._saes:
                self.layer = _telling(seen[0].own, self.place)
        self._draw()
        self.say("")

    @property
    def ready(self) -> bool:
        """Whether an input was read."""
        return self._seen is not None

    @property
    def reading(self) -> LensReading | None:
        """The reading by the lens; None while it is being made."""
        return None if self._seen is None else self._seen.own

    @property
    def record(self) -> dict[str, Any] | None:
        """The numbers that are shown, for exported pages; None while the input is being read."""
        seen = self._seen
        if seen is None:
            return None
        own, place = seen.own, min(self.place, len(seen.own.tokens) - 1)
        kind = self._words("lens")
        rows: dict[str, Any] = {
            "position": visible_token(own.tokens[place]),
            "model's answer": visible_token(own.names[int(own.answer[place])]),
            f"first block of it, {kind}": _block(own.settles[place]),
            "first block of it, logit lens": _block(seen.plain.settles[place]),
        }
        for layer in self._layers(own):
            i = own.layers.index(layer)
            tops = [visible_token(own.names[int(one)]) for one in own.top[i, place, :3]]
            rows[f"block {block_name(self.model, layer)}"] = (
                f"{', '.join(f'“{one}”' for one in tops)} · {format_number(float(own.kl[i, place]))} nats"
            )
        return rows

    @property
    def n_places(self) -> int:
        """Positions of the input; many before it is read."""
        return 2**31 if self._seen is None else len(self._seen.own.tokens)

    # --- drawing ----------------------------------------------------------------------------------

    def _hide(self) -> None:
        for one in (*self.grids, *self.pictures, self._strip):
            show(one, False)

    def _layers(self, reading: LensReading) -> list[int]:
        """Return the layers of a reading that are rows, the last one first."""
        n = len(reading.layers)
        chosen = set(range(n) if self.blocks == "all" else readable(n))
        if self.layer in reading.layers:
            chosen.add(reading.layers.index(self.layer))
        return [reading.layers[i] for i in sorted(chosen, reverse=True)]

    @reacts("shown", doing="drawing the layers")
    def _draw(self) -> None:
        seen = self._seen
        if seen is None:
            return
        self._hide()
        folded = self.shown == "ranks"
        both = self.shown == "both" or (folded and self._sparse)
        by = ["lens", "logit"] if both else ["lens"] if folded else [self.shown]
        text = seen.picture is None or self.model.modality.is_text
        if seen.picture is None or text:
            for i, name in enumerate(by):
                self._fill(i, self._of(seen, name), self._words(name))
            two_texts = self._second is not None
            (self._columns.add_class if two_texts else self._columns.remove_class)(COLUMNS)
            if self._second is not None:
                name = "logit" if self.shown == "logit" else "lens"
                self._fill(2, self._of(self._second, name), f"{self._words(name)}, second text")
        else:
            for grid, name in zip(self.pictures, by, strict=False):
                self._paint(grid, self._of(seen, name), seen.picture, self._words(name))
        for grid in self.grids if folded else ():
            show(grid, False)
        show(self._legend, not folded)
        self._frame.show_detail(not folded)
        self._legend.value = f'<div class="sae-nb-legendline">{LEGEND if text else ""}</div>'
        self._draw_cell()

    def _of(self, seen: _Answer, name: str) -> LensReading:
        return seen.own if name == "lens" else seen.plain

    def _words(self, name: str) -> str:
        return NAMES[self.lens.kind] if name == "lens" else NAMES["logit"]

    def _fill(self, number: int, reading: LensReading, words: str) -> None:
        """Draw layers by places, the last layer first."""
        grid, n = self.grids[number], min(len(reading.tokens), MOST_PLACES)
        layers = self._drawn[number] = self._layers(reading)
        order = [reading.layers.index(layer) for layer in layers]
        cut = f", first {n} of {len(reading.tokens)} positions" * (n < len(reading.tokens))
        how = NOT_FITTED if words.startswith(NAMES["logit"]) else FITTED
        grid.description = f"{words[0].upper()}{words[1:]} ({how}{cut})"
        top = reading.top[:, :n, 0]
        answers = [visible_token(reading.names[int(one)]) for one in reading.answer[:n]]
        grid.show(
            [
                block_name(self.model, self.n_layers),
                *(block_name(self.model, layer) for layer in layers),
            ],
            reading.tokens[:n],
            [answers, *([visible_token(reading.names[int(x)]) for x in top[i]] for i in order)],
            tints=[
                reading.answer_probability[:n].tolist(),
                *(reading.top_probability[i, :n, 0].tolist() for i in order),
            ],
            agrees=[[True] * n, *(reading.agrees[i, :n].tolist() for i in order)],
            side=[0.0, *(float(reading.kl[i, :n].mean()) for i in order)],
            side_title="distance, nats",
        )
        show(grid, True)

    def _paint(
        self, grid: PictureGrid, reading: LensReading, picture: np.ndarray, words: str
    ) -> None:
        """Draw the image once per block, shaded by how much each patch is for the model's answer."""
        rows, columns = self.model.patch_grid or (1, 1)
        prefix = self.model.prefix_tokens
        share = np.where(reading.agrees, reading.top_probability[:, :, 0], 0.0)
        heat = share[:, prefix : prefix + rows * columns].reshape(-1, rows, columns)
        cls = [reading.names[int(one)] for one in reading.top[:, 0, 0]]
        first = "cls" if prefix else "patch 0"
        order = sorted(reading.layers.index(layer) for layer in self._layers(reading))
        captions = [
            f"{block_name(self.model, reading.layers[i])} · {first} “{cls[i]}”" for i in order
        ]
        answer = reading.names[int(reading.answer[0])]
        grid.description = (
            f"block by block: patches that read “{answer}”, the model's answer, by the {words}"
        )
        grid.show(
            np.repeat(picture[None], len(captions), axis=0),
            heat=heat[order].astype(np.float32),
            captions=captions,
            maximum=1.0,
        )
        show(grid, True)

    @property
    def _listed(self) -> _Answer | None:
        """The input whose cell is listed."""
        return self._second if self.of_second and self._second is not None else self._seen

    @reacts("layer", "place", "of_second", doing="listing a cell")
    def _draw_cell(self) -> None:
        first, seen = self._seen, self._listed
        if first is None or seen is None:
            return
        known = sorted({*seen.own.layers, *seen.plain.layers})
        layer = known[_nearest(known, self.layer)]
        if not any(layer in drawn for drawn in self._drawn) and seen.picture is None:
            self._draw()  # with a row for it
            return
        place = min(self.place, len(seen.own.tokens) - 1)
        self._detail_view.show(
            seen.own, seen.plain, layer, place, block_name(self.model, layer), seen.atoms.get(layer)
        )
        for i, grid in enumerate(self.grids):
            here = (
                (i == 2) == (seen is self._second) and layer in self._drawn[i] and bool(grid.rows)
            )
            cell = (-1, -1)
            if here and place < len(grid.columns):
                cell = (1 + self._drawn[i].index(layer), place)
            if grid.selected != cell:
                grid.selected = cell
        if self.shown == "ranks" and not self.of_second:
            self._ask_ranks(place)
            return
        self.where = (self.model.name, self._blocks_words(), self._fit_words())
        self.headline = _headline(seen.own, place, self.model.modality.is_text)
        said, bold = _answer(seen, place, self.lens.kind)
        self.conclude(said, self._numbers(seen), bold)

    def _ask_ranks(self, place: int) -> None:
        """Draw the strip of a place; it is measured unless it was the last one."""
        ask, model = (self.text, place), self.model
        if self._ranks is not None and self._ranks[0] == ask:
            self._draw_ranks()
            return

        def done(found: AnswerRanks) -> None:
            self._ranks = ask, found
            if self.shown == "ranks":
                self._draw_ranks()

        self.run_async(
            lambda: answer_ranks(model, *ask), done, doing="reading other texts", channel="ranks"
        )

    def _draw_ranks(self) -> None:
        seen, known = self._seen, self._ranks
        if seen is None or known is None:
            return
        (_, place), found = known
        self._strip.value = ranks_html(found, seen.own, place)
        show(self._strip, True)
        said = _headline(seen.own, place, True)
        self.where = (self.model.name, said, format_percent(found.probability, digits=2))
        self.headline, answer = claim(found)
        self.conclude(answer)

    def static_main(self) -> str:
        """Return what is drawn; of a strip the whole text, folded below it."""
        if self.shown != "ranks":
            return super().static_main()
        grids = "".join(grid.static_html() for grid in self.grids if grid.rows)
        return (
            f"{super().static_main()}<details><summary>Whole text</summary>{grids}{self._legend.value}"
            "</details>"
        )

    def _numbers(self, seen: _Answer) -> str:
        last = seen.own.layers[-1]
        own, plain = (
            format_percent(float(one.agreement[one.layers.index(last)]), of="positions")
            for one in (seen.own, seen.plain)
        )
        compared = "" if self.lens.kind == "logit" else f" (logit lens {plain})"
        return f"agreement with the answer at block {last}: {own}{compared}"

    # --- moving about -----------------------------------------------------------------------------

    def _choose_cell(self, grid: LayerGrid, change: t.Bunch) -> None:
        row, column = change["new"]
        if self._seen is not None and row >= 0 and column >= 0:
            number = self.grids.index(grid)
            with self.hold_trait_notifications():
                self.of_second = number == 2
                self.place = column
                if row > 0:  # the first row is the model's own answer
                    self.layer = self._drawn[number][row - 1]

    def _step_layer(self, by: int) -> None:
        seen = self._seen
        layers = sorted({*self.lens.layers, *(() if seen is None else seen.plain.layers)})
        i = _nearest(layers, self.layer)
        self.layer = layers[int(np.clip(i + by, 0, len(layers) - 1))]

    def _step_place(self, by: int) -> None:
        if self.ready:
            self.place = int(np.clip(self.place + by, 0, self.n_places - 1))


def readable(n: int) -> list[int]:
    """Return which of n layers are shown at first: all of few, else closer together towards the end.

    >>> readable(29)
    [0, 4, 8, 12, 14, 16, 18, 20, 22, 24, 25, 26, 27, 28]
    """
    if n <= READABLE:
        return list(range(n))
    # Each step doubles on the way back from the last layer: five by one, six by two or more, the rest wider.
    wide = max(2, ceil((n - 17) / 3))
    found = {0, *range(n - 5, n), *range(n - 17, n - 5, 2), *range(n - 17, -1, -wide)}
    return sorted(layer for layer in found if layer >= 0)


def block_name(model: LiveModel, layer: int) -> str:
    """Return the number of a block, and of one that runs several times its path and the number of its run."""
    known = "" if model.structure is None else model.structure.application(layer)
    return f"{layer}: {known}" if known else str(layer)


def _nearest(layers: Sequence[int], layer: int) -> int:
    """Return the place of the layer that is nearest to a number."""
    return min(range(len(layers)), key=lambda i: abs(layers[i] - layer))


def _block(first: int | float) -> int | str:
    """Return the first block from which a lens reads the answer; −1 means that no block does."""
    return int(first) if int(first) >= 0 else "none"


def _telling(own: LensReading, place: int) -> int:
    """Return the block that a panel opens on: the first with the answer on top, else the last one read."""
    first = int(own.settles[place])
    return first if first >= 0 else own.layers[-1]


def _headline(own: LensReading, place: int, is_text: bool) -> str:
    """Return what was read up to a place, and the model's answer there: "The opposite of hot is → cold"."""
    answer = visible_token(own.names[int(own.answer[place])], bare=True)
    if not is_text:
        return f"Why the answer is {answer}"
    # Marks of beginnings are no words, unless there is nothing else.
    read = own.tokens[: place + 1]
    text = "".join(token for token in read if not token.startswith("<|")) or read[0]
    text = visible_token(" ".join(text.split()))
    if len(text) > LONGEST_HEADLINE:
        text = f"…{text[-LONGEST_HEADLINE:].partition(' ')[2]}"
    return f"{text} → {answer}"


def _answer(seen: _Answer, place: int, kind: str) -> tuple[str, list[str]]:
    """Describe from which block on the answer is read, by either lens, and what is read before it.

    Returns
    -------
    The sentences, and the words in them that a reader should take away.
    """
    own, plain = seen.own, seen.plain
    place = min(place, len(own.tokens) - 1)
    answer = visible_token(own.names[int(own.answer[place])], bare=True)
    first, without = int(own.settles[place]), int(plain.settles[place])
    other = "" if kind == "logit" else " " + _without(plain, without)
    own_name = NAMES[kind] if kind == "logit" else f"{NAMES[kind]} ({FITTED})"
    if first < 0:
        last, what = own.layers[-1], "the next word" if seen.picture is None else "the answer"
        before = _on_the_way(own, len(own.layers) - 1, place, answer)
        instead = f"guesses {_listed(before[:1])} first, not “{answer}”"
        guess = instead if before else f"does not guess “{answer}” first"
        return (
            f"A lens guesses {what} from a middle block. At block {last} the {own_name} {guess}.{other}"
        ), [answer, *before[:1]]
    said, i = (
        f"From block {first} on the {own_name} guesses “{answer}” first",
        own.layers.index(first),
    )
    before = _on_the_way(own, i - 1, place, answer) if i else []
    if before:
        said += f"; at block {own.layers[i - 1]} {_listed(before)}"
    return f"{said}.{other}", [answer, *before]


def _without(plain: LensReading, first: int) -> str:
    """Say from which block on the logit lens reads an answer."""
    if first < 0:
        return f"The logit lens (not fitted) does not guess it by block {plain.layers[-1]}."
    return f"The logit lens (not fitted) guesses it from block {first} on."


def _on_the_way(reading: LensReading, i: int, place: int, answer: str) -> list[str]:
    """Return the two outputs that are on top at a layer besides the answer, each once."""
    found = (visible_token(reading.names[int(one)], bare=True) for one in reading.top[i, place])
    return [one for one in dict.fromkeys(found) if one != answer][:2]


def _listed(words: Sequence[str]) -> str:
    return " and ".join(f"“{word}”" for word in words)
