"""The input of an InputLens on screen: images and sounds with what makes them at their side, or texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
from jaxtyping import Float, UInt8

from sae_nb.corpora import InputSummary
from sae_nb.figures import current_theme as theme
from sae_nb.figures.theme import escape
from sae_nb.models import Modality, sound_rate
from sae_nb_widgets.components import DrawPad, PictureGrid, SoundRecorder, TokenStrip
from sae_nb_widgets.components._base import HTML, Box, VBox, lay_out, layout_of
from sae_nb_widgets.components._find_box import plain
from sae_nb_widgets.components._picture_grid import StillGrid, as_film, of_one_grid
from sae_nb_widgets.components._word_lattice import WordLattice
from sae_nb_widgets.input_lens._lattice import Lattice, legend_words
from sae_nb_widgets.input_lens._words import goes_on_html
from sae_nb_widgets.panel._declaring import show
from sae_nb_widgets.panel._examples import TextExamples
from sae_nb_widgets.panel._pages import LIVE_ONLY

if TYPE_CHECKING:
    import traitlets as t

    from sae_nb.activations import Context
    from sae_nb.atoms import AtomNames
    from sae_nb.models import LiveModel


# Of the theme's thumbnail: an input is looked at closely, and two stand side by side.
PICTURE_SHARES = (2.6, 1.6)
SOUND_SHARES = (3.6, 2.6)
ROOM_FOR_SOUND = "0 1 340px"
TIMES_LONGER = 3
"""Of a recording for a model that reads clips of one length, whose loudest stretch is read."""
ROOM_FOR_ONE, ROOM_FOR_TWO = "0 1 260px", "0 1 320px"
EXAMPLES_ELSEWHERE = 4
"""Lines that show where else an atom fires."""
SEEN_SHARE = 0.5
"""Share of an atom's strongest firing from which its heat on the patches can be seen."""
Pick = Callable[[int], None]
Values = list[Float[np.ndarray, " positions"]]
Pictures = list[UInt8[np.ndarray, "3 height width"]]


def heat_of(summary: InputSummary, atom: int, heat: str) -> Float[np.ndarray, " positions"]:
    """Return what is drawn over an input: sizes of strengths, or signed contributions."""
    if heat == "fired":
        return np.abs(summary.strengths(atom))
    return summary.attributions(atom)


class InputView:
    """The input as read, with one atom's strength at every position; subclasses define how."""

    widget: ipw.Widget
    """The widget that a panel places; each kind of view makes its own."""

    def __init__(self, prefix_tokens: int = 0) -> None:
        self._prefix = prefix_tokens
        # What is marked by the panel itself was clicked by nobody.
        self._filling = False

    def show(
        self, summaries: Sequence[InputSummary], names: Sequence[str], atom: int, heat: str
    ) -> None:
        """Draw the inputs, with the heat of an atom over all of them on one scale."""
        values = [heat_of(summary, atom, heat) for summary in summaries]
        sizes = np.concatenate([np.abs(v[np.isfinite(v)]) for v in values])
        top = float(sizes.max(initial=0.0)) or 1.0
        self._filling = True
        self._draw(summaries, names, values, top, heat)
        self._filling = False

    def can_show(self, summary: InputSummary, atom: int) -> bool:
        """Return whether an atom's heat can be seen over an input."""
        return summary.place(atom) is not None

    def clear(self) -> None:
        """Show no input."""
        raise NotImplementedError

    def mark(self, position: int) -> None:
        """Outline a position of the first input; −1 for none."""
        self._filling = True
        self._mark(position)
        self._filling = False

    def _draw(
        self,
        summaries: Sequence[InputSummary],
        names: Sequence[str],
        values: Values,
        top: float,
        heat: str,
    ) -> None:
        raise NotImplementedError

    def _mark(self, position: int) -> None:
        raise NotImplementedError

    def on_pick(self, pick: Pick) -> None:
        """Call `pick` with a position of the first input that is clicked."""
        raise NotImplementedError


