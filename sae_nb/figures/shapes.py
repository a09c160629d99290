"""For builders of components: drawings of five strokes, as SVG or as PNG without a browser.

A `Drawing` is a sheet with strokes on it: `Rectangle`, `Polyline`, `Dot`, `Label` and `Picture`, all in CSS
pixels from its top left corner.

Example
-------
>>> sheet = Drawing(80, 20, (Rectangle(0, 0, 20, 20), Label(24, 15, "strength", anchor="start")))
>>> sheet.to_svg()[:4], sheet.to_png()[1:4]
('<svg', b'PNG')
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from sae_nb.figures.theme import BLACK, PAGE_INKS, RINGS, WHITE, current_theme, escape

INK = "currentColor"
"""The page's own ink in SVG, nearly black in PNG, whose ground is white."""

LEADING = 1.4
"""Height of a line of text, in sizes of its letters."""

_SWATCH = 16
_FONTS = ("DejaVuSans.ttf", "Arial.ttf", "Helvetica.ttc", "LiberationSans-Regular.ttf")
_BOLD_FONTS = ("DejaVuSans-Bold.ttf", "Arial Bold.ttf", "LiberationSans-Bold.ttf")
_PLAIN = str.maketrans(
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
        """Return an element of SVG."""
        inner = f"<title>{escape(self.title)}</title>" if self.title else ""
        return (
            f'<rect x="{self.x:.1f}" y="{self.y:.1f}" width="{self.width:.1f}" '
            f'height="{self.height:.1f}" fill="{escape(self.fill)}">{inner}</rect>'
        )

    def paint(self, on: Sheet) -> None:
        """Paint pixels."""
        corners = (self.x, self.y, self.x + self.width, self.y + self.height)
        # Pillow paints the last pixel too: neighbours would share one, and where both are faint it shows.
        left, top, right, bottom = (round(on.scale * c) for c in corners)
        ends = [left, top, max(right - 1, left), max(bottom - 1, top)]
        on.draw.rectangle(ends, fill=parse_colour(self.fill))


@dataclass(frozen=True)
class Polyline:
    """A line through points, or the area it encloses when `fill` is given."""

    points: Sequence[tuple[float, float]]
    colour: str = INK
    width: float = 1.5
    dashed: bool = False
    fill: str = ""

    def svg(self) -> str:
        """Return an element of SVG."""
        where = " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)
        dash = ' stroke-dasharray="6 4"' if self.dashed else ""
        return (
            f'<polyline points="{where}" fill="{escape(self.fill or "none")}" '
            f'stroke="{escape(self.colour)}" stroke-width="{self.width:.1f}"{dash}/>'
        )

    def paint(self, on: Sheet) -> None:
        """Paint pixels."""
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
        """Return an element of SVG."""
        edge = f' stroke="{escape(self.outline)}" stroke-width="{self.edge:g}"'
        faint = f' opacity="{self.opacity:g}"' if self.opacity < 1 else ""
        return (
            f'<circle cx="{self.x:.1f}" cy="{self.y:.1f}" r="{self.radius:.1f}" '
            f'fill="{escape(self.fill)}"{edge if self.outline else ""}{faint}/>'
        )

    def paint(self, on: Sheet) -> None:
        """Paint pixels."""
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
    """A line of text; `anchor` is start, middle or end, `angle` in degrees clockwise.

    `halo` keeps the background, a grid line or a bar, off its letters.
    """

    x: float
    y: float
    text: str
    anchor: str = "middle"
    size: float = 13
    angle: float = 0
    bold: bool = False
    colour: str = INK
    halo: bool = False

    def svg(self) -> str:
        """Return an element of SVG."""
        x, y = f"{self.x:.1f}", f"{self.y:.1f}"
        turn = f' transform="rotate({self.angle:g} {x} {y})"' if self.angle else ""
        weight = ' font-weight="600"' if self.bold else ""
        halo = ' paint-order="stroke" stroke-width="4"' if self.halo else ""
        halo += f' stroke="var(--sae-nb-paper, {WHITE})"' if self.halo else ""
        return (
            f'<text x="{x}" y="{y}" text-anchor="{self.anchor}" font-size="{self.size:g}" '
            f'fill="{escape(self.colour)}"{weight}{halo}{turn}>{escape(self.text)}</text>'
        )

    def paint(self, on: Sheet) -> None:
        """Paint pixels."""
        font, complete = _font(round(self.size * on.scale), self.bold)
        text = self.text if complete else self.text.translate(_PLAIN)
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[self.anchor]
        x, y = self.x * on.scale, self.y * on.scale
        style: dict[str, Any] = {"font": font, "fill": parse_colour(self.colour)}
        if not self.angle:
            if self.halo:
                style |= {"stroke_width": 2 * on.scale, "stroke_fill": WHITE}
            on.draw.text((x, y), text, anchor=anchor, **style)
            return
        width = round(on.draw.textlength(text, font=font)) + 4
        height = round(self.size * on.scale * 1.6)
        strip = Image.new("RGBA", (width, height), (0, 0, 0, 0))
        ImageDraw.Draw(strip).text((width / 2, height * 0.7), text, anchor="ms", **style)
        turned = strip.rotate(-self.angle, expand=True)
        corner = (round(x - turned.width * 0.7), round(y - turned.height / 2))
        on.image.paste(turned, (max(corner[0], 0), max(corner[1], 0)), turned)


@dataclass(frozen=True)
class Picture:
    """An image in a box; its pixels stay square blocks unless `smooth`."""

    x: float
    y: float
    width: float
    height: float
    file: bytes
    smooth: bool = True

    def svg(self) -> str:
        """Return an element of SVG."""
        with Image.open(io.BytesIO(self.file)) as image:
            kind = (image.format or "PNG").lower()
        blocks = "" if self.smooth else ' style="image-rendering:pixelated"'
        return (
            f'<image x="{self.x:.1f}" y="{self.y:.1f}" width="{self.width:.1f}" '
            f'height="{self.height:.1f}" preserveAspectRatio="none"{blocks} '
            f'href="data:image/{kind};base64,{base64.b64encode(self.file).decode()}"/>'
        )

    def paint(self, on: Sheet) -> None:
        """Paint pixels."""
        size = (max(round(self.width * on.scale), 1), max(round(self.height * on.scale), 1))
        way = Image.Resampling.LANCZOS if self.smooth else Image.Resampling.NEAREST
        with Image.open(io.BytesIO(self.file)) as image:
            shown = image.convert("RGBA").resize(size, way)
        on.image.paste(shown, (round(self.x * on.scale), round(self.y * on.scale)), shown)


Stroke = Rectangle | Polyline | Dot | Label | Picture


def moved(stroke: Stroke, right: float, down: float) -> Stroke:
    """Return a stroke at another place."""
    if isinstance(stroke, Polyline):
        return replace(stroke, points=[(x + right, y + down) for x, y in stroke.points])
    return replace(stroke, x=stroke.x + right, y=stroke.y + down)


@dataclass(frozen=True)
class Drawing:
    """Strokes on a sheet, in CSS pixels: of the page's colour as SVG, white as PNG."""

    width: float
    height: float
    strokes: tuple[Stroke, ...] = ()

    def to_svg(self, on_white: bool = False) -> str:
        """Return the drawing as an SVG element; text takes the colour of the page, or is dark on white."""
        body = "".join(stroke.svg() for stroke in self.strokes)
        if on_white:
            ground = Rectangle(0, 0, self.width, self.height, WHITE).svg()
            body = f'<g style="color:{PAGE_INKS[0]}">{ground}{body}</g>'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" height="{self.height:g}" role="img" '
            f'font-family="system-ui, Arial, sans-serif">{body}</svg>'
        )

    def to_png(self, scale: int = 2) -> bytes:
        """Return the drawing as PNG on white, whatever the theme: pictures leave for other pages."""
        size = (round(self.width * scale), round(self.height * scale))
        image = Image.new("RGB", size, WHITE)
        sheet = Sheet(image, ImageDraw.Draw(image, "RGBA"), scale)
        for stroke in self.strokes:
            stroke.paint(sheet)
        buffer = io.BytesIO()
        # Not `optimize`: four times the work for a fiftieth of the bytes, before every first paint.
        image.save(buffer, "PNG")
        return buffer.getvalue()


