"""The compact display of an atom: a mark in a text, a small icon, the card shown on hovering."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sae_nb.activations import Context
from sae_nb.atoms import AtomCard, AtomCatalogue, AtomNames, Example
from sae_nb.figures.theme import format_number
from sae_nb_widgets.components._scripts import script

_SOURCES = {
    "label found automatically": "Label found automatically.",
    "label read": "Label read from elsewhere.",
    "caption": "Named by what it fires on.",
    "row": "Named by the row of the data that it is.",
}
MOST_CARDS = 60
FRAMES = 3
"""Frames of a video on a card."""
_MARKED = re.compile(r'data-atom="(\d+)"')
ICON_PIXELS, ICON_COLOURS = 24, 32
"""Of an icon: it is sent with every row of every answer."""
_icons: WeakKeyDictionary[AtomCatalogue, dict[int, str]] = WeakKeyDictionary()


def png_address(picture: UInt8[np.ndarray, "3 height width"], colours: int | None = None) -> str:
    """Return a picture as the address of an image inside a page, in few colours where asked."""
    file = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
    (image if colours is None else image.quantize(colours)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def icons_of(names: AtomNames, atoms: Sequence[int]) -> list[str]:
    """Return the patch each atom fires on most, as addresses of images; empty for other data."""
    if names.catalogue is None:
        return [""] * len(atoms)
    drawn = _icons.setdefault(names.catalogue, {})
    for atom in map(int, atoms):
        # What is not known yet is not kept: it may be encoded later.
        if atom not in drawn and (crop := names.crop(atom)) is not None:
            drawn[atom] = png_address(_small(crop), ICON_COLOURS)
    return [drawn.get(int(atom), "") for atom in atoms]


def _small(picture: UInt8[np.ndarray, "3 height width"]) -> UInt8[np.ndarray, "3 h w"]:
    """A picture with as many pixels as an icon can show."""
    step = max(1, min(picture.shape[1:]) // ICON_PIXELS)
    return picture[:, ::step, ::step]


def card_content(
    card: AtomCard, *, starred: bool = False, context: Context | None = None
) -> dict[str, Any]:
    """Return a card as the page draws it, ready for JSON; `context`: of its examples, which may be videos."""
    top = card.max_strength or 1.0
    wide = {"wide": True} if context is not None and context.frames else {}
    return {
        "atom": card.atom,
        "name": card.name,
        "source": _SOURCES.get(card.source, ""),
        "fires": " ".join(
            filter(None, (f"Fires on {card.fires}." * bool(card.fires), card.keeps, card.foretold))
        ),
        "badge": None
        if card.badge is None
        else {"text": card.badge.text, "title": card.badge.title, "dots": card.badge.dots},
        "starred": starred,
        "examples": [_example(_as_frames(one, context), top) | wide for one in card.examples],
    }


def _as_frames(example: Example, context: Context | None) -> Example:
    """Return the example of a video with three of its frames side by side, in the middle that of the firing."""
    if context is None or context.frames is None or example.picture is None:
        return example
    n_frames = context.frames
    patch = example.position - context.prefix_tokens
    at = context.tubelet(patch)[0] if patch >= 0 else 0
    n = min(FRAMES, n_frames)
    first = min(max(at - n // 2, 0), n_frames - n)

    def abreast(strip: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        frames = np.split(strip, n_frames, axis=-2)
        return np.concatenate(frames[first : first + n], axis=-1)

    heat = None if example.heat is None else abreast(example.heat)
    return replace(example, picture=abreast(example.picture), heat=heat)


def _example(example: Example, top: float) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "place": example.place,
        "strength": format_number(example.strength),
    }
    if example.picture is not None:
        shown["picture"] = png_address(example.picture)
        if example.heat is not None:
            shares = np.nan_to_num(np.abs(example.heat) / top)
            shown |= {"heat": shares.ravel().tolist(), "grid": list(example.heat.shape)}
        off_grid = [f"{name} {format_number(z)}" for name, z in example.prefix if z == z and z != 0]
        shown["beside"] = ", ".join(off_grid)
    elif example.tokens:
        strengths = np.zeros(len(example.tokens))
        if example.token_strengths is not None:
            strengths = np.nan_to_num(np.abs(example.token_strengths) / top)
        peak = example.position - example.first_position
        near = range(max(peak - 8, 0), min(peak + 5, len(example.tokens)))
        shown["tokens"] = [[example.tokens[i], float(strengths[i]), i == peak] for i in near]
    elif example.coordinates is not None and example.coordinate_values is not None:
        pairs = zip(example.coordinates.tolist(), example.coordinate_values.tolist())
        shown["text"] = ", ".join(f"x[{i}] {format_number(v)}" for i, v in list(pairs)[:3])
    return shown


def cards_html(body: str, names: AtomNames) -> str:
    """Return the script that shows the cards of the atoms marked in a page without a kernel."""
    atoms = list(dict.fromkeys(int(atom) for atom in _MARKED.findall(body)))[:MOST_CARDS]
    if not atoms or names.catalogue is None:
        return ""
    context = names.catalogue.acts.context
    cards = {
        atom: card_content(names.card(atom), context=context) for atom in atoms if names.knows(atom)
    }
    known = json.dumps(cards).replace("<", "\\u003c")  # nothing in it ends the script
    return f"<script>(() => {{ const CARDS = {known};\n{script('atom_card', 'page_cards')} }})();</script>"