class TextView(InputView):
    """Texts as rows of tokens."""

    def __init__(self, place: str = "token") -> None:
        super().__init__()
        self.widget: ipw.Widget
        self.strip = self.widget = TokenStrip(
            description="the input",
            hint=f"The answer comes after the last {place}. Hover: activation at this {place}. Click: atoms "
            "active there.",
            place=place,
        )
        self.clear()

    def clear(self) -> None:
        """Show no text."""
        self.strip.empty_text = ""
        self.strip.show([])

    def _draw(
        self,
        summaries: Sequence[InputSummary],
        names: Sequence[str],
        values: Values,
        top: float,
        heat: str,
    ) -> None:
        self.strip.signed = heat == "mattered"
        self.strip.show(
            [summary.tokens for summary in summaries],
            values,
            special=[summary.special.tolist() for summary in summaries],
            captions=list(names),
            numbers=[Modality.of(one.kind).numbers(one.tokens) for one in summaries],
            maximum=top,
        )

    def _mark(self, position: int) -> None:
        inside = self.strip.tokens and 0 <= position < len(self.strip.tokens[0])
        self.strip.selected = (0, position) if inside else (-1, -1)

    def on_pick(self, pick: Pick) -> None:
        """Call back with a token that is clicked."""

        def chosen(change: t.Bunch) -> None:
            row, token = change["new"]
            if row <= 0 and not self._filling:
                pick(token)

        self.strip.observe(chosen, "selected")


class WordsView(TextView):
    """A text as a lattice of words, how the model goes on, and where else the chosen atom fires.

    Of two texts, and for effects, the rows of tokens stand in its place.
    """

    def __init__(self, place: str, context: Context) -> None:
        super().__init__(place)
        self.lattice = WordLattice(description="the text, and under each word what it lights up")
        self.goes_on = HTML().add_class("sae-nb-goeson")
        self.elsewhere = TextExamples(context)
        self.where = HTML()
        self.more = VBox([self.where, self.elsewhere.widget]).add_class("sae-nb-elsewhere")
        self.widget = VBox([self.lattice, self.goes_on, self.more, self.strip])
        self.as_lattice(False)

    def as_lattice(self, shown: bool) -> None:
        """Show the lattice and what belongs to it, or the rows of tokens."""
        for widget in (self.lattice, self.goes_on, self.more):
            show(widget, shown)
        show(self.strip, not shown)

    def clear(self) -> None:
        """Show no text."""
        super().clear()
        if hasattr(self, "lattice"):
            self.as_lattice(False)

    def show_lattice(
        self, lattice: Lattice, summary: InputSummary, word: int, atom: int, names: AtomNames
    ) -> None:
        """Draw the words, one of them chosen, and where else its atom fires."""
        self._filling = True
        self.lattice.hint = legend_words(lattice)
        self.lattice.show(lattice.drawn(names), word)
        self._filling = False
        self.goes_on.value = goes_on_html(summary)
        self.as_lattice(True)
        examples = names.examples(atom, EXAMPLES_ELSEWHERE)
        show(self.more, bool(examples))
        if examples and names.catalogue is not None:
            title = escape(f"Where else “{plain(names.short(atom))}” fires")
            self.where.value = f'<div class="sae-nb-cardtitle">{title}</div>'
            self.elsewhere.show(examples, float(names.catalogue.max_strength[atom]))

    def on_word(self, pick: Callable[[int], None]) -> None:
        """Call back with the index of a word that is clicked."""

        def chosen(change: t.Bunch) -> None:
            if change["new"] >= 0 and not self._filling:
                pick(change["new"])

        self.lattice.observe(chosen, "selected")


class MixedView(TextView):
    """Texts with images: the patches of an image on it, above the text in which it is one token."""

    def __init__(self) -> None:
        self.grid = StillGrid(
            description="the images in the text",
            hint="Hover: activation at this patch. Click: atoms active there.",
        )
        self._of: list[tuple[int, range]] = []
        super().__init__()
        self.widget = VBox([self.grid, self.strip])

    def clear(self) -> None:
        """Show neither text nor image."""
        super().clear()
        self._of = []
        show(self.grid, False)

    def _draw(
        self,
        summaries: Sequence[InputSummary],
        names: Sequence[str],
        values: Values,
        top: float,
        heat: str,
    ) -> None:
        super()._draw(summaries, names, values, top, heat)
        texts, pictures, maps, captions = [], [], [], []
        self._of = []
        for i, summary in enumerate(summaries):
            tokens, images = list(summary.tokens), summary.images
            if images is not None:
                tokens = images.one_token_each(tokens)
                for image in images.of_sample(0):
                    run, shape = images.patches(image), images.grid(image)
                    self._of.append((i, run))
                    pictures.append(images.pictures[image].numpy())
                    maps.append(values[i][run.start : run.stop].reshape(shape))
                    captions.append(f"{names[i]}: image" if len(summaries) > 1 else "image")
            texts.append(tokens)
        show(self.grid, bool(pictures))
        if not pictures:
            return
        self.strip.show(
            texts,
            values,
            special=[summary.special.tolist() for summary in summaries],
            captions=list(names),
            maximum=top,
        )
        self.grid.signed = heat == "mattered"
        self.grid.show(
            np.stack(pictures),
            heat=np.stack(of_one_grid(maps)),
            captions=captions,
            maximum=top,
        )
        self.grid.thumbnail = int(PICTURE_SHARES[len(summaries) > 1] * theme().thumbnail_px)

    def _mark(self, position: int) -> None:
        places = enumerate(self._of)
        found = next(((i, run) for i, (text, run) in places if not text and position in run), None)
        if found is None:
            super()._mark(position)
            self.grid.selected = (-1, -1)
            return
        self.strip.selected = (0, found[1].start)
        self.grid.selected = (found[0], position - found[1].start)

    def on_pick(self, pick: Pick) -> None:
        """Call back with a token, or a patch, that is clicked."""
        super().on_pick(pick)

        def on_patch(change: t.Bunch) -> None:
            image, patch = change["new"]
            if not self._filling and 0 <= image < len(self._of) and patch >= 0:
                text, run = self._of[image]
                if text == 0:
                    pick(run.start + patch)

        self.grid.observe(on_patch, "selected")


