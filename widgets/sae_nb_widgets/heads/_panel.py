"""HeadsPanel: where attention heads look, what they add to an answer, and the answer without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets as t

from sae_nb.checks import checked
from sae_nb.circuits import HeadScores, QueryKey, head_scores, one_input, qk
from sae_nb.figures import theme, visible_token
from sae_nb.figures.theme import escape, format_number, format_percent
from sae_nb.sessions import names_of
from sae_nb_widgets.components import Sparkbars
from sae_nb_widgets.components._base import HTML, Box, VBox
from sae_nb_widgets.components._chips import Chips
from sae_nb_widgets.components._layer_grid import LayerGrid
from sae_nb_widgets.components._picture_grid import StillGrid
from sae_nb_widgets.components._row_table import RowTable
from sae_nb_widgets.components._token_strip import TokenStrip
from sae_nb_widgets.heads import _words as words
from sae_nb_widgets.heads._drawing import arcs_html, pattern_html
from sae_nb_widgets.heads._queries import (
    Answer,
    HeadName,
    Look,
    answer_of,
    look_of,
    named_heads,
    readable,
    saes_in_front,
    strongest_source,
)
from sae_nb_widgets.panel._declaring import (
    LARGEST_SEED,
    Entry,
    Whole,
    control,
    reacts,
    show,
    text_field,
)
from sae_nb_widgets.panel._pages import COLUMNS
from sae_nb_widgets.panel._playing import PlayingPanel, play_button
from sae_nb_widgets.panel._samples import one_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel

EFFECT = "effect"
BY = {
    EFFECT: "effect on the answer",
    "induction": "induction",
    "previous": "previous token",
    "same": "same token",
    "itself": "itself",
    "neighbours": "patches around",
    "sink": "first token",
    "copying": "copying",
}
N_LISTED, N_PAIRS = 5, 4
HEAD_RULE = "a head as layer.head, such as 18.6, or nothing"
N_PLACES = 400
"""Tokens up to which a text is written whole."""

STALE = "sae-nb-stale"
HEADS = "sae-nb-heads"
QUIET = '<div class="sae-nb-legendline">{}</div>'


@checked(leave=("inputs", "saes"))
class HeadsPanel(PlayingPanel):
    """Which heads look where?

    A grid has every attention head, by how far the answer moves without it or by where it looks. Of the chosen
    head: the words or patches that one place looks at, the whole pattern, what the head pushes for by itself,
    and the answer when the head is replaced by its mean over the input, next to three heads drawn at random.
    It opens on the head whose removal moves the answer most. A click or arrow keys choose a head, a click in
    the text where it looks from; `layer`, `head`, `position` and `by` are traits.

    Parameters
    ----------
    model
        A language model or a classifier with attention.
    inputs
        A text to begin with, or images or sounds.
    scores
        From `sn.circuits.head_scores`; None: measured when they are asked for.
    saes
        An SAE of the stream in front of a layer ("resid_post.16" for layer 17), or several: of heads there the
        pairs of atoms are listed that make them look where they look.

    Raises
    ------
    TypeError, ValueError: If the model has no heads that can be read, or is an encoder–decoder.

    Examples
    --------
    >>> import sae_nb as sn
    >>> panel = HeadsPanel(sn.load_model("tiny-induction"), "q k e f z q k e")
    >>> panel.wait()
    >>> panel.layer, panel.problem
    (0, False)
    >>> panel.close()
    """

    question = "Which heads look where?"
    explanation = (
        "Rows of the grid are layers, the last on top; columns are heads. Orange: the answer loses probability "
        "when the head's output is replaced by its mean over the input (to first order); blue: it gains. By "
        "another score: the mean attention on that place. Curves: where one place looks, wider for more "
        "attention; the first token is grey, because heads rest there. The three grey bars are heads drawn at "
        "random.",
        "Where a head looks is not what it does: a head with a high score may not matter to the answer, and "
        "one that matters may act through later heads. Removing one head may be made up for by another.",
        "Elhage et al. 2021; Olsson et al., arXiv 2209.11895; Wang et al., arXiv 2211.00593.",
    )
    stem = "heads"
    kept_traits = ("text", "example", "by", "layer", "head", "position", "second", "seed")
    needs_kernel = "Other heads, texts and scores need a running kernel and were left out."

    text = t.Unicode("", help="The text that is read.")
    example = Whole(0, 0, lambda panel: panel.n_examples - 1, help="Which image or sound is read.")
    by = t.Enum(tuple(BY), default_value=EFFECT, help="What the grid shows of every head.")
    layer = Whole(0, 0, lambda panel: panel.n_layers - 1, help="Layer of the head.")
    head = Whole(0, 0, lambda panel: panel.n_heads - 1, help="Number of the head in its layer.")
    position = Whole(
        -1,
        0,
        lambda panel: panel.n_positions - 1,
        none=-1,
        help="Where it looks from; −1: the end.",
    )
    second = t.Unicode("", help='A second head, such as "18.6", shown below the first.')
    seed = Whole(0, 0, LARGEST_SEED, help="Of the heads drawn at random.")

    def __init__(
        self,
        model: LiveModel,
        inputs: Inputs,
        *,
        scores: HeadScores | None = None,
        saes: SparseAutoencoder | Sequence[SparseAutoencoder] | None = None,
    ) -> None:
        readable(model)
        self._saes = saes_in_front(saes)
        self.model: LiveModel = model
        self.n_layers, self.n_heads = int(model.n_layers or 1), int(model.n_heads or 1)
        reads_text = model.modality.is_text and model.tokenizer is not None
        self._batches = []
        if not reads_text:
            each = model.batches(inputs, batch_size=1)
            self._batches = [batch.to(model.device) for batch in each]
        self.n_examples = max(len(self._batches), 1)
        self.scores = scores
        """`HeadScores`; None before they are measured."""

        self._seen: Answer | None = None
        self._looks: dict[HeadName, Look] = {}
        self._why: dict[tuple[int, int, int, int], QueryKey] = {}
        self._asked: object = None
        self._listed: list[HeadName] = []
        super().__init__(chips={"model": model.name})
        self.where = (model.name, "attention", f"{self.n_layers} × {self.n_heads} heads")
        if reads_text:
            self.text = one_text(model, inputs)
        self._build(reads_text)
        self._request()

    def _build(self, reads_text: bool) -> None:
        model = self.model
        kinds = (
            ("induction", "previous", "same", "sink", "copying")
            if reads_text
            else ("neighbours", "itself", "sink")
            if model.patch_grid
            else ("itself", "previous", "sink")
        )
        tip = "Order the heads by the answer without them, or by where they look"
        self.by_control = control(
            self,
            "by",
            "heads by",
            tip,
            "19em",
            options={name: BY[name] for name in (EFFECT, *kinds)},
        )
        given = (
            text_field(self, "text", "text", "The text that the model reads")
            if reads_text
            else control(self, "example", "example", "Which input is read", "10em", kind=Entry)
        )
        self.grid = LayerGrid()
        self.grid.observe(self._choose_cell, "selected")
        self.largest = RowTable(description="Heads to look at")
        self.largest.observe(self._choose_row, "selected")
        self.strip = TokenStrip(bare=True, description="The text, shaded where the head looks")
        self.strip.observe(self._choose_place, "selected")
        self.pictures = StillGrid(
            thumbnail=240, bare=True, description="The input, shaded where the head looks"
        )
        self.pictures.observe(self._choose_place, "selected")
        self.arcs, self.pattern, self._title, self._legend = HTML(), HTML(), HTML(), HTML()
        self.second_title, self.second_arcs, self.second_pattern = HTML(), HTML(), HTML()
        look = VBox(
            [
                self._title,
                self.strip,
                self.pictures,
                self.arcs,
                Box([self.pattern, self.largest]).add_class(COLUMNS),
                self.second_title,
                self.second_arcs,
                self.second_pattern,
            ]
        )
        self._stage_box = Box([self.grid, look]).add_class(COLUMNS).add_class(HEADS)
        self.pushes = Chips(description="What it pushes for, by itself")
        self.bars = Sparkbars(description="Probability of the answer")
        self.goes_on = Sparkbars(description="Without the head the model answers")
        self.why = RowTable(description="Why it looks there: pairs of atoms")
        show(self.strip, reads_text)
        more = [
            control(self, "layer", "layer", "Layer of the head", "8em", kind=Entry),
            control(self, "head", "head", "Number of the head", "8em", kind=Entry),
            control(self, "position", "from position", "Where it looks from", "11em", kind=Entry),
            control(
                self,
                "second",
                "next to head",
                "A second head, such as 18.6",
                "12em",
                rule=lambda: HEAD_RULE,
            ),
            control(self, "seed", "seed", "Of the heads drawn at random", "9em", kind=Entry),
        ]
        self.arrange(
            controls=[given, self.by_control, play_button(self, "Play over the layers (space)")],
            more=more,
            figure=[self._stage_box, self._legend],
            detail=[self.pushes, self.bars, self.goes_on, self.why],
        )
        self.bind_key("ArrowUp", self.forth)
        self.bind_key("ArrowDown", self.back)
        self.bind_key("ArrowRight", lambda: self._step_head(1))
        self.bind_key("ArrowLeft", lambda: self._step_head(-1))
        self._show_all(False)

    # --- asking -----------------------------------------------------------------------------------

    @reacts("text", "example", "seed", doing="reading the heads", early=True)
    def _request(self) -> None:
        """Read the input; the same request does nothing."""
        asked = self.text, self.example, self.seed
        if asked == self._asked:
            return
        self._asked = asked
        if not self._batches and not self.text.strip():
            self.forget_async()
            self._seen = None
            self._show_all(False)
            self.conclude("")
            self.say("Type at least one word.")
            return
        self._stage_box.add_class(STALE)
        if self._seen is None:
            self.loading("The model reads, and its heads are removed one by one")
        model, seed = self.model, self.seed

        def work() -> tuple[Answer, Look]:
            known = self._batches
            batch = known[self.example] if known else one_input(model, self.text)
            seen = answer_of(model, batch, seed)
            return seen, look_of(model, seen, seen.opens_on)

        self.run_async(work, self._take, doing="reading the heads", otherwise=self._clear)

    def _take(self, found: tuple[Answer, Look]) -> None:
        self._seen, look = found
        self._looks, self._why = {look.head: look}, {}
        with self.hold_trait_notifications():
            self.position = -1
            self.layer, self.head = look.head
        self._stage_box.remove_class(STALE)
        self._show_all(True)
        self._draw_grid()
        self._draw_head()
        self.say("")

    @reacts("layer", "head", "second", doing="looking at a head")
    def _look(self) -> None:
        """Read the chosen heads where they were not yet, and draw them."""
        seen = self._seen
        if seen is None:
            return
        missing = [
            one for one in (self._chosen, self._second_head) if one and one not in self._looks
        ]
        if not missing:
            self._draw_head()
            return
        model = self.model

        def take(looks: list[Look]) -> None:
            if seen is self._seen:
                self._looks |= {look.head: look for look in looks}
                self._draw_head()

        self.run_async(
            lambda: [look_of(model, seen, one) for one in missing],
            take,
            doing="looking at a head",
            channel="head",
        )

    @reacts("by", doing="scoring the heads")
    def _score(self) -> None:
        """Draw another score; all are measured the first time one is asked for."""
        if self.by == EFFECT or self.scores is not None:
            self._draw_grid()
            return
        model = self.model
        given = [batch.as_inputs(model) for batch in self._batches] or None

        def take(scores: HeadScores) -> None:
            self.scores = scores
            self._draw_grid()
            self._draw_head()

        self.run_async(
            lambda: head_scores(model, given), take, doing="scoring the heads", channel="scores"
        )

    # --- what was found ---------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether an input was read."""
        return self._seen is not None

    @property
    def n_positions(self) -> int:
        """Places of the input; many before it is read."""
        return 2**31 if self._seen is None else len(self._seen.tokens)

    @property
    def _chosen(self) -> HeadName:
        return self.layer, self.head

    @property
    def _second_head(self) -> HeadName | None:
        layer, _, head = self.second.strip().removeprefix("L").replace("H", ".").partition(".")
        if not (layer.isdigit() and head.isdigit()):
            return None
        found = int(layer), int(head)
        return found if found[0] < self.n_layers and found[1] < self.n_heads else None

    @t.validate("second")
    def _second_exists(self, proposal: t.Bunch) -> str:
        value = str(proposal["value"]).strip()
        layer, _, head = value.partition(".")
        known = layer.isdigit() and head.isdigit()
        if value and not (known and int(layer) < self.n_layers and int(head) < self.n_heads):
            raise t.TraitError(
                f"`second` must be a head as layer.head, such as 0.0 up to {self.n_layers - 1}."
                f"{self.n_heads - 1}, got {value!r}."
            )
        return value

    @property
    def look(self) -> Look | None:
        """The chosen head on the input: `.pattern`, `.pushes`, `.without`; None while it is read."""
        return self._looks.get(self._chosen)

    @property
    def record(self) -> dict[str, Any] | None:
        """The numbers that are shown, for exported pages; None while the input is read."""
        seen, look = self._seen, self.look
        if seen is None or look is None:
            return None
        low, high = seen.chance
        rows: dict[str, Any] = {
            "answer": f"“{seen.name}”, {format_percent(seen.probability)}",
            f"without {words.head_name(look.head)}": format_percent(look.without),
            "without a random head": f"{format_percent(low)} to {format_percent(high)}",
            "adds to the answer by itself": f"{format_number(float(seen.direct[look.head]))} logits",
        }
        for head, left in sorted(
            seen.without.items(), key=lambda one: -abs(one[1] - seen.probability)
        ):
            rows[f"without {words.head_name(head)} "] = format_percent(left)
        return rows

    # --- drawing ----------------------------------------------------------------------------------

    def _draw_grid(self) -> None:
        """Draw the heads by the score that is asked for, and list the first."""
        seen = self._seen
        if seen is None:
            return
        values = seen.estimated if self.by == EFFECT else self._grid_of(self.by)
        if values is None:
            return
        self.grid.description = (
            f"{words.quoted(seen.name)} without a head: orange falls, blue rises"
            if self.by == EFFECT
            else f"attention: {BY[self.by]}"
        )
        self.grid.show_shares(
            [str(layer) for layer in range(self.n_layers)][::-1],
            [str(head) for head in range(self.n_heads)],
            np.nan_to_num(values[::-1]).tolist(),
            maximum=max(float(np.nanmax(np.abs(values))), 1e-6),
            names=("layer", "head"),
            compact=True,
        )
        self._list(values)
        self._legend.value = QUIET.format(words.LEGEND)
        self._mark()

    def _grid_of(self, name: str) -> np.ndarray | None:
        if self.scores is None or name not in self.scores.scores:
            return None
        return self.scores.score(name).reshape(self.n_layers, self.n_heads)

    def _list(self, values: np.ndarray) -> None:
        """List the heads removed for real, or those of the largest scores."""
        seen = self._seen
        if seen is None:
            return
        if self.by == EFFECT:
            heads = sorted(seen.without, key=lambda one: -abs(seen.without[one] - seen.probability))
            rows = [
                [
                    words.head_name(head),
                    format_percent(seen.probability),
                    format_percent(seen.without[head]),
                ]
                for head in heads[:N_LISTED]
            ]
            header = ["without", "was", words.quoted(seen.name)]
            self.largest.show(header, rows, numeric=[False, True, True])
        else:
            order = np.argsort(-np.nan_to_num(values), axis=None, kind="stable")[:N_LISTED]
            heads = [(int(i) // self.n_heads, int(i) % self.n_heads) for i in order]
            controls = self.scores.controls if self.scores is not None else None
            column = -1 if self.scores is None else self.scores.scores.index(self.by)
            rows = [
                [
                    words.head_name((layer, head)),
                    f"{values[layer, head]:.2f}",
                    ""
                    if controls is None
                    else f"{controls[layer * self.n_heads + head, column]:.2f}",
                ]
                for layer, head in heads
            ]
            self.largest.show(["head", BY[self.by], "control"], rows, numeric=[False, True, True])
        self._listed = heads[:N_LISTED]

    def _mark(self) -> None:
        cell = (self.n_layers - 1 - self.layer, self.head)
        if self.grid.rows and self.grid.selected != cell:
            self.grid.selected = cell

    @reacts("position", doing="looking from another place")
    def _draw_head(self) -> None:
        """Draw the chosen head: where it looks, what it pushes for, the answer without it."""
        seen, look = self._seen, self.look
        if seen is None or look is None:
            return
        self._mark()
        position = self._from(seen)
        source = strongest_source(look.pattern, position)
        row = look.pattern[position]
        self._title.value = _heading(
            f"What {words.head_name(look.head)} looks at from {words.place(seen, position)}"
        )
        if seen.picture is not None and self.model.patch_grid is not None:
            self._draw_picture(seen, look, position)
        elif len(seen.tokens) <= N_PLACES:
            self.strip.show(
                [seen.tokens],
                [np.where(np.arange(len(row)) > 0, row, np.nan)],
                peaks=[source],
                maximum=1.0,
            )
            self.strip.selected = (0, position)
        if seen.picture is None:
            at_end = position == len(seen.tokens) - 1
            following = (
                f"{visible_token(seen.name).strip()} {format_percent(seen.probability)}"
                if at_end
                else ""
            )
            self.arcs.value = arcs_html(seen.tokens, row, position, source, following)
        columns = self.model.prefix_tokens if seen.picture is not None else None
        self.pattern.value = pattern_html(look.pattern, position, columns)
        self._draw_second(seen, position, columns)
        self._draw_margin(seen, look)
        self._explain(seen, look.head, position, source)
        self._say(seen, look, position, source)

    def _explain(self, seen: Answer, head: HeadName, position: int, source: int) -> None:
        """List the pairs of atoms that make the head look there, where an SAE reads in front of its layer."""
        sae = self._saes.get(head[0])
        show(self.why, sae is not None)
        if sae is None:
            return
        asked = (*head, position, source)
        if asked in self._why:
            self._list_pairs(sae, self._why[asked])
            return
        self.why.empty_text = "Splitting the score into pairs of atoms …"
        self.why.show([], [])
        model, given = self.model, seen.batch.as_inputs(self.model)

        def take(found: QueryKey) -> None:
            self._why[asked] = found
            if asked[:2] == self._chosen and seen is self._seen:
                self._list_pairs(sae, found)

        self.run_async(
            lambda: qk(model, sae, given, head[0], head[1], query=position, key=source),
            take,
            doing="splitting the score",
            channel="why",
        )

    def _list_pairs(self, sae: SparseAutoencoder, found: QueryKey) -> None:
        title, headers, rows = words.pairs(found, names_of(sae), N_PAIRS)
        self.why.show(headers, rows, numeric=[False, False, True])
        self.why.description = title

    def _draw_second(self, seen: Answer, position: int, columns: int | None) -> None:
        other = None if self._second_head is None else self._looks.get(self._second_head)
        for one in (self.second_title, self.second_arcs, self.second_pattern):
            show(one, other is not None)
        if other is None:
            return
        self.second_title.value = _heading(f"{words.head_name(other.head)} from the same place")
        source = strongest_source(other.pattern, position)
        if seen.picture is None:
            self.second_arcs.value = arcs_html(
                seen.tokens, other.pattern[position], position, source
            )
        self.second_pattern.value = pattern_html(other.pattern, position, columns)

    def _draw_picture(self, seen: Answer, look: Look, position: int) -> None:
        rows, columns = self.model.patch_grid or (1, 1)
        prefix = self.model.prefix_tokens
        row = look.pattern[position]
        patches = row[prefix : prefix + rows * columns].reshape(1, rows, columns)
        self.pictures.show(
            seen.picture[None] if seen.picture is not None else np.zeros((0, 3, 1, 1), np.uint8),
            heat=patches.astype(np.float32),
            prefix=[row[:prefix].tolist()] if prefix else (),
            prefix_names=list(seen.tokens[:prefix]),
            captions=[f"from {words.place(seen, position)}"],
        )
        if position >= prefix:
            self.pictures.selected = (0, position - prefix)

    def _draw_margin(self, seen: Answer, look: Look) -> None:
        self.pushes.show(
            [word for word, _ in look.pushes],
            ["confirmed" if word == seen.name else "unconfirmed" for word, _ in look.pushes],
            score=words.direct(seen, look),
        )
        chosen, random = words.head_name(look.head), list(seen.random.items())
        self.bars.description = f"Probability of {words.quoted(seen.name)}"
        names = [
            "untouched",
            f"{chosen} off",
            *(f"{words.head_name(one)} off" for one, _ in random),
        ]
        values = [seen.probability, look.without, *(left for _, left in random)]
        self.bars.show(
            names,
            values,
            notes=[format_percent(value) for value in values],
            colours=["", theme.BLUE, *[theme.CONTROL] * len(random)],
            maximum=1.0,
        )
        self.goes_on.description = f"Without {chosen} the model answers"
        self.goes_on.show(
            [visible_token(word) for word, _, _ in look.goes_on],
            [value for _, value, _ in look.goes_on],
            before=[value for _, _, value in look.goes_on],
            notes=[format_percent(value) for _, value, _ in look.goes_on],
            colours=[theme.BLUE] * len(look.goes_on),
            maximum=1.0,
        )

    def _say(self, seen: Answer, look: Look, position: int, source: int) -> None:
        """Write the head's name, and what comes of the answer without it."""
        role = named_heads(self.scores).get(look.head, "") if self.scores is not None else ""
        layer, head = look.head
        looks = words.looks(seen, look, position, source)
        self.headline = f"Head {head} of layer {layer} {looks}"
        answer, bold = words.answer(seen, look, position, source, role)
        self.conclude(answer, words.numbers(seen, look), [bold])

    def _from(self, seen: Answer) -> int:
        if self.position >= 0:
            return min(self.position, len(seen.tokens) - 1)
        return 0 if seen.picture is not None else len(seen.tokens) - 1

    def _clear(self) -> None:
        self._seen, self._asked = None, None
        self._stage_box.remove_class(STALE)
        self._show_all(False)

    def _show_all(self, shown: bool) -> None:
        for one in (self._stage_box, self._legend, self.pushes, self.bars, self.goes_on, self.why):
            show(one, shown)
        show(self.pictures, shown and not self.text and self.model.patch_grid is not None)
        for one in (self.second_title, self.second_arcs, self.second_pattern):
            show(one, False)

    def _rescale(self) -> None:
        self._draw_head()

    # --- moving about -----------------------------------------------------------------------------

    @checked
    def choose(self, layer: int, head: int) -> None:
        """Show a head: its layer, and its number there."""
        with self.hold_trait_notifications():
            self.layer, self.head = layer, head

    def _choose_cell(self, change: t.Bunch) -> None:
        row, column = change["new"]
        if self._seen is not None and min(row, column) >= 0:
            self.choose(self.n_layers - 1 - row, column)

    def _choose_row(self, change: t.Bunch) -> None:
        if self._seen is not None and 0 <= change["new"] < len(self._listed):
            self.choose(*self._listed[change["new"]])

    def _choose_place(self, change: t.Bunch) -> None:
        if self._seen is None or min(change["new"]) < 0:
            return
        of_picture = change["owner"] is self.pictures
        self.position = change["new"][1] + (self.model.prefix_tokens if of_picture else 0)

    @property
    def at_end(self) -> bool:
        """Whether the layer is the last one."""
        return self.layer >= self.n_layers - 1

    def to_start(self) -> None:
        """Go to the first layer."""
        self.layer = 0

    def forth(self) -> None:
        """Go one layer up; at the last one nothing happens."""
        self.layer = min(self.layer + 1, self.n_layers - 1)

    def back(self) -> None:
        """Go one layer down; at the first one nothing happens."""
        self.layer = max(self.layer - 1, 0)

    def _step_head(self, by: int) -> None:
        self.head = int(np.clip(self.head + by, 0, self.n_heads - 1))


def _heading(title: str) -> str:
    return f'<div class="sae-nb-cardtitle">{escape(title)}</div>'
