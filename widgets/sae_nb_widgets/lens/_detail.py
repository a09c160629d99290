"""The column next to the LensPanel's grid: one cell's outputs by both lenses, and the lens's score."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import ipywidgets as ipw

from sae_nb.figures import visible_token
from sae_nb.figures.theme import escape, format_number, format_percent
from sae_nb.lenses import Lens, LensReading
from sae_nb_widgets.components import Chips, ThinBars
from sae_nb_widgets.components._base import HTML
from sae_nb_widgets.lens._atoms import Firing
from sae_nb_widgets.panel._declaring import control, show, small_button, text_field

if TYPE_CHECKING:
    from sae_nb_widgets.lens._panel import LensPanel


class LensDetail:
    """Ten outputs of a cell by the lens and by the logit lens; green is the model's own answer."""

    def __init__(self, lens: Lens, blocks: Collection[int]) -> None:
        self._lens, self._blocks = lens, sorted(blocks)
        self.place = HTML()
        name = NAMES[lens.kind]
        self.own = Chips(description=f"{name[0].upper()}{name[1:]}")
        self.plain = Chips(description="Logit lens")
        self.atoms = ThinBars(description="Atoms that fire here, and what each raises by the lens")
        self.score = HTML()
        self.widgets: tuple[ipw.Widget, ...] = (
            self.place, self.own, self.plain, self.atoms, self.score,
        )  # fmt: skip

    def show(
        self,
        own: LensReading,
        plain: LensReading,
        layer: int,
        row: int,
        name: str,
        firing: Firing | None,
    ) -> None:
        """List the outputs of a cell, its model's own answer marked, and the atoms that fire there."""
        answer = visible_token(own.names[int(own.answer[row])])
        token = visible_token(own.tokens[row])
        share = format_percent(float(own.answer_probability[row]), digits=2)
        self.place.value = (
            f'<div class="sae-nb-cardtitle">Block {escape(name)}, after “{escape(token.strip())}”</div>'
            f"<p>The model answers “{escape(answer.strip())}” ({share}).</p>"
        )
        self.own.empty_text = "The lens was not fitted at this block."
        for chips, reading in ((self.own, own), (self.plain, plain)):
            _fill(chips, reading, layer, row)
        compared = self._lens.kind != "logit"  # with itself there is nothing to compare
        show(self.plain, compared)
        show(self.atoms, bool(self._blocks))
        pairs = () if firing is None else firing.at[row]
        self.atoms.empty_text = (
            f"Atoms are listed at block {', '.join(map(str, self._blocks))}, where the SAE reads."
            if firing is None
            else "No atom fires here."
        )
        numbers = [atom for atom, _ in pairs]
        named = [f"{atom}: {firing.names[atom]}" for atom in numbers] if firing else []
        self.atoms.show(named, [strength for _, strength in pairs], atoms=numbers)
        self.score.value = f"<p>{self._distances(own, plain, layer, row)}</p>"
        if layer in own.layers:
            self.score.value += (
                '<p class="sae-nb-cardfacts">Effects of directions at this block: '
                f"{escape(self._lens.score_in_words(layer))}.</p>"
            )

    def _distances(self, own: LensReading, plain: LensReading, layer: int, row: int) -> str:
        """Return how far the lenses are from the model's answer at a cell, as HTML."""
        far = {
            name: format_number(float(reading.kl[reading.layers.index(layer), row]))
            for name, reading in ((NAMES[self._lens.kind], own), ("logit lens", plain))
            if layer in reading.layers
        }
        by = {name: f" with the {escape(name)}" * (self._lens.kind != "logit") for name in far}
        said = ", ".join(f"<b>{escape(kl)}</b>{by[name]}" for name, kl in far.items())
        return f"Distance to the model's answer here, in nats: {said}."

    def clear(self) -> None:
        """Show nothing."""
        self.place.value = self.score.value = ""
        self.own.show([])
        self.plain.show([])
        self.atoms.show([], [])


def _fill(chips: Chips, reading: LensReading, layer: int, row: int) -> None:
    """Show the outputs on top of a cell as chips, their probabilities on hovering."""
    if layer not in reading.layers:
        chips.show([])
        return
    i = reading.layers.index(layer)
    ids = reading.top[i, row].tolist()
    chips.show(
        [reading.names[one] for one in ids],
        ["confirmed" if one == reading.answer[row] else "plain" for one in ids],
        tips=[format_percent(float(p), digits=2) for p in reading.top_probability[i, row]],
    )


# --- Its controls ---------------------------------------------------------------------------------


SHOWN = {"ranks": "last word", "lens": "lens", "logit": "logit", "both": "both"}
NAMES = {"jacobian": "Jacobian lens", "tuned": "tuned lens", "logit": "logit lens"}
BLOCKS = {"some": "some", "all": "all"}


class LensControls:
    """The controls of `panel`: those seen at once, and those behind "more"."""

    def __init__(self, panel: LensPanel) -> None:
        kind = NAMES[panel.lens.kind].removesuffix(" lens")
        words = SHOWN | {"lens": "Jacobian" if kind == "Jacobian" else kind}
        tips = {
            "ranks": "The place of the answer after each block, and in nineteen other texts",
            "lens": f"Cells by the {NAMES[panel.lens.kind]}",
            "logit": "Cells by the logit lens: states read as they are",
            "both": "One under the other",
        }
        if not panel.has_ranks:
            del words["ranks"], tips["ranks"]
        if panel.lens.kind == "logit":
            words = {name: text for name, text in words.items() if name not in ("logit", "both")}
        self.shown = control(panel, "shown", "", tips, kind=ipw.ToggleButtons, options=words)
        show(self.shown, len(words) > 1)
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