class PictureView(InputView):
    """Images with heat, the tokens before the first patch under them, and what makes them next to them."""

    shares = PICTURE_SHARES
    """Widths of one input and of two, as shares of the theme's thumbnail."""

    room = (ROOM_FOR_ONE, ROOM_FOR_TWO)
    """Room for one input and for two, as CSS has it."""

    grid_kind: type[PictureGrid] = StillGrid

    box: type[ipw.Box] = ipw.VBox
    """Of what makes inputs, and its controls."""

    def __init__(
        self,
        places: Context,
        maker: ipw.Widget | None,
        controls: Sequence[ipw.Widget],
        place: str = "patch",
    ) -> None:
        super().__init__(places.prefix_tokens)
        self._places = places
        self.grid = self.grid_kind(
            description="the input",
            hint=f"Hover: activation at this {place}. Click: atoms active there.",
        )
        self.prefix = TokenStrip(description="tokens that are no patches", bare=True, empty_text="")
        tools = Box(tuple(controls)).add_class("sae-nb-line")
        made = [] if maker is None else [maker]
        pad = self.box([*made, tools], layout=layout_of(width="200px", flex="0 0 auto"))
        pad.add_class(LIVE_ONLY)
        self._shown = VBox([self.grid], layout=layout_of(flex=self.room[0], min_width="0"))
        lay_out(self.prefix, flex="1 1 100%", min_width="0")
        row = Box([*([pad] if made else []), self._shown, self.prefix])
        self.widget = row.add_class("sae-nb-line").add_class("sae-nb-lens")
        self.clear()

    def can_show(self, summary: InputSummary, atom: int) -> bool:
        """Return whether it fires on patches, and not at cls and registers alone."""
        size = np.nan_to_num(np.abs(summary.strengths(atom)))
        return bool(size[self._prefix :].max(initial=0.0) > SEEN_SHARE * size.max(initial=0.0))

    def clear(self) -> None:
        """Show no image."""
        self.grid.empty_text = ""
        self.grid.show(np.zeros((0, 3, 1, 1), np.uint8))
        show(self.prefix, False)

    def _draw(
        self,
        summaries: Sequence[InputSummary],
        names: Sequence[str],
        values: Values,
        top: float,
        heat: str,
    ) -> None:
        signed = heat == "mattered"
        maps = [s.patches(v) for s, v in zip(summaries, values, strict=True)]
        pictures = [s.picture for s in summaries if s.picture is not None]
        known = [m for m in maps if m is not None]
        if len(known) == len(pictures):
            pictures, known = self._aligned(pictures, known)
        strongest = [float(np.nanmax(np.abs(v), initial=0.0)) for v in values]
        self.grid.signed = self.prefix.signed = signed
        self.grid.show(
            np.stack(pictures),
            heat=np.stack(known) if len(known) == len(pictures) else None,
            captions=list(names),
            strengths=strongest,
            maximum=top,
            **self._more(summaries),
        )
        two = len(names) > 1
        self.grid.thumbnail = int(self.shares[two] * theme().thumbnail_px)
        lay_out(self._shown, flex=self.room[two])
        first = self._prefix
        show(self.prefix, first > 0)
        self.prefix.show(
            [[f" {token} " for token in s.tokens[:first]] for s in summaries],
            [v[:first] for v in values],
            captions=[name.split(" ")[0] for name in names] if len(names) > 1 else ["no patch"],
            maximum=top,
        )

    def _aligned(self, pictures: Pictures, maps: Values) -> tuple[Pictures, Values]:
        """Return images and their heat, all of one size."""
        return pictures, maps

    def _more(self, _: Sequence[InputSummary]) -> dict[str, Any]:
        """Return what is shown of inputs in addition to their images."""
        return {}

    def _mark(self, position: int) -> None:
        rows, columns = self.grid.heat_shape
        patch = position - self._prefix
        inside = 0 <= patch < rows * columns
        self.grid.selected = (0, self._places.cell_of(patch)) if inside else (-1, -1)
        before = 0 <= position < self._prefix and bool(self.prefix.tokens)
        self.prefix.selected = (0, position) if before else (-1, -1)

    def on_pick(self, pick: Pick) -> None:
        """Call back with a patch or token that is clicked."""

        def on_patch(change: t.Bunch) -> None:
            picture, patch = change["new"]
            if picture <= 0 and not self._filling:
                pick(-1 if patch < 0 else self._prefix + self._places.patch_in(patch))

        def on_token(change: t.Bunch) -> None:
            row, token = change["new"]
            if row <= 0 and not self._filling:
                pick(token)

        self.grid.observe(on_patch, "selected")
        self.prefix.observe(on_token, "selected")


