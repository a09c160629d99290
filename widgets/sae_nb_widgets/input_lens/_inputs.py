"""The input of an InputLens on screen: images and sounds with what makes them at their side, or texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import traitlets as t
from jaxtyping import Float, UInt8
from torch import Tensor

from sae_nb.activations import AUDIO, LANGUAGE, modality_of
from sae_nb.atoms import CONTINUED, IMAGE
from sae_nb.data import INKS, Paper, Point, drawn_scene
from sae_nb.figures import css_colour, current_theme as theme
from sae_nb.models import rate_of
from sae_nb.summaries import InputSummary
from sae_nb_widgets.components import (
    DrawPad,
    PictureGrid,
    SoundRecorder,
    StillGrid,
    TokenStrip,
    as_film,
    of_one_grid,
)
from sae_nb_widgets.input_lens._controls import uploaded
from sae_nb_widgets.panel import LIVE_ONLY, show

if TYPE_CHECKING:
    from sae_nb.activations import Context
    from sae_nb.models import LiveModel


# -------------------------------------------------------------------------------------------------
# Inputs to begin with: those behind activations or a pretrained SAE, else a few made-up ones.


FIRST_TEXTS = (
    "Anna lived near the library with a small fox. The sun came out and she was very",
    "The old dog lost the key near the river. It was a sad day and he felt",
    "The function returns a list of all the",
)
MADE_UP = 16
SHORTEST, LONGEST = 4, 64  # tokens of an example
KEPT = {LANGUAGE.name: "token_ids", AUDIO.name: "sounds"}
"""Field of a context that has the samples, by kind of input; "pictures" of others."""

FULL = 32_767
"""Largest value of a sound that is kept in 16 bits."""


class InputExamples:
    """Examples by number, made or decoded when they are asked for."""

    def __init__(self, model: LiveModel, context: Context | None, store: Any = None) -> None:
        self._model = model
        contexts = (context, getattr(getattr(store, "acts", None), "context", None))
        kept = "token_ids" if model.modality.is_text else KEPT.get(model.modality.name, "pictures")
        self._context = next((c for c in contexts if getattr(c, kept, None) is not None), None)
        self._made: Tensor | None = None

    def __len__(self) -> int:
        if self._model.modality.is_text and self._model.tokenizer is None:
            return 0  # ids have no text to show
        if self._context is not None:
            return int(self._context.n_samples)
        if not self._model.modality.is_text:
            return MADE_UP if self._knows_made_up else 0
        return len(FIRST_TEXTS) if self._model.tokenizer is not None else 0

    @property
    def _knows_made_up(self) -> bool:
        # Made-up scenes and sounds say something to the bundled models; to another one they are noise.
        return self._model.name.startswith(("tiny-vit", "tiny-audio"))

    def __getitem__(self, index: int) -> Any:
        """Return a picture as (3, height, width), a video as its frames, a sound as (time,), or a text."""
        context = self._context
        if context is None:
            return self._made_up(index)
        if context.pictures is not None and context.frames is not None:
            # one of each step in time is kept
            frames = context.pictures[index].unflatten(1, (context.frames, -1)).transpose(0, 1)
            step = context.seconds_per_step
            return frames if step is None else (frames, 1 / step)
        if context.pictures is not None and self._model.modality.is_image:
            return context.pictures[index]
        if context.sounds is not None:
            return context.sounds.sample(index).float() / FULL
        if context.token_ids is None:
            raise IndexError(f"There is no example {index}.")
        if context.images is not None:
            return self._with_image(context, index)
        ids = context.token_ids.sample(index).tolist()
        if context.modality.letters:
            return self._letters(context, index)
        # Up to the middle of something: what comes next is then worth asking about.
        ids = ids[: max(min(2 * len(ids) // 3, LONGEST), SHORTEST)]
        text = str(self._model.tokenizer.decode(ids, skip_special_tokens=True))
        words = text.split(" ")[:-1]
        while len(words) > 1 and not words[-1][-1:].isalnum():  # after a full stop a space is likeliest
            words.pop()
        return " ".join(words) or text

    def _letters(self, context: Context, index: int) -> str:
        """Return a whole sequence; with spaces between its letters where the tokenizer needs them."""
        names = context.token_names(index)
        letters = [n for n, at in zip(names, context.modality.numbers(names), strict=True) if at]
        text, read = "".join(letters), self._model.tokenizer
        return text if len(read(text).input_ids) == len(names) else " ".join(letters)

    def _with_image(self, context: Context, index: int) -> Any:
        """Return a text, with its image where it has one, as displayed."""
        if context.token_ids is None or context.images is None:
            raise IndexError(f"There is no example {index}.")
        ids, texts, at = context.token_ids.sample(index).tolist(), [], 0
        for run in [*context.runs(index), range(len(ids), len(ids))]:
            part = self._model.tokenizer.decode(ids[at : run.start], skip_special_tokens=True)
            texts.append(str(part).strip())
            at = run.stop
        images = context.images.of_sample(index)
        token = getattr(self._model.preprocess, "image_token", None)
        if len(images) != 1 or token is None:
            return " ".join(filter(None, texts))
        return f" {token} ".join(texts).strip(), context.images.pictures[images[0]]

    def _made_up(self, index: int) -> Any:
        modality = self._model.modality
        if modality.is_text or modality.examples is None:
            return FIRST_TEXTS[index]
        if self._made is None:
            self._made = modality.examples(MADE_UP, 0)
        return self._made[index]


# -------------------------------------------------------------------------------------------------
# Where an InputLens gets its inputs from: examples, files, the drawing pad; one input or two.


DRAWING, RECORDING = "drawing", "recording"
UNREADABLE = "{} is not a picture I can read. Save it as PNG or JPEG and upload it again."
LONGEST_NAME = 60
PICTURES = {"first": "picture", "second": "compare_picture"}
TEXTS = {"first": "text", "second": "compare_text"}
SOUNDS = {"first": "sound", "second": "compare_sound"}


class InputSources:
    """The sources of a panel's inputs: choosing, uploading, drawing, recording; where each came from."""

    def __init__(self, panel: Any, examples: InputExamples) -> None:
        self._panel, self._examples = panel, examples
        self.names: dict[str, str] = {}
        self.putting = False
        """An input is being set by the panel, which knows where it comes from."""
        self.drawn_notes: tuple[str, ...] = ()
        """Changes made to a drawing before it became an image."""
        self.pad: DrawPad | None = None
        # The pad is being cleared because something else was chosen; that is no drawing.
        self._following = False

    def listen(self, pad: DrawPad, thickness: ipw.FloatSlider) -> None:
        """Observe the pad for drawings, in the ink of the panel and with the slider's thickness."""
        self.pad = pad
        thickness.value = pad.thickness
        t.link((pad, "thickness"), (thickness, "value"))
        pad.observe(lambda _: self.take_drawing(), "pixels")
        t.dlink((self._panel, "ink"), (pad, "colour"), lambda name: _css(INKS[name]))

    def hear(self, recorder: SoundRecorder) -> None:
        """Observe the recorder for sounds, and for the reason why there is none."""
        recorder.observe(lambda _: self.take_recording(recorder), "samples")
        recorder.observe(lambda change: self._refused(change["new"]), "refusal")

    def _refused(self, why: str) -> None:
        if why:
            self._panel.say(why)

    def take_recording(self, recorder: SoundRecorder) -> None:
        """Make what was recorded the input."""
        if recorder.samples:
            with self._panel.guarded(RECORDING):
                heard = (recorder.sound.copy(), recorder.recorded_rate or recorder.rate)
                self.put(heard, RECORDING)

    def undo(self) -> None:
        """Take back a stroke, which the browser knows."""
        if self.pad is not None:
            self.pad.send({"kind": "undo"})

    def clear(self) -> None:
        """Take the input away, off the pad too."""
        if self.pad is not None:
            self.pad.send({"kind": "clear"})
        if not self._panel.model.modality.is_text:
            self._panel.set_trait(self.trait(self._panel.slot), None)

    def without_image(self) -> None:
        """Take the image out of a text."""
        self._panel.set_trait(PICTURES[self._panel.slot], None)

    def trait(self, slot: str) -> str:
        """Return the name of the trait that holds an input."""
        modality = self._panel.model.modality
        if modality.is_text:
            return TEXTS[slot]
        return SOUNDS[slot] if modality == AUDIO else PICTURES[slot]

    def given(self, slot: str) -> Any:
        """Return an input; None, or an empty text, where there is none."""
        return getattr(self._panel, self.trait(slot))

    def name(self, slot: str) -> str:
        """Return where an input came from; empty for what was typed or set by a program."""
        return self.names.get(self.trait(slot), "")

    def is_drawn(self, slot: str) -> bool:
        """Return whether an input comes from the pad."""
        return self.name(slot) == DRAWING

    def example(self, number: int) -> Any:
        """Return an example as the model reads it."""
        return self._examples[number]

    def changed(self, slot: str) -> None:
        """Forget where an input came from, unless it was just put there."""
        if not self.putting:
            self.names[self.trait(slot)] = ""
            self._panel.example = -1

    def choose(self, number: int) -> None:
        """Make an example the input."""
        found, panel = self._examples[number], self._panel
        if isinstance(found, tuple) and isinstance(found[0], str):
            with panel.hold_trait_notifications():
                panel.set_trait(PICTURES[panel.slot], found[1])
                self.put(found[0], f"input {number}", number)
            return
        if panel.model.placeholders:
            panel.set_trait(PICTURES[panel.slot], None)
        self.put(found, f"input {number}", number)

    def choose_second(self) -> None:
        """Put another example next to the first input; the same input if there is none."""
        panel = self._panel
        if panel.n_examples:
            panel.choose_example((panel.example + 1) % panel.n_examples)
        else:
            self.put(self.given("first"), self.name("first"))

    def step(self, by: int) -> None:
        """Make the next example the input, or the one before."""
        panel = self._panel
        if panel.n_examples:
            panel.example = (panel.example + by) % panel.n_examples

    def put(self, given: Any, source: str, number: int = -1) -> None:
        """Make something the input that drawing and choosing go to; `number` of an example."""
        panel = self._panel
        name = self.trait(panel.slot)
        if self.pad is not None and source != DRAWING:
            self._following = True
            self.pad.clear()
            self._following = False
        before, self.names[name] = self.names.get(name, ""), source
        self.putting = True
        try:
            panel.set_trait(name, given)
            panel.example = number
        except t.TraitError:
            self.names[name] = before
            raise
        finally:
            self.putting = False

    def take_drawing(self) -> None:
        """Read what is drawn on the pad."""
        pad, panel = self.pad, self._panel
        if pad is None or self._following:
            return
        if pad.blank:  # taken away again, with what was concluded from it
            if self.name(panel.slot) == DRAWING:
                panel.set_trait(self.trait(panel.slot), None)
            return
        with panel.guarded("drawing"):
            drawn = drawn_scene(pad.ink, Paper(ink=panel.ink, texture=panel.paper))
            self.drawn_notes = drawn.notes
            self.put(drawn.picture, DRAWING)
            self.drawn_notes = ()

    def draw(self, strokes: list[list[Point]], *, clear: bool) -> None:
        """Draw strokes on the pad, as a pointer would."""
        if self.pad is None:
            name = self._panel.model.name
            reads = self._panel.model.modality.reads
            raise TypeError(f"`draw` needs a vision model, and {name} reads {reads}.")
        with self.pad.hold_trait_notifications():
            if clear:
                self.pad.clear()
            for stroke in strokes:
                self.pad.stroke(stroke)

    def take_upload(self, upload: Any) -> None:
        """Make what a FileUpload holds the input."""
        if upload:
            with self._panel.guarded("upload"):
                name, content = uploaded(upload)
                name = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
                try:
                    if self._panel.model.placeholders:
                        self._panel.set_trait(PICTURES[self._panel.slot], content)
                    else:
                        self.put(content, name)
                except t.TraitError as error:
                    if not self._panel.model.modality.is_image:
                        raise  # its sentence knows what to do
                    raise ValueError(UNREADABLE.format(name)) from error


