"""Four strokes — rectangle, line, dot, text — drawn as SVG or as PNG without a browser."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from sae_nb.figures.theme import BLACK, MID_GREY, RINGS, WHITE, escape

INK = "currentColor"
FONTS = ("DejaVuSans.ttf", "Arial.ttf", "Helvetica.ttc", "LiberationSans-Regular.ttf")
PLAIN = str.maketrans(
    {"\u2009": " ", "\u2212": "-", "²": "2", "–": "-", "·": "-", "…": "...", "×": "x", "≥": ">="}
)


@dataclass(frozen=True)
class Sheet:
    """An image that strokes are painted on, `scale` pixels for one of theirs."""

    image: Image.Image
    draw: ImageDraw.ImageDraw
    scale: int


@dataclass(frozen=True)
class Rectangle:
    """A filled box."""

    x: float
    y: float
    width: float
    height: float
    fill: str = INK
    title: str = ""

    def svg(self) -> str:
        """As an element of SVG."""
        inner = f"<title>{escape(self.title)}</title>" if self.title else ""
        return (
            f'<rect x="{self.x:.1f}" y="{self.y:.1f}" width="{self.width:.1f}" '
            f'height="{self.height:.1f}" fill="{escape(self.fill)}">{inner}</rect>'
        )

    def paint(self, on: Sheet) -> None:
        """As pixels."""
        corners = (self.x, self.y, self.x + self.width, self.y + self.height)
        on.draw.rectangle([on.scale * c for c in corners], fill=parse_colour(self.fill))


@dataclass(frozen=True)
class Polyline:
    """A line through points, or the area it encloses when `fill` is given."""

    points: Sequence[tuple[float, float]]
    colour: str = INK
    width: float = 1.5
    dashed: bool = False
    fill: str = ""

    def svg(self) -> str:
        """As an element of SVG."""
        where = " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)
        dash = ' stroke-dasharray="6 4"' if self.dashed else ""
        return (
            f'<polyline points="{where}" fill="{escape(self.fill or "none")}" '
            f'stroke="{escape(self.colour)}" stroke-width="{self.width:.1f}"{dash}/>'
        )

    def paint(self, on: Sheet) -> None:
        """As pixels."""
        points = [(x * on.scale, y * on.scale) for x, y in self.points]
        if self.fill and len(points) > 2:
            on.draw.polygon(points, fill=parse_colour(self.fill))
        width, colour = max(round(self.width * on.scale), 1), parse_colour(self.colour)
        if self.width <= 0 or len(points) < 2:
            return
        if not self.dashed:
            on.draw.line(points, fill=colour, width=width, joint="curve")
            return
        for (x0, y0), (x1, y1) in pairwise(points):
            length = max(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 1e-9)
            start = 0.0
            while start < length:
                a, b = start / length, min(start + 6 * on.scale, length) / length
                ends = [(x0 + (x1 - x0) * f, y0 + (y1 - y0) * f) for f in (a, b)]
                on.draw.line(ends, fill=colour, width=width)
                start += 10 * on.scale


@dataclass(frozen=True)
class Dot:
    """A round marker; `outline` is a colour for its edge."""

    x: float
    y: float
    radius: float
    fill: str = INK
    outline: str = ""
    edge: float = 0
    opacity: float = 1

    def svg(self) -> str:
        """As an element of SVG."""
        edge = f' stroke="{escape(self.outline)}" stroke-width="{self.edge:g}"'
        faint = f' opacity="{self.opacity:g}"' if self.opacity < 1 else ""
        return (
            f'<circle cx="{self.x:.1f}" cy="{self.y:.1f}" r="{self.radius:.1f}" '
            f'fill="{escape(self.fill)}"{edge if self.outline else ""}{faint}/>'
        )

    def paint(self, on: Sheet) -> None:
        """As pixels."""
        x, y, radius = self.x * on.scale, self.y * on.scale, self.radius * on.scale
        fill, edge = (
            (r, g, b, round(alpha * self.opacity))
            for r, g, b, alpha in map(parse_colour, (self.fill, self.outline))
        )
        box = [x - radius, y - radius, x + radius, y + radius]
        # Pillow paints what it is given, transparent or not: an open ring has no inside to paint.
        inside = fill if fill[3] else None
        width = max(1, round(self.edge * on.scale)) if self.outline else 0
        on.draw.ellipse(box, fill=inside, outline=edge if self.outline else None, width=width)


@dataclass(frozen=True)
class Label:
    """A line of text; `anchor` is start, middle or end, `angle` in degrees clockwise."""

    x: float
    y: float
    text: str
    anchor: str = "middle"
    size: float = 13
    angle: float = 0

    def svg(self) -> str:
        """As an element of SVG."""
        x, y = f"{self.x:.1f}", f"{self.y:.1f}"
        turn = f' transform="rotate({self.angle:g} {x} {y})"' if self.angle else ""
        return (
            f'<text x="{x}" y="{y}" text-anchor="{self.anchor}" font-size="{self.size:g}" '
            f'fill="currentColor"{turn}>{escape(self.text)}</text>'
        )

    def paint(self, on: Sheet) -> None:
        """As pixels."""
        font, complete = _font(round(self.size * on.scale))
        text = self.text if complete else self.text.translate(PLAIN)
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[self.anchor]
        x, y = self.x * on.scale, self.y * on.scale
        style: dict[str, Any] = {"font": font, "fill": parse_colour(MID_GREY)}
        if not self.angle:
            on.draw.text((x, y), text, anchor=anchor, **style)
            return
        width = round(on.draw.textlength(text, font=font)) + 4
        height = round(self.size * on.scale * 1.6)
        strip = Image.new("RGBA", (width, height), (0, 0, 0, 0))
        ImageDraw.Draw(strip).text((width / 2, height * 0.7), text, anchor="ms", **style)
        turned = strip.rotate(-self.angle, expand=True)
        corner = (round(x - turned.width * 0.7), round(y - turned.height / 2))
        on.image.alpha_composite(turned, (max(corner[0], 0), max(corner[1], 0)))


Stroke = Rectangle | Polyline | Dot | Label


@dataclass(frozen=True)
class Drawing:
    """Strokes on a transparent sheet, in CSS pixels."""

    width: int
    height: int
    strokes: tuple[Stroke, ...]

    def to_svg(self) -> str:
        """Return the drawing as an SVG element; text takes the colour of the page."""
        body = "".join(stroke.svg() for stroke in self.strokes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img" '
            f'font-family="system-ui, Arial, sans-serif">{body}</svg>'
        )

    def to_png(self, scale: int = 2) -> bytes:
        """Return the drawing as PNG with a transparent background."""
        sheet = Image.new("RGBA", (self.width * scale, self.height * scale), (0, 0, 0, 0))
        for stroke in self.strokes:
            colour = getattr(stroke, "fill", "") or getattr(stroke, "colour", INK)
            faint = getattr(stroke, "opacity", 1) < 1 or parse_colour(colour)[3] < 255
            layer = Image.new("RGBA", sheet.size, (0, 0, 0, 0)) if faint else sheet
            stroke.paint(Sheet(layer, ImageDraw.Draw(layer), scale))
            if layer is not sheet:
                sheet.alpha_composite(layer)
        buffer = io.BytesIO()
        # Not `optimize`: four times the work for a fiftieth of the bytes, before every first paint.
        sheet.save(buffer, "PNG")
        return buffer.getvalue()


@cache
def _font(size: int) -> tuple[Any, bool]:
    """A font and whether it has the signs our numbers use."""
    for name in FONTS:
        try:
            return ImageFont.truetype(name, size), True
        except OSError:
            continue
    return ImageFont.load_default(size), False


@cache
def parse_colour(colour: str) -> tuple[int, int, int, int]:
    """Return the red, green, blue, alpha (0–255) of a CSS colour; unknown names are mid-grey."""
    text = colour.strip().lower()
    if re.fullmatch(r"#[0-9a-f]{6}", text):
        return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16), 255
    if text.startswith("rgb"):
        numbers = [float(n) for n in re.findall(r"[\d.]+", text)]
        alpha = round(numbers[3] * 255) if len(numbers) > 3 else 255
        return int(numbers[0]), int(numbers[1]), int(numbers[2]), alpha
    if text in ("none", "transparent", ""):
        return 0, 0, 0, 0
    named = dict(zip(RINGS, (BLACK, WHITE)))
    return parse_colour(named.get(text, MID_GREY))
