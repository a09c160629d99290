"""The map from close up: which part is seen, what single points are called and look like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt8

from sae_nb.atoms import AtomNames, ConceptAtlas, ConceptMapSummary

MOST_CLOSE = 60
"""Points in view of which each is named, or drawn as a picture."""
CLOSE_CHARACTERS = 28
MOST_NAMED_ON_PAGES = 30_000
"""Points of which each has its name on an exported page."""
AROUND_ONE = 0.06
"""Share of the map that is seen around a single point."""

Crop = UInt8[np.ndarray, "3 height width"]


def points_in_view(
    record: ConceptMapSummary, view: Sequence[float], kept: Bool[np.ndarray, " n"]
) -> Int[np.ndarray, " m"]:
    """Return the points that are kept and in view; none where they are too many to be named."""
    if view:
        low, high = np.array(view[:2]), np.array(view[2:])
        kept = kept & ((record.xy >= low) & (record.xy <= high)).all(axis=1)
    return np.flatnonzero(kept) if kept.sum() <= MOST_CLOSE else np.zeros(0, np.int64)


def close_up(
    record: ConceptMapSummary,
    points: Int[np.ndarray, " m"],
    atlas: ConceptAtlas,
    names: AtomNames,
) -> tuple[Int[np.ndarray, " m"], list[str], list[Crop]]:
    """Return the points, those with a picture first, the words of each, and the pictures."""
    crops = _crops(record, points, atlas, names)
    pictured = np.array([crop is not None for crop in crops], bool)
    points = np.concatenate([points[pictured], points[~pictured]])
    words = [_cut(word) for word in _words(record, points, atlas, names)]
    return points, words, [crop for crop in crops if crop is not None]


def view_around(record: ConceptMapSummary, points: Int[np.ndarray, " m"]) -> tuple[float, ...]:
    """Return the part of the map around some points, with a margin: low x, low y, high x, high y."""
    xy = record.xy[points]
    least = AROUND_ONE * float(np.ptp(record.xy, axis=0).max() or 1.0)
    middle = (xy.max(axis=0) + xy.min(axis=0)) / 2
    half = np.maximum(0.56 * np.ptp(xy, axis=0), least)
    return (*(middle - half).tolist(), *(middle + half).tolist())


def every_name(
    record: ConceptMapSummary, atlas: ConceptAtlas, names: AtomNames
) -> list[str] | dict[int, str]:
    """Return what every point is called, for a page that cannot ask; of very many, those with a label."""
    if record.show != "atoms":
        return atlas.point_names(record.show)
    if len(record.ids) > MOST_NAMED_ON_PAGES:
        return {i: f"atom {i} {atlas.labels[i]}" for i in atlas.labels if 0 <= i < len(record.ids)}
    return [f"atom {names.name(atom)}" for atom in record.ids.tolist()]


def _words(
    record: ConceptMapSummary,
    points: Int[np.ndarray, " m"],
    atlas: ConceptAtlas,
    names: AtomNames,
) -> list[str]:
    if record.show == "atoms":
        return [names.name(point) for point in points.tolist()]
    called = atlas.point_names(record.show) if len(points) else []
    return [called[point] for point in points.tolist()]


def _crops(
    record: ConceptMapSummary,
    points: Int[np.ndarray, " m"],
    atlas: ConceptAtlas,
    names: AtomNames,
) -> list[Crop | None]:
    """Return the image crop of each point; None if it has none."""
    if record.show == "atoms":
        return [names.crop(point) for point in points.tolist()]
    pictures = None if atlas.catalogue is None else atlas.catalogue.acts.context.pictures
    if record.show != "samples" or pictures is None:
        return [None] * len(points)
    return [pictures[sample].cpu().numpy() for sample in record.ids[points].tolist()]


def _cut(text: str) -> str:
    return text if len(text) <= CLOSE_CHARACTERS else f"{text[: CLOSE_CHARACTERS - 1]}…"
