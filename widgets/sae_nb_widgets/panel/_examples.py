"""Examples of an atom on screen: pictures with heat, shaded texts, or rows of plain vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import ipywidgets as ipw
import numpy as np
import traitlets as t

from sae_nb.activations import Context
from sae_nb.atoms import AtomCatalogue, AtomSummary, Crops, Example, SiteExamples
from sae_nb.figures import current_theme as theme
from sae_nb.figures.theme import THIN_SPACE, escape, format_number, format_percent
from sae_nb_widgets.components import Component, Concordance, PictureGrid, Sparkbars, TokenStrip
from sae_nb_widgets.components._base import HTML, Box, VBox
from sae_nb_widgets.components._picture_grid import (
    StillGrid,
    as_film,
    as_sounds,
    grid_for,
    of_one_grid,
)
from sae_nb_widgets.components._spread_characters import gathered, spans
from sae_nb_widgets.panel._closing import close_whole
from sae_nb_widgets.panel._declaring import show
from sae_nb_widgets.panel._pages import COLUMNS, descendants

# -------------------------------------------------------------------------------------------------
# CropSheet: the patches an atom fires on, side by side, so that what they share meets the eye.


TITLE = "strongest patches, close up"


class CropSheet:
    """Patches of the band in one sprite; hover one to read where it is, click to choose its row."""

    def __init__(self, chosen: Callable[[int, str], None]) -> None:
        self._chosen = chosen
        self._crops: Crops | None = None
        self.widget = VBox()

    @cached_property
    def grid(self) -> PictureGrid:
        """Their grid, which is made for the first patch: its script is sent with it."""
        grid = StillGrid(
            description=TITLE,
            titled=True,
            bare=True,
            hint="Hover: where this patch is. Click: choose it.",
        )
        grid.observe(self._selected, "selected")
        return grid

    def show(self, record: AtomSummary) -> None:
        """Draw the patches of a record, if it has any."""
        crops = self._crops = record.crops
        self.widget.children = () if crops is None else (self.grid,)
        if crops is None:
            return
        with self.grid.hold_sync():
            self.grid.show(
                crops.pictures,
                captions=list(crops.places),
                strengths=[abs(z) for z in crops.strengths.tolist()],
                maximum=record.max_strength,
            )
            self.grid.thumbnail = theme().thumbnail_px // 2

    def _selected(self, change: t.Bunch) -> None:
        index = change["new"][0]
        if self._crops is None or not 0 <= index < len(self._crops.rows):
            self._chosen(-1, "")
            return
        z = format_number(float(self._crops.strengths[index]))
        self._chosen(int(self._crops.rows[index]), f"{self._crops.places[index]}: strength {z}")


# -------------------------------------------------------------------------------------------------
# Examples of an atom at several sites: the models, or kinds of inputs, side by side.


class SiteColumns:
    """A column for each site that has examples of its own; empty for an SAE."""

    def __init__(
        self, catalogue: AtomCatalogue, chosen: Callable[[Example | None, int, Context], None]
    ) -> None:
        self._catalogues = catalogue.side_by_side
        self._titles = [HTML() for _ in self._catalogues]
        self.views = [examples_view(site.acts.context) for site in self._catalogues]
        for view, site in zip(self.views, self._catalogues):
            view.on_select(partial(_in_context, chosen, site.acts.context))
        columns = [VBox([title, view.widget]) for title, view in zip(self._titles, self.views)]
        self.widget = Box(columns).add_class(COLUMNS)
        show(self.widget, False)

    def show(self, record: AtomSummary) -> None:
        """Draw the examples of every site, headed by where it is and how often the atom fires there."""
        for found, title, view, site in zip(
            record.sites, self._titles, self.views, self._catalogues
        ):
            title.value = card_title(escape(_site_title(found, site)))
            if isinstance(view.component, PictureGrid | TokenStrip):
                view.component.unit = "strength × share" if found.scaled else "strength"
            view.show(found.examples, found.max_strength, found.missing)

    def show_heat(self, shown: bool) -> None:
        """Draw or hide the heat over pictures."""
        for view in self.views:
            view.show_heat(shown)

    def clear(self) -> None:
        """Choose nothing."""
        for view in self.views:
            view.clear()

    def close(self) -> None:
        """Free the components: others take their place."""
        _close(self.widget)


def _in_context(
    chosen: Callable[[Example | None, int, Context], None],
    context: Context,
    example: Example | None,
    part: int,
) -> None:
    chosen(example, part, context)


def _close(box: ipw.Widget) -> None:
    for widget in list(descendants(box)):
        close_whole(widget)


def _site_title(found: SiteExamples, site: AtomCatalogue) -> str:
    fires = f"fires on {format_percent(found.frequency, of=site.rows_in_words)}"
    if not found.n_fired:
        fires = "never fires"
    share = "" if found.share is None else f", {format_percent(found.share)} of the atom’s length"
    return f"{found.site}: {fires}{share}"


def card_title(html: str) -> str:
    """Return the title of a card."""
    return f'<div class="sae-nb-cardtitle">{html}</div>'


# -------------------------------------------------------------------------------------------------
# Examples of an atom on screen: pictures with heat, shaded texts, or rows of plain vectors.


def marked(caption: str, example: Example) -> str:
    """Return a caption with the mark of an example that another solver does not keep."""
    return f"{caption} {example.DROPPED}" if example.kept is False else caption


def marks_in_words(examples: Sequence[Example]) -> str:
    """Return what the mark means, where there is one; that none is dropped, where that is known."""
    if not any(one.kept is not None for one in examples):
        return ""
    n = sum(one.kept is False for one in examples)
    return f"{Example.DROPPED}: another solver drops it" if n else "another solver keeps them all"


def examples_view(context: Context) -> ExamplesView:
    """Return the view that fits what the activations were captured from."""
    if context.images is not None and len(context.images.at):
        return MixedExamples(context)
    if context.modality.is_text and context.token_ids is not None:
        return TextExamples(context)
    if context.pictures is not None or context.patch_grid is not None:
        return PictureExamples(context)
    return VectorExamples(context)


class ExamplesView:
    """One component that shows examples; subclasses know how."""

    nothing: Any = (-1, -1)
    per_page = 12
    atom = 0
    """Atom whose examples these are."""

    def __init__(self, context: Context, component: Component) -> None:
        self._context = context
        self._examples: tuple[Example, ...] = ()
        self.component = component
        self.component.description = "examples"
        self.widget: ipw.Widget = component

    def show(self, examples: tuple[Example, ...], maximum: float, missing: str = "") -> None:
        """Draw examples on a scale that ends at `maximum`; `missing` is the reason why there are none."""
        self._examples = examples
        self._draw(examples, maximum)
        self.component.empty_text = missing or "There are no examples."

    def say(self, text: str) -> None:
        """Show a sentence in place of examples."""
        self.component.empty_text = text

    def explain(self, which: str) -> None:
        """Write which examples these are, before what their marks mean; where the component has a legend."""
        if isinstance(self.component, PictureGrid | TokenStrip):
            self._legend = getattr(self, "_legend", self.component.hint)
            self.component.hint = " · ".join(filter(None, (which, self._legend)))

    def on_select(self, chosen: Callable[[Example | None, int], None]) -> None:
        """Call back with the example chosen and the patch or token in it, (None, −1) for none."""
        self.component.observe(lambda change: chosen(*self._chosen(change["new"])), "selected")

    def clear(self) -> None:
        """Choose nothing."""
        self.component.selected = self.nothing

    def close(self) -> None:
        """Free the components: others take their place."""
        _close(self.widget)

    def show_heat(self, shown: bool) -> None:
        """Draw or hide the heat over pictures; other examples have none."""

    def _draw(self, examples: tuple[Example, ...], maximum: float) -> None:
        raise NotImplementedError

    def _chosen(self, selected: object) -> tuple[Example | None, int]:
        index, part = selected if isinstance(selected, tuple) else (selected, -1)
        if not 0 <= index < len(self._examples):
            return None, -1
        return self._examples[index], part


class PictureExamples(ExamplesView):
    """Pictures with the atom's strength at every patch."""

    def __init__(self, context: Context) -> None:
        self._still = context.frames is None and context.modality.is_image
        hint = f"Under each {context.sample_word}: where the atom is strongest, and how strongly. "
        if context.prefix_tokens:
            others = ", registers" if context.prefix_tokens > 1 else ""
            hint += f"Small squares: cls{others}, which belong to no patch (see help). "
        step = "" if context.frames is None else " Keys , and . step through frames, P plays."
        hint = f"{hint}Hover: strength at this patch.{step}"
        self._grid = grid_for(
            context,
            hint=_outlines(()) if self._still else hint,
            unit="strength",
            look="veil" if self._still else "tint",
        )
        super().__init__(context, self._grid)

    def show_heat(self, shown: bool) -> None:
        """Draw or hide the heat over pictures."""
        self._grid.show_heat = shown

    def _draw(self, examples: tuple[Example, ...], maximum: float) -> None:
        pictures = [self._picture(example) for example in examples]
        heat = [example.heat for example in examples if example.heat is not None]
        if self._still:
            self._grid.hint = _outlines(examples)
        self._grid.show(
            np.stack(pictures) if pictures else np.zeros((0, 3, 1, 1), np.uint8),
            # Sign is in the number beneath; the shade is how strongly, either way.
            heat=np.abs(np.stack(heat)) if heat else None,
            captions=[self._caption(example) for example in examples],
            places=[f"{self._context.sample_word} {example.sample}" for example in examples],
            strengths=[abs(example.strength) for example in examples],
            prefix=[[abs(z) for _, z in example.prefix] for example in examples],
            prefix_names=[name for name, _ in examples[0].prefix] if examples else (),
            maximum=maximum,
            **(
                as_film(self._context)
                or as_sounds(self._context, [(one.sample, one.position) for one in examples])
            ),
        )

    def _picture(self, example: Example) -> np.ndarray:
        if example.picture is not None:
            return example.picture
        rows, columns = self._context.face_grid or (1, 1)
        return np.full((3, rows * 4, columns * 4), 128, np.uint8)

    def _caption(self, example: Example) -> str:
        whole = f"{self._context.sample_word} {example.sample}"
        is_whole = example.place == whole
        return marked(whole if is_whole else self._context.token_name(example.position), example)


