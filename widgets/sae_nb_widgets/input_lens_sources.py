"""Where an InputLens gets its inputs from: examples, files, the drawing pad; one input or two."""

from __future__ import annotations

from typing import Any

import traitlets as t

from sae_nb.data.drawing import Paper, Point, drawn_scene
from sae_nb.data.rendering import INKS
from sae_nb_widgets import input_lens_controls
from sae_nb_widgets.atom_controls import visible
from sae_nb_widgets.components import DrawPad
from sae_nb_widgets.figures.theme import css_colour
from sae_nb_widgets.input_lens_examples import InputExamples
from sae_nb_widgets.input_lens_traits import InputLensTraits

PICTURES = {"first": "picture", "second": "compare_picture"}
TEXTS = {"first": "text", "second": "compare_text"}


class InputLensSources(InputLensTraits):
    """Traits of an InputLens, and what fills them: choosing, uploading, drawing."""

    controls: input_lens_controls.Controls
    _pad: DrawPad
    _examples: InputExamples
    _sources: dict[str, str]
    # An input is being set by the panel, which knows where it comes from.
    _putting: bool
    # The pad is being cleared because something else was chosen; that is no drawing.
    _following: bool

    def _listen_to_sources(self) -> None:
        made = self.controls
        made.upload.observe(self._take_upload, "value")
        made.back.on_click(lambda _: self._step_example(-1))
        made.forth.on_click(lambda _: self._step_example(1))
        self.observe(lambda change: self.choose_example(change["new"]), "example")
        self.observe(self._on_comparing, "comparing")
        self._fit_controls()
        if self.kind == "vision":
            self._listen_to_pad()

    def _listen_to_pad(self) -> None:
        made, pad = self.controls, self._pad
        made.thickness.value = pad.thickness
        t.link((pad, "thickness"), (made.thickness, "value"))
        made.clear.on_click(lambda _: pad.send({"kind": "clear"}))
        made.undo.on_click(lambda _: pad.send({"kind": "undo"}))
        pad.observe(lambda _: self._take_drawing(), "pixels")
        self.observe(lambda _: self._take_drawing(), ["ink", "paper"])
        t.dlink((self, "ink"), (pad, "colour"), lambda name: _css(INKS[name]))

    def choose_example(self, number: int) -> None:
        """Make an example the input, also one that was chosen before something else was drawn.

        Parameters
        ----------
        number
            Which; a negative one changes nothing.
        """
        if number < 0:
            return
        self.example = number
        with self.guarded(f"example {number}"):
            self._put(self._examples[number], f"example {number}")

    def _step_example(self, by: int) -> None:
        if self.n_examples:
            self.example = (self.example + by) % self.n_examples

    def _put(self, given: Any, source: str) -> None:
        """Make something the input that drawing and choosing go to."""
        name = (TEXTS if self.kind == "language" else PICTURES)[self.slot]
        if self.kind == "vision" and source != "drawing":
            self._clear_pad()
        self._sources[name], self._putting = source, True
        self.set_trait(name, given)
        self._putting = False

    def _clear_pad(self) -> None:
        self._following = True
        self._pad.clear()
        self._following = False

    def _take_drawing(self) -> None:
        if self._following or self._pad.blank:
            return
        with self.guarded("drawing"):
            drawn = drawn_scene(self._pad.ink, Paper(ink=self.ink, texture=self.paper))
            self._drawn_notes = drawn.notes
            self._put(drawn.picture, "drawing")
            self._drawn_notes = ()

    def draw(self, strokes: list[list[Point]], *, clear: bool = True) -> None:
        """Draw strokes on the pad, as a pointer would, and read what is drawn.

        Parameters
        ----------
        strokes
            Lists of points (x, y) in pixels of the 32 × 32 canvas.
        clear
            Take off first what is there.

        Raises
        ------
        TypeError
            If the model reads no pictures.
        """
        if self.kind != "vision":
            raise TypeError(f"`draw` needs a vision model, and {self.model.name} reads text.")
        with self._pad.hold_trait_notifications():
            if clear:
                self._pad.clear()
            for stroke in strokes:
                self._pad.stroke(stroke)

    def _take_upload(self, change: t.Bunch) -> None:
        if not change["new"]:
            return
        with self.guarded("upload"):
            name, content = input_lens_controls.uploaded(change["new"])
            self._put(content, name)

    def _on_comparing(self, change: t.Bunch) -> None:
        self._fit_controls()
        if not change["new"]:
            self.slot, self.compare_text, self.compare_picture = "first", "", None
        elif self.kind == "vision" and self.compare_picture is None:
            self.slot = "second"
            if self.n_examples:
                self.choose_example((self.example + 1) % self.n_examples)
            else:
                self._put(self.picture, self._sources["picture"])

    def _fit_controls(self) -> None:
        visible(self.controls.compare_text, self.comparing)
        visible(self.controls.slot, self.comparing)


def _css(colour: tuple[float, float, float]) -> str:
    return css_colour([round(255 * part) for part in colour])
