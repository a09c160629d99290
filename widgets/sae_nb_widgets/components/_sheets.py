"""Drawings put together on one sheet: paragraphs, drawings under and next to each other; marks of keys."""

from __future__ import annotations

from collections.abc import Iterable

from sae_nb.figures.shapes import LEADING, Drawing, Label, Polyline, Stroke, moved, text_width
from sae_nb.figures.theme import CONTROL, current_theme


def stacked(drawings: Iterable[Drawing], gap: float = 8) -> Drawing:
    """Return drawings under each other, those without height left out."""
    strokes: list[Stroke] = []
    width = at = 0.0
    for drawing in drawings:
        if not drawing.height:
            continue
        at += gap if at else 0
        strokes += [moved(stroke, 0, at) for stroke in drawing.strokes]
        width, at = max(width, drawing.width), at + drawing.height
    return Drawing(width, at, tuple(strokes))


def hstack(drawings: Iterable[Drawing], gap: float = 20) -> Drawing:
    """Return drawings next to each other, their tops on one line."""
    strokes: list[Stroke] = []
    at = height = 0.0
    for drawing in drawings:
        at += gap if at else 0
        strokes += [moved(stroke, at, 0) for stroke in drawing.strokes]
        at, height = at + drawing.width, max(height, drawing.height)
    return Drawing(at, height, tuple(strokes))


def padded(drawing: Drawing, by: float = 16) -> Drawing:
    """Return a drawing with white around it."""
    strokes = tuple(moved(stroke, by, by) for stroke in drawing.strokes)
    return Drawing(drawing.width + 2 * by, drawing.height + 2 * by, strokes)


def wrapped(text: str, size: float, width: float, bold: bool = False) -> list[str]:
    """Return text in lines that fit; a word longer than a line is cut into pieces."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(joined, size, bold) <= width:
            lines[-1] = joined
            continue
        while text_width(word, size, bold) > width and len(word) > 1:
            fits = next(
                n for n in range(len(word) - 1, 0, -1)
                if n == 1 or text_width(word[:n], size, bold) <= width
            )  # fmt: skip
            lines.append(word[:fits])
            word = word[fits:]
        lines.append(word)
    return lines


def paragraph(text: str, width: float, *, size: float | None = None, bold: bool = False) -> Drawing:
    """Return text as a drawing of that width, as many lines high as it needs."""
    size = size or current_theme().font_px
    lines = wrapped(text, size, width, bold)
    strokes = [
        Label(0, size + i * LEADING * size, line, anchor="start", size=size, bold=bold)
        for i, line in enumerate(lines)
    ]
    return Drawing(width, len(lines) * LEADING * size, tuple(strokes))


def random_tick() -> Stroke:
    """Return the mark of a random control: a dashed grey tick."""
    return Polyline([(8, -2), (8, 14)], CONTROL, 2, dashed=True)


def solid_tick() -> Stroke:
    """Return the mark of a value before an edit, or measured exactly: a solid tick."""
    return Polyline([(8, -2), (8, 14)], width=2)
