"""Where the inputs of an InputLens come from: examples, files, what is drawn, typed or recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import traitlets as t
from torch import Tensor

from sae_nb.activations import where_written
from sae_nb.data import Paper, drawn_scene
from sae_nb.figures.theme import css_colour
from sae_nb_widgets.components import DrawPad, SoundRecorder
from sae_nb_widgets.components._draw_pad import Point
from sae_nb_widgets.input_lens._controls import Upload, uploaded
from sae_nb_widgets.panel._samples import check_parts

if TYPE_CHECKING:
    from sae_nb.activations import Context
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel
    from sae_nb_widgets.input_lens._panel import InputLens


# -------------------------------------------------------------------------------------------------
# Inputs to begin with: those behind activations or a pretrained SAE, else a few made-up ones.


FIRST_TEXTS = (
    "Anna lived near the library with a small fox. The sun came out and she was very",
    "The old dog lost the key near the river. It was a sad day and he felt",
    "The function returns a list of all the",
)
MADE_UP = 16
SHORTEST, LONGEST = 4, 64  # tokens of an example
KEPT = {"audio": "sounds"}
"""Field of a context that has the samples, by kind of input; "token_ids" of texts, "pictures" of others."""

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

    def __getitem__(self, index: int) -> object:
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
        while (
            len(words) > 1 and not words[-1][-1:].isalnum()
        ):  # after a full stop a space is likeliest
            words.pop()
        return " ".join(words) or text

    def _letters(self, context: Context, index: int) -> str:
        """Return a whole sequence; with spaces between its letters where the tokenizer needs them."""
        names = context.token_names(index)
        letters = [n for n, at in zip(names, context.modality.numbers(names), strict=True) if at]
        text, read = "".join(letters), self._model.tokenizer
        return text if len(read(text).input_ids) == len(names) else " ".join(letters)

    def _with_image(self, context: Context, index: int) -> object:
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

    def _made_up(self, index: int) -> object:
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

    def __init__(self, panel: InputLens, examples: InputExamples) -> None:
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
        t.dlink((self._panel, "ink"), (pad, "colour"), lambda name: _css(Paper(ink=name).rgb))

    def record_from(self, recorder: SoundRecorder) -> None:
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
                recorded = (recorder.sound.copy(), recorder.recorded_rate or recorder.rate)
                self.put(recorded, RECORDING)

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

    def fitted(self, name: str, value: object) -> tuple[Any, ...]:
        """Return an input as the model reads it, and notes on what was done to it; of a video its rate too."""
        model = self._panel.model
        modality = model.modality
        if modality.fit is None or name.endswith("sound") != (modality == "audio"):
            raise TypeError(
                f"`{name}` must be left None for {model.name}, which reads {modality.reads}. Set "
                f"`{self.trait('first')}`."
            )
        return modality.fit(model, value)

    def trait(self, slot: str) -> str:
        """Return the name of the trait that holds an input."""
        modality = self._panel.model.modality
        if modality.is_text:
            return TEXTS[slot]
        return SOUNDS[slot] if modality == "audio" else PICTURES[slot]

    def given(self, slot: str) -> object:
        """Return an input; None, or an empty text, where there is none."""
        return getattr(self._panel, self.trait(slot))

    def name(self, slot: str) -> str:
        """Return where an input came from; empty for what was typed or set by a program."""
        return self.names.get(self.trait(slot), "")

    def is_drawn(self, slot: str) -> bool:
        """Return whether an input comes from the pad."""
        return self.name(slot) == DRAWING

    def example(self, number: int) -> object:
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

    def put(self, given: object, source: str, number: int = -1) -> None:
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

    def take_upload(self, upload: Upload) -> None:
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


def checked_point(model: LiveModel, sae: SparseAutoencoder, hook_point: str | None) -> str:
    """Refuse arguments that are not a readable model, not an SAE, or not a pair of the two; return the
    hook point.
    """
    name = where_written(sae, hook_point) if hasattr(sae, "dictionary") else hook_point
    check_parts(model, sae, str(name))
    if not model.modality.is_text and model.modality.fit is None:
        raise TypeError(
            f"InputLens reads texts, pictures, sounds and videos, and {model.name} reads "
            f"{model.modality.reads}. Use sn.top_atoms(model, sae, input) for its record, or AtomBrowser."
        )
    if model.streams and not model.modality.is_text and not model.hook_point(str(name)).encoder:
        raise ValueError(
            f"InputLens shows the {model.modality.sample} that {model.name} reads, but the rows of `{name}` "
            f"are tokens that it writes. Choose a hook point of the encoder, such as "
            f'"encoder.resid_post.0", or use sn.top_atoms(model, sae, input).'
        )
    return str(name)
