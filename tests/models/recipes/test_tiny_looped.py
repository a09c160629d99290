"""Promises of the recipe of `tiny-looped`: sums that are right, and carries as long as they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sae_nb.models._looped_adder import LoopedAdder, pair_ids
from sae_nb_studies.recipes.tiny_looped import (
    LoopedRecipe,
    LoopedTraining,
    draw_sums,
    sums_at,
    train_looped,
)

RECIPE = LoopedRecipe(steps=2, rows=4, decay_steps=1, warmup_steps=1, log_every=2, seed=1)


def test_digits_are_those_of_the_sum() -> None:
    """Also where carries come from far below; a sum ends at its highest place."""
    sums = draw_sums(50, np.random.default_rng(0))
    for ids, digits in zip(sums.ids.tolist(), sums.digits.tolist(), strict=True):
        asked = [digit for digit in digits if digit >= 0]
        pairs = [divmod(token - 2, 10) for token in ids[: len(asked)]]
        total = sum((a + b) * 10**i for i, (a, b) in enumerate(pairs))
        assert asked == [int(digit) for digit in str(total)[::-1].ljust(len(asked), "0")]
    assert int(sums.reach.max()) > 5
    nines = pair_ids([9999], [1], places=6)
    assert nines.tolist() == [[2 + 91, 2 + 90, 2 + 90, 2 + 90, 2, 2]]


def test_a_step_is_the_same_whenever_it_is_asked_for() -> None:
    one, again = sums_at(RECIPE, 3), sums_at(RECIPE, 3)
    assert torch.equal(one.ids, again.ids)
    assert not torch.equal(one.ids, sums_at(RECIPE, 4).ids)


def test_the_gate_does_not_shape_the_states() -> None:
    """What it costs has no gradient in the blocks."""
    training = LoopedTraining(RECIPE)
    model, sums = training.model, sums_at(RECIPE, 0)
    gate = sum(model.exit_gate(states.detach()).sum() for states, _ in model.loops(sums.ids))
    gate.backward()
    assert model.exit_gate.weight.grad is not None
    assert all(p.grad is None for p in model.blocks.parameters())


@pytest.mark.slow
def test_it_writes_what_is_read_back(tmp_path) -> None:
    """Weights, settings and both cards."""
    card = train_looped(RECIPE, tmp_path)
    folder = tmp_path / "tiny-looped"
    assert {p.name for p in folder.iterdir()} == {
        "card.json", "card.md", "config.json", "model.safetensors",
    }  # fmt: skip
    assert (
        sum(p.numel() for p in LoopedAdder.from_folder(folder).parameters()) == card["parameters"]
    )
    assert card["command"] in (folder / "card.md").read_text()
