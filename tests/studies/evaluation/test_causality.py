"""Steering at equal cost, ablation and fragility say what they say, on models whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.steering import Answers
from sae_nb_studies.evaluation import (
    ablation_effects,
    fragility_battery,
    picture_variants,
    steering_curves,
    strongest_atoms,
    text_variants,
)
from sae_nb_studies.evaluation.causal._target_odds import repeated_share, surprise


class Axes(torch.nn.Module):
    """Atoms are the axes, codes the coordinates: nothing is lost."""

    def __init__(self, d_in: int, rows: Tensor | None = None) -> None:
        super().__init__()
        self.dictionary = torch.eye(d_in) if rows is None else rows
        self.n_atoms, self.d_in = self.dictionary.shape
        self.hook_point, self.model_name = "0", None

    def encode(self, x: Tensor) -> sn.SparseCodes:
        codes = sn.SparseCodes.from_dense(x.reshape(-1, self.d_in) @ self.dictionary.T)
        return sn.SparseCodes(codes.values, codes.atoms, codes.offsets, codes.n_atoms, x.shape[:-1])


def identity(n: int = 3) -> sn.LiveModel:
    return sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=list("abcdefgh"[:n]))


def test_a_push_moves_log_odds_by_what_was_added() -> None:
    """Two classes, logits are inputs: adding a to one moves ln p/(1−p) by a, at the KL of that push."""
    runs = Answers(identity(2), torch.zeros(4, 2), "0")
    steered = runs.add(torch.tensor([1.0, 0.0]), 2.0)
    moved = (steered - runs.clean) @ torch.tensor([1.0, -1.0])
    assert moved.tolist() == pytest.approx([2.0] * 4)
    p = 1 / (1 + math.exp(-2))
    by_hand = 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p))
    assert runs.kl(steered) == pytest.approx([by_hand] * 4, abs=1e-6)


@pytest.mark.slow
def test_every_direction_is_compared_at_the_same_cost() -> None:
    """KL of atom, nearest, rival and random directions is the budget's, wherever it can be reached."""
    sae = Axes(4, torch.nn.functional.normalize(torch.randn(6, 4), dim=1))
    rows = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    found = steering_curves(
        identity(4), "0", sae, rows, 2, 1, budgets=(0.02, 0.2), n_controls=3,
        contrast=(rows[:4], rows[4:]), rival=torch.randn(4),
    )  # fmt: skip
    arms = [found.arms[n] for n in ("atom", "nearest atom", "difference of means", "rival")]
    for arm in (*arms, *found.controls):
        assert arm.reached.all()
        assert arm.kl == pytest.approx([0.02, 0.2], abs=0.011)
    assert found.arms["random, equal norm"].strengths == pytest.approx(found.arms["atom"].strengths)


@pytest.mark.slow
def test_the_targets_own_direction_beats_random_and_an_unrelated_atom_does_not() -> None:
    """Atom 1 is the logit of class 1; atom 0 of another class lowers it. Subtracting turns the sign."""
    rows = 0.1 * torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    model, sae = identity(8), Axes(8)
    good = steering_curves(model, "0", sae, rows, 1, 1, n_controls=8)["success"]
    assert good.interval[0] > good.control > 0 == good.floor
    bad = steering_curves(model, "0", sae, rows, 0, 1, n_controls=8)["success"]
    assert bad.value < 0
    away = steering_curves(model, "0", sae, rows, 1, 1, sign=-1, n_controls=0)["success"]
    assert away.value < 0
    assert away.control is None


def test_an_atom_chosen_from_an_untrained_sae_does_not_beat_itself() -> None:
    rows = 0.1 * torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    sae = Axes(8)
    found = steering_curves(
        identity(8), "0", sae, rows, 1, 1, rival=sae.dictionary[1], n_controls=0
    )
    assert found["success"].floor == pytest.approx(found["success"].value, abs=1e-6)


