"""The pictures of the HeadsPanel: curves from one word to the words it looks at, and the whole pattern."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from sae_nb.figures import current_theme, theme, visible_token
from sae_nb.figures.shapes import parse_colour, shortened, text_width
from sae_nb.figures.theme import escape, format_percent

WIDTH = 560
SIZE = 17
WORD, GAP = 92, 11
TOP, BOTTOM, HEIGHT = 42, 138, 152
BEFORE, AFTER = 3, 3
"""Words shown around the one that is looked at most."""

ROOM = 130
"""Pixels from the edge from which the label of the first word has room for its words."""

LEAST = 0.05
"""Attention from which a curve is drawn."""

SIDE = 240
"""Pixels of the pattern's side; of a longer text each is the largest of its cells."""


def arcs_html(
    tokens: Sequence[str],
    row: Float[np.ndarray, " source"],
    position: int,
    source: int,
    following: str = "",
) -> str:
    """Return the words that one word looks at above it, with a curve for each; the first word's is grey."""
    upper = sorted({0, *range(max(0, source - BEFORE), min(len(row), source + AFTER + 1))})
    lower = list(range(max(0, position - BEFORE), position + 1))
    above, right = _line(tokens, upper, bold=source)
    below, end = _line(tokens, lower, bold=position, left=_left(tokens, above[source], lower))
    parts, scale = [], _scale()
    for i in upper:
        if row[i] < LEAST:
            continue
        rest = i == 0 and source != 0
        colour = "var(--sae-nb-control-colour)" if rest else "var(--sae-nb-warm)"
        x, y = above[i], below[position]
        parts.append(
            f'<path transform="scale({scale:g})" d="M{y:.0f} {BOTTOM - 20}C{y:.0f} {BOTTOM - 55} '
            f'{x:.0f} {TOP + 50} {x:.0f} {TOP + 8}" fill="none" stroke="{colour}" '
            f'stroke-width="{2 + 12 * float(row[i]):.1f}" stroke-linecap="round"/>'
        )
        said = (
            f"{format_percent(float(row[i]))}{' at rest' if rest and above[source] > ROOM else ''}"
        )
        # The first word stands at the edge, where a label in the middle would be cut.
        at = 2.0 if rest else x
        parts.append(_text(said, at, TOP - 24, "sae-nb-quiet", start=rest, size=13))
    parts += [
        _text(_word(tokens[i]), above[i], TOP, _ink(i == source), bold=i == source) for i in upper
    ]
    parts += [
        _text(_word(tokens[i]), below[i], BOTTOM, _ink(i == position), bold=i == position)
        for i in lower
    ]
    hidden = position + 1 - len(upper)
    if hidden > 0:
        parts.append(_text(f"… {hidden} more", right + 8, TOP, "sae-nb-quiet", start=True, size=13))
    if following:
        parts.append(_text(following, end + 8, BOTTOM, "sae-nb-quiet", start=True, size=15))
    wide = max(WIDTH, int(max(right + 90, end + 8 + text_width(following, 15)) + 8))
    said = (
        f"“{visible_token(tokens[position])}” looks {format_percent(float(row[source]))} at "
        f"“{visible_token(tokens[source])}”"
    )
    return (
        f'<svg class="sae-nb-arcs" viewBox="0 0 {wide * scale:.0f} {HEIGHT * scale:.0f}" '
        f'style="max-width:{wide * scale:.0f}px;width:100%;min-width:400px" role="img" '
        f'aria-label="{escape(said)}">{"".join(parts)}</svg>'
    )


def pattern_html(
    pattern: Float[np.ndarray, "time source"], position: int, columns: int | None = None
) -> str:
    """Return the whole pattern as a square: a row is where one place looks; the chosen row is outlined."""
    cells = _reduced(pattern)
    n = len(cells)
    pixels = np.zeros((*cells.shape, 4), np.uint8)
    pixels[..., :3] = parse_colour(theme.WARM)[:3]
    if columns is None:
        pixels[:, 0, :3] = parse_colour(theme.CONTROL)[:3]
    pixels[..., 3] = np.round(255 * np.sqrt(np.clip(cells, 0, 1)))
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    height = SIDE / n
    y = position * n / len(pattern) * height
    return (
        f'<svg viewBox="-1 -1 {SIDE + 2} {SIDE + 2}" style="max-width:{SIDE}px;width:100%" role="img" '
        'aria-label="The whole pattern: a row is where one place looks">'
        f'<rect width="{SIDE}" height="{SIDE}" fill="var(--sae-nb-soft)"/>'
        f'<image href="data:image/png;base64,{data}" width="{SIDE}" height="{SIDE}" '
        'style="image-rendering:pixelated"/>'
        f'<rect x="0" y="{y:.1f}" width="{SIDE}" height="{max(height, 2):.1f}" fill="none" '
        'stroke="var(--sae-nb-ink)"/></svg>'
    )


def _reduced(pattern: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "m m"]:
    """Return the pattern, or the largest cells of as many blocks as there are pixels."""
    n = len(pattern)
    if n <= SIDE:
        return pattern
    edges = np.linspace(0, n, SIDE + 1).astype(int)[:-1]
    return np.maximum.reduceat(np.maximum.reduceat(pattern, edges, axis=0), edges, axis=1)


def _word(token: str) -> str:
    return shortened(visible_token(token).strip() or visible_token(token), SIZE, WORD)


def _scale() -> float:
    """Return how much larger than usual everything is, in a lecture."""
    return current_theme().font_px / theme.SCALES["normal"].font_px


def _ink(chosen: bool) -> str:
    return "sae-nb-ink" if chosen else "sae-nb-ink2"


def _left(tokens: Sequence[str], x: float, lower: Sequence[int]) -> float:
    """Return where the lower line begins, so that its last word stands under the one that it looks at."""
    width = sum(text_width(_word(tokens[i]), SIZE, True) + GAP for i in lower[:-1])
    return max(4.0, x - width - text_width(_word(tokens[lower[-1]]), SIZE, True) / 2)


def _line(
    tokens: Sequence[str], places: Sequence[int], bold: int, left: float = 4.0
) -> tuple[dict[int, float], float]:
    """Return the middle of each word on a line, and where the line ends."""
    middles, x, before = {}, left, places[0] - 1 if places else 0
    for i in places:
        x += 2.5 * GAP if i != before + 1 else 0.0
        width = text_width(_word(tokens[i]), SIZE, i == bold)
        middles[i] = x + width / 2
        x, before = x + width + GAP, i
    return middles, x


def _text(
    words: str,
    x: float,
    y: float,
    ink: str,
    *,
    bold: bool = False,
    start: bool = False,
    size: int = SIZE,
) -> str:
    anchor = "start" if start else "middle"
    weight, scale = ' font-weight="600"' if bold else "", _scale()
    return (
        f'<text x="{x * scale:.1f}" y="{y * scale:.1f}" text-anchor="{anchor}" '
        f'font-size="{size * scale:g}"{weight} '
        f'fill="var(--{ink})">{escape(words)}</text>'
    )