def _css(colour: tuple[float, float, float]) -> str:
    return css_colour([round(255 * part) for part in colour])


# -------------------------------------------------------------------------------------------------
# The input of an InputLens on screen: pictures with a drawing pad next to them, or texts as tokens.


# Of the theme's thumbnail: an input is looked at closely, and two stand side by side.
PICTURE_SHARES = (2.6, 1.6)
SOUND_SHARES = (3.6, 2.6)
ROOM_FOR_SOUND = "0 1 340px"
TIMES_LONGER = 3
"""Of a recording for a model that reads clips of one length, whose loudest stretch is read."""
ROOM_FOR_ONE, ROOM_FOR_TWO = "0 1 260px", "0 1 320px"
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
            hint=f"Hover: activation at this {place}. Click: atoms active there.",
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
            numbers=[modality_of(one.kind).numbers(one.tokens) for one in summaries],
            maximum=top,
        )

    def _mark(self, position: int) -> None:
        inside = self.strip.tokens and 0 <= position < len(self.strip.tokens[0])
        self.strip.selected = (0, position) if inside else (-1, -1)

    def on_pick(self, pick: Pick) -> None:
        """Call back with a token that is clicked."""

        def chosen(change: Any) -> None:
            row, token = change["new"]
            if row <= 0 and not self._filling:
                pick(token)

        self.strip.observe(chosen, "selected")