class VideoView(PictureView):
    """Videos, of which a frame at a time is shown with its heat, above the strip of all."""

    grid_kind = PictureGrid

    def _more(self, summaries: Sequence[InputSummary]) -> dict[str, Any]:
        return as_film(summaries[0].places)


class SoundView(PictureView):
    """Sounds as spectrograms with heat, each with a button that plays it."""

    grid_kind = PictureGrid
    shares = SOUND_SHARES
    room = (ROOM_FOR_SOUND, ROOM_FOR_SOUND)
    box = ipw.HBox

    def _aligned(self, pictures: Pictures, maps: Values) -> tuple[Pictures, Values]:
        """Return spectrograms on one scale of time; after its end the shorter has neither sound nor heat."""
        steps = [one.shape[1] for one in maps]
        most, width = max(steps), max(one.shape[2] for one in pictures)
        if min(steps) == most:
            return pictures, maps
        drawn, heat = [], []
        for picture, values, n in zip(pictures, maps, steps, strict=True):
            columns = (
                np.arange(round(width * n / most)) * picture.shape[2] // round(width * n / most)
            )
            room = width - len(columns)
            drawn.append(np.pad(picture[:, :, columns], ((0, 0), (0, 0), (0, room))))
            heat.append(np.pad(values, ((0, 0), (0, most - n)), constant_values=np.nan))
        return drawn, heat

    def _more(self, summaries: Sequence[InputSummary]) -> dict[str, Any]:
        sounds = [one.sound for one in summaries if one.sound is not None]
        longer = max(summaries, key=lambda one: len(one.tokens))
        grid = longer.patch_grid
        if len(sounds) < len(summaries) or grid is None:
            return {}
        first = self._prefix
        longest = max(len(sound) for sound in sounds)
        return {
            "sounds": sounds,
            "sound_rate": round(summaries[0].sample_rate or 1),
            "spans": [(0.0, len(sound) / longest) for sound in sounds],
            "patch_names": longer.tokens[first : first + grid[0] * grid[1]],
        }


def recorder_of(model: LiveModel) -> SoundRecorder:
    """Return a recorder of sounds as a model reads them."""
    recorder, rate = SoundRecorder(description="microphone"), sound_rate(model)
    recorder.rate = round(rate)
    lay_out(recorder, flex="1 1 auto")
    exact = getattr(model.module, "clip_length", None)
    if exact is not None:  # whoever speaks does not begin with the recording
        recorder.most_seconds = float(max(1, round(TIMES_LONGER * exact / rate)))
    return recorder


def view_of(
    model: LiveModel, maker: DrawPad | SoundRecorder | None, controls: Sequence[ipw.Widget]
) -> InputView:
    """Return the view of a model's inputs, with what makes them and its controls next to them."""
    modality, places = model.modality, model.places
    place = "patch" if (model.patch_grid or (1, 1))[0] > 1 else modality.place
    if modality.is_image:
        return PictureView(places, maker, controls, place)
    if modality == "audio":
        return SoundView(places, maker, controls, place)
    if model.placeholders:
        return MixedView()
    if modality.fit is not None:
        return VideoView(places, None, controls, place)
    # A sequence that is written letter by letter has no words.
    return TextView(modality.token) if modality.letters else WordsView(modality.token, places)
