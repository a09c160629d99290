"""The options of a quiz on screen: images or texts that are buttons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from sae_nb.activations import Context
from sae_nb.atoms import Example
from sae_nb_widgets.components import PictureGrid, TokenStrip
from sae_nb_widgets.components._picture_grid import as_film, grid_for


class OptionCards:
    """Numbered options, each image or text a button; strengths stay hidden until they are shown."""

    def __init__(self, context: Context, chosen: Callable[[int], None]) -> None:
        self.widget: PictureGrid | TokenStrip
        self._film = as_film(context)
        if context.pictures is not None:
            self.widget = grid_for(context, bare=True)  # without numbers: they would be the answer
        else:
            self.widget = TokenStrip(hint="click a text, or press its number")
        self.widget.description = "options"
        self.widget.empty_text = "Nothing to choose from."
        self.widget.observe(
            lambda change: chosen(change["new"][0]) if change["new"][0] >= 0 else None, "selected"
        )

    def ask(self, options: Sequence[Example]) -> None:
        """Show the options without their strengths."""
        self._label(len(options))
        self._draw(options, 1.0, hidden=True)

    def tell(self, options: Sequence[Example], answer: int, given: int, maximum: float) -> None:
        """Show the strengths, in which option it fires, and which was taken."""
        said: dict[int, tuple[str, str]] = {given: (" · yours", "bad")}
        self._label(len(options), said | {answer: (" ✓ fires", "good")})
        self._draw(options, maximum, hidden=False)

    def _label(self, n: int, said: Mapping[int, tuple[str, str]] = MappingProxyType({})) -> None:
        """Name the options; `said`: what is added of some, and which kind of answer each was."""
        added = [said.get(number, ("", "")) for number in range(n)]
        self.widget.buttons = [
            (f"{number + 1}{words}", kind, f"option {number + 1}{words}")
            for number, (words, kind) in enumerate(added)
        ]

    def _draw(self, options: Sequence[Example], maximum: float, *, hidden: bool) -> None:
        if isinstance(self.widget, PictureGrid):
            _draw_pictures(self.widget, options, maximum, hidden, self._film)
        else:
            _draw_texts(self.widget, options, maximum, hidden)


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
