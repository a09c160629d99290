"""The controls of the LensPanel, each linked to one trait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as ipw

from sae_nb_widgets.panel._declaring import (
    control,
    show,
    small_button,
    text_field,
)

if TYPE_CHECKING:
    from sae_nb_widgets.lens._panel import LensPanel

SHOWN = {"lens": "lens", "logit": "logit", "both": "both"}
NAMES = {"jacobian": "Jacobian lens", "tuned": "tuned lens", "logit": "logit lens"}
BLOCKS = {"some": "some", "all": "all"}


class LensControls:
    """The controls of `panel`: those seen at once, and those behind "more"."""

    def __init__(self, panel: LensPanel) -> None:
        kind = NAMES[panel.lens.kind].removesuffix(" lens")
        words = SHOWN | {"lens": "Jacobian" if kind == "Jacobian" else kind}
        tips = {
            "lens": f"Cells by the {NAMES[panel.lens.kind]}",
            "logit": "Cells by the logit lens: states read as they are",
            "both": "One under the other",
        }
        self.shown = control(panel, "shown", "", tips, kind=ipw.ToggleButtons, options=words)
        show(self.shown, panel.lens.kind != "logit")
        self.more = [
            control(panel, "blocks", "blocks", "Some blocks, or all", "10em", options=BLOCKS),
            control(panel, "layer", "block", "Block whose outputs are listed", "9em"),
            control(panel, "place", "position", "Position whose outputs are listed", "10em"),
        ]
        if panel.model.modality.is_text:
            tip = "What the model reads; it is read when you leave the box"
            second = _text(
                panel, "second_text", "second text", "Another text, shown next to the first"
            )
            show(second, bool(panel.second_text))
            compare = small_button(
                "compare two texts", "A field for another text", lambda: show(second, True)
            )
            self.first = [self.shown, _text(panel, "text", "text", tip), compare, second]
        else:
            tip = "Number of the image that is read"
            self.first = [self.shown, control(panel, "example", "image", tip, "9em")]


def _text(panel: LensPanel, trait: str, name: str, tip: str) -> ipw.Text:
    return text_field(panel, trait, name, tip).add_class("sae-nb-search")
