"""Places of a circuit's nodes on a stage of some width: a row for each place that holds some, the answer above.

Columns are as wide as their nodes. Nodes that do not fit next to each other get another line of their row;
where columns do not fit either, they come closer and more lines are taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sae_nb.figures import current_theme
from sae_nb.figures.shapes import shortened, text_width
from sae_nb_widgets.circuit._summary import CircuitSummary

LONGEST = 132.0
ATTEMPTS = (
    (3, LONGEST, True), (2, LONGEST, True), (2, 96.0, True), (1, LONGEST, True), (1, LONGEST, False),
    (1, 96.0, False), (1, 64.0, False),
)  # fmt: skip
"""Nodes of one place over one token, the longest words of a node in pixels, whether tokens without nodes are
written: the first that fits is taken."""

SIDE, TOP, ROW_NAMES, PAD, APART, BETWEEN, CLOSE = 8.0, 6.0, 40.0, 11.0, 8.0, 14.0, 6.0
"""Free sides; room for the rows' names; around a node's words; between nodes, and between columns, also where
dots replace tokens."""

LINE, FEWEST_PX, MANY = 2.75, 2.4, 16
"""Height of a line, in sizes of the letters, and where there are more lines than `MANY`."""

PILL, ANSWER, WORDS, CROP = 2.1, 2.4, 2.6, 34.0
"""Heights of a node, the answer and the line of tokens, in sizes of the letters; the side of a patch."""

THINNEST, BOLDEST, MOST_TIES = 0.6, 4.5, 40
"""Width of the weakest and the strongest line, and the most lines that are drawn."""


@dataclass(frozen=True, kw_only=True)
class Face:
    """A node of the drawing in words, wherever it is drawn."""

    text: str
    brief: str
    """Its words where there is no room for all."""

    tip: str
    tone: str
    """"for", "against", "input", "missed", "answer" or "group"."""

    atom: int = -1
    """Node whose card is shown on pointing at it; −1 for none."""

    quiet: bool = False
    """Whether nothing is known of it."""

    marks: tuple[str, ...] = ()
    """"pinned", "path"."""


@dataclass(frozen=True, kw_only=True)
class Pill:
    """A node where it is drawn: its centre and its size."""

    place: int
    """Row of the summary's nodes."""

    x: float
    y: float
    wide: float
    high: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Tie:
    """A line from the top of a node to the bottom of another, that leaves and arrives upright."""

    source: int
    target: int
    """Rows of the summary's nodes."""

    x0: float
    y0: float
    x1: float
    y1: float
    wide: float
    adds: bool

    @property
    def points(self) -> list[tuple[float, float]]:
        """Points along it, for pictures without curves."""
        half = (self.y0 + self.y1) / 2
        return [
            (
                self.x0 * (1 - s) ** 2 * (1 + 2 * s) + self.x1 * s**2 * (3 - 2 * s),
                self.y0 * (1 - s) ** 3 + 3 * half * s * (1 - s) + self.y1 * s**3,
            )
            for s in (step / 20 for step in range(21))
        ]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A circuit on a stage `wide` pixels wide."""

    wide: float
    high: float
    size: float
    """Of the letters, in pixels."""

    pills: Sequence[Pill]
    ties: Sequence[Tie]
    rows: Sequence[tuple[str, float]]
    """Name and height of each row."""

    words: Sequence[tuple[str, float, float, str, float]]
    """Of each column the token, its place, and the address of an image in its stead, with its side."""

    def plain(self) -> dict[str, Any]:
        """Return it as the browser is told."""
        return asdict(self)


def lay_out(
    summary: CircuitSummary,
    faces: Sequence[Face],
    tokens: Sequence[str],
    crops: Sequence[str],
    wide: float,
) -> Layout:
    """Lay out a summary on a stage of one width.

    Parameters
    ----------
    faces
        One for each of the summary's nodes.
    tokens, crops
        Text or address of an image of each of the summary's columns; "" for what is none.
    """
    size = current_theme().font_px
    stage = _Stage(summary, faces, tokens, crops, wide, size)
    centres = stage.centres()
    pills, rows, top = stage.pills(centres)
    bottom = CROP + 10 if any(crops) else WORDS * size
    high = top + bottom
    flipped = [Pill(**{**asdict(pill), "y": top - pill.y}) for pill in pills]
    return Layout(
        wide=wide,
        high=high,
        size=size,
        pills=flipped,
        ties=_ties(summary, {pill.place: pill for pill in flipped}),
        rows=[(name, top - y) for name, y in rows],
        words=[
            (shortened(text, size + 1, room), x, high - bottom / 2, crop, min(room - 2, CROP))
            for (x, room), text, crop in zip(centres, stage.words(), crops, strict=True)
        ],
    )


class _Stage:
    """The work of one layout; heights are counted upwards from the tokens."""

    def __init__(
        self,
        summary: CircuitSummary,
        faces: Sequence[Face],
        tokens: Sequence[str],
        crops: Sequence[str],
        wide: float,
        size: float,
    ) -> None:
        self.faces, self.tokens, self.crops, self.wide, self.size = faces, tokens, crops, wide, size
        nodes = summary.nodes
        self.positions = [int(p) for p in summary.columns.position]
        self.names = _row_names(summary)
        self.row, self.kind = nodes.row.tolist(), nodes.kind.tolist()
        self.position = nodes.position.astype(int).tolist()
        self.influence = nodes.influence.tolist()
        self.abreast, self.longest, self.idle = ATTEMPTS[0]
        self.left = ROW_NAMES + SIDE
        self.cells: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        order = sorted(range(len(nodes)), key=lambda i: -self.influence[i])
        for i in order:
            if self.kind[i] not in ("token", "target"):
                self.cells[self._merged_row(self.row[i])][self.position[i]].append(i)

    def _merged_row(self, row: int) -> int:
        """Return the first row of a place: lines of one place count as one row."""
        while row > 0 and not self.names[row]:
            row -= 1
        return row

    def text(self, i: int) -> str:
        """Return the words of a node that fit: all, or the brief ones."""
        face = self.faces[i]
        return face.text if text_width(face.text, self.size) <= self.longest else face.brief

    def width(self, i: int) -> float:
        """Return the width of a node's outline."""
        letters = self.size + 1 if self.faces[i].tone == "answer" else self.size
        return min(text_width(self.text(i), letters), self.longest) + 2 * PAD

    def _span(self, nodes: Sequence[int]) -> float:
        return sum(map(self.width, nodes)) + APART * (len(nodes) - 1)

    def _needs(self, p: int) -> float:
        """Return the width of a column: of its widest line, or of its word."""
        lines = [
            line for cell in self.cells.values() for line in _chunks(cell.get(p, []), self.abreast)
        ]
        at = self.positions.index(p)
        word = min(text_width(self.words()[at], self.size + 1) + 2, 90.0)
        return max([CROP if self.crops[at] else word, *map(self._span, lines)])

    def words(self) -> list[str]:
        """Return the word of each column; of one without nodes a dot where there is no room."""
        full = {p for cell in self.cells.values() for p in cell}
        return [
            token if self.idle or p in full else "·"
            for p, token in zip(self.positions, self.tokens, strict=True)
        ]

    @property
    def between(self) -> float:
        """Return the space between two columns."""
        return BETWEEN if self.idle else CLOSE

    def centres(self) -> list[tuple[float, float]]:
        """Return the centre of each column and the room of its word; lines get shorter until they fit."""
        room = self.wide - self.left - SIDE
        needs: list[float] = []
        for self.abreast, self.longest, self.idle in ATTEMPTS:
            needs = [self._needs(p) for p in self.positions]
            if sum(needs) + self.between * (len(needs) - 1) <= room:
                break
        total = sum(needs) + self.between * (len(needs) - 1)
        spare = max(room - total, 0.0) / max(len(needs), 1)
        scale = min(room / total, 1.0) if total else 1.0
        centres, x = [], self.left
        for need in needs:
            step = (need + spare) * scale
            centres.append((x + step / 2, max(step, 10.0)))
            x += step + self.between * scale
        return centres

    def pills(
        self, centres: Sequence[tuple[float, float]]
    ) -> tuple[list[Pill], list[tuple[str, float]], float]:
        """Return the nodes, the rows by name and height, and the height of all."""
        at = {p: x for p, (x, _) in zip(self.positions, centres, strict=True)}
        lines = [self._lines(self.cells[row], at) for row in sorted(self.cells)]
        n = sum(map(len, lines))
        step = (LINE if n <= MANY else FEWEST_PX) * self.size
        high, found, rows = PILL * self.size, [], []
        y = step / 2
        for row, of_row in zip(sorted(self.cells), lines, strict=True):
            rows.append((self.names[row], y))
            for line in of_row:
                found += [self._pill(i, x, y, high) for i, x in line]
                y += step
        y += 0.4 * self.size
        targets = [i for i, kind in enumerate(self.kind) if kind == "target"]
        for chunk in _chunks(targets, max(1, int(self.wide // (LONGEST + 60)))):
            middle = at.get(self.position[chunk[0]], self.wide / 2)
            found += [
                self._pill(i, x, y, ANSWER * self.size) for i, x in self._abreast(chunk, middle)
            ]
            y += step
        found += [
            self._pill(i, at[self.position[i]], -WORDS * self.size / 2, WORDS * self.size)
            for i, kind in enumerate(self.kind)
            if kind == "token" and self.position[i] in at
        ]
        return found, rows, y - step / 2 + ANSWER * self.size / 2 + TOP - 0.4 * self.size

    def _lines(
        self, cell: Mapping[int, Sequence[int]], at: Mapping[int, float]
    ) -> list[list[tuple[int, float]]]:
        """Return the nodes of a place in lines in which no two touch."""
        lines: list[list[tuple[int, float]]] = []
        taken: list[list[tuple[float, float]]] = []
        for p in sorted(cell):
            for chunk in _chunks(cell[p], self.abreast):
                placed = self._abreast(chunk, at[p])
                ends = [(x - self.width(i) / 2, x + self.width(i) / 2) for i, x in placed]
                left, right = ends[0][0] - APART, ends[-1][1] + APART
                free = (all(right < a or left > b for a, b in line) for line in taken)
                number = next((n for n, ok in enumerate(free) if ok), len(lines))
                if number == len(lines):
                    lines.append([])
                    taken.append([])
                lines[number] += placed
                taken[number] += ends
        return lines

    def _abreast(self, nodes: Sequence[int], middle: float) -> list[tuple[int, float]]:
        """Return nodes side by side around a column's centre, all of them on the stage."""
        span = self._span(nodes)
        x = min(max(middle - span / 2, self.left - SIDE), self.wide - SIDE - span)
        found = []
        for i in nodes:
            found.append((i, x + self.width(i) / 2))
            x += self.width(i) + APART
        return found

    def _pill(self, i: int, x: float, y: float, high: float) -> Pill:
        text = shortened(self.text(i), self.size, self.longest + 1)
        if self.kind[i] == "token":
            text = ""  # the word of its column
        return Pill(place=i, x=x, y=y, wide=self.width(i), high=high, text=text)


def _chunks(items: Sequence[int], n: int) -> list[Sequence[int]]:
    return [items[i : i + n] for i in range(0, len(items), n)]


def _row_names(summary: CircuitSummary) -> list[str]:
    """Return the names of rows: of blocks alone their numbers."""
    names = [name.removeprefix("MLP ") for name in summary.rows]
    return ["" if name in ("input", "answer") else name for name in names]


def _ties(summary: CircuitSummary, pills: Mapping[int, Pill]) -> list[Tie]:
    """Return the strongest lines between nodes, the weakest first: the others are drawn over them."""
    edges = summary.edges.head(MOST_TIES)
    most = float(edges.share.max()) if len(edges) else 1.0
    ties = []
    for edge in edges.itertuples():
        low, high = pills.get(int(edge.source)), pills.get(int(edge.target))
        if low is None or high is None:
            continue
        ties.append(
            Tie(
                source=low.place,
                target=high.place,
                x0=low.x,
                y0=low.y - low.high / 2,
                x1=high.x,
                y1=high.y + high.high / 2,
                wide=max(THINNEST, BOLDEST * float(edge.share) / (most or 1.0)),
                adds=float(edge.weight) >= 0,
            )
        )
    return ties[::-1]
