"""TextView and ImageView: the parts of a ChangesPanel that show one input, and the list of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.diffing import (
    ChangedImage,
    ChangedPhrase,
    ChangedText,
    ModelDiff,
    changed_image,
    changed_text,
    continued_set_back,
)
from sae_nb.figures import current_theme as theme, theme as theme_colours
from sae_nb.figures.theme import format_percent
from sae_nb.generation import continued
from sae_nb.models import as_batch, outcome_names, run, shown_picture, written_texts
from sae_nb_widgets.changes import _words as words
from sae_nb_widgets.changes._words import NONE
from sae_nb_widgets.components import Branches, Column, PairedBars, PictureGrid, TokenStrip
from sae_nb_widgets.components._branches import Way
from sae_nb_widgets.components._row_table import RowTable
from sae_nb_widgets.panel._declaring import show
from sae_nb_widgets.panel._samples import Samples

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel

LONG_ROWS = "sae-nb-longrows"

LARGE = 2.5
"""Side of the image that is read, in thumbnails. Ours."""

GOES_ON, LONGEST_PROMPT = 32, 48
"""Tokens that both models write after a place, and of the text before it, the last that are shown. Ours."""

UNLIKELY = 0.05
"""Probability below which the first model would hardly have written a token. Ours."""

SMALL = 0.001
"""Chance below which none is written."""

MOST = 12
"""Images in the list, which are one message to the browser; the others are reached by their number."""


class TextView:
    """A text as tokens, shaded by their change; all texts as a table."""

    noun = "text"

    def __init__(self, model: LiveModel, inputs: Inputs) -> None:
        self.texts = self.compared = tuple(written_texts(model, inputs))
        if not all(text.strip() for text in self.texts):
            raise ValueError(
                "`inputs` must be texts of at least one word, got an empty one. Leave it out."
            )
        self.shown = TokenStrip(description="The text, shaded by its change", unit="nats")
        self.list = RowTable(description="Texts, the most changed first", empty_text="")
        self.list.add_class(LONG_ROWS)
        self.rows: list[int] = []
        self.branches = Branches(description="how both models go on")
        self.chances = PairedBars(description="the model", empty_text="")
        self.above: tuple[ipw.Widget, ...] = (self.branches, self.chances)

    def __len__(self) -> int:
        return len(self.texts)

    def given(self, asked: str | int) -> object:
        """Return what the models read."""
        return asked

    def draw(self, seen: ChangedText) -> None:
        """Show a text as both models answer it."""
        rows = [seen.kl] if seen.left is None else [seen.kl, seen.left]
        self.shown.show(
            [list(seen.tokens)] * len(rows),
            rows,
            captions=["changed", "set back"][: len(rows)],
            maximum=max(float(seen.kl.max()), 1e-3),
        )

    def clear(self) -> None:
        """Show nothing."""
        self.shown.show([])
        self.branches.show([])

    def draw_both(self, both: Both, phrase: ChangedPhrase | None) -> None:
        """Show how both models go on after a place; tinted is the phrase that was added, if there is one."""
        cut = both.prompt[-LONGEST_PROMPT:]
        prompt = ["… ", *cut] if len(cut) < len(both.prompt) else list(cut)
        ways = [
            Way("same", both.before, words.BEFORE),
            Way("up", both.after, words.AFTER, marked=both.new),
            *both.back,
        ]
        if phrase is not None:
            said = phrase.phrase
            ways = [replace(way, marked=words.places_of(said, way.tokens)) for way in ways]
        note = words.TINTED if phrase is None and any(both.new) else ""
        self.branches.show(prompt, ways, note=note)

    def draw_phrase(self, phrase: ChangedPhrase | None) -> None:
        """Show how likely what was added is, in the first place of a text and in later ones."""
        show(self.chances, phrase is not None)
        if phrase is None:
            return
        first, rows = phrase.first, words.chance_rows(phrase)
        colours = [
            theme_colours.NEUTRAL,
            theme_colours.WARM,
            theme_colours.BLUE,
            theme_colours.CONTROL,
        ]
        columns = [
            Column(
                title=title,
                values=[row[i] for row in rows.values()],
                notes=[format_percent(row[i], digits=2) if row[i] > SMALL else "0" for row in rows.values()],
                maximum=1.0,
                colours=colours,
            )
            for i, title in enumerate(words.chance_heads(phrase))
            if i == 0 or not first.all()
        ]  # fmt: skip
        self.chances.show(list(rows), *columns)

    def fill(self, found: ModelDiff) -> None:
        """List all texts, the most changed first."""
        cells, self.rows = words.text_rows(found, self.texts)
        heads = words.TEXT_HEADS
        self.list.show(heads, cells, numeric=[name in words.NUMBERS for name in heads])
        show(self.list, bool(cells))

    def mark(self, row: int) -> None:
        """Mark a row of the list; −1: none."""
        if self.list.selected != row:
            self.list.selected = row

    def chosen(self, value: int) -> int:
        """Return the row of the list that a click chose."""
        return int(value)


class ImageView:
    """An image, shaded where covering takes the change away; all images in a grid."""

    noun = "image"

    def __init__(self, model: LiveModel, inputs: Any) -> None:
        self.texts: tuple[str, ...] = ()
        self.compared = list(inputs) if isinstance(inputs, Iterator) else inputs
        self.samples, self.model = Samples(model, self.compared), model
        self._picture(0)  # what is no image is refused here
        self.shown = PictureGrid(
            description="The image, shaded where covering takes the change away",
            titled=True,
            unit="nats",
        )
        self.list = PictureGrid(
            description="Images, the most changed first", titled=True, unit="nats"
        )
        self.rows: list[int] = []
        self.above: tuple[ipw.Widget, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    def given(self, asked: int) -> object:
        """Return what the models read."""
        return as_batch(self.model, self.samples[asked]).as_inputs(self.model)

    def _picture(self, number: int) -> np.ndarray:
        """Return an image as displayed, (3, height, width)."""
        picture = shown_picture(as_batch(self.model, self.samples[number]))
        if picture is None:
            raise ValueError(
                f"`inputs` must be images that can be shown, got pixel values of {self.model.name}, whose "
                "normalisation is not known. Pass the images, or wrap the model with preprocess=."
            )
        return picture

    def draw(self, seen: ChangedImage) -> None:
        """Show an image as both models answer it."""
        self.shown.show(
            seen.picture[None],
            heat=np.maximum(seen.goes, 0.0)[None].astype(np.float32),
            captions=[words.moved_words(seen)],
            strengths=[seen.kl],
            maximum=max(seen.kl, 1e-3),
        )
        self.shown.thumbnail = round(LARGE * theme().thumbnail_px)

    def clear(self) -> None:
        """Show nothing."""
        self.shown.show(np.zeros((0, 3, 1, 1), np.uint8))

    def fill(self, found: ModelDiff) -> None:
        """List the images that changed most."""
        by = found.texts.set_index("sample").sort_values("kl", ascending=False, kind="stable")
        self.rows = [int(one) for one in by.index[:MOST]]
        show(self.list, bool(self.rows))
        if not self.rows:
            return
        said = [words.image_words(found, n) for n in self.rows]
        self.list.show(
            np.stack([self._picture(n) for n in self.rows]),
            captions=[short for short, _ in said],
            places=[long for _, long in said],
            strengths=[float(by["kl"].at[n]) for n in self.rows],
        )

    def mark(self, row: int) -> None:
        """Mark an image of the list; −1: none."""
        wanted = (row, 0 if row >= 0 else -1)
        if self.list.selected != wanted:
            self.list.selected = wanted

    def chosen(self, value: Sequence[int]) -> int:
        """Return the image of the list that a click chose."""
        return int(value[0])


View = TextView | ImageView


def view_of(model: LiveModel, inputs: Inputs) -> View:
    """Return the parts for texts or for images; refuse anything else."""
    if model.modality.is_text and model.tokenizer is not None:
        return TextView(model, inputs)
    if model.modality.is_image and model.patch_grid is not None:
        return ImageView(model, inputs)
    raise ValueError(
        f"`before` must be a language model or a classifier of images with patches, got {model.name}, which "
        f"reads {model.modality.sample}s. Use sn.diff_models(before, after, inputs)."
    )


def hidden(view: View) -> ipw.Widget:
    """Return the list, not to be seen before there is one."""
    show(view.list, False)
    return view.list


# --- What is asked of both models -----------------------------------------------------------------


Answer = ChangedText | ChangedImage


@dataclass(frozen=True)
class Question:
    """The request: a text, or the number of an image, and the finding whose direction is set back."""

    given: str | int
    finding: int = NONE


@dataclass(frozen=True)
class Both:
    """How both models go on after a place of a text, each with its likeliest tokens."""

    prompt: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    new: list[bool]
    """Tokens of `after` that the first model would hardly have written there."""

    back: tuple[Way, ...] = ()
    """The second model with a direction set back, and with a random one."""


def both_continued(
    a: LiveModel,
    b: LiveModel,
    text: str,
    seen: ChangedText,
    place: int,
    found: ModelDiff | None = None,
    finding: int = NONE,
) -> Both:
    """Continue a text with both models from the place on, and with the direction of a finding set back; as far
    as their context reaches.
    """
    batch = next(iter(a.batches([text], batch_size=1)))
    ids: Any = batch.token_ids
    ids = ids[0] if batch.keep is None else ids[0][batch.keep[0].to(ids.device)]
    ids = ids[: len(ids) - len(seen.tokens) + place + 1].cpu()
    prompt = seen.tokens[: place + 1]
    room = [one.context_length - len(ids) for one in (a, b) if one.context_length is not None]
    n = min(GOES_ON, *room)
    if n < 1:
        return Both(prompt, (), (), [])
    ways = []
    for model in (a, b):
        with model.lock:
            ways += continued(model, ids, n)
    if found is not None and finding != NONE:
        ways += continued_set_back(a, b, ids, n, found, finding=finding)
    old, tuned, *back = (tuple(outcome_names(a, way)) for way in ways)
    new, *others = ((likelihoods(a, ids, way) < UNLIKELY).tolist() for way in ways[1:])
    rows = (("down", words.SET_BACK), ("random", words.RANDOM_BACK))
    return Both(
        prompt,
        old,
        tuned,
        new,
        tuple(
            Way(kind, tokens, label, marked=marks)
            for (kind, label), tokens, marks in zip(rows, back, others)
        ),
    )


def likelihoods(
    model: LiveModel, prompt: Int[Tensor, " n"], after: Int[np.ndarray, " m"]
) -> Float[np.ndarray, " m"]:
    """Return the probability that a model gives each of some tokens after a prompt and those before it."""
    whole = torch.cat([prompt, torch.as_tensor(after)])
    batch = next(iter(model.batches(whole[None], batch_size=1)))
    with torch.no_grad(), model.lock:
        answers: Any = run(model, batch).answer.tensor
    given = answers[0, -len(after) - 1 : -1].softmax(-1).cpu()
    return given[torch.arange(len(after)), torch.as_tensor(after)].double().numpy()


def answered(
    a: LiveModel, b: LiveModel, given: object, finding: int, found: ModelDiff | None
) -> Answer:
    """Read a text or an image with both models, and a third time with the direction set back."""
    read: Any = changed_text if isinstance(given, str) else changed_image
    if finding == NONE or found is None:
        return read(a, b, given)
    return read(a, b, given, found, finding=finding)
