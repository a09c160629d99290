"""ConceptMap on sounds: what is chosen is heard, and pointing at an atom shows its spectrograms."""

from __future__ import annotations

import numpy as np
import pytest
import sae_nb_widgets as sw
from sae_nb_widgets.components._atom_card import card_content

import sae_nb as sn
from tests.widgets.made import descendants

pytestmark = pytest.mark.slow


def test_inputs_of_a_selection_play_and_cards_show_spectrograms() -> None:
    """A clip of a second for each input; heat of 4 × 20 patches over each picture of a card."""
    name = "tiny-audio/resid_post.4"
    sae, store = sn.load_sae(name), sn.load_examples(name)
    atoms = sw.ConceptMap(sae)  # examples and layout come with the SAE
    atoms.atom = store.match("pitch A").atom
    atoms.wait()
    assert np.array_equal(atoms.record.xy, store.xy)
    grid = next(w for w in descendants(atoms) if isinstance(w, sw.PictureGrid))
    assert grid.captions
    assert grid.sound_lengths == [8_000] * len(grid.captions)
    assert grid.patch_names[21] == "band 1, 0.05 s"
    examples = card_content(atoms.names.card(atoms.atom))["examples"]
    assert [example["grid"] for example in examples] == [[4, 20]] * 3
    assert all(example["picture"].startswith("data:image/png") for example in examples)
    atoms.close()