def _outlines(examples: Sequence[Example]) -> str:
    """Return what an outline in a picture means, and what it means if one of them has none."""
    silent = [one for one in examples if one.heat is not None and not np.any(one.heat)]
    named = [name for one in silent for name, strength in one.prefix if strength]
    places = dict.fromkeys("the class token" if name == "cls" else "a register" for name in named)
    hint = "outlined: where it fires"
    if not places:
        return hint
    return f"{hint}; no outline: at {' or '.join(places)}, which belongs to no patch"


class TextExamples(ExamplesView):
    """Texts shaded by the atom's strength at every token."""

    per_page = 12

    def __init__(self, context: Context) -> None:
        place = context.modality.token
        # A sequence that is written letter by letter has no words to align.
        lines = TokenStrip if context.modality.letters else Concordance
        self._strip = lines(
            place=place,
            hint=f"click for the whole {context.sample_word}",
            unit="strength",
        )
        super().__init__(context, self._strip)
        self._strip.add_class("sae-nb-whole")

    def _draw(self, examples: tuple[Example, ...], maximum: float) -> None:
        self._strip.show(
            [example.tokens for example in examples],
            [np.abs(_strengths_of(example)) for example in examples],
            special=[example.special for example in examples],
            captions=[_text_caption(example) for example in examples],
            strengths=[abs(example.strength) for example in examples],
            peaks=[_peak_of(example) for example in examples],
            clipped=[example.clipped for example in examples],
            first_positions=[example.first_position for example in examples],
            numbers=[example.numbers for example in examples],
            maximum=maximum,
        )


