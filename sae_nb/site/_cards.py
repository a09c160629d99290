"""The page's content for one atom: its card as plain values, its images and sounds as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sae_nb.atoms._atom import strength_histogram
from sae_nb.atoms._effects import effects_of, written_at
from sae_nb.atoms._examples import choose_rows
from sae_nb.atoms.sounds import clip_at, eight_bits, wave_file

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from sae_nb.atoms import AtomCatalogue
    from sae_nb.atoms._names import AtomNames
    from sae_nb.atoms._records import Band, Example
    from sae_nb.lenses import Lens
    from sae_nb.models import LiveModel

BANDS: dict[Band, int] = {"top": 6, "50 %": 4, "random": 4}
"""Examples of each band: maxima alone flatter every atom."""

LARGEST_SIDE = 224
"""Of an image, in pixels; larger ones are made smaller."""


class Cards:
    """Writes what is shown of the atoms, one after the other: memory does not grow with their number."""

    def __init__(
        self,
        folder: Path,
        catalogue: AtomCatalogue,
        names: AtomNames,
        model: LiveModel | None,
        lens: Lens | None = None,
        classes: Mapping[int, Any] | None = None,
    ) -> None:
        self._classes = classes or {}
        self._folder, self._catalogue, self._names = folder, catalogue, names
        self._model = model if model is not None and model.modality.is_text else None
        self._lens = lens
        self._drawn: set[str] = set()
        self._heard: set[str] = set()

    def card(self, atom: int) -> dict[str, Any]:
        """Return the card of an atom; images and sounds that it has are written when first met."""
        bands = {
            band: [self.example(example) for example in self._names.examples(atom, n, band)]
            for band, n in BANDS.items()
        }
        classes = self._classes.get(atom, [])
        return {
            **self._names_of(atom), **self._numbers(atom), "bands": bands, "classes": classes,
        }  # fmt: skip

    def _names_of(self, atom: int) -> dict[str, Any]:
        names = self._names
        mark = names.badge(atom)
        return {
            "atom": atom,
            "words": names.words(atom),
            "source": names.source(atom),
            "note": names.labels.note(atom),
            "badge": None if mark is None else [mark.text, mark.title, mark.standing],
            "fires": names.fires(atom),
            "keeps": self._catalogue.keeps(atom),
        }

    def _numbers(self, atom: int) -> dict[str, Any]:
        """Return the numbers of `describe_atom`, without the examples that no card shows."""
        catalogue = self._catalogue
        histogram = strength_histogram(catalogue.strengths(atom)[1])
        effects = effects_of(
            self._model,
            catalogue.dictionary[atom],
            lens=self._lens,
            hook_point=written_at(catalogue),
        )
        return {
            "fired": catalogue.n_fired[atom],
            "frequency": catalogue.frequency[atom],
            "mean": catalogue.mean_strength[atom],
            "max": catalogue.max_strength[atom],
            "edges": [histogram.edges[0], histogram.edges[-1]],
            "counts": histogram.counts,
            "near": list(zip(*catalogue.nearest(atom), strict=True)),
            "together": list(zip(*catalogue.coactive(atom), strict=True)),
            "up": effects.up,
            "down": effects.down,
            "by": effects.words,
            "missing": choose_rows(catalogue, atom, "top").missing,
        }

    def example(self, example: Example) -> dict[str, Any]:
        """Return an example as the page shows it; its image and sound are written when first met."""
        shown: dict[str, Any] = {"place": example.place, "z": example.strength}
        if example.kept is False:
            shown["place"] = f"{example.place} {example.DROPPED}"
        if example.tokens:
            values = example.token_strengths
            shown["tokens"] = example.tokens
            shown["values"] = values
            shown["special"] = np.flatnonzero(example.special)
            shown["at"] = example.position - example.first_position
            shown["cut"] = example.clipped
            if any(example.numbers):
                shown["numbers"] = example.numbers
        elif example.picture is not None:
            context = self._catalogue.acts.context
            image = context.image_at(example.sample, example.position)
            number = (
                0 if context.images is None or image is None else int(context.images.at[image, 4])
            )
            picture, heat = in_rows(example.picture, example.heat, context.frames)
            name = f"{example.sample}" + (f"-{number}" if number else "")
            shown["image"] = self._image(name, picture)
            shown["heat"] = heat
            shown["prefix"] = example.prefix
            if context.frames is not None:
                shown["film"] = True
        elif example.coordinates is not None and example.coordinate_values is not None:
            pairs = zip(example.coordinates, example.coordinate_values, strict=True)
            shown["coordinates"] = list(pairs)
        return shown | self._sound(example)

    def _sound(self, example: Example) -> dict[str, Any]:
        """Return the file that plays an example, and where it begins and ends in the image."""
        heard = clip_at(self._catalogue.acts.context, example.sample, example.position)
        if heard is None:
            return {}
        name = f"sounds/{example.sample}" + (f"-{heard.first}" if heard.first else "") + ".wav"
        if name not in self._heard:
            (self._folder / "sounds").mkdir(exist_ok=True)
            (self._folder / name).write_bytes(wave_file(eight_bits(heard.values), heard.rate))
            self._heard.add(name)
        return {"sound": name, "span": heard.span}

    def _image(self, name: str, pixels: UInt8[np.ndarray, "3 height width"]) -> str:
        name = f"images/{name}.webp"
        if name not in self._drawn:
            image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
            film = self._catalogue.acts.context.frames is not None
            side = (1 + film) * LARGEST_SIDE
            image.thumbnail((side, side))
            (self._folder / "images").mkdir(exist_ok=True)
            image.save(self._folder / name, lossless=max(image.size) <= 64, quality=88)
            self._drawn.add(name)
        return name


IN_ROW = 4
"""Frames of a video next to each other."""


def in_rows(
    picture: UInt8[np.ndarray, "3 height width"],
    heat: Float[np.ndarray, "rows columns"] | None,
    frames: int | None,
) -> tuple[UInt8[np.ndarray, "3 high wide"], Float[np.ndarray, "down across"] | None]:
    """Return a video's strip and its heat with frames in rows of four; images as they are."""
    if frames is None or frames == 1:
        return picture, heat
    across = min(frames, IN_ROW)
    empty = -frames % across
    grey = np.full_like(picture[:, : picture.shape[1] // frames], 128)
    parts = [*np.split(picture, frames, axis=1), *[grey] * empty]
    rows = [np.concatenate(parts[i : i + across], axis=2) for i in range(0, len(parts), across)]
    whole = np.concatenate(rows, axis=1)
    if heat is None:
        return whole, None
    maps = [*np.split(heat, frames), *[np.full_like(heat[: len(heat) // frames], np.nan)] * empty]
    lines = [np.concatenate(maps[i : i + across], axis=1) for i in range(0, len(maps), across)]
    return whole, np.concatenate(lines)
