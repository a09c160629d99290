"""The controls of the InputLens, each linked to one trait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import traitlets as t

from sae_nb.models import Modality
from sae_nb_widgets.components._base import lay_out, layout_of
from sae_nb_widgets.panel._declaring import TIGHT, control, line, show, small_button, text_field

if TYPE_CHECKING:
    from sae_nb_widgets.input_lens._panel import InputLens

MOST_SHOWN = 40
LARGEST_UPLOAD = 20_000_000
ORDER_NAMES = {
    "surprise": "unusually active",
    "lift": "× usual",
    "strength": "activation (max)",
    "total strength": "activation (total)",
    "attribution": "effect on the answer",
}
COMPARED = {"total strength": "difference in activation", "attribution": "difference in effect"}
HEAT_NAMES = {"fired": "activation", "mattered": "effect"}
WORD_HEATS = {"fired": "how strongly", "mattered": "effect on what comes next"}
"""The same of a text whose words carry their atoms."""


class InputLensControls:
    """The controls of `panel`: those always there, those behind "more", and those at its inputs."""

    def __init__(self, panel: InputLens) -> None:
        self.comparing = control(
            panel,
            "comparing",
            "compare",
            "Show A − B, with what chance alone would give",
            kind=ipw.ToggleButton,
        )
        self.text = text_field(panel, "text", "text", "What the model reads").add_class(
            "sae-nb-search"
        )
        tip = "A second text; rows then show A − B"
        self.compare_text = text_field(panel, "compare_text", "text B", tip)
        self.slot = control(
            panel,
            "slot",
            "",
            "Which input you are changing",
            kind=ipw.ToggleButtons,
            options={"first": "into A", "second": "into B"},
        )
        self.upload = upload_button(panel.sources.take_upload, panel.model.modality)
        self.first = self._input(panel)
        self.target = control(
            panel,
            "target",
            "explain the answer",
            "Class or token whose score the effects are on; empty for the model's top answer",
            250,
            rule=panel.target_rule,
            placeholder="top answer",
        )
        tip = "Colour of the input: where the atom is active, or where it moves the answer"
        heats = WORD_HEATS if panel.has_words else HEAT_NAMES
        self.heat = control(panel, "heat", "", tip, kind=ipw.ToggleButtons, options=heats)
        self.first.append(self.heat)
        self.order = self._order(panel)
        self.more = [
            self.order,
            *([_example(panel)] if panel.n_examples else []),
            control(panel, "atom", "atom", "Row of the dictionary shown over the input", 140),
            self.target,
            control(panel, "n_shown", "rows", "How many atoms are listed", 110),
        ]
        self.at_pad: list[ipw.Widget] = []
        modality = panel.model.modality
        if modality.is_image or modality == "audio":
            tip = "Take the input away, and what was concluded from it (Delete)"
            self.at_pad = [small_button("clear", tip, panel.sources.clear)]
        if modality.is_image:
            tip = "Colour of what you draw, one of those in the training images"
            self.at_pad = [
                _menu(control(panel, "ink", "pen colour", tip, 192)),
                small_button("undo", "Take back a stroke (Backspace)", panel.sources.undo),
                *self.at_pad,
            ]
            self.thickness = _thickness()
            paper = _menu(control(panel, "paper", "background", "Texture behind drawings", 210))
            self.more += [paper, self.thickness]

    def _input(self, panel: InputLens) -> list[ipw.Widget]:
        words = panel.model.modality.is_text
        second = self.compare_text if words else self.slot
        shown = [self.text if words else self.upload, self.comparing, second]
        if panel.model.placeholders:
            clear = small_button(
                "no image", "Take the image out of the text", panel.sources.without_image
            )
            shown[1:2] = [self.upload, clear, self.comparing]
        if panel.n_examples:
            self.forth = small_button("›", "The next input", lambda: panel.sources.step(1))
            back = small_button("‹", "The input before", lambda: panel.sources.step(-1))
            shown.insert(1 if words else 0, line(back, self.forth))
        return shown

    def fit(self, comparing: bool) -> None:
        """Show what is about a second input where there is one."""
        show(self.compare_text, comparing)
        show(self.slot, comparing)
        show(self.sort, not comparing)
        show(self.sort_compared, comparing)

    def _order(self, panel: InputLens) -> ipw.Box:
        """Return the controls of the bars' order."""
        self.sort = _menu(
            control(panel, "sort", "sort by", "Order of the rows", options=ORDER_NAMES)
        )
        self.sort_compared = ipw.Dropdown(
            options=[(words, order) for order, words in COMPARED.items()],
            description="sort by",
            tooltip="Which difference comes first where it is largest",
            style=TIGHT,
            layout=layout_of(width="auto", max_width="290px"),
        )
        t.dlink(
            (panel, "sort"),
            (self.sort_compared, "value"),
            lambda order: order if order in COMPARED else "total strength",
        )
        self.sort_compared.observe(
            lambda change: self._sort_compared(panel, change["new"]), "value"
        )
        return line(self.sort, self.sort_compared)

    def _sort_compared(self, panel: InputLens, order: str) -> None:
        if order != (panel.sort if panel.sort in COMPARED else "total strength"):
            panel.sort = order


Upload = Sequence[Mapping[str, Any]]
"""What a FileUpload holds: a name and a content each."""


def uploaded(value: Upload) -> tuple[str, bytes]:
    """Return the name and content of what a FileUpload holds."""
    name, content = str(value[0]["name"]), bytes(value[0]["content"])
    if len(content) > LARGEST_UPLOAD:
        raise ValueError(
            f"{name} is too large: a file may have {LARGEST_UPLOAD // 1_000_000} MB. Make it smaller and "
            "upload it again."
        )
    return name, content


def upload_button(take: Callable[[Upload], None], modality: Modality) -> ipw.FileUpload:
    """Return a button that gives a file of one of the kinds that a model reads to `take`."""
    accept, tip = {
        "audio": (".wav,audio/wav", "A .wav file of yours, of any rate and length"),
        "video": (
            "image/gif,image/webp,image/png",
            "A GIF, WebP or PNG file that moves; frames are taken evenly",
        ),
    }.get(modality.name, ("image/*", "A picture of yours, of any size and kind"))
    upload = ipw.FileUpload(
        accept=accept,
        multiple=False,
        description="upload",
        tooltip=tip,
        # until panel_keys.js has taken the number of files off it
        layout=layout_of(width="auto", visibility="hidden"),
    )
    upload.observe(lambda change: take(change["new"]), "value")
    return upload


def _example(panel: InputLens) -> ipw.Widget:
    return control(panel, "example", "input", "Number of one of the examples", 130)


def _menu(menu: ipw.Dropdown) -> ipw.Dropdown:
    lay_out(menu, max_width="290px")
    return menu


def _thickness() -> ipw.FloatSlider:
    return ipw.FloatSlider(
        min=1.5,
        max=5.0,
        step=0.5,
        readout_format=".1f",
        description="brush",
        tooltip="Width of the brush in pixels",
        layout=layout_of(width="220px"),
        style=TIGHT,
    )
