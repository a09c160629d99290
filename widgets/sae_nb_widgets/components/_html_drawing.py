"""HTML of ours as strokes: words in lines, their marks and small images; for pictures made without a browser.

Our HTML is paragraphs, small tables, words on a tint and swatches; of what is laid out by a style sheet,
the words are drawn under each other and nothing else.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from sae_nb.figures import current_theme
from sae_nb.figures.shapes import (
    Drawing,
    Label,
    Picture,
    Polyline,
    Rectangle,
    Stroke,
    moved,
    text_width,
)
from sae_nb_widgets.components._sheets import hstack, paragraph, stacked

LINES = {"div", "p", "li", "tr", "h1", "h2", "h3", "h4", "ul", "ol", "table", "section", "summary"}
CELLS = {"td", "th"}
SILENT = {"style", "script", "title", "noscript", "button", "select"}
BOLD = {"b", "strong", "th", "h1", "h2", "h3", "h4"}
EMPTY = {"br", "img", "input", "hr", "meta", "path", "rect", "circle", "line", "polyline", "image"}
LEADING = 1.45
SWATCH = 16


@dataclass
class Word:
    """A word of a line, the tint behind it, or a swatch without letters."""

    text: str
    bold: bool = False
    tint: str = ""
    swatch: Stroke | None = None
    cell: int = -1
    glued: bool = False


@dataclass
class Reader(HTMLParser):
    """Collects lines of words and images; tables keep which cell a word is of."""

    blocks: list[list[Word] | Picture] = field(default_factory=lambda: [[]])

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[tuple[str, str, bool]] = []
        self._cell = -1
        self._space = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a line, a cell or a mark."""
        given = {name: value or "" for name, value in attrs}
        style, classes = given.get("style", ""), given.get("class", "")
        hidden = re.search(r"display:\s*none", style) is not None or "sae-nb-said" in classes
        hidden = hidden or (tag == "svg" and _wide(given.get("width", "")))
        if tag in LINES or tag == "br":
            self._break()
        if tag == "tr":
            self._cell = -1
        if tag in CELLS:
            self._cell += 1
            self._space = True
        if tag == "img" and given.get("src", "").startswith("data:image"):
            self._image(given)
        unseen = any(one for _, _, one in self._open)
        if tag in ("path", "circle", "rect") and self._inside("svg") and not unseen:
            colour = given.get("fill") or _of_style(style, "fill") or given.get("stroke", "")
            if colour not in ("", "none"):
                self._add(Word("", swatch=Rectangle(2, 0, 11, 11, colour)))
        if "margin" in style or "sae-nb-key" in classes:
            self._space = True
        if tag not in EMPTY:
            tint = _of_style(style, "background(?:-color)?")
            line = re.search(r"border-top:\s*[\d.]+px\s+(\w+)\s+([^;]+)", style)
            if line:
                dashed = line[1] != "solid"
                self._add(Word("", swatch=Polyline([(0, 6), (16, 6)], line[2], 3, dashed)))
            elif tint and "display:inline-block" in style.replace(" ", ""):
                self._add(Word("", swatch=Rectangle(2, 0, 11, 11, tint)))
                tint = ""
            self._open.append((tag, tint, hidden))

    def handle_endtag(self, tag: str) -> None:
        """Close a line."""
        for place in range(len(self._open) - 1, -1, -1):
            if self._open[place][0] == tag:
                del self._open[place:]
                break
        if tag in LINES:
            self._break()
        if tag == "table":
            self._cell = -1

    def handle_data(self, data: str) -> None:
        """Write words, on their tint."""
        if any(tag in SILENT or tag == "svg" or hidden for tag, _, hidden in self._open):
            return
        bold = any(tag in BOLD for tag, _, _ in self._open)
        tint = next((tint for _, tint, _ in reversed(self._open) if tint), "")
        for piece in re.findall(r"\s+|[^\s]+", data):
            if piece.isspace():
                self._space = True
            else:
                self._add(Word(piece, bold, tint, cell=self._cell, glued=not self._space))

    def _inside(self, tag: str) -> bool:
        return any(name == tag for name, _, _ in self._open)

    def _image(self, given: dict[str, str]) -> None:
        self._break()
        file = base64.b64decode(given["src"].partition(",")[2])
        side = float(re.sub(r"[^\d.]", "", given.get("width", "")) or 96)
        height = float(re.sub(r"[^\d.]", "", given.get("height", "")) or side)
        self.blocks += [Picture(0, 0, side, height, file, smooth=False), []]

    def _add(self, word: Word) -> None:
        line = self.blocks[-1]
        if not isinstance(line, list):
            line = []
            self.blocks.append(line)
        line.append(word)
        self._space = word.swatch is not None

    def _break(self) -> None:
        if self.blocks[-1]:
            self.blocks.append([])
        self._space = False


