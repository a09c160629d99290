"""Inputs that atoms share, on screen: pictures with heat, shaded texts, or rows of plain vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets as ipw
import numpy as np

from sae_nb.summaries.concept_map_selection import SharedInput
from sae_nb.tokens import Context
from sae_nb_widgets.components import Component, PictureGrid, Sparkbars, TokenStrip
from sae_nb_widgets.figures.theme import format_count, format_number

READ = "Σ|z| / p99 of the atoms chosen"


class SharedInputs:
    """One component that fits what the activations were captured from.

    Parameters
    ----------
    context
        Of the activations; None where there are none.
    chosen
        Called with an input somebody clicked.
    """

    def __init__(self, context: Context | None, chosen: Callable[[SharedInput], None]) -> None:
        self._context, self._chosen = context or Context(), chosen
        self._inputs: tuple[SharedInput, ...] = ()
        self._title = ipw.HTML()
        self.component = self._component()
        self.component.description = "inputs that fire what is selected"
        self.component.observe(self._clicked, "selected")
        self.widget = ipw.VBox([self._title, self.component])
        self._shown = context is not None
        self.widget.layout.display = None if self._shown else "none"

    def _component(self) -> Component:
        context = self._context
        if context.kind == "language" and context.token_ids is not None:
            return TokenStrip(hint=f"hover a token: {READ}")
        if context.pictures is not None or context.patch_grid is not None:
            return PictureGrid(hint=f"hover a patch: {READ}")
        return Sparkbars()

    def show(self, inputs: Sequence[SharedInput], title: str, n_atoms: int) -> None:
        """Draw inputs.

        Parameters
        ----------
        inputs
            From a `SelectionSummary`.
        title
            What they have in common, as HTML.
        n_atoms
            How many atoms were chosen.
        """
        self._inputs = tuple(inputs)
        self._title.value = f'<div class="sae-nb-cardtitle">{title}</div>' if title else ""
        self.component.empty_text = "No input fires the atoms chosen." if title else ""
        captions = [self._caption(shared, n_atoms) for shared in self._inputs]
        if isinstance(self.component, TokenStrip):
            self._show_texts(captions)
        elif isinstance(self.component, PictureGrid):
            self._show_pictures(captions)
        elif isinstance(self.component, Sparkbars):
            places = [shared.place for shared in self._inputs]
            self.component.show(places, [shared.strength for shared in self._inputs])

    def _caption(self, shared: SharedInput, n_atoms: int) -> str:
        if n_atoms == 1:
            return f"{shared.sample}"
        return f"{shared.sample}: {format_count(shared.n_atoms)} of {format_count(n_atoms)}"

    def _show_texts(self, captions: Sequence[str]) -> None:
        inputs = self._inputs
        nothing = np.zeros(0)
        self.component.show(
            [shared.tokens for shared in inputs],
            [nothing if s.token_strengths is None else s.token_strengths for s in inputs],
            special=[shared.special for shared in inputs],
            captions=captions,
            strengths=[shared.strength for shared in inputs],
            first_positions=[shared.first_position for shared in inputs],
            clipped=[shared.clipped for shared in inputs],
        )

    def _show_pictures(self, captions: Sequence[str]) -> None:
        inputs = self._inputs
        pictures = [self._picture(shared) for shared in inputs]
        heat = [shared.heat for shared in inputs if shared.heat is not None]
        self.component.show(
            np.stack(pictures) if pictures else np.zeros((0, 3, 1, 1), np.uint8),
            heat=np.stack(heat) if len(heat) == len(inputs) and heat else None,
            captions=captions,
            places=[shared.place for shared in inputs],
            strengths=[shared.strength for shared in inputs],
        )

    def _picture(self, shared: SharedInput) -> np.ndarray:
        if shared.picture is not None:
            return shared.picture
        rows, columns = self._context.patch_grid or (1, 1)
        return np.full((3, rows * 4, columns * 4), 128, np.uint8)

    def _clicked(self, change: dict[str, object]) -> None:
        new = change["new"]
        index = new[0] if isinstance(new, tuple) else new
        if isinstance(index, int) and 0 <= index < len(self._inputs):
            self._chosen(self._inputs[index])


def reading(shared: SharedInput, n_atoms: int) -> str:
    """Return an input in words: where, how many of the atoms fire, how strongly.

    Parameters
    ----------
    shared
        Which.
    n_atoms
        How many atoms were chosen.
    """
    fire = f"{format_count(shared.n_atoms)} of {format_count(n_atoms)} atoms fire"
    return f"{shared.place}: {fire}, {READ.split(' of ')[0]} = {format_number(shared.strength)}"
