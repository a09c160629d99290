"""Attribution: gradient × activation at the activation itself, and what removing an atom really does."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import Attribution, attribute, chance_cosine
from sae_nb.evaluation.causal._outcomes import _cut, outcome_index


class Plain:
    """z = relu(x Dᵀ), x̂ = z D / 2 + 0.1: a poor reconstruction, so that the error matters."""

    def __init__(self, d_in: int, n_atoms: int, seed: int = 0) -> None:
        rows = torch.randn(n_atoms, d_in, generator=torch.Generator().manual_seed(seed))
        self.dictionary = nn.functional.normalize(rows, dim=1)
        self.d_in, self.n_atoms = d_in, n_atoms

    def encode(self, x: Tensor, k: int | None = None) -> SparseCodes:
        return SparseCodes.from_dense((x @ self.dictionary.T).relu())

    def decode(self, codes: SparseCodes) -> Tensor:
        return codes.to_dense() @ self.dictionary + 0.1


SAE = Plain(6, 10)


@pytest.fixture
def bent() -> Any:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    return sn.wrap(module, class_names=["a", "b", "c"], name="bent")


@pytest.fixture
def straight() -> Any:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))
    return sn.wrap(module, class_names=["a", "b", "c"], name="straight")


INPUT = torch.tensor([[1.0, -0.5, 2.0, 0.3]])


def attributed(model: Any, sae: Any = SAE, **choices: Any) -> Attribution:
    return attribute(model, next(model.batches(INPUT)), "0", sae, **choices)


def measure(model: Any, x: Tensor, index: int) -> Tensor:
    logits = model.module[1:](x)
    return logits[..., index] - logits.mean(dim=-1)


def test_effects_are_the_gradient_through_codes_and_error(bent: Any) -> None:
    """∂m/∂z through x = decode(z) + e, e constant, times z: as autograd says it."""
    found = attributed(bent)
    x = bent.module[0](INPUT).detach()
    codes = SAE.encode(x)
    z = codes.to_dense().requires_grad_(True)
    error = x - (z @ SAE.dictionary + 0.1).detach()
    value = measure(bent, z @ SAE.dictionary + 0.1 + error, found.outcome.index).sum()
    (slope,) = torch.autograd.grad(value, z)
    expected = (slope * z).detach()[0]
    got = torch.zeros(10)
    got[found.codes.atoms.long()] = torch.from_numpy(found.effects)
    torch.testing.assert_close(got, expected)
    assert found.value == pytest.approx(float(value.detach()))


def test_first_order_is_exact_where_the_model_is_linear(straight: Any) -> None:
    found = attributed(straight)
    for atom in found.codes.atoms.tolist():
        check = found.splice(atom, n_controls=0)
        assert check.exact == pytest.approx(check.first_order, abs=1e-5)


def test_splice_removes_the_atom_and_keeps_the_error(bent: Any) -> None:
    found = attributed(bent, target=1)
    x = bent.module[0](INPUT).detach()
    atom = int(found.codes.atoms[0])
    z = SAE.encode(x).to_dense()[0, atom]
    without = x - z * SAE.dictionary[atom]
    check = found.splice(atom)
    expected = measure(bent, x, 1) - measure(bent, without, 1)
    assert check.exact == pytest.approx(float(expected.detach()), abs=1e-5)
    p, q = (bent.module[1:](v).softmax(-1)[0].detach() for v in (x, without))
    assert check.probability == pytest.approx((float(p[1]), float(q[1])), abs=1e-6)
    assert check.kl == pytest.approx(float((p * (p / q).log()).sum()), abs=1e-6)
    assert check.exact != pytest.approx(check.first_order, abs=1e-4)


@pytest.fixture(params=["Transcoder", "SkipTranscoder"])
def transcoder(request: pytest.FixtureRequest) -> Any:
    generator = torch.Generator().manual_seed(0)
    t = getattr(sn, request.param)(6, 5, 8, 2, generator=generator)
    x = torch.randn(50, 6, generator=generator)
    t.initialise((x, x @ torch.randn(6, 5, generator=generator)))
    t.hook_point, t.target_hook_point = "0", "1"
    return t


@pytest.fixture
def three() -> Any:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3))
    return sn.wrap(module, class_names=["a", "b", "c"], name="three")


def test_a_transcoder_is_read_in_one_place_and_met_by_the_gradient_in_another(
    three: Any, transcoder: Any
) -> None:
    """z from x, d and the gradient at y; with bias, linear map and error they add up to ⟨y, g⟩."""
    found = attribute(three, next(three.batches(INPUT)), "1", transcoder)
    x = three.module[0](INPUT).detach()
    y = three.module[1](x).detach()
    codes, g = transcoder.encode(x), torch.from_numpy(found.gradient)[0]
    assert torch.equal(found.codes.atoms, codes.atoms)
    expected = codes.values * (transcoder.dictionary[codes.atoms.long()] @ g)
    np.testing.assert_allclose(found.effects, expected.detach().numpy(), atol=1e-6)
    torch.testing.assert_close(found.x, y)
    rest = (y - transcoder(x)).detach()[0] @ g
    assert float(found.error[0]) == pytest.approx(float(rest), abs=1e-5)
    written = transcoder(x).detach()[0] @ g - found.effects.sum()
    beside = transcoder(x) - codes @ transcoder.dictionary  # bias and linear map
    assert float(written) == pytest.approx(float((beside.detach() @ g)[0]), abs=1e-5)


def test_a_transcoder_s_atom_and_its_control_are_removed_where_it_writes(
    three: Any, transcoder: Any
) -> None:
    found = attribute(three, next(three.batches(INPUT)), "1", transcoder, target=1)
    y = three.module[1](three.module[0](INPUT)).detach()
    control = sn.steering.random_direction(5, 7)

    def lost(z: float, direction: Tensor) -> float:
        logits, fewer = (three.module[2](v).detach()[0] for v in (y, y - z * direction))
        return float((logits - fewer)[1] - (logits - fewer).mean())

    for atom, z in zip(found.codes.atoms.tolist(), found.codes.values.tolist(), strict=True):
        check = found.splice(atom, n_controls=1, seed=7)
        assert check.exact == pytest.approx(lost(z, transcoder.dictionary[atom]), abs=1e-5)
        assert check.exact == pytest.approx(check.first_order, abs=1e-5)
        assert check.control == pytest.approx(abs(lost(z, control)), abs=1e-5)


def test_model_is_as_before(bent: Any) -> None:
    before = bent(INPUT)
    found = attributed(bent)
    found.splice(int(found.codes.atoms[0]))
    assert bent.interventions == []
    assert torch.equal(bent(INPUT), before)
    assert all(p.grad is None for p in bent.module.parameters())


@pytest.mark.slow
def test_control_is_what_random_directions_reach(straight: Any) -> None:
    """The closed form is the 95 % quantile that drawn directions have, in the linear model exactly."""
    found = attributed(straight)
    active, _, control = found.totals()
    place = int(np.argmax(control))
    check = found.splice(int(active[place]), n_controls=400, seed=3)
    assert check.control == pytest.approx(float(control[place]), rel=0.12)
    cosines = [abs(float(sn.random_direction(6, seed)[0])) for seed in range(4000)]
    assert np.quantile(cosines, 0.95) == pytest.approx(chance_cosine(6), rel=0.03)


@pytest.mark.parametrize(
    ("target", "name"), [(2, "c"), ("b", "b"), (lambda logits: logits[0], "<lambda>")]
)
def test_targets_by_number_name_and_function(bent: Any, target: Any, name: str) -> None:
    found = attributed(bent, target=target)
    assert found.outcome.name == name
    top = int(bent(INPUT).argmax())
    assert attributed(bent).outcome.index == top


def test_models_that_give_states_are_measured_along_their_own_output() -> None:
    """⟨out, out₀⟩ / ‖out₀‖, whose gradient is a direction; there are no probabilities."""
    model = sn.wrap(nn.Sequential(nn.Identity(), nn.Linear(6, 4)))
    x = torch.randn(1, 6, generator=torch.Generator().manual_seed(1))
    found = attribute(model, next(model.batches(x)), "0", SAE)
    assert found.value == pytest.approx(float(model(x).norm()), abs=1e-5)
    check = found.splice(int(found.codes.atoms[0]), n_controls=2)
    assert check.kl is None
    assert check.probability is None


# --- a language model: the sink is left alone ----------------------------------------------------


@pytest.mark.slow
def test_first_token_is_neither_read_nor_spliced(gpt: Any) -> None:
    """Capture drops it, so the SAE never saw it; removing an atom leaves its state alone."""
    sae = Plain(128, 32)
    batch = next(gpt.batches(["Anna was very happy and"]))
    found = attribute(gpt, batch, "resid_post.1", sae)
    assert 0 not in found.position
    assert len(found.position) == found.n_positions - 1
    atom = int(found.codes.atoms[0])
    mask = torch.isin(torch.arange(found.n_positions), torch.from_numpy(found.position))
    with sn.ablate(gpt, "resid_post.1", sae, atom, positions=mask):
        with_mask = gpt(["Anna was very happy and"])
    with sn.ablate(gpt, "resid_post.1", sae, atom, positions="not_first"):
        assert torch.equal(gpt(["Anna was very happy and"]), with_mask)
    logits = with_mask[0, -1]
    exact = found.value - float(logits[found.outcome.index] - logits.mean())
    assert found.splice(atom, n_controls=0).exact == pytest.approx(exact, abs=1e-5)


def test_next_token_is_the_last_one_of_the_text(gpt: Any) -> None:
    text = "Anna was very"
    found = attribute(gpt, next(gpt.batches([text])), "resid_post.1", Plain(128, 32))
    said = gpt.generate(text, 1, echo=False, return_ids=True)
    assert found.outcome.index == int(said[-1])
    other = attribute(gpt, next(gpt.batches([text])), "resid_post.1", Plain(128, 32), target=" the")
    assert other.outcome.name == " the"
    with pytest.raises(ValueError, match="one token"):
        attribute(
            gpt, next(gpt.batches([text])), "resid_post.1", Plain(128, 32), target="happy and sad"
        )


def test_effects_are_added_up_by_atom_with_what_random_directions_get(straight: Any) -> None:
    """Two rows: Σ_t z_tj ⟨d_j, g_t⟩, and ‖Σ_t z_tj g_t‖ times the quantile of |cos|."""
    found = attributed(straight)
    z = torch.tensor([[0.0, 2.0, 0.0, 1.0], [0.0, 3.0, 0.5, 0.0]])
    g = np.array([[3.0, 0, 0, 0, 0, 4], [1, 1, 0, 0, 0, 0]])
    codes = SparseCodes.from_dense(z)
    effects = np.array([1.0, -2.0, 5.0, 0.25])  # of atoms 1, 3 and 1, 2
    two = replace(found, codes=codes, effects=effects, gradient=g)
    active, total, control = two.totals()
    assert active.tolist() == [1, 2, 3]
    assert total.tolist() == [6, 0.25, -2]
    pulled = [np.linalg.norm(2 * g[0] + 3 * g[1]), np.linalg.norm(g[1]) / 2, 5]
    np.testing.assert_allclose(control, np.array(pulled) * chance_cosine(6))
    assert chance_cosine(1) == 1.0
    # In three dimensions a coordinate of the sphere is even between −1 and 1; in two it is a sine.
    assert chance_cosine(3) == pytest.approx(0.95)
    assert chance_cosine(2) == pytest.approx(np.sin(0.95 * np.pi / 2))


def test_what_an_answer_loses_is_told_in_its_own_words(bent: Any) -> None:
    """Probabilities with and without the atom, the divergence, and the effect to first order."""
    found = attributed(bent, target=1)
    atom = int(found.codes.atoms[0])
    check = found.splice(atom, n_controls=2, seed=5)
    x = bent.module[0](INPUT).detach()
    z = float((x @ SAE.dictionary[atom])[0])
    before = bent.module[1:](x)[0].softmax(-1)
    after = bent.module[1:](x - z * SAE.dictionary[atom])[0].softmax(-1)
    assert check.probability == pytest.approx((float(before[1]), float(after[1])), abs=1e-6)
    assert check.kl == pytest.approx(float((before * (before / after).log()).sum()), abs=1e-6)
    assert check.first_order == pytest.approx(float(found.effects[0]))
    whole = measure(bent, x, 1)
    lost = [
        abs(float(whole - measure(bent, x - z * sn.steering.random_direction(6, seed), 1)))
        for seed in (5, 6)
    ]
    assert check.control == pytest.approx(np.quantile(lost, 0.95), abs=1e-5)
    assert np.isnan(found.splice(atom, n_controls=0).control)
    assert found.outcome.words == "logit of “b” above the mean logit"


def test_a_number_of_an_output_is_compared_with_the_mean_of_the_others() -> None:
    model = sn.wrap(nn.Sequential(nn.Identity(), nn.Linear(6, 4)))
    x = torch.randn(1, 6, generator=torch.Generator().manual_seed(1))
    found = attribute(model, next(model.batches(x)), "0", SAE, target=2)
    assert found.outcome.words == "number “2” of the output above their mean"
    assert found.value == pytest.approx(float(model(x)[0, 2] - model(x)[0].mean()), abs=1e-5)


def test_ids_are_of_outcomes_that_are_there_and_long_names_are_cut() -> None:
    model: Any = SimpleNamespace(name="m")
    assert [outcome_index(model, i, 3) for i in (0, 2)] == [0, 2]
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match="between 0 and 2"):
            outcome_index(model, wrong, 3)
    assert outcome_index(model, 7) == 7
    assert _cut("x" * 40) == repr("x" * 40)
    assert _cut("x" * 41) == repr("x" * 40 + "…")
