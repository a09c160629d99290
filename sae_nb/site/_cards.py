"""What the page shows of one atom: its card as plain values, its images as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sae_nb.atoms import describe_atom

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from sae_nb.atoms import AtomCatalogue, AtomNames, AtomSummary, Band, Example
    from sae_nb.models import LiveModel

BANDS: dict[Band, int] = {"top": 6, "50 %": 4, "random": 4}
"""Examples of each band: maxima alone flatter every atom."""

LARGEST_SIDE = 224
"""Of an image, in pixels; larger ones are made smaller."""


class Cards:
    """Writes what is shown of the atoms, one after the other: memory does not grow with their number."""

    def __init__(
        self, folder: Path, catalogue: AtomCatalogue, names: AtomNames, model: LiveModel | None
    ) -> None:
        self._folder, self._catalogue, self._names = folder, catalogue, names
        self._model = model if model is not None and model.kind == "language" else None
        self._drawn: set[int] = set()

    def card(self, atom: int) -> dict[str, Any]:
        """Return the card of an atom; images that it shows are written when first met."""
        record = describe_atom(self._catalogue, atom, n_examples=1, model=self._model)
        bands = {
            band: [self._example(example) for example in self._names.examples(atom, n, band)]
            for band, n in BANDS.items()
        }
        return {**self._facts(atom, record), "bands": bands}

    def _facts(self, atom: int, record: AtomSummary) -> dict[str, Any]:
        names = self._names
        mark = names.badge(atom)
        return {
            "atom": atom,
            "words": names.words(atom),
            "source": names.source(atom),
            "note": names.labels.note(atom),
            "badge": None if mark is None else [mark.text, mark.title, mark.standing],
            "fires": names.fires(atom),
            "fired": record.n_fired,
            "frequency": record.frequency,
            "mean": record.mean_strength,
            "max": record.max_strength,
            "edges": [record.histogram.edges[0], record.histogram.edges[-1]],
            "counts": record.histogram.counts,
            "near": list(zip(record.nearest_atoms, record.nearest_cosines, strict=True)),
            "together": list(
                zip(
                    record.coactive_atoms,
                    record.coactive_lifts,
                    record.coactive_counts,
                    strict=True,
                )
            ),
            "up": record.logits_up,
            "down": record.logits_down,
            "missing": record.missing,
        }

    def _example(self, example: Example) -> dict[str, Any]:
        shown: dict[str, Any] = {"place": example.place, "z": example.strength}
        if example.tokens:
            values = example.token_strengths
            shown["tokens"] = example.tokens
            shown["values"] = values
            shown["special"] = np.flatnonzero(example.special)
            shown["at"] = example.position - example.first_position
            shown["cut"] = example.clipped
        elif example.picture is not None:
            shown["image"] = self._image(example.sample, example.picture)
            shown["heat"] = example.heat
            shown["prefix"] = example.prefix
        elif example.coordinates is not None and example.coordinate_values is not None:
            pairs = zip(example.coordinates, example.coordinate_values, strict=True)
            shown["coordinates"] = list(pairs)
        return shown

    def _image(self, sample: int, pixels: UInt8[np.ndarray, "3 height width"]) -> str:
        name = f"images/{sample}.webp"
        if sample not in self._drawn:
            image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
            image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
            (self._folder / "images").mkdir(exist_ok=True)
            image.save(self._folder / name, lossless=max(image.size) <= 64, quality=88)
            self._drawn.add(sample)
        return name