@cache
def _font(size: int, bold: bool = False) -> tuple[Any, bool]:
    """A font and whether it has the signs our numbers use."""
    for name in _BOLD_FONTS if bold else _FONTS:
        try:
            return ImageFont.truetype(name, size), True
        except OSError:
            continue
    return _font(size) if bold else (ImageFont.load_default(size), False)


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Return width of a line of text as `Label` paints it, in CSS pixels."""
    font, complete = _font(round(2 * size), bold)
    return float(font.getlength(text if complete else text.translate(_PLAIN))) / 2


def shortened(text: str, size: float, width: float) -> str:
    """Return the text, or as much of its beginning as fits, ending in "…"."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(f"{text}…", size) > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def legend(entries: Sequence[tuple[Stroke | Sequence[Stroke], str]], width: float) -> Drawing:
    """Return a legend: marks drawn in boxes of 16 × 12 pixels, the meaning of each next to it."""
    size = current_theme().font_px
    strokes: list[Stroke] = []
    x = y = 0.0
    for mark, words in entries:
        wide = _SWATCH + 4 + text_width(words, size)
        if x and x + wide > width:
            x, y = 0.0, y + LEADING * size
        marks = mark if isinstance(mark, Sequence) else [mark]
        strokes += [moved(stroke, x, y + 0.35 * size - 3) for stroke in marks]
        strokes += [Label(x + _SWATCH + 4, y + size, words, anchor="start", size=size)]
        x += wide + 14
    return Drawing(width, y + LEADING * size if entries else 0, tuple(strokes))


@cache
def parse_colour(colour: str) -> tuple[int, int, int, int]:
    """Return the red, green, blue, alpha (0–255) of a CSS colour; unknown names are the ink."""
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
    return parse_colour(named.get(text, PAGE_INKS[0]))
