"""The appearance of a map's points: the style of each by a column, the key that explains it, sizes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from sae_nb.atoms import Column
from sae_nb.figures import current_theme, theme
from sae_nb.figures.theme import format_count, readable_cividis

MOST_STYLED = len(theme.PALETTE) * len(theme.MARKERS)
MOST_IN_KEY = 9
SHADES = 48
NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Look:
    """The drawing of points and their key; ready to be sent."""

    styles: UInt8[np.ndarray, " n"]
    """Index of each point's style in the palette; 0 where the point has no category, or an unknown one."""

    palette: list[dict[str, Any]]
    """Shape, colour on light pages and colour on dark ones of each style."""

    legend: list[list[Any]] = field(default_factory=list)
    """Styles in the key, each with its words."""

    bar: list[Any] = field(default_factory=list)
    """Title of the colour bar, then a share of its length with the value there, again and again."""

    rest: str = ""
    """The part that does not fit into the key."""


def look_of(column: Column | None, n_points: int, unnamed: Collection[str] = ()) -> Look:
    """Return how points coloured by a column look; without one they are all alike.

    Categories that are `unnamed`, such as groups with a number alone, have no entry in the key.
    """
    if column is None:
        nothing = {"shape": "circle", "light": _rgb(theme.NEUTRAL), "dark": _rgb(theme.NEUTRAL)}
        return Look(styles=np.zeros(n_points, np.uint8), palette=[nothing])
    return _categories(column, unnamed) if column.names is not None else _numbers(column)


def _rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _categories(column: Column, unnamed: Collection[str]) -> Look:
    """Okabe and Ito's hues, then the next shape; small categories beyond them look like none."""
    names = column.names or ()
    n_styled = min(len(names), MOST_STYLED)
    styles = np.where(column.values < n_styled, column.values + 1, 0).astype(np.uint8)
    palette = [{"shape": "circle", "light": _rgb(theme.UNKNOWN), "dark": _rgb(theme.UNKNOWN)}]
    for i in range(n_styled):
        colour = _rgb(theme.PALETTE[i % len(theme.PALETTE)])
        shape = theme.MARKERS[i // len(theme.PALETTE)]
        palette.append({"shape": shape, "light": colour, "dark": colour})
    counts = np.bincount(column.values[column.values >= 0], minlength=len(names))
    told = [(i, name) for i, name in enumerate(names) if name not in unnamed]
    legend = [[i + 1, f"{name} ({format_count(counts[i])})"] for i, name in told[:MOST_IN_KEY]]
    unknown = int((styles == 0).sum())
    if unknown:
        legend.append([0, f"{NONE} ({format_count(unknown)})"])
    more, silent = len(told) - MOST_IN_KEY, len(names) - len(told)
    rest = [f"and {format_count(more)} more"] * (more > 0)
    rest += [f"and {format_count(silent)} without a name"] * (silent > 0)
    return Look(styles=styles, palette=palette, legend=legend, rest=", ".join(rest))


def _numbers(column: Column) -> Look:
    """The one sequential map; what is not known is a hollow ring."""
    values = column.values.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.log10(values) if column.log else values
    known = np.isfinite(shown)
    low, high = _span(shown[known])
    share = np.clip((np.where(known, shown, low) - low) / (high - low), 0, 1)
    styles = np.where(known, 1 + np.round(share * (SHADES - 1)), 0).astype(np.uint8)
    steps = np.linspace(0, 1, SHADES)
    light, dark = (readable_cividis(steps, dark=dark).tolist() for dark in (False, True))
    shades = [{"shape": "circle", "light": a, "dark": b} for a, b in zip(light, dark)]
    unknown = {"shape": "ring", "light": _rgb(theme.UNKNOWN), "dark": _rgb(theme.UNKNOWN)}
    return Look(
        styles=styles,
        palette=[unknown, *shades],
        legend=[] if known.all() else [[0, _unknown(column, int((~known).sum()))]],
        bar=[f"{column.name}: {column.meaning}" if column.meaning != column.name else column.name]
        + [
            [(at - low) / (high - low), column.written(float(10**at if column.log else at), 2)]
            for at in _ticks(low, high, whole=column.log)
        ],
    )


def _unknown(column: Column, count: int) -> str:
    what = "never fires" if column.name in ("frequency", "strength", "energy") else "not known"
    return f"{what} ({format_count(count)})"


def _span(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float, *, whole: bool) -> list[float]:
    """Whole powers of ten on an axis of logarithms, five at most; else both ends and the middle."""
    powers = np.arange(np.ceil(low), np.floor(high) + 1) if whole else np.zeros(0)
    if len(powers) < 2:
        return [low, (low + high) / 2, high]
    return [float(power) for power in powers[:: 1 + (len(powers) - 1) // 5]]


# --- sizes ------------------------------------------------------------------------------------------


def map_height() -> int:
    """Return height in CSS pixels at the current scale."""
    return int(480 * current_theme().font_px / 13)


def base_size(n_points: int) -> float:
    """Return the diameter in pixels of a point among so many."""
    return float(np.clip(160 / np.sqrt(max(n_points, 1)), 2.5, 8) * current_theme().font_px / 13)


def point_sizes(values: Float[np.ndarray, " n"] | None, n_points: int) -> bytes:
    """Return diameters in quarter pixels: area grows with the value, up to twice its 95th percentile.

    Empty where there is no value: all are alike.
    """
    if values is None:
        return b""
    known = np.maximum(np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0), 0)
    top = float(np.quantile(known, 0.95)) if len(known) else 0.0
    share = np.sqrt(np.minimum(known / (top or 1.0), 2.0))
    return np.round(4 * base_size(n_points) * (0.6 + 0.9 * share)).astype(np.uint8).tobytes()


# --- histograms -------------------------------------------------------------------------------------

N_BARS = 24


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The distribution of a column's values over bars."""

    edges: Float[np.ndarray, " ends"]
    """Lowest to highest value, one more than there are bars."""

    bar_of: Int[np.ndarray, " n"]
    """Bar of each point; −1 where its value is not known."""

    def counts(self, points: np.ndarray | slice = slice(None)) -> Int[np.ndarray, " bars"]:
        """Return how many points, of all or of some, are in each bar."""
        inside = self.bar_of[points]
        return np.bincount(inside[inside >= 0], minlength=len(self.edges) - 1)


def spread_of(column: Column, span: tuple[float, float] | None = None) -> Spread | None:
    """Return the histogram of a column of numbers, from end to end of a span if one is given.

    None where there is nothing to spread.
    """
    values = column.values.astype(np.float64)
    if span is not None:
        edges = np.linspace(*span, N_BARS + 1)
        places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, N_BARS - 1)
        return Spread(edges=edges, bar_of=np.where(np.isfinite(values), places, -1))
    known = np.isfinite(values) & ((values > 0) | (not column.log))
    if not known.any() or values[known].min() == values[known].max():
        return None
    low, high = float(values[known].min()), float(values[known].max())
    edges = (
        np.geomspace(low, high, N_BARS + 1) if column.log else np.linspace(low, high, N_BARS + 1)
    )
    edges[0], edges[-1] = low, high
    bar_of = np.full(len(values), -1)
    bar_of[known] = np.clip(np.searchsorted(edges, values[known], side="right") - 1, 0, N_BARS - 1)
    return Spread(edges=edges, bar_of=bar_of)