def _wide(width: str) -> bool:
    """Whether an inline drawing is more than a mark in a line, which strokes of ours do not repeat."""
    return width.isdigit() and int(width) > 2 * SWATCH


def _of_style(style: str, name: str) -> str:
    """A colour that an element's style gives; none for gradients and variables."""
    found = re.search(rf"(?:^|;)\s*{name}:\s*([^;]+)", style)
    text = found[1].strip() if found else ""
    return "" if "gradient" in text or "var(" in text or text in ("none", "transparent") else text


def html_drawing(html: str, width: float) -> Drawing:
    """Return HTML of ours as a drawing of that width."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    return (
        stacked(_block(block, width) for block in _tables(reader.blocks)) if html else Drawing(0, 0)
    )


@dataclass
class Table:
    """Rows of words, each of which knows its cell."""

    rows: list[list[Word]]


def _tables(blocks: list[list[Word] | Picture]) -> list[list[Word] | Picture | Table]:
    """Rows of cells that follow each other as one table."""
    found: list[list[Word] | Picture | Table] = []
    for block in blocks:
        if not isinstance(block, list) or max((word.cell for word in block), default=-1) < 1:
            found.append(block)
        elif found and isinstance(found[-1], Table):
            found[-1].rows.append(block)
        else:
            found.append(Table([block]))
    return found


def _block(block: list[Word] | Picture | Table, width: float) -> Drawing:
    if isinstance(block, Picture):
        return Drawing(width, block.height, (block,))
    if isinstance(block, Table):
        return _table(block.rows, width)
    return _line(block, width)


def _line(words: list[Word], width: float) -> Drawing:
    """Words one after another, in as many lines as they need."""
    size = current_theme().font_px
    space, strokes = text_width(" ", size), []
    x, y = 0.0, 0.0
    for word in words:
        wide = SWATCH + 2 if word.swatch else text_width(word.text, size, word.bold)
        gap = 0.0 if not x or word.glued else space
        if x and x + gap + wide > width:
            x, gap, y = 0.0, 0.0, y + LEADING * size
        strokes += _word(word, x + gap, y, wide, size)
        x += gap + wide
    return Drawing(width, (y + LEADING * size) if words else 0, tuple(strokes))


def _word(word: Word, x: float, y: float, wide: float, size: float) -> list[Stroke]:
    if word.swatch:
        return [moved(word.swatch, x, y + 0.35 * size - 3)]
    tint = [Rectangle(x - 1, y + 0.1 * size, wide + 2, 1.25 * size, word.tint)] if word.tint else []
    return [*tint, Label(x, y + size, word.text, anchor="start", size=size, bold=word.bold)]


def _table(rows: list[list[Word]], width: float) -> Drawing:
    """Cells under each other, columns as wide as their longest."""
    size = current_theme().font_px
    columns = 1 + max(word.cell for row in rows for word in row)
    cells = [
        [" ".join(w.text for w in row if max(w.cell, 0) == c) for c in range(columns)]
        for row in rows
    ]
    heads = [any(w.bold for w in row) for row in rows]
    widths = [max(text_width(row[c], size, True) for row in cells) + 12 for c in range(columns)]
    spare = sum(widths) - width
    if spare > 0:  # the widest column gives way, and its words go over several lines
        widest = widths.index(max(widths))
        widths[widest] = max(widths[widest] - spare, 60)
    lines = []
    for row, head in zip(cells, heads):
        parts = [paragraph(text, wide - 8, bold=head) for text, wide in zip(row, widths)]
        lines.append(hstack(parts, gap=8))
    return stacked(lines, gap=2)
