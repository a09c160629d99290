"""Promises of the bundled sound model: what its card states holds on sounds that it has not seen."""

from __future__ import annotations

import json

import pytest

import sae_nb as sn
from sae_nb.models._checkpoint_files import WEIGHTS

N = 300


@pytest.fixture(scope="module")
def model() -> sn.models.LiveModel:
    return sn.load_model("tiny-audio", device="cpu")


@pytest.mark.slow
def test_accuracy_on_unseen_sounds_is_what_the_card_states(model):
    """Within three standard deviations, for every head, and far above chance and probe."""
    heard = sn.data.sounds(N, seed=77)
    heads = model.heads(heard)
    card = json.loads((WEIGHTS / "tiny-audio" / "card.json").read_text())["held_out"]
    for name in ("pitch", "timbre", "envelope", "place", "noise"):
        right = float((heads[name].argmax(dim=1) == getattr(heard, name)).float().mean())
        stated = card["accuracy"][name]
        assert right > stated - 3 * (stated * (1 - stated) / N) ** 0.5 - 0.004, name
        assert stated > 0.95
        assert stated >= card["probe"][name]
        assert card["chance"][name] < 0.3
    sounding = float(((heads["sounding"] > 0) == heard.sounding).float().mean())
    assert sounding > 0.98


def test_it_hears_through_the_front_door(model):
    """Kind, grid, rate, names of its classes."""
    assert model.kind == "audio"
    assert (model.prefix_tokens, model.patch_grid, model.sample_rate) == (1, (4, 20), 8000)
    assert model.class_names == sn.data.Sounds.pitch_names
    assert model.hook_points()[-2:] == ["resid_post.5", "final_norm"]
    parts = sn.capture(
        model,
        sn.data.sounds(2),
        ["resid_pre.3", "attn_out.3", "mlp_out.3", "resid_post.3"],
        progress=False,
    )
    whole = parts["resid_pre.3"].x + parts["attn_out.3"].x + parts["mlp_out.3"].x
    assert float((whole - parts["resid_post.3"].x).abs().max()) < 1e-4
