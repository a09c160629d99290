"""Models with known circuits: they do their task, by the parts that the circuit names, and not by others."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
import sae_nb.models
from sae_nb_studies.circuits import KnownCircuit, known_circuit
from sae_nb_studies.circuits._known import (
    _accuracy,
    frequency_shares,
    key_frequencies,
    state_shares,
)
from sae_nb_studies.data.tasks import TASKS

WEIGHTS = Path(sae_nb.models.__path__[0]) / "weights"
NAMES = sorted(TASKS)
every_model = pytest.mark.parametrize("name", NAMES)


@cache
def model(name: str) -> Any:
    return sn.load_model(name, device="cpu")


@cache
def circuit(name: str) -> KnownCircuit:
    return known_circuit(model(name), seed=77)


def card(name: str) -> dict[str, Any]:
    return json.loads((WEIGHTS / name / "card.json").read_text())


@pytest.mark.slow
@every_model
def test_fresh_rows_are_answered_as_the_card_says(name: str) -> None:
    """Rows of another seed, within three standard errors; and the texts of the circuit, one by one."""
    promised, known = card(name)["held_out"]["accuracy"], circuit(name)
    assert promised >= 0.98
    assert known.accuracy > promised - 3 * (promised * (1 - promised) / 200) ** 0.5 - 1e-3
    words = model(name).tokenizer.get_vocab()
    right = [
        int(model(name)([text])[0, -1].argmax()) == words[answer]
        for text, answer in list(zip(known.inputs, known.answers, strict=True))[:10]
    ]
    assert sum(right) >= 9


@pytest.mark.slow
@every_model
def test_the_circuit_is_needed_and_enough(name: str) -> None:
    """Held at its mean it takes the answers with it; with all the rest so held, they stay."""
    known = circuit(name)
    assert 0 < known.components.in_circuit.sum() < len(known)
    assert known.without < known.chance + (known.accuracy - known.chance) / 3
    assert known.alone > known.accuracy - 0.05


@pytest.mark.slow
@every_model
def test_a_ranking_is_judged_by_the_circuit(name: str) -> None:
    """1 for the circuit itself, 0 for its opposite, a half for no opinion; scores of other sizes are refused."""
    known = circuit(name)
    inside = known.components.in_circuit.to_numpy(float)
    assert known.auc(inside) == 1
    assert known.auc(torch.from_numpy(-inside)) == 0
    assert known.auc(np.zeros(len(known))) == 0.5
    with pytest.raises(ValueError, match=r"one number per component"):
        known.auc(inside[:-1])
    with pytest.raises(ValueError, match="finite"):
        known.auc(np.full(len(known), np.nan))


def test_induction_goes_on_as_before() -> None:
    induction = model("tiny-induction")
    assert induction.generate("q k e f q k e", max_new_tokens=1).split()[-1] == "f"
    batch = next(iter(induction.batches(["q k e f q k e"])))
    patterns = sn.models.attention_patterns(induction, batch)
    table = circuit("tiny-induction").components.set_index(["layer", "index"])
    for (layer, head), row in table[table.in_circuit].iterrows():
        at = 6 if layer == 0 else 4  # the k before; the f after the earlier e
        assert float(patterns[layer][0, head, -1, at]) > 0.5, row.role
    out = sn.capture(induction, ["q k e f"], ["mlp_out.0", "mlp_out.1"], progress=False)
    assert not out["mlp_out.0"].x.any()
    assert not out["mlp_out.1"].x.any()


def test_shares_of_frequencies_are_those_of_functions_made_of_them() -> None:
    """One frequency in sums and products; two, half each; a constant; one number's noise."""
    p = 53
    a, b = torch.meshgrid(torch.arange(p), torch.arange(p), indexing="ij")
    angle = 2 * torch.pi / p

    def wave(k: int, x: torch.Tensor) -> torch.Tensor:
        return (angle * k * x).cos()

    functions = torch.stack(
        [1 + wave(3, a) * wave(3, b), wave(5, a) + wave(7, a + b), torch.ones(p, p)]
    )
    shares = frequency_shares(functions)
    assert shares.shape == (3, 26)
    assert float(shares[0, 2]) == pytest.approx(1)
    assert shares[1, [4, 6]].tolist() == pytest.approx([0.5, 0.5])
    assert not shares[2].any()
    noise = torch.randn(8, p, p, generator=torch.Generator().manual_seed(0))
    assert float(frequency_shares(noise).max()) < 0.05


