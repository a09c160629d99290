"""The options of a quiz on screen: one card each, a button next to an image or a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sae_nb.activations._context import Context
from sae_nb.atoms._examples import Example
from sae_nb.figures import current_theme as theme
from sae_nb_widgets.components import PictureGrid, TokenStrip
from sae_nb_widgets.components._base import Box, Button, VBox, lay_out, layout_of
from sae_nb_widgets.components._picture_grid import as_film, grid_for


class OptionCards:
    """Numbered options; strengths stay hidden until they are shown.

    Images are above their buttons, one each; texts are numbered rows.
    """

    def __init__(self, context: Context, n: int, chosen: Callable[[int], None]) -> None:
        self.buttons = [
            Button(
                description=str(number + 1),
                tooltip=f"The atom fires in option {number + 1}",
                layout=layout_of(width="auto", margin="0"),
            )
            for number in range(n)
        ]
        for number, button in enumerate(self.buttons):
            button.on_click(lambda _, number=number: chosen(number))
        self.view: PictureGrid | TokenStrip
        self._film = as_film(context)
        if context.pictures is not None:
            self.view = grid_for(context, bare=True)  # without numbers: they would be the answer
        else:
            self.view = TokenStrip(hint="click a text, or press its number")
        self.view.description = "options"
        self.view.empty_text = "Nothing to choose from."
        self.view.observe(
            lambda change: chosen(change["new"][0]) if change["new"][0] >= 0 else None, "selected"
        )
        self._row = Box(self.buttons, layout=layout_of(display="grid", padding="4px"))
        self.widget = VBox([self.view, self._row])
        self.fit()

    def fit(self) -> None:
        """Give pictures and buttons the size of the current scale, each button under its picture."""
        column = "minmax(64px, max-content)"
        if isinstance(self.view, PictureGrid):
            self.view.thumbnail = theme().thumbnail_px
            # As wide as the pictures, whatever the words on a button.
            column = f"{theme().thumbnail_px}px"
        columns = f"repeat(auto-fill, {column})"
        lay_out(self._row, grid_template_columns=columns, grid_gap="8px")

    def ask(self, options: Sequence[Example]) -> None:
        """Show the options without their strengths."""
        for number, button in enumerate(self.buttons):
            button.description, button.button_style = str(number + 1), ""
            button.disabled = not options
        self._draw(options, 1.0, hidden=True)

    def tell(self, options: Sequence[Example], answer: int, given: int, maximum: float) -> None:
        """Show the strengths, in which option it fires, and which was taken."""
        for number, button in enumerate(self.buttons):
            button.disabled = True
            if number == answer:
                button.description, button.button_style = f"{number + 1} ✓ fires", "success"
            elif number == given:
                button.description, button.button_style = f"{number + 1} · yours", "danger"
        self._draw(options, maximum, hidden=False)

    def _draw(self, options: Sequence[Example], maximum: float, *, hidden: bool) -> None:
        if isinstance(self.view, PictureGrid):
            _draw_pictures(self.view, options, maximum, hidden, self._film)
        else:
            _draw_texts(self.view, options, maximum, hidden)


def _draw_pictures(
    grid: PictureGrid,
    shown: Sequence[Example],
    maximum: float,
    hidden: bool,
    film: dict[str, Any],
) -> None:
    heat = [np.abs(e.heat) for e in shown if e.heat is not None and not hidden]
    grid.show(
        np.stack([e.picture for e in shown if e.picture is not None])
        if shown
        else np.zeros((0, 3, 1, 1), np.uint8),
        heat=np.stack(heat) if heat else None,
        captions=[f"option {number + 1}" for number in range(len(shown))],
        maximum=maximum,
        **film,
    )


def _draw_texts(strip: TokenStrip, shown: Sequence[Example], maximum: float, hidden: bool) -> None:
    strip.show(
        [e.tokens for e in shown],
        None
        if hidden
        else [np.abs(e.token_strengths) for e in shown if e.token_strengths is not None],
        special=[e.special for e in shown],
        captions=[f"option {number + 1}" for number in range(len(shown))],
        peaks=[-1] * len(shown) if hidden else None,
        clipped=[e.clipped for e in shown],
        numbers=[e.numbers for e in shown],
        maximum=maximum,
    )
