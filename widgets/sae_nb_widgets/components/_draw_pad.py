"""DrawPad: a canvas of 32 × 32 pixels to draw on with a pointer or the keyboard."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Sequence

import numpy as np
import traitlets as t
from jaxtyping import UInt8
from PIL import Image

from sae_nb.figures import theme
from sae_nb.figures.shapes import Drawing, Picture
from sae_nb.figures.theme import escape
from sae_nb_widgets.components._base import Component
from sae_nb_widgets.components._scripts import script

SIZE = 32

Point = tuple[float, float]
"""(x, y) in pixels, from the top left."""


class DrawPad(Component):
    """A small canvas; what is drawn is how much ink each pixel has.

    With the keyboard: arrows move the pen, the space bar puts it down and lifts it, Backspace takes
    back a stroke, Delete clears. Browser and Python cover pixels by the same formula, so `stroke`
    draws what a pointer would.

    Examples
    --------
    >>> pad = DrawPad()
    >>> pad.stroke([(8, 8), (22, 8), (14, 24)])
    >>> pad.ink.shape, int(pad.ink.max()), pad.blank
    ((32, 32), 255, False)
    >>> pad.clear()
    >>> pad.blank
    True
    """

    _esm = script("draw_pad")

    # What comes from a browser is a view of memory, which a trait of bytes would refuse.
    pixels = t.Bytes(bytes(SIZE * SIZE), help="Ink of every pixel, row after row, 0 to 255.").tag(
        sync=True, from_json=lambda value, _: bytes(value)
    )
    colour = t.Unicode(theme.PAD["ink"], help="CSS colour of the ink.").tag(sync=True)
    thickness = t.Float(3.0, help="Width of the brush in pixels.").tag(sync=True)
    side = t.Int(192, help="Side of the canvas in CSS pixels.").tag(sync=True)
    hint = t.Unicode("Draw here", help="Said on the canvas while it is blank.").tag(sync=True)

    @property
    def ink(self) -> UInt8[np.ndarray, "32 32"]:
        """Amount of ink of every pixel, 0 to 255."""
        return np.frombuffer(self.pixels, np.uint8).reshape(SIZE, SIZE)

    @property
    def blank(self) -> bool:
        """Whether nothing is drawn."""
        return not any(self.pixels)

    def stroke(self, points: Sequence[Point]) -> None:
        """Draw a stroke through points (x, y), in pixels from the top left, on what is there.

        Raises
        ------
        ValueError: If there are no points.
        """
        if not points:
            raise ValueError("`points` must hold at least one (x, y), got none.")
        drawn = raster([points], self.thickness)
        self.pixels = np.maximum(self.ink, drawn).tobytes()

    def clear(self) -> None:
        """Take everything off the canvas."""
        self.pixels = bytes(SIZE * SIZE)

    @t.validate("pixels")
    def _size_fits(self, proposal: t.Bunch) -> bytes:
        given = bytes(proposal["value"])
        if len(given) != SIZE * SIZE:
            raise t.TraitError(f"`pixels` must be {SIZE * SIZE} bytes, got {len(given)}.")
        return given

    @t.validate("thickness")
    def _brush_fits(self, proposal: t.Bunch) -> float:
        value = float(proposal["value"])
        if not 1.0 <= value <= 6.0:
            raise t.TraitError(f"`thickness` must be between 1 and 6 pixels, got {value}.")
        return value

    def static_html(self) -> str:
        """Return the drawing as a picture that needs no script."""
        if self.blank:
            return ""
        data = base64.b64encode(self._file()).decode()
        return (
            f'<div class="sae-nb-component"><img alt="{escape(self.description or "a drawing")}" '
            f'width="{self.side}" style="image-rendering:pixelated" '
            f'src="data:image/png;base64,{data}"/></div>'
        )

    def drawing(self, width: float) -> Drawing:
        """Return what is drawn as a picture; nothing while the pad is blank."""
        if self.blank:
            return Drawing(width, 0)
        return Drawing(
            width, self.side, (Picture(0, 0, self.side, self.side, self._file(), False),)
        )

    def _file(self) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.ink).save(buffer, "PNG")
        return buffer.getvalue()


def raster(
    strokes: Sequence[Sequence[Point]], thickness: float = 3.0, size: int = SIZE
) -> UInt8[np.ndarray, "size size"]:
    """Return how much of every pixel strokes cover, 0 to 255.

    coverage = max over segments of clamp(thickness / 2 + ½ − distance, 0, 1), pixel centres at i + ½.
    """
    centre = np.arange(size) + 0.5
    x, y = centre[None, :], centre[:, None]
    coverage = np.zeros((size, size))
    for stroke in strokes:
        points = [*stroke, stroke[-1]] if len(stroke) == 1 else stroke
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            dx, dy = x1 - x0, y1 - y0
            length = dx * dx + dy * dy
            along = 0.0 if length == 0 else ((x - x0) * dx + (y - y0) * dy) / length
            along = np.clip(along, 0, 1)
            distance = np.hypot(x - x0 - along * dx, y - y0 - along * dy)
            np.maximum(coverage, np.clip(thickness / 2 + 0.5 - distance, 0, 1), out=coverage)
    return np.round(255 * coverage).astype(np.uint8)
