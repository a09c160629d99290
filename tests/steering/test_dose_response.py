"""Dose–response and the best atom: effects redone by hand, controls of the same norm beside them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.steering import best_effect, dose_response, random_direction, steer
from sae_nb.steering._dose_response import BestEffect, Effects, _first_order_best

D, CLASSES = 8, 3


class Rows(nn.Module):
    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("dictionary", rows)
        self.n_atoms, self.d_in = rows.shape
        self.hook_point = self.model_name = None

    def encode(self, x: Tensor, k: int | None = None) -> SparseCodes:
        return SparseCodes.from_dense(torch.relu(x @ self.dictionary.T))

    def decode(self, codes: SparseCodes) -> Tensor:
        return codes.to_dense() @ self.dictionary


@pytest.fixture
def model():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Identity(), nn.Linear(D, CLASSES))
    return sn.wrap(net, class_names=["cat", "dog", "fox"])


@pytest.fixture
def sae(model):
    """Random atoms, of which atom 11 is what the head reads class 2 from."""
    rows = torch.randn(20, D, generator=torch.Generator().manual_seed(1))
    head = model.module[1].weight.detach()
    rows[11] = 3 * (head[2] - head.mean(dim=0))
    return Rows(rows)


@pytest.fixture
def x():
    return torch.randn(30, D, generator=torch.Generator().manual_seed(2))


def effect_by_hand(model, x, direction, amount, target) -> tuple[float, float]:
    with torch.no_grad():
        clean = model.module[1](x).log_softmax(-1)
        steered = model.module[1](x + amount * direction / direction.norm()).log_softmax(-1)
    change = float((steered.exp() - clean.exp())[:, target].mean())
    return change, float((clean.exp() * (clean - steered)).sum(-1).mean())


def test_effects_equal_those_computed_by_hand(model, sae, x):
    strengths, x = [-2.0, 0.0, 4.0], x[:7]
    found = dose_response(
        model, "0", sae, x, 4, strengths, measure=1, n_controls=3, seed=5, batch_size=4
    )
    for i, amount in enumerate(strengths):
        change, kl = effect_by_hand(model, x, sae.dictionary[4], amount, 1)
        assert found.effect[i] == pytest.approx(change, abs=1e-6)
        assert found.kl[i] == pytest.approx(kl, abs=1e-6)
        for c, seed in enumerate(found.control_seeds):
            change, kl = effect_by_hand(model, x, random_direction(D, seed), amount, 1)
            assert found.control[c, i] == pytest.approx(change, abs=1e-6)
            assert found.control_kl[c, i] == pytest.approx(kl, abs=1e-6)
    assert found.control_seeds == (5, 6, 7)
    assert found.effect[1] == found.kl[1] == 0
    assert found.measure == "probability of class dog"
    assert found.n == 7


def test_a_function_of_the_outputs_can_be_measured(model, sae, x):
    """Here a logit, on which adding an atom acts linearly."""
    found = dose_response(
        model, "0", sae, x, 4, [1.0, 2.0, 3.0], measure=lambda y: y[:, 0], n_controls=0
    )
    slope = float(sae.dictionary[4] @ model.module[1].weight[0].detach() / sae.dictionary[4].norm())
    np.testing.assert_allclose(found.effect, slope * np.array([1, 2, 3]), rtol=1e-4)
    assert found.control.shape == (0, 3)
    for wrong in ([], [1.0, np.inf]):
        with pytest.raises(ValueError, match="`strengths`"):
            dose_response(model, "0", sae, x, 4, wrong, measure=0)
    assert dose_response(model, "0", sae, x, 4, [1.0], measure=0).control.shape == (8, 1)
    assert len(best_effect(model, "0", sae, x[:2], 1.0, measure=0, n_controls=1).candidates) == 16


def test_p99_strengths_are_in_the_models_units_in_the_record(model, sae, x):
    found = dose_response(
        model, "0", sae, x, 4, [0.5, 1.0], measure=0, unit="p99", acts=x, n_controls=1
    )
    z = torch.relu(x @ sae.dictionary[4]).numpy()
    # A code counts in lengths of its atom, and these atoms are not of unit norm.
    p99 = np.percentile(z[z > 0], 99) * float(sae.dictionary[4].norm())
    np.testing.assert_allclose(found.strengths, [0.5 * p99, p99], rtol=1e-5)


def test_the_best_atom_is_the_one_the_head_reads(model, sae, x):
    """Among all atoms atom 11 raises class 2 most, far above random directions."""
    x = x[:9]
    found = best_effect(
        model, "0", sae, x, 3.0, measure=2, candidates=range(20), n_controls=6, seed=4
    )
    assert found.amount == 3.0
    assert found.control == pytest.approx(
        [effect_by_hand(model, x, random_direction(D, 4 + i), 3.0, 2)[0] for i in range(6)],
        abs=1e-6,
    )
    assert found.atom == 11
    assert found.effect == pytest.approx(
        effect_by_hand(model, x, sae.dictionary[11], 3.0, 2)[0], abs=1e-6
    )
    assert abs(found.effect) > found.control_p95
    assert repr(found).startswith("BestEffect(atom 11 at 0, amount 3: probability of class fox")
    assert found.control_p95 == pytest.approx(np.quantile(np.abs(found.control), 0.95))


def test_a_record_says_where_the_measure_went():
    found = BestEffect(
        hook_point="0", atom=11, amount=3.0, effect=0.5, control=np.zeros(20), control_p95=0.03,
        candidates=np.array([11]), effects=np.array([0.5]), clean=0.25, measure="probability of fox",
    )  # fmt: skip
    assert "0.25 → 0.75; 20 random directions" in found.headline


def test_candidates_come_from_the_first_order_effect(model, sae, x):
    """Few candidates still hold the winner, and they are those with the largest slope."""

    def logit(outputs: Tensor) -> Tensor:
        return outputs[:, 2]

    found = best_effect(model, "0", sae, x, 0.5, measure=logit, n_candidates=4, n_controls=1)
    everyone = best_effect(
        model, "0", sae, x, 0.5, measure=logit, candidates=range(20), n_controls=1
    )
    largest = np.argsort(-np.abs(everyone.effects))[:4]
    assert set(found.candidates) == set(largest)
    assert found.atom == everyone.atom


def test_a_confident_model_still_points_to_its_atom(model, sae, x):
    """Probabilities of 0 and 1 have no slope; log-odds have, and find atom 11 at once."""
    with torch.no_grad():
        model.module[1].weight *= 200
    assert float(model(x).softmax(-1).amax(-1).median()) > 1 - 1e-6
    found = best_effect(model, "0", sae, x, 3.0, measure=2, n_candidates=1)
    assert found.atom == 11
    assert found.effect > found.control_p95


@pytest.mark.parametrize("batch_size", [None, 2])
def test_the_slope_of_a_class_is_that_of_its_log_odds_over_all_inputs(model, x, batch_size):
    x = x[:5]
    found = Effects(model, x, "0", 1, None, batch_size).gradient(D)
    probe = torch.zeros(D, requires_grad=True)
    p = model.module[1](x + probe).softmax(-1)[:, 1]
    (expected,) = torch.autograd.grad((p / (1 - p)).log().sum(), probe)
    torch.testing.assert_close(found, expected)


def test_first_order_effects_count_in_the_amounts_that_are_added():
    """Of atoms of any length: slopes 1, −0.5 and 0.2 times 1, 10 and 3; without a slope the amounts."""
    rows = torch.tensor([[2.0, 0, 0], [0, -0.1, 0], [0, 0, 5.0]])
    amounts = np.array([1.0, 10.0, 3.0])

    def best(slope: list[float], n: int) -> list[int]:
        run = SimpleNamespace(gradient=lambda d_in: torch.tensor(slope))
        return _first_order_best(run, Rows(rows), amounts, n)

    assert best([1.0, 0.5, 0.2], 3) == [1, 0, 2]
    assert best([1.0, 0.05, 0.2], 2) == [0, 2]
    assert best([0.0, 0, 0], 2) == [1, 2]


def test_by_default_the_models_own_answer_is_measured(model, sae, x):
    """Its top class for the first input; without classes, likeness to the first output."""
    top = int(model(x)[0].argmax())
    default = dose_response(model, "0", sae, x, 4, [2.0], n_controls=1)
    named = dose_response(model, "0", sae, x, 4, [2.0], measure=top, n_controls=1)
    assert default.effect[0] == named.effect[0]
    assert default.measure == named.measure
    plain = sn.wrap(model.module)
    found = dose_response(plain, "0", sae, x, 4, [2.0], n_controls=1)
    with torch.no_grad():
        first = model.module(x)[:1]
        before = torch.cosine_similarity(model.module(x), first)
        moved = model.module(x + 2 * sae.dictionary[4] / sae.dictionary[4].norm())
        after = torch.cosine_similarity(moved, first)
    assert found.effect[0] == pytest.approx(float((after - before).mean()), abs=1e-5)
    assert np.isnan(found.kl).all()
    assert best_effect(plain, "0", sae, x[:1], 2.0, n_candidates=3).effect < 0


def test_language_effects_are_read_at_the_end_of_each_text():
    """Log-probability of a token after the last real token, padding or not."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2,
        n_embd=D,
        n_head=2,
        vocab_size=30,
        n_positions=32,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.6,
    )
    model = sn.wrap(GPT2LMHeadModel(config).eval())
    sae = Rows(torch.eye(D))
    texts = [[3, 4, 5, 6, 7], [8, 9]]
    found = dose_response(model, "resid_post.0", sae, texts, 2, [4.0], measure=13, n_controls=1)
    changes = []
    for ids in texts:
        clean = model([ids])[0, -1].log_softmax(-1)[13]
        with steer(model, "resid_post.0", sae, atom=2, by=4.0):
            changes.append(float(model([ids])[0, -1].log_softmax(-1)[13] - clean))
    assert found.effect[0] == pytest.approx(np.mean(changes), abs=1e-5)
    assert "log-probability" in found.measure
