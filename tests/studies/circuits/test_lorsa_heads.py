"""Heads of a Lorsa: scored as the model's own are, and drawn on a text."""

from __future__ import annotations

import numpy as np
import torch

import sae_nb as sn
from sae_nb_studies.architectures import Lorsa
from sae_nb_studies.circuits import draw_lorsa_heads, lorsa_head_scores

TEXT = "q k e f z q k e f z"


def lorsa_of(layer: int, seed: int = 0) -> Lorsa:
    generator = torch.Generator().manual_seed(seed)
    model = sn.load_model("tiny-induction")
    return Lorsa.of_layer(model, layer, [TEXT], 64, 4, generator=generator)


def test_heads_of_the_induction_layer_do_induction_and_those_of_the_first_do_not() -> None:
    """Half and more of the attention, where the model's own heads have .9; groups begin as the heads."""
    model = sn.load_model("tiny-induction")
    late = lorsa_head_scores(model, lorsa_of(1))
    early = lorsa_head_scores(model, lorsa_of(0))
    assert np.nanmean(late.score("induction")) > 0.5 > np.nanmax(early.score("induction"))
    assert np.nanmax(late.score("induction")) <= 1 + 1e-6
    previous = early.score("previous").reshape(4, 16)
    assert int(np.nanargmax(np.nanmean(previous, axis=1))) == 2  # head 0.2, its previous-token head
    assert "induction" in late.roles
    assert late.values.shape == (64, 4)


def test_rare_heads_have_no_score() -> None:
    found = lorsa_head_scores(sn.load_model("tiny-induction"), lorsa_of(1), fewest=10_000)
    assert np.isnan(found.values).all()
    assert set(found.roles) == {""}


def test_squares_are_the_models_heads_and_active_rows_of_the_atoms() -> None:
    model, lorsa = sn.load_model("tiny-induction"), lorsa_of(1)
    x = sn.capture(model, [TEXT], lorsa.places[0], drop_first=False, progress=False).x
    active = lorsa.encode(x).to_dense() != 0
    atom = int(active.sum(dim=0).argmax())
    figure = draw_lorsa_heads(model, lorsa, TEXT, atoms=[atom], heads=[3])
    own, mine = (np.array(trace.z, dtype=float) for trace in figure.data)
    assert np.allclose(own.sum(axis=1), 1, atol=1e-4)
    rows = active[:, atom].numpy()
    assert np.isnan(mine[~rows]).all()
    assert np.allclose(mine[rows].sum(axis=1), 1, atol=1e-4)