class MixedExamples(ExamplesView):
    """Texts with images: patches on their images with heat, then tokens in their texts."""

    def __init__(self, context: Context) -> None:
        self._texts = TextExamples(context)
        self._grid = StillGrid(
            hint="Images in which a patch is among the examples. Hover: strength at this patch.",
            unit="strength",
        )
        super().__init__(context, self._grid)
        self._strip = self._texts.component
        self._parts: list[list[int]] = [[], []]
        self.widget = VBox([self._grid, self._strip])

    def on_select(self, chosen: Callable[[Example | None, int], None]) -> None:
        """Call back with the example chosen and the patch or token in it, (None, −1) for none."""
        for component, part in ((self._grid, 0), (self._strip, 1)):
            component.observe(
                lambda change, part=part: chosen(*self._of_part(part, change["new"])), "selected"
            )

    def _of_part(self, part: int, selected: Any) -> tuple[Example | None, int]:
        index, at = selected
        if not 0 <= index < len(self._parts[part]):
            return None, -1
        return self._examples[self._parts[part][index]], at

    def clear(self) -> None:
        """Choose nothing."""
        self._grid.selected = self._strip.selected = self.nothing

    def show_heat(self, shown: bool) -> None:
        """Draw or hide the heat over images."""
        self._grid.show_heat = shown

    def say(self, text: str) -> None:
        """Show a sentence in place of examples."""
        self._grid.empty_text = text

    def _draw(self, examples: tuple[Example, ...], maximum: float) -> None:
        on_images = [i for i, one in enumerate(examples) if one.picture is not None]
        in_texts = [i for i, one in enumerate(examples) if one.picture is None]
        self._parts = [on_images, in_texts]
        self._show_images([examples[i] for i in on_images], maximum)
        self._texts.show(tuple(examples[i] for i in in_texts), maximum)
        show(self._grid, bool(on_images) or not in_texts)
        show(self._strip, bool(in_texts))

    def _show_images(self, examples: Sequence[Example], maximum: float) -> None:
        heat = [np.abs(one.heat) for one in examples if one.heat is not None]
        pictures = [one.picture for one in examples if one.picture is not None]
        self._grid.show(
            np.stack(pictures) if pictures else np.zeros((0, 3, 1, 1), np.uint8),
            heat=np.stack(of_one_grid(heat)) if heat else None,
            captions=[marked(one.place.partition(", ")[2], one) for one in examples],
            places=[one.place for one in examples],
            strengths=[abs(one.strength) for one in examples],
            maximum=maximum,
        )


