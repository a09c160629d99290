"""Atoms near each other on a map of texts: their words, said where they hold, and drawn at their places."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from sae_nb.atoms import ConceptMapSummary, HeldWords, SelectionSummary
from sae_nb.figures import current_theme
from sae_nb.figures.shapes import Dot, Drawing, Label, Stroke, text_width
from sae_nb.figures.theme import CONTROL, escape, format_count, format_percent

MOST_QUOTED = 4
"""Words in a title."""

MOST = 0.5
"""Part of the atoms' strength from which they fire "on" their words; below it they prefer them."""

WIDTH, TALLEST, EDGE = 282, 380, 10
"""Of the enlarged region, in CSS pixels."""


def map_title(record: ConceptMapSummary | None) -> str:
    """Return the title of a whole map: that no region has words of its own, where none has."""
    regions = () if record is None else record.clusters
    asked = [region.held for region in regions if region.held is not None]
    if asked and len(asked) == len(regions) and not any(held.hold for held in asked):
        return "Neighbours on this map share little"
    return ""


def words_title(held: HeldWords, n: int, *, is_region: bool) -> str:
    """Return which words atoms fire on or prefer, if those hold on other texts, else that they share few."""
    if not held.hold:
        return f"These {format_count(n)} atoms share few words"
    *first, last = [f"“{word}”" for word in held.words[:MOST_QUOTED]]
    listed = f"{', '.join(first)} and {last}" if first else last
    on = held.share >= MOST
    if is_region:
        return f"One region of the map {'fires on' if on else 'prefers'} {listed}"
    return f"These {format_count(n)} atoms {'fire on' if on else 'prefer'} {listed}"


def words_answer(held: HeldWords, n: int) -> tuple[str, str, tuple[str, ...]]:
    """Return which part of the atoms' strength falls on their words, beside random ones; how; what is bold."""
    here, many = format_percent(held.share, digits=2), format_count(n)
    if not held.words or not len(held.random):
        return f"{many} atoms selected; no word is more theirs than others'.", "", ()
    chance, most = (
        format_percent(part, digits=2) for part in (held.random.mean(), held.random.max())
    )
    k = len(held.words)
    words = f"{k} words" if k > 1 else "one word"
    return (
        f"In other texts {here} of the strength of these {many} atoms falls on {words} chosen for them; "
        f"of {many} atoms drawn anywhere, {chance}.",
        f"Words are chosen on every other text, {', '.join(held.words)}, and counted on the texts between; the "
        f"largest of {len(held.random)} random draws gives {most}.",
        (here,),
    )


def region_html(record: ConceptMapSummary, selection: SelectionSummary) -> str:
    """Return the chosen atoms enlarged: at each the word at which it fires most, where there is room.

    The words of the title come first; an atom whose word would touch another's is a point.
    """
    held = selection.held
    if held is None or record.show != "atoms" or not len(selection.atoms):
        return ""
    size = current_theme().font_px - 1
    xy = record.xy[np.searchsorted(record.ids, selection.atoms)].astype(np.float64)
    low, extent = xy.min(axis=0), np.maximum(np.ptp(xy, axis=0), 1e-9)
    tall = float(np.clip(WIDTH * extent[1] / extent[0], 120, TALLEST))
    places = (xy - low) / extent * [WIDTH - 2 * EDGE, 2 * size - tall] + [EDGE, tall - size]
    own = [word in held.words for word in held.strongest]
    strokes: list[Stroke] = []
    boxes: list[tuple[float, float, float]] = []
    for i in sorted(range(len(own)), key=lambda i: not own[i]):
        word = held.strongest[i]
        half = text_width(word, size) * (1.12 if own[i] else 1.0) / 2 + 3
        x, y = float(np.clip(places[i, 0], half, WIDTH - half)), float(places[i, 1])
        free = all(
            abs(x - at) > half + other or abs(y - up) > 1.15 * size for at, up, other in boxes
        )
        if not word or not free:
            strokes.insert(0, Dot(float(places[i, 0]), y, 2, CONTROL))
            continue
        boxes.append((x, y, half))
        colour = "var(--sae-nb-warm-text)" if own[i] else "var(--sae-nb-quiet)"
        strokes.append(
            Label(x, y + 0.35 * size, word, size=size, bold=own[i], colour=colour, halo=True)
        )
    drawn = Drawing(WIDTH, tall, tuple(strokes)).to_svg()
    return (
        '<div class="sae-nb-cardtitle">enlarged: the word at which each atom fires most</div>'
        f"{drawn}"
        f'<p class="sae-nb-note">Bold: {escape(_words_listed(held))}</p>'
    )


def _words_listed(held: HeldWords) -> str:
    return "their words." if held.hold else "words that they share, hardly more than others do."


def parts(held: HeldWords) -> Float[np.ndarray, " 2"]:
    """Return the atoms' part of strength on their words, and the random atoms' mean."""
    return np.array([held.share, held.random.mean() if len(held.random) else 0.0])
