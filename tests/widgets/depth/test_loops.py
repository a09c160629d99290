"""A DepthTrajectory of a looped network: layers are applications, loops are shaded."""

from __future__ import annotations

import numpy as np
import sae_nb_widgets as sw
from sae_nb_widgets.depth._figure import named

import sae_nb as sn


def test_a_tied_network_shows_its_blocks_and_runs() -> None:
    """Twelve runs of three blocks, shaded by block; a push goes through the rest of the same network."""
    model = sn.wrap(sn.load_model("tiny-vit-tied").module.looped())
    panel = sw.DepthTrajectory(model, sn.data.scenes(4, seed=0))
    panel.wait()
    assert panel.n_layers == 12
    assert tuple(panel.strips.cuts) == (0, 4, 8, 12)
    panel.layer, panel.perturb_layer, panel.perturb_size = 6, 4, 0.2
    panel.wait()
    assert panel.pushed is not None
    assert panel.static_chips()["layer"] == "6 of 12: blocks.1, loop 1"
    assert panel.static_chips()["blocks"] == "12 runs of 3"
    panel.strip = "phases"
    panel.wait()
    assert panel.strips.bands == "every second phase"
    # Its phases are known, and claimed: three of four blocks each, as squares and in the sentence.
    panel.layer, panel.perturb_size, panel.k = 0, 0.0, 3
    panel.wait()
    assert panel.cuts == tuple(panel.strips.cuts) == (0, 4, 8, 12)
    assert np.isfinite(named(panel.current_figure(), "phases").x).sum() == 5 * 3
    assert panel.answer.startswith("Three phases (blocks 1–4, 5–8, 9–12) explain ")
    assert "a smooth drift does not" in panel.answer
    panel.close()