# --- ablation --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_zero_and_mean_ablation_by_hand() -> None:
    """Logits are coordinates: x = (3, 1) without atom 0 is (0, 1); at its mean 2 over rows, (2, 1)."""
    rows = torch.tensor([[3.0, 1.0], [1.0, 0.0]])
    zero = ablation_effects(identity(2), "0", Axes(2), rows, 0, n_controls=1)
    assert zero.effects[0] == pytest.approx([2 - (-1), 1 - 0], abs=1e-5)
    mean = ablation_effects(identity(2), "0", Axes(2), rows, 0, kind="mean", n_controls=0)
    assert mean.effects[0] == pytest.approx([2 - 1, 1 - 2], abs=1e-5)
    other = ablation_effects(identity(2), "0", Axes(2), rows, 1, n_controls=1)
    assert zero[0].control == pytest.approx(abs(other[1].value), abs=1e-6)  # the only other atom


def test_strongest_atoms_by_hand() -> None:
    codes = sn.SparseCodes.from_dense(torch.tensor([[1.0, -5.0, 0.0], [2.0, 0.0, 0.0]]))
    assert strongest_atoms(codes, 5) == (1, 0)


# --- fragility -------------------------------------------------------------------------------------


def test_an_effect_that_nothing_disturbs_is_robust() -> None:
    """Logits are inputs: the push is the same whatever the input, so no spread and no sign flips."""
    rows = 0.1 * torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    found = fragility_battery(
        identity(8), "0", Axes(8), rows, 1, 3.0, 1, factors=(),
        variants={"doubled": lambda x: 2 * x},
    )  # fmt: skip
    assert found["sign flips"].value == 0
    assert found["effect spread"].value == pytest.approx(0, abs=1e-6)
    assert found["robustness"].value == 1
    assert found.effects == pytest.approx(np.full((2, 5), 3.0), abs=1e-5)
    assert found.neighbour_rank == 1


def test_a_variant_that_turns_the_effect_around_is_seen() -> None:
    """Half the cells have the other sign: flips are a half, and none of those cells holds."""
    model = sn.wrap(
        torch.nn.Sequential(torch.nn.Identity(), torch.nn.Tanh()), class_names=["a", "b"]
    )
    rows = torch.zeros(6, 2)
    found = fragility_battery(
        model, "0", Axes(2), rows, 1, 1.0, 1, factors=(-1.0,), variants={}, n_neighbours=1
    )
    assert found["sign flips"].value == pytest.approx(0.5)
    assert not found.holds[1].any()
    assert found["sign flips"].floor == 0.5


def test_variants_keep_what_they_must() -> None:
    texts = ["Anna walked to the little garden gate", "A dog ran"]
    for name, change in text_variants(
        seed=1, paraphrase=lambda t: t.replace("little", "small")
    ).items():
        changed = change(texts)
        assert len(changed) == 2
        assert changed[0].split()[-1] == "gate", name
        assert changed[0] != texts[0]
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    for change in picture_variants().values():
        assert change(pixels).shape == pixels.shape
        assert change(pixels).dtype == torch.uint8
    with pytest.raises(ValueError, match="same number of inputs"):
        fragility_battery(
            identity(),
            "0",
            Axes(3),
            torch.zeros(3, 3),
            0,
            1.0,
            1,
            variants={"half": lambda x: x[:1]},
        )


# --- language --------------------------------------------------------------------------------------


def test_surprise_is_minus_log_p(gpt: sn.LiveModel) -> None:
    ids = torch.tensor(gpt.tokenizer("One day Anna went to the farm with a dog.")["input_ids"])
    with torch.no_grad():
        log_p = gpt.module(input_ids=ids[None]).logits[0].log_softmax(dim=-1)
    by_hand = -float(log_p[2:-1].gather(1, ids[3:, None]).mean())
    assert surprise(gpt, [ids[:3]], [ids[3:]]) == pytest.approx([by_hand], abs=1e-4)


def test_repetition_by_hand() -> None:
    assert repeated_share([1, 2, 1, 2], size=2) == pytest.approx(1 / 3)
    assert repeated_share([1], size=4) == 0
