"""A DepthTrajectory of a looped network: layers are applications, loops are shaded."""

from __future__ import annotations

import pytest
import sae_nb_widgets as sw
import torch

import sae_nb as sn


def test_a_tied_network_shows_its_blocks_and_runs() -> None:
    """Twelve runs of three blocks, shaded by block; a push goes through the rest of the same network."""
    model = sn.wrap(sn.load_model("tiny-vit-tied").module.looped())
    panel = sw.DepthTrajectory(model, sn.data.scenes(4, seed=0))
    panel.wait()
    assert panel.n_layers == 12
    assert tuple(panel.strips.cuts) == (0, 4, 8, 12)
    assert panel.strips.bands == "every second shared block"
    assert "every second shared block" in panel.strips.static_html()
    panel.layer, panel.perturb_layer, panel.perturb_size = 6, 4, 0.2
    panel.wait()
    assert panel.pushed is not None
    assert panel.static_chips()["layer"] == "6 of 12: blocks.1, loop 1"
    assert panel.static_chips()["blocks"] == "12 runs of 3"
    panel.strip = "phases"
    panel.wait()
    assert panel.strips.bands == "every second phase"
    panel.close()


def test_a_looped_network_is_shaded_by_its_loops() -> None:
    panel = sw.DepthTrajectory(sn.load_model("tiny-looped"), ["8+6 7+9 4+5 0+0", "1+1 2+2 3+3 0+0"])
    panel.wait()
    assert tuple(panel.strips.cuts) == (0, 2, 4, 6, 8, 10, 12)
    assert panel.strips.bands == "every second loop"
    panel.close()


def test_token_ids_with_the_padding_id_inside_are_drawn() -> None:
    """Texts are cut to the shortest, which may leave that id last; a push runs on it, too."""
    with pytest.warns(UserWarning, match="have padding"):
        panel = sw.DepthTrajectory(
            sn.load_model("tiny-looped"), torch.tensor([[5, 0, 7], [6, 3, 0]])
        )
    panel.wait()
    assert not panel.problem, panel.status
    assert panel.states.shape[2] == 2
    panel.perturb_layer, panel.perturb_size = 4, 0.2
    panel.wait()
    assert panel.pushed is not None
    panel.close()