def _text_caption(example: Example) -> str:
    """Number of the text, and of its token where the example is one."""
    _, comma, place = example.place.partition(", ")
    number = place.rpartition(" ")[2]
    where = f"{example.sample}{THIN_SPACE}·{THIN_SPACE}{number}" if comma else f"{example.sample}"
    return marked(where, example)


class VectorExamples(ExamplesView):
    """Rows of plain vectors; the one chosen shows its largest coordinates."""

    nothing = -1

    def __init__(self, context: Context) -> None:
        self._bars = Sparkbars()
        super().__init__(context, self._bars)
        self._bars.description = "rows in which it fires"
        self._coordinates = Sparkbars()
        show(self._coordinates, False)
        self.widget = VBox([self._bars, self._coordinates])

    def _draw(self, examples: tuple[Example, ...], maximum: float) -> None:
        show(self._coordinates, False)
        self._bars.show(
            [marked(example.place, example) for example in examples],
            [example.strength for example in examples],
            signed=any(example.strength < 0 for example in examples),
            maximum=maximum,
        )

    def _chosen(self, selected: object) -> tuple[Example | None, int]:
        example, part = super()._chosen(selected)
        found = example is not None and example.coordinates is not None
        show(self._coordinates, bool(found))
        if example is not None and example.coordinates is not None:
            self._coordinates.description = f"largest coordinates of {example.place}"
            names = [f"x[{i}]" for i in example.coordinates.tolist()]
            self._coordinates.show(
                names,
                ([] if example.coordinate_values is None else example.coordinate_values.tolist()),
                signed=True,
            )
        return example, part


def _strengths_of(example: Example) -> np.ndarray:
    values = example.token_strengths
    return np.zeros(len(example.tokens)) if values is None else values


def _peak_of(example: Example) -> int:
    """The token that is drawn bold; none where a whole text is one row."""
    if np.isnan(_strengths_of(example)).all():
        return -1
    return _first_of(example.tokens, example.position - example.first_position)


def _first_of(tokens: Sequence[str], token: int) -> int:
    """The token in which a token's character begins."""
    return next((first for first, last in spans(tokens) if first <= token < last), token)


def place_in_words(example: Example, part: int, context: Context) -> str:
    """Return an example and the patch or token clicked in it, in words, with the strength there."""
    if part >= 0 and example.heat is not None:
        value = float(example.heat.ravel()[part])
        name = context.token_name(context.patch_in(part) + context.prefix_tokens)
        if (image := context.image_at(example.sample, example.position)) is not None:
            name = context.patch_of_image(image, context.patches_of(image).start + part)
        return f"{context.sample_word} {example.sample}, {name}: {_shown(value)}"
    if part >= 0 and example.token_strengths is not None:
        return _token_in_words(example, _first_of(example.tokens, part))
    prefix = "; ".join(f"{name} {_shown(value)}" for name, value in example.prefix)
    return f"{example.place}: strength {format_number(example.strength)}" + (
        f" ({prefix})" if prefix else ""
    )


def _token_in_words(example: Example, part: int) -> str:
    last = next((last for first, last in spans(example.tokens) if first == part), part + 1)
    position = example.first_position + part
    tokens = (
        f"token {position}"
        if last == part + 1
        else f"tokens {position}–{position + last - part - 1}"
    )
    value = float(gathered(example.tokens, _strengths_of(example))[part])
    most = "largest " if last > part + 1 else ""
    return f"text {example.sample}, {tokens} “{example.tokens[part]}”: {most}{_shown(value)}"


def _shown(value: float) -> str:
    return "not captured" if np.isnan(value) else f"strength {format_number(value)}"
