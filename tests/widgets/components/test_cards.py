"""What the card of an atom shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from sae_nb_widgets.components._atom_card import _as_frames, card_content

from sae_nb.activations import Context
from sae_nb.atoms import AtomNames
from tests.small_catalogues import mixed


def test_a_card_shows_the_frame_of_the_firing_between_its_neighbours() -> None:
    """Three frames of five, side by side; the heat is on the one in the middle, at the ends on the last."""
    context = Context(
        kind="video",
        n_samples=1,
        pictures=torch.zeros(1, 3, 5 * 8, 8, dtype=torch.uint8),
        patch_grid=(10, 2),
        prefix_tokens=1,
        frames=5,
    )
    strip = np.repeat(np.arange(5, dtype=np.uint8), 8)[None, :, None].repeat(3, 0).repeat(8, 2)
    for frame, first in ((2, 1), (0, 0), (4, 2)):
        heat = np.zeros((10, 2), np.float32)
        heat[2 * frame, 1] = 1.0
        place = {"row": 0, "sample": 0, "position": 1 + 4 * frame + 1, "strength": 1.0, "place": ""}
        patch = replace(mixed().summary(0).examples[0], **place, picture=strip, heat=heat)
        shown = _as_frames(patch, context)
        assert shown.picture.shape == (3, 8, 24)
        assert shown.picture[0, 0, ::8].tolist() == [first, first + 1, first + 2]
        assert np.argwhere(shown.heat).tolist() == [[0, 2 * (frame - first) + 1]]
    card = replace(AtomNames(mixed()).card(0), examples=(patch,), max_strength=1.0)
    (example,) = card_content(card, context=context)["examples"]
    assert (example["wide"], example["grid"]) == (True, [2, 6])
