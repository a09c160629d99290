"""Panels on texts with images: patches are on their image, tokens in their text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
from PIL import Image

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.atoms import AtomCatalogue
from tests.small_llava import pairs, small_llava

WORD_JOINER = "\u2060"
"""Shown in the place of a token whose characters the token before it shows."""


@pytest.fixture(scope="module")
def acts() -> Activations:
    return sn.capture(small_llava(), pairs(), "resid_post.1", drop_first=False, progress=False)


@pytest.fixture(scope="module")
def sae() -> sn.TopK:
    made = sn.TopK(d_in=32, n_atoms=32, k=4, generator=torch.Generator().manual_seed(0))
    made.hook_point = "resid_post.1"
    return made


@pytest.mark.slow
def test_a_patch_is_shown_on_its_image_and_a_token_in_its_text(
    acts: Activations, sae: sn.TopK
) -> None:
    """Heat on the grid of the image; among tokens an image is one, with the strongest of its patches."""
    catalogue = AtomCatalogue(sae, acts)
    seen = set()
    for atom in range(32):
        for one in catalogue.summary(atom).examples:
            kind = str(acts.modality[one.row])
            seen.add(kind)
            if kind == "image":
                assert (one.heat.shape, one.picture.shape) == ((4, 4), (3, 32, 32))
                assert np.nanmax(np.abs(one.heat)) == pytest.approx(abs(one.strength))
                assert one.place.startswith(f"text {one.sample}, patch ")
                continue
            assert_image_is_one_token(one)
    assert seen == {"text", "image"}


def assert_image_is_one_token(example: Any) -> None:
    if "[image]" in example.tokens:
        start = example.tokens.index("[image]")
        assert example.tokens[start + 1 : start + 16] == (WORD_JOINER,) * 15
    at = example.position - example.first_position
    assert example.tokens[at].strip() not in ("[image]", WORD_JOINER)


def test_an_input_lens_reads_a_text_with_its_image(acts: Activations, sae: sn.TopK) -> None:
    """An example brings its image; a text without a place for it gets it in front; without it, it is a text."""
    lens = sw.InputLens(small_llava(), sae, acts=acts)
    lens.wait(60)
    assert not lens.problem
    before, place, _ = lens.text.partition("<image>")
    start = len(before.split())
    assert place
    assert lens.summary.tokens[: start + 2] == (*before.split(), "patch 0,0", "patch 0,1")
    view = lens._view
    assert view.grid.heat_shape == (4, 4)
    assert view.strip.tokens[0][start : start + 2] == ["[image]", WORD_JOINER]
    view.grid.selected = (0, 5)
    assert lens.token == start + 5
    lens.text = "a red door"
    lens.wait(60)
    assert lens.summary.tokens[16:] == ("a", "red", "door")
    lens.picture = Image.new("RGB", (50, 20), "red")
    lens.wait(60)
    assert lens.picture.shape == (3, 20, 50)
    lens.picture = None
    lens.wait(60)
    assert lens.summary.tokens == ("a", "red", "door")
    assert lens.summary.images is None
    lens.close()
