"""The map on screen: the canvas, the histograms that filter it, how a record is put there."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from sae_nb.atoms import Column, ConceptMapSummary
from sae_nb.figures import theme, to_svg
from sae_nb.figures.theme import format_number
from sae_nb_widgets.components import Histogram
from sae_nb_widgets.components._base import HTML, Box
from sae_nb_widgets.components._point_map import PointMap, packed, unpacked, whole_bytes
from sae_nb_widgets.concept_map._figure import Word, few, still_figure
from sae_nb_widgets.concept_map._raster import MOST_AS_MARKS
from sae_nb_widgets.concept_map._styles import (
    MOST_STYLED,
    NONE,
    Look,
    Spread,
    base_size,
    look_of,
    map_height,
    point_sizes,
    spread_of,
)
from sae_nb_widgets.panel._declaring import show
from sae_nb_widgets.panel._pages import LIVE_ONLY

MOST_IN_FALLBACK = 600
MOST_NAMED = 4000
"""Above this, names of points are not sent; pointing at one shows its number."""

TILE = 48
"""Side of a crop: 24 px at 2×."""

MOST_LANDMARKS, APART = 12, (0.16, 0.08)
"""Names on a map, and how far apart single atoms with one lie, across and up, in shares of the map. Ours."""

BRUSHED = ("frequency", "strength", "L0")
"""Columns that have a histogram under the map, where there are such."""

HINT = "Ring: the chosen atom{}. Click a name to light its region. Wheel: zoom. Drag: move."
TO_NEAREST, LASSO_HINT = ", with lines to its nearest", " Shift and drag: select."

Shown = Mapping[str, Any]
Lasso = Callable[[Int[np.ndarray, " m"], bool], None]


class MapFigure:
    """The canvas of a ConceptMap and its histograms."""

    def __init__(
        self,
        choose: Callable[[int], None],
        lasso: Lasso,
        keep: Callable[[str, Any], None],
        between: Callable[[tuple[float, ...]], None],
    ) -> None:
        self.chart = PointMap(description="map of atoms", height=map_height())
        self.chart.lonely = theme.NOVEL
        self.brushes = {name: Histogram() for name in BRUSHED}
        self.difference = Histogram()
        self._difference: Spread | None = None
        show(self.difference, False)
        self.facts = HTML().add_class("sae-nb-legendline")
        self.brush_row = Box([*self.brushes.values(), self.difference]).add_class("sae-nb-brushes")
        self.brush_row.add_class(LIVE_ONLY)
        self.widgets: tuple[ipw.Widget, ...] = (self.chart, self.brush_row, self.facts)
        self._look = Look(styles=np.zeros(0, np.uint8), palette=[])
        self._column: Column | None = None
        self._spreads: dict[str, Spread] = {}
        self._choose, self._lasso, self._keep = choose, lasso, keep
        self._words: list[Word] = []
        self._named: list[Word] = []
        """The names of the current atom and of those nearest to it, at their points."""

        self._spokes: Float[np.ndarray, "s 4"] = np.zeros((0, 4), np.float32)
        self._settling = False
        self.chart.on_msg(lambda _, content, buffers: self.receive(content, buffers))
        self.chart.observe(self._switched, "off")
        for name, bars in self.brushes.items():
            bars.observe(lambda _, name=name: self._brushed(name), "chosen")
        self.difference.observe(lambda _: self._between(between), "chosen")

    # --- hearing ----------------------------------------------------------------------------------

    def receive(self, content: Mapping[str, Any], buffers: Sequence[Any] = ()) -> None:
        """Take a message from the browser: a point that was chosen, or those inside a lasso."""
        kind = content.get("kind") if isinstance(content, dict) else None
        n = self.chart.n_points
        if kind == "choose" and 0 <= int(content.get("point", -1)) < n:
            self._choose(int(content["point"]))
        elif kind == "lasso" and buffers:
            inside = np.flatnonzero(unpacked(bytes(buffers[0]), n))
            self._lasso(inside, bool(content.get("add")))

    def _switched(self, _: object) -> None:
        """An entry of the key was clicked: keep the categories that are on."""
        column = self._column
        if self._settling or column is None:
            return
        off = set(self.chart.off)
        if column.names is None:  # only what is not known has an entry
            every = (float(np.nanmin(column.values)), float(np.nanmax(column.values)))
            self._keep(column.name, every if off else None)
            return
        on = [name for i, name in enumerate(column.names) if i + 1 not in off]
        self._keep(column.name, (*on, *(() if 0 in off else (NONE,))) if off else None)

    def _brushed(self, name: str) -> None:
        spread, chosen = self._spreads.get(name), self.brushes[name].chosen
        if self._settling or spread is None:
            return
        ends = (
            (float(spread.edges[chosen[0]]), float(spread.edges[chosen[1] + 1])) if chosen else None
        )
        self._keep(name, ends)

    def _between(self, take: Callable[[tuple[float, ...]], None]) -> None:
        spread, chosen = self._difference, self.difference.chosen
        if self._settling or spread is None:
            return
        take((float(spread.edges[chosen[0]]), float(spread.edges[chosen[1] + 1])) if chosen else ())

    # --- drawing ----------------------------------------------------------------------------------

    def draw_difference(
        self, column: Column | None, ends: Sequence[float], selected: Sequence[int]
    ) -> None:
        """Show how atoms are spread between two sites, and which of them are selected."""
        spread = self._difference = None if column is None else spread_of(column, (0.0, 1.0))
        show(self.difference, spread is not None)
        if spread is None or column is None:
            return
        with self._settled():
            self.difference.description = f"difference ({column.meaning}): drag to select"
            words = [format_number(float(edge), digits=2) for edge in spread.edges]
            chosen = np.array(selected, np.int64) if len(selected) else slice(None)
            self.difference.show(spread.counts(), spread.counts(chosen), words)
            self.difference.chosen = _bars_between(spread, ends or None)

    def draw_points(
        self, record: ConceptMapSummary, names: Sequence[str], lines: Float[np.ndarray, "k 4"]
    ) -> None:
        """Put points where they lie."""
        chart = self.chart
        ids = record.ids
        plain = np.array_equal(ids, np.arange(len(ids)))
        with chart.hold_sync():
            chart.xy = np.ascontiguousarray(record.xy, np.float32).tobytes()
            chart.ids = b"" if plain else whole_bytes(ids)
            chart.word = record.show.removesuffix("s")
            chart.description = f"map of {record.show}"
            chart.names = list(names)
            chart.lines = np.ascontiguousarray(lines, np.float32).tobytes()
            chart.widths = []

    def draw_comparison(self, record: ConceptMapSummary, shown: bool) -> None:
        """Show the second dictionary, and rings around atoms that are not in it."""
        match = record.match if shown else None
        other = record.other_xy if shown else None
        with self.chart.hold_sync():
            self.chart.others = b"" if other is None else np.float32(few(other)).tobytes()
            self.chart.ringed = b"" if match is None else whole_bytes(match.unmatched)

    def draw_colours(
        self, record: ConceptMapSummary, column: Column | None, words: Sequence[Word], facts: str
    ) -> None:
        """Colour points by a column, write names, and say what colours mean."""
        self._column, self._words = column, list(words)
        unnamed = {one.name for one in record.clusters if not one.is_named}
        look = self._look = look_of(column, len(record.ids), unnamed)
        self._spreads = {}
        for name, bars in self.brushes.items():
            known = record.columns.get(name)
            spread = None if known is None else spread_of(known)
            show(bars, spread is not None)
            if spread is not None and known is not None:
                self._spreads[name] = spread
                bars.description = f"{known.name}: drag to keep a range"
        with self._settled(), self.chart.hold_sync():
            self.chart.palette = look.palette
            self.chart.styles = look.styles.tobytes()
            self.chart.legend, self.chart.bar, self.chart.rest = look.legend, look.bar, look.rest
            self.chart.words = self._all_words
        self.facts.value = facts

    @property
    def _all_words(self) -> list[list[Any]]:
        """Names on the map, that of the current atom first; no name twice at one point."""
        here = {tuple(word[:2]) for word in self._named}
        others = (word for word in self._words if tuple(word[:2]) not in here)
        return [list(word) for word in (*self._named, *others)]

    def draw_filter(
        self,
        record: ConceptMapSummary,
        filters: Shown,
        kept: Bool[np.ndarray, " n"],
        drawn: Bool[np.ndarray, " n"],
    ) -> None:
        """Hide what is filtered out, of the coloured categories keep it faint (`drawn`); say it in the key and
        in the histograms.
        """
        wanted = None if self._column is None else filters.get(self._column.name)
        off: list[int] = []
        if wanted is not None and self._column is not None:
            names = self._column.names
            if names is not None:
                off = [i + 1 for i, name in enumerate(names) if name not in wanted]
                off = [style for style in off if style < len(self._look.palette)]
            if names is None or NONE not in wanted:
                off = [0, *off]
        with self._settled():
            self.chart.off = off
            self.chart.shown = b"" if drawn.all() else packed(drawn)
            for name, spread in self._spreads.items():
                column = record.columns[name]
                ends = [column.written(float(edge), 2) for edge in spread.edges]
                bars = self.brushes[name]
                bars.show(spread.counts(), spread.counts(kept), ends)
                bars.chosen = _bars_between(spread, filters.get(name))

    def draw_sizes(self, record: ConceptMapSummary, by: str) -> None:
        """Make areas go with a column of numbers."""
        column = record.columns.get(by)
        values = None if column is None or column.is_category else column.values
        n = len(record.ids)
        with self.chart.hold_sync():
            self.chart.size, self.chart.height = base_size(n), map_height()
            self.chart.sizes = point_sizes(values, n)

    def draw_selection(
        self,
        record: ConceptMapSummary,
        points: Int[np.ndarray, " m"],
        current: int,
        edges: Int[np.ndarray, "k 2"],
        lines: Float[np.ndarray, "k 4"],
        spokes: tuple[Float[np.ndarray, "s 4"], Float[np.ndarray, " s"]],
        names: Mapping[int, str] = MappingProxyType({}),
        *,
        to_nearest: bool = False,
    ) -> None:
        """Ring the selection and the current atom, joined by edges, and write the names of points; draw a
        cone's spokes by width.
        """
        joined = np.concatenate([record.xy[edges[:, 0]], record.xy[edges[:, 1]]], axis=1)
        self._spokes, widths = spokes
        both = np.concatenate([self._spokes, lines, joined])
        self._named = [(*record.xy[point].tolist(), name) for point, name in names.items()]
        with self.chart.hold_sync():
            self.chart.widths = widths.tolist()
            self.chart.chosen = whole_bytes(points)
            self.chart.current = current
            self.chart.hint = HINT.format(TO_NEAREST * to_nearest) + LASSO_HINT
            self.chart.words = self._all_words
            self.chart.lines = np.ascontiguousarray(both, np.float32).tobytes()

    def draw_close(
        self,
        points: Int[np.ndarray, " m"],
        words: Sequence[str],
        crops: Sequence[UInt8[np.ndarray, "3 height width"]],
    ) -> None:
        """Put names, and pictures where there are any, in place of the points that are near."""
        with self.chart.hold_sync():
            self.chart.nearby = points.tolist()
            self.chart.nearby_words = list(words)
            self.chart.sprite = _strip(crops)

    @contextmanager
    def _settled(self) -> Iterator[None]:
        """While the panel draws, what the components say is its own echo."""
        before, self._settling = self._settling, True
        try:
            yield
        finally:
            self._settling = before

    def still(
        self, record: ConceptMapSummary, kept: Bool[np.ndarray, " n"], *, both: bool, sample: bool
    ) -> go.Figure:
        """Return a plain figure of what is on the canvas, of some of the points if there are many."""
        shown = np.flatnonzero(kept)
        if sample and MOST_IN_FALLBACK < len(shown) <= MOST_AS_MARKS:
            shown = shown[np.linspace(0, len(shown) - 1, MOST_IN_FALLBACK).astype(int)]
        n = len(record.ids)
        sizes = np.full(n, base_size(n))
        if self.chart.sizes:
            sizes = np.frombuffer(self.chart.sizes, np.uint8) / 4
        return still_figure(
            record,
            self._look,
            shown=shown,
            sizes=sizes,
            chosen=np.frombuffer(self.chart.chosen, np.int32),
            current=self.chart.current,
            words=self._all_words,
            spokes=list(zip(self._spokes.tolist(), self.chart.widths)),
            both=both,
        )

    def page_html(self, names: Sequence[str] | Mapping[int, str], still: go.Figure | None) -> str:
        """Return the map as it moves on a page without a kernel, and a drawing for one without script."""
        live = self.chart.live_html(names, self.chart.hint.removesuffix(LASSO_HINT))
        drawing = "" if still is None else to_svg(still)
        return (
            f'<div class="sae-nb-live">{live}</div>'
            f'<noscript><div class="sae-nb-still">{drawing}</div></noscript>'
        )


def _bars_between(spread: Spread, ends: Any) -> tuple[int, ...]:
    """The first and the last bar of a range of values; () for all."""
    if ends is None:
        return ()
    last = len(spread.edges) - 2
    low = int(np.clip(np.searchsorted(spread.edges, ends[0], side="right") - 1, 0, last))
    high = int(np.clip(np.searchsorted(spread.edges, ends[1], side="left") - 1, 0, last))
    return () if (low, high) == (0, last) or high < low else (low, high)


def _strip(crops: Sequence[UInt8[np.ndarray, "3 height width"]]) -> bytes:
    """Crops under each other, all of one size, as PNG; empty for none."""
    if not crops:
        return b""
    strip = Image.new("RGB", (TILE, TILE * len(crops)))
    for i, crop in enumerate(crops):
        picture = Image.fromarray(np.ascontiguousarray(crop.transpose(1, 2, 0)))
        strip.paste(picture.resize((TILE, TILE)), (0, i * TILE))
    file = io.BytesIO()
    strip.save(file, "PNG")
    return file.getvalue()


def words_on(record: ConceptMapSummary, column: Column | None) -> list[Word]:
    """Return names and where they belong: of labelled points where labels colour, else of clusters."""
    if column is not None and column.names is not None and column.name == "label":
        first: dict[int, int] = {}
        for point in np.flatnonzero(column.values >= 0).tolist():
            first.setdefault(int(column.values[point]), point)
        return [
            (*record.xy[first[i]].tolist(), column.names[i], *[i + 1] * (i < MOST_STYLED))
            for i in sorted(first)
        ]
    corners: list[Word] = []
    if record.archetypes is not None:
        places = zip(record.archetypes.corners.tolist(), record.archetypes.archetypes.tolist())
        corners = [(x, y, f"archetype {archetype}") for (x, y), archetype in places]
    coloured = column is not None and column.names is not None and column.name == "cluster"
    # What lies where no group has a telling name is told by single atoms, its landmarks.
    return corners + [
        (
            *np.median(record.xy[cluster.points], axis=0).tolist(),
            cluster.name,
            *[i + 1] * (coloured and i < MOST_STYLED),
        )
        for i, cluster in enumerate(record.clusters)
        if cluster.is_named
    ]


def landmarks(
    record: ConceptMapSummary, surest: Sequence[int], kept: Bool[np.ndarray, " n"]
) -> list[tuple[float, float, int]]:
    """Return where well named atoms lie that are apart from each other and from groups with a name."""
    named = [c for c in record.clusters if c.is_named]
    taken = [np.median(record.xy[cluster.points], axis=0) for cluster in named]
    apart = np.array(APART) * np.ptp(record.xy, axis=0).clip(min=1e-9)
    found: list[tuple[float, float, int]] = []
    for atom in surest:
        if len(found) + len(named) >= MOST_LANDMARKS:
            break
        at = record.xy[atom]
        if kept[atom] and all((np.abs(at - other) > apart).any() for other in taken):
            taken.append(at)
            found.append((float(at[0]), float(at[1]), atom))
    return found


def lines_of(record: ConceptMapSummary, both: bool) -> Float[np.ndarray, "k 4"]:
    """Return lines that belong to the map: the polygon of archetypes, or pairs that are one atom."""
    if record.archetypes is not None:
        corners = record.archetypes.corners
        return np.concatenate([corners, np.roll(corners, -1, axis=0)], axis=1)
    match, other = record.match, record.other_xy
    if not both or match is None or other is None:
        return np.zeros((0, 4), np.float32)
    same = few(np.flatnonzero(match.same))
    return np.concatenate([record.xy[match.atoms[same]], other[match.others[same]]], axis=1)