def test_the_embedding_of_numbers_has_few_frequencies() -> None:
    words = model("tiny-modular").module.get_input_embeddings().weight.detach()[2:55].double()
    power = torch.fft.rfft(words, dim=0).abs().square().sum(dim=1)[1:]
    key = key_frequencies(model("tiny-modular"))
    assert 2 <= int(key.sum()) <= 6
    assert float(power[key].sum() / power.sum()) > 0.9


def test_neurons_of_the_circuit_carry_the_sums_and_the_others_do_not() -> None:
    """The neurons alone, heads as they are: those of the circuit, the others, the same number of random ones."""
    modular, table = model("tiny-modular"), circuit("tiny-modular").components
    rows = TASKS["tiny-modular"].draw(200, np.random.default_rng(5), True)
    batch = next(iter(modular.batches(rows.ids, batch_size=200)))
    neuron, inside = (table.kind == "neuron").to_numpy(), table.in_circuit.to_numpy()
    circuit_neurons = neuron & inside
    drawn = np.zeros(len(table), bool)
    generator = np.random.default_rng(0)
    drawn[generator.choice(np.flatnonzero(neuron), circuit_neurons.sum(), replace=False)] = True
    without, alone, random = (
        _accuracy(modular, batch, rows, table, held)
        for held in (circuit_neurons, neuron & ~inside, drawn)
    )
    assert alone > 0.97
    assert without < 0.33
    assert without < random - 0.1


def test_brackets_are_told_apart() -> None:
    answers = {
        "( ( ) )": "balanced", "( ) ( )": "balanced", "( ( ) (": "open", "(": "open",
        ")": "broken", "( ) ) (": "broken", ") ( ( ( )": "broken", "( ( ( ) ) ) )": "broken",
    }  # fmt: skip
    for text, answer in answers.items():
        assert model("tiny-brackets").generate(text, max_new_tokens=1).split()[-1] == answer


def test_shares_of_states_are_those_of_functions_of_the_state() -> None:
    """A function of depth and position; half of one, half noise; the last bracket; a constant; only position."""
    rng = np.random.default_rng(0)
    steps = torch.from_numpy(rng.choice([-1, 1], (1000, 20)))
    depth = steps.cumsum(dim=1)
    position = torch.arange(20).expand_as(depth)
    noise = torch.from_numpy(rng.standard_normal(depth.shape))
    unit = (depth - depth.double().mean(dim=0)) / depth.double().std(dim=0)
    parts = [depth.square() / (position + 1), unit + noise, steps, 0 * depth + 2, position]
    shares = state_shares(torch.stack([part.double() for part in parts], dim=2)[..., None], depth)
    assert float(shares[0]) == pytest.approx(1)
    assert float(shares[1]) == pytest.approx(0.5, abs=0.05)
    assert float(shares[2]) < 0.35
    assert not shares[3:].any()


def test_neurons_that_count_are_needed_and_the_others_of_their_block_are_not() -> None:
    """The first block's neurons alone: those of the circuit, the others, the same number of random ones."""
    brackets, table = model("tiny-brackets"), circuit("tiny-brackets").components
    rows = TASKS["tiny-brackets"].draw(200, np.random.default_rng(5), True)
    batch = next(iter(brackets.batches(rows.ids, batch_size=200)))
    first = ((table.kind == "neuron") & (table.layer == 0)).to_numpy()
    inside = first & table.in_circuit.to_numpy()
    drawn = np.zeros(len(table), bool)
    generator = np.random.default_rng(0)
    drawn[generator.choice(np.flatnonzero(first), inside.sum(), replace=False)] = True
    without, alone, random = (
        _accuracy(brackets, batch, rows, table, held) for held in (inside, first & ~inside, drawn)
    )
    assert alone > 0.98
    assert without < random < alone