class MixedView(TextView):
    """Texts with images: the patches of an image on it, above the text in which it is one token."""

    def __init__(self) -> None:
        self.grid = StillGrid(
            description="the images in the text",
            hint="Hover: activation at this patch. Click: atoms active there.",
        )
        self._of: list[tuple[int, range]] = []
        super().__init__()
        self.widget = ipw.VBox([self.grid, self.strip])

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
                for image in images.of_sample(0):
                    run, shape = images.patches(image), images.grid(image)
                    tokens[run.start : run.stop] = [IMAGE, *[CONTINUED] * (len(run) - 1)]
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

        def on_patch(change: Any) -> None:
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
        tools = ipw.Box(tuple(controls)).add_class("sae-nb-line")
        made = [] if maker is None else [maker]
        pad = self.box([*made, tools], layout=ipw.Layout(width="200px", flex="0 0 auto"))
        pad.add_class(LIVE_ONLY)
        self._shown = ipw.VBox([self.grid], layout=ipw.Layout(flex=self.room[0], min_width="0"))
        self.prefix.layout.flex, self.prefix.layout.min_width = "1 1 100%", "0"
        row = ipw.Box([*([pad] if made else []), self._shown, self.prefix])
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
        self._shown.layout.flex = self.room[two]
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

        def on_patch(change: Any) -> None:
            picture, patch = change["new"]
            if picture <= 0 and not self._filling:
                pick(-1 if patch < 0 else self._prefix + self._places.patch_in(patch))

        def on_token(change: Any) -> None:
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
        heard = [one.sound for one in summaries if one.sound is not None]
        longer = max(summaries, key=lambda one: len(one.tokens))
        grid = longer.patch_grid
        if len(heard) < len(summaries) or grid is None:
            return {}
        first = self._prefix
        longest = max(len(sound) for sound in heard)
        return {
            "sounds": heard,
            "sound_rate": round(summaries[0].sample_rate or 1),
            "spans": [(0.0, len(sound) / longest) for sound in heard],
            "patch_names": longer.tokens[first : first + grid[0] * grid[1]],
        }


def recorder_of(model: LiveModel) -> SoundRecorder:
    """Return a recorder of sounds as a model reads them."""
    recorder, rate = SoundRecorder(description="microphone"), rate_of(model)
    recorder.rate, recorder.layout.flex = round(rate), "1 1 auto"
    exact = getattr(model.module, "clip_length", None)
    if exact is not None:  # whoever speaks does not begin with the recording
        recorder.most_seconds = float(max(1, round(TIMES_LONGER * exact / rate)))
    return recorder
