"""Steering at equal cost, ablation and fragility say what they say, on models whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.evaluation import define
from sae_nb.evaluation.causal._outcomes import TargetOdds, repeated_share, surprise
from sae_nb.steering import Answers, log_odds
from sae_nb_studies.evaluation import (
    ablation_effects,
    fragility_battery,
    picture_variants,
    steering_curves,
    strongest_atoms,
    text_variants,
)
from sae_nb_studies.evaluation.causal._fragility import _Cell, _sampled


class Axes(torch.nn.Module):
    """Atoms are the axes, codes the coordinates: nothing is lost."""

    def __init__(self, d_in: int, rows: Tensor | None = None) -> None:
        super().__init__()
        self.dictionary = torch.eye(d_in) if rows is None else rows
        self.n_atoms, self.d_in = self.dictionary.shape
        self.hook_point, self.model_name = "0", None

    def encode(self, x: Tensor) -> sn.SparseCodes:
        """Coordinates along every atom."""
        codes = sn.SparseCodes.from_dense(x.reshape(-1, self.d_in) @ self.dictionary.T)
        return sn.SparseCodes(codes.values, codes.atoms, codes.offsets, codes.n_atoms, x.shape[:-1])


def identity(n: int = 3) -> sn.LiveModel:
    """A model whose logits are its inputs."""
    return sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=list("abcdefgh"[:n]))


def test_log_odds_by_hand() -> None:
    """ln p/(1−p): logits 0 and ln 3 give 3 to 1; two targets add their chances."""
    outputs = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    assert log_odds(outputs, 1).tolist() == pytest.approx([math.log(3), 0])
    three = torch.tensor([[0.0, 0.0, 0.0, 0.0]])
    assert log_odds(three, [0, 1, 2]).tolist() == pytest.approx([math.log(3)])
    each = log_odds(outputs, torch.tensor([0, 1]))
    assert each.tolist() == pytest.approx([-math.log(3), 0])


def test_a_push_moves_log_odds_by_what_was_added() -> None:
    """Two classes, logits are inputs: adding a to one moves ln p/(1−p) by a, at the KL of that push."""
    runs = Answers(identity(2), torch.zeros(4, 2), "0")
    steered = runs.add(torch.tensor([1.0, 0.0]), 2.0)
    moved = log_odds(steered, 0) - log_odds(runs.clean, 0)
    assert moved.tolist() == pytest.approx([2.0] * 4)
    p = 1 / (1 + math.exp(-2))
    by_hand = 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p))
    assert runs.kl(steered) == pytest.approx([by_hand] * 4, abs=1e-6)


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
    """As its own rival its floor is its value: it is not distinguishable."""
    rows = 0.1 * torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    sae = Axes(8)
    found = steering_curves(
        identity(8), "0", sae, rows, 1, 1, rival=sae.dictionary[1], n_controls=0
    )
    assert found["success"].floor == pytest.approx(found["success"].value, abs=1e-6)


def test_a_push_that_does_nothing_reaches_no_budget() -> None:
    """A direction common to all logits moves no answer."""
    sae = Axes(3, torch.ones(2, 3) / math.sqrt(3))
    found = steering_curves(identity(), "0", sae, torch.zeros(2, 3), 0, 1, n_controls=0)
    assert not found.arms["atom"].reached.any()
    assert found["success"].value == pytest.approx(0, abs=1e-6)


def test_cost_is_said_before_and_refused_beyond_what_is_allowed() -> None:
    """Rule, given, do."""
    with pytest.raises(
        ValueError, match="`max_seconds` allows 0 s for steering_curves, and it would"
    ):
        steering_curves(identity(), "0", Axes(3), torch.zeros(2, 3), 0, 1, max_seconds=0.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": 3}, "must be between 0 and 2, the outcomes of"),
        ({"target": [0, 1, 2]}, "not all"),
        ({"target": 1.5}, "must be a class or token id, its name"),
        ({"target": torch.tensor([0, 1])}, "its name, or several of them, got tensor"),
        ({"target": "dog"}, "must be one of the classes"),
        ({"budgets": ()}, "`budgets` must be positive"),
        ({"sign": 2}, "`sign` must be 1"),
        ({"neutral": ["a text"]}, "need a causal language model"),
        ({"atom": 7}, "atom"),
    ],
)
def test_bad_input_is_refused(changes: dict[str, object], words: str) -> None:
    """Before any steering."""
    given = {"atom": 0, "target": 1, "n_controls": 0} | changes
    with pytest.raises((ValueError, TypeError, IndexError), match=words):
        steering_curves(identity(), "0", Axes(3), torch.zeros(2, 3), **given)  # type: ignore[arg-type]


def test_states_have_no_log_odds() -> None:
    """A model without classes is told what to do."""
    model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
    with pytest.raises(ValueError, match="Wrap it with class_names="):
        Answers(model, torch.zeros(2, 3), "0", scored=True)


# --- ablation --------------------------------------------------------------------------------------


def test_zero_and_mean_ablation_by_hand() -> None:
    """Logits are coordinates: x = (3, 1) without atom 0 is (0, 1); at its mean 2 over rows, (2, 1)."""
    rows = torch.tensor([[3.0, 1.0], [1.0, 0.0]])
    zero = ablation_effects(identity(2), "0", Axes(2), rows, 0, n_controls=1)
    assert zero.effects[0] == pytest.approx([2 - (-1), 1 - 0], abs=1e-5)
    mean = ablation_effects(identity(2), "0", Axes(2), rows, 0, kind="mean", n_controls=0)
    assert mean.effects[0] == pytest.approx([2 - 1, 1 - 2], abs=1e-5)
    other = ablation_effects(identity(2), "0", Axes(2), rows, 1, n_controls=1)
    assert zero[0].control == pytest.approx(abs(other[1].value), abs=1e-6)  # the only other atom


def test_atoms_must_be_numbers() -> None:
    """One or several."""
    with pytest.raises(TypeError, match="`atoms` must be an integer, got 1.5"):
        ablation_effects(identity(), "0", Axes(3), torch.zeros(2, 3), 1.5)  # type: ignore[arg-type]


def test_an_atom_that_never_fires_has_no_effect() -> None:
    """Neither ablation changes what is not there."""
    rows = torch.tensor([[3.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    found = ablation_effects(identity(3), "0", Axes(3), rows, [0, 2], n_controls=2)
    assert found[2].value == 0 == found.kl[1]
    assert found[0].value > 0


def test_strongest_atoms_by_hand() -> None:
    """Totals of |z|: 3, 5, 0."""
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


def test_a_random_direction_is_as_robust_as_its_quantile_allows() -> None:
    """Over many atoms drawn at random, a twentieth of the cells exceeds the controls, not most."""
    rows = 0.1 * torch.randn(4, 16, generator=torch.Generator().manual_seed(2))
    atoms = torch.nn.functional.normalize(
        torch.randn(12, 16, generator=torch.Generator().manual_seed(3)), dim=1
    )
    model, sae = identity(8), Axes(8, torch.nn.functional.normalize(atoms[:, :8], dim=1))
    shares = [
        fragility_battery(
            model, "0", sae, rows[:, :8], a, 1.0, 1, variants={}, factors=(), n_controls=20
        )["robustness"].value
        for a in range(12)
    ]
    assert np.mean(shares) < 0.4


def test_variants_keep_what_they_must() -> None:
    """As many inputs, the last word, the type and range of pixels."""
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


def test_no_battery_without_controls() -> None:
    """What must be exceeded is a quantile of random directions; neighbours may be left out."""
    found = fragility_battery(
        identity(), "0", Axes(3), torch.zeros(2, 3), 0, 1.0, 1, n_neighbours=0
    )
    assert len(found.neighbours) == 0


def test_what_writes_nothing_is_not_sampled() -> None:
    """Said before anything is run."""
    with pytest.raises(ValueError, match="`temperatures` need a causal language model"):
        fragility_battery(
            identity(), "0", Axes(3), torch.zeros(2, 3), 0, 1.0, 1, temperatures=(1.0,)
        )


# --- language --------------------------------------------------------------------------------------


def test_writing_and_reading_cost_nothing_without_a_push_and_much_with_a_huge_one(
    gpt: sn.LiveModel,
) -> None:
    """Nats written are those of the clean model's own text; nats read begin at zero."""
    sae = Axes(128)
    texts = ["One day Anna went to the farm", "The dog looked"]
    found = steering_curves(
        gpt, "resid_post.3", sae, texts, 5, 300, budgets=(1e-3, 0.5), n_controls=1,
        neutral=["The sun came out and it was not far."], max_new_tokens=4,
    )  # fmt: skip
    weak, strong = found.arms["atom"].fluency
    clean = found.clean_fluency
    assert clean is not None
    assert abs(weak.read - clean.read) < abs(strong.read - clean.read) + 0.05
    assert found["nats read"].value == pytest.approx(strong.read - clean.read)
    assert found["nats written"].floor == pytest.approx(clean.written)
    assert not gpt.interventions


