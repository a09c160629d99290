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

from sae_nb_widgets.figures.theme import BLACK, MID_GREY, RINGS, WHITE, escape

INK = "currentColor"
FONTS = ("DejaVuSans.ttf", "Arial.ttf", "Helvetica.ttc", "LiberationSans-Regular.ttf")
PLAIN = str.maketrans(
    {"\u2009": " ", "\u2212": "-", "²": "2", "–": "-", "·": "-", "…": "...", "×": "x", "≥": ">="}
)


@dataclass(frozen=True)
class Rectangle:
    """A filled box."""

    x: float
    y: float
    width: float
    height: float
    fill: str = INK
    title: str = ""


@dataclass(frozen=True)
class Polyline:
    """A line through points, or the area it encloses when `fill` is given."""

    points: Sequence[tuple[float, float]]
    colour: str = INK
    width: float = 1.5
    dashed: bool = False
    fill: str = ""


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


@dataclass(frozen=True)
class Label:
    """A line of text; `anchor` is start, middle or end, `angle` in degrees clockwise."""

    x: float
    y: float
    text: str
    anchor: str = "middle"
    size: float = 13
    angle: float = 0


Stroke = Rectangle | Polyline | Dot | Label


@dataclass(frozen=True)
class Drawing:
    """Strokes on a transparent sheet, in CSS pixels."""

    width: int
    height: int
    strokes: tuple[Stroke, ...]

    def to_svg(self) -> str:
        """Return the drawing as an SVG element; text takes the colour of the page."""
        body = "".join(_svg(stroke) for stroke in self.strokes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img" '
            f'font-family="system-ui, Arial, sans-serif">{body}</svg>'
        )

    def to_png(self, scale: int = 2) -> bytes:
        """Return the drawing as PNG with a transparent background."""
        sheet = Image.new("RGBA", (self.width * scale, self.height * scale), (0, 0, 0, 0))
        for stroke in self.strokes:
            layer = Image.new("RGBA", sheet.size, (0, 0, 0, 0)) if _faint(stroke) else sheet
            _paint(layer, ImageDraw.Draw(layer), stroke, scale)
            if layer is not sheet:
                sheet.alpha_composite(layer)
        buffer = io.BytesIO()
        # Not `optimize`: four times the work for a fiftieth of the bytes, before every first paint.
        sheet.save(buffer, "PNG")
        return buffer.getvalue()


def _svg(stroke: Stroke) -> str:
    match stroke:
        case Rectangle(x, y, width, height, fill, title):
            inner = f"<title>{escape(title)}</title>" if title else ""
            return (
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
                f'fill="{escape(fill)}">{inner}</rect>'
            )
        case Polyline(points, colour, width, dashed, fill):
            where = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            dash = ' stroke-dasharray="6 4"' if dashed else ""
            return (
                f'<polyline points="{where}" fill="{escape(fill or "none")}" '
                f'stroke="{escape(colour)}" stroke-width="{width:.1f}"{dash}/>'
            )
        case Dot(x, y, radius, fill):
            edge = f' stroke="{escape(stroke.outline)}" stroke-width="{stroke.edge:g}"'
            faint = f' opacity="{stroke.opacity:g}"' if stroke.opacity < 1 else ""
            return (
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{escape(fill)}"'
                f"{edge if stroke.outline else ''}{faint}/>"
            )
        case Label(x, y, text, anchor, size, angle):
            turn = f' transform="rotate({angle:g} {x:.1f} {y:.1f})"' if angle else ""
            return (
                f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size:g}" '
                f'fill="currentColor"{turn}>{escape(text)}</text>'
            )


def _faint(stroke: Stroke) -> bool:
    if isinstance(stroke, Dot) and stroke.opacity < 1:
        return True
    colour = getattr(stroke, "fill", "") or getattr(stroke, "colour", INK)
    return parse_colour(colour)[3] < 255


def _paint(sheet: Image.Image, draw: ImageDraw.ImageDraw, stroke: Stroke, scale: int) -> None:
    match stroke:
        case Rectangle(x, y, width, height, fill, _):
            corners = [x * scale, y * scale, (x + width) * scale, (y + height) * scale]
            draw.rectangle(corners, fill=parse_colour(fill))
        case Polyline():
            _paint_line(draw, stroke, scale)
        case Dot():
            _paint_dot(draw, stroke, scale)
        case Label():
            _paint_text(sheet, draw, stroke, scale)


def _paint_dot(draw: ImageDraw.ImageDraw, dot: Dot, scale: int) -> None:
    x, y, radius = dot.x * scale, dot.y * scale, dot.radius * scale
    fill, edge = (
        (r, g, b, round(alpha * dot.opacity))
        for r, g, b, alpha in map(parse_colour, (dot.fill, dot.outline))
    )
    box = [x - radius, y - radius, x + radius, y + radius]
    # Pillow paints what it is given, transparent or not: an open ring has no inside to paint.
    inside = fill if fill[3] else None
    width = max(1, round(dot.edge * scale)) if dot.outline else 0
    draw.ellipse(box, fill=inside, outline=edge if dot.outline else None, width=width)


def _paint_line(draw: ImageDraw.ImageDraw, stroke: Polyline, scale: int) -> None:
    points = [(x * scale, y * scale) for x, y in stroke.points]
    if stroke.fill and len(points) > 2:
        draw.polygon(points, fill=parse_colour(stroke.fill))
    width, colour = max(round(stroke.width * scale), 1), parse_colour(stroke.colour)
    if stroke.width <= 0 or len(points) < 2:
        return
    if not stroke.dashed:
        draw.line(points, fill=colour, width=width, joint="curve")
        return
    for (x0, y0), (x1, y1) in pairwise(points):
        length = max(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 1e-9)
        start = 0.0
        while start < length:
            a, b = start / length, min(start + 6 * scale, length) / length
            ends = [(x0 + (x1 - x0) * f, y0 + (y1 - y0) * f) for f in (a, b)]
            draw.line(ends, fill=colour, width=width)
            start += 10 * scale


def _paint_text(sheet: Image.Image, draw: ImageDraw.ImageDraw, label: Label, scale: int) -> None:
    font, complete = _font(round(label.size * scale))
    text = label.text if complete else label.text.translate(PLAIN)
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[label.anchor]
    where = (label.x * scale, label.y * scale)
    if not label.angle:
        draw.text(where, text, font=font, fill=parse_colour(MID_GREY), anchor=anchor)
        return
    width = round(draw.textlength(text, font=font)) + 4
    height = round(label.size * scale * 1.6)
    strip = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    ImageDraw.Draw(strip).text(
        (width / 2, height * 0.7), text, font=font, fill=parse_colour(MID_GREY), anchor="ms"
    )
    turned = strip.rotate(-label.angle, expand=True)
    corner = (round(where[0] - turned.width * 0.7), round(where[1] - turned.height / 2))
    sheet.alpha_composite(turned, (max(corner[0], 0), max(corner[1], 0)))


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
    """Return the red, green, blue, alpha (0–255) of a CSS colour; unknown names are mid-grey.

    Examples
    --------
    >>> parse_colour("#0072B2"), parse_colour("rgba(255,0,0,0.5)")
    ((0, 114, 178, 255), (255, 0, 0, 128))
    """
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
