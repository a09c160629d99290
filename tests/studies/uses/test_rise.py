"""Promises of RISE: steps where sentences end, atoms where their mean is largest, edits at delimiters alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb_studies.uses import rise, rise_effect

PLACE = "resid_post.3"
TEXTS = [
    "Tom lost the key. He was sad. The sun came out. He was happy.",
    "Anna found a map. She was happy. A storm came. She was sad.",
    "Ben won a prize. He was glad. He went home.",
]
RULES = {"bad": "lost|sad|storm", "good": lambda step: "happy" in step or "glad" in step}


def test_a_step_follows_each_delimiter(gpt: Any, sae: Any) -> None:
    found = rise(gpt, sae, TEXTS, PLACE, RULES)
    assert found.steps["step"].tolist()[:3] == ["He was sad.", "The sun came out.", "He was happy."]
    assert found.steps["behaviour"].tolist()[:3] == ["bad", "other", "good"]
    ids = gpt.tokens(TEXTS[0])["token"]
    first = found.steps[found.steps["text"] == 0]
    assert set(ids[first["position"]]) == {"."}


def test_atoms_belong_where_their_mean_is_largest(gpt: Any, sae: Any) -> None:
    found = rise(gpt, sae, TEXTS, PLACE, RULES)
    acts = sn.capture(gpt, TEXTS, PLACE, progress=False)
    place = {
        (int(s), int(p)): row
        for s, p, row in zip(acts.sample, acts.position, sae.encode(acts).to_dense().detach())
    }
    z = torch.stack([place[key] for key in zip(found.steps["text"], found.steps["position"])])
    said = found.steps["behaviour"].to_numpy()
    for row in found.atoms.head(10).itertuples():
        means = {name: float(z[said == name, row.atom].mean()) for name in found.behaviours}
        assert row.mean == pytest.approx(max(means.values()), abs=1e-3)
        assert means[row.behaviour] == pytest.approx(row.mean, abs=1e-3)
        assert row.rest == pytest.approx(float(z[said != row.behaviour, row.atom].mean()), abs=1e-3)
    assert found.atoms["effect"].groupby(found.atoms["behaviour"]).is_monotonic_decreasing.all()


@pytest.mark.slow
def test_only_delimiters_are_changed(gpt: Any, sae: Any) -> None:
    """A prompt without one, and no room to write one, goes on as before; `by=0` changes nothing."""
    found = rise(gpt, sae, TEXTS, PLACE, RULES)
    given = {"max_new_tokens": 3, "temperature": 0.0, "n_controls": 1, "n": 2}
    with pytest.warns(UserWarning, match="Nothing was changed"):
        effect = rise_effect(gpt, sae, found, "The list of", "bad", by=50.0, **given)
    assert len(set(effect.texts.values())) == 1
    effect = rise_effect(gpt, sae, found, "Tom lost the key.", "bad", by=0.0, **given)
    assert len(set(effect.texts.values())) == 1
    effect = rise_effect(gpt, sae, found, "Tom lost the key.", "bad", by=50.0, **given)
    assert effect.texts["atoms"] != effect.texts["nothing"]


@pytest.mark.slow
def test_an_effect_counts_finished_steps(gpt: Any, sae: Any) -> None:
    found = rise(gpt, sae, TEXTS, PLACE, RULES)
    prompts = ["Tom lost the key.", "Anna went to the river."]
    table = rise_effect(gpt, sae, found, prompts, "bad", n_controls=2, max_new_tokens=20).table
    assert table["added"].tolist() == ["nothing", "atoms", *["random atoms"] * 2, "mean activation"]
    assert ((table["low"] <= table["share"]) & (table["share"] <= table["high"])).all()
    assert (table["steps"] >= 1).all()
    assert np.isfinite([found.silhouette, found.shuffled]).all()
    assert len(found.plot().data) == len(found.behaviours)