def test_each_text_is_searched_for_its_own_top_answer(
    gpt: sn.LiveModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a target: what another text would have said is no hit."""
    runs = Answers(gpt, ["The cat sat in the", "Tom walked to"], "resid_post.3", scored=True)
    odds = TargetOdds(runs, None)
    own = [torch.tensor([int(i)]) for i in odds.ids]
    assert own[0] != own[1]
    written = iter([own[::-1], own])  # clean, then steered
    monkeypatch.setattr(gpt, "generate", lambda *_, **__: next(written))
    cell = _Cell("as it is", "input", odds, 1.0)
    assert _sampled(cell, torch.ones(128), (1.0,), (0,), 1).tolist() == [[1.0]]


def test_surprise_is_minus_log_p(gpt: sn.LiveModel) -> None:
    """Against one plain forward pass."""
    ids = torch.tensor(gpt.tokenizer("One day Anna went to the farm with a dog.")["input_ids"])
    with torch.no_grad():
        log_p = gpt.module(input_ids=ids[None]).logits[0].log_softmax(dim=-1)
    by_hand = -float(log_p[2:-1].gather(1, ids[3:, None]).mean())
    assert surprise(gpt, [ids[:3]], [ids[3:]]) == pytest.approx([by_hand], abs=1e-4)


def test_repetition_by_hand() -> None:
    """Of three 2-grams ab, ba, ab one was there before."""
    assert repeated_share([1, 2, 1, 2], size=2) == pytest.approx(1 / 3)
    assert repeated_share([1], size=4) == 0


@pytest.mark.parametrize(
    "id",
    ["steering_success", "steering_specificity", "nats_written", "nats_read", "steering_robustness",
     "sign_flips", "effect_spread", "ablation_effect", "fldd", "dormant_index",
     "attribution_agreement", "attribution_faithfulness"],
)  # fmt: skip
def test_every_causal_number_is_defined(id: str) -> None:
    """Formula and floor."""
    assert len(define(id).formula) > 20
    assert define(id).floor


def test_token_ids_without_a_tokenizer_are_steered_too() -> None:
    """No texts, so no variants of texts; asking for them says what is missing."""
    model = sn.load_model("tiny-gpt")
    bare = sn.wrap(model.module)
    ids = [torch.tensor([5, 9, 30, 12]), torch.tensor([7, 8, 40, 33])]
    found = fragility_battery(
        bare,
        "resid_post.3",
        Axes(128),
        ids,
        3,
        5.0,
        7,
        factors=(2.0,),
        n_controls=1,
        n_neighbours=1,
    )
    assert found.variants == ("as it is", "strength × 2")
    with pytest.raises(ValueError, match="need a tokenizer"):
        steering_curves(
            bare, "resid_post.3", Axes(128), ids, 3, 7, neutral=["a text"], n_controls=0
        )
