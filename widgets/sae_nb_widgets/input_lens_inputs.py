"""The input of an InputLens on screen: pictures with a drawing pad beside them, or texts as tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as ipw
import numpy as np
from jaxtyping import Float

from sae_nb.summaries.input_summary import InputSummary
from sae_nb_widgets.atom_controls import visible
from sae_nb_widgets.components import DrawPad, PictureGrid, TokenStrip
from sae_nb_widgets.exporting import LIVE_ONLY
from sae_nb_widgets.figures.theme import theme

# Of the theme's thumbnail: an input is looked at closely, and two stand side by side.
PICTURE_SHARES = (2.0, 1.6)
Pick = Callable[[int], None]
Values = list[Float[np.ndarray, " positions"]]


def heat_of(summary: InputSummary, atom: int, heat: str) -> Float[np.ndarray, " positions"]:
    """Return what is drawn over an input: sizes of strengths, or signed contributions."""
    if heat == "fired":
        return np.abs(summary.strengths(atom))
    return summary.attributions(atom)


class InputView:
    """What was read, with one atom's strength at every position; subclasses know how.

    Parameters
    ----------
    prefix_tokens
        Positions before the first patch.
    """

    widget: ipw.Widget
    """What a panel places; each kind of view makes its own."""

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

    def __init__(self, prefix_tokens: int = 0) -> None:
        super().__init__(prefix_tokens)
        self.strip = TokenStrip(
            description="the input",
            hint="hover a token for its number, click to list its atoms",
        )
        self.strip.empty_text = "Type a text above."
        self.widget = self.strip

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


class PictureView(InputView):
    """Pictures with heat, the tokens before the first patch under them, and the pad beside them."""

    def __init__(self, prefix_tokens: int, pad_controls: Sequence[ipw.Widget]) -> None:
        super().__init__(prefix_tokens)
        self.pad = DrawPad(description="canvas to draw on")
        self.grid = PictureGrid(
            description="the input",
            hint="hover a patch for its number, click to list its atoms",
        )
        self.grid.empty_text = "Draw something, choose an example or upload a picture."
        self.prefix = TokenStrip(description="tokens that are no patches", bare=True)
        tools = ipw.Box(tuple(pad_controls)).add_class("sae-nb-line")
        pad = ipw.VBox([self.pad, tools], layout=ipw.Layout(width="200px", flex="0 0 auto"))
        pad.add_class(LIVE_ONLY)
        shown = ipw.VBox(
            [self.grid, self.prefix], layout=ipw.Layout(flex="1 1 220px", min_width="0")
        )
        self.widget = ipw.Box([pad, shown]).add_class("sae-nb-line").add_class("sae-nb-lens")

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
        strongest = [float(np.nanmax(np.abs(v), initial=0.0)) for v in values]
        self.grid.signed = self.prefix.signed = signed
        self.grid.show(
            np.stack(pictures),
            heat=np.stack(known) if len(known) == len(pictures) else None,
            captions=list(names),
            strengths=strongest,
            maximum=top,
        )
        share = PICTURE_SHARES[min(len(names), 2) - 1]
        self.grid.thumbnail = int(share * theme().thumbnail_px)
        first = self._prefix
        visible(self.prefix, first > 0)
        self.prefix.show(
            [[_short(token) for token in s.tokens[:first]] for s in summaries],
            [v[:first] for v in values],
            captions=[name.split(" ")[0] for name in names] if len(names) > 1 else ["others"],
            maximum=top,
        )

    def _mark(self, position: int) -> None:
        rows, columns = self.grid.heat_shape
        patch = position - self._prefix
        self.grid.selected = (0, patch) if 0 <= patch < rows * columns else (-1, -1)
        before = 0 <= position < self._prefix and bool(self.prefix.tokens)
        self.prefix.selected = (0, position) if before else (-1, -1)

    def on_pick(self, pick: Pick) -> None:
        """Call back with a patch or token that is clicked."""

        def on_patch(change: Any) -> None:
            picture, patch = change["new"]
            if picture <= 0 and not self._filling:
                pick(-1 if patch < 0 else self._prefix + patch)

        def on_token(change: Any) -> None:
            row, token = change["new"]
            if row <= 0 and not self._filling:
                pick(token)

        self.grid.observe(on_patch, "selected")
        self.prefix.observe(on_token, "selected")


def _short(token: str) -> str:
    """Name a token that is no patch, with room around it for its shade."""
    return f" {token.replace('register', 'reg')} "
