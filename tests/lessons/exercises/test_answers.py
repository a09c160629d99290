"""Every right answer is right however written, near misses are told why, predictions meet what is measured."""

from __future__ import annotations

import math

import pytest
import torch
from sae_nb_lessons import exercise, recorded
from sae_nb_lessons.exercises._crosscoders import difference
from sae_nb_lessons.exercises._evaluation import random_tpp
from sae_nb_lessons.exercises._patching import patch_map
from sae_nb_lessons.exercises._pursuit import named_by_one_step
from sae_nb_lessons.exercises._reading import first_block
from sae_nb_lessons.exercises._sharing import MOST, names_from_images
from sae_nb_lessons.exercises._steering import COST, read_share
from sae_nb_lessons.exercises._superposition import measured_change
from sae_nb_lessons.exercises._talking import N_STORIES
from sae_nb_lessons.studies import joint_sae, paired
from sae_nb_lessons.studies._two_towers import best_detector

import sae_nb as sn
from sae_nb_studies.evaluation import critical_sparsity
from tests.lessons.exercises import (
    core_answers,
    lab_answers,
    notebook_answers,
    panel_answers,
    safety_answers,
)
from tests.lessons.exercises.asked import Asked
from tests.lessons.exercises.notebook_answers import PUSHED

TABLES = (core_answers, notebook_answers, lab_answers, panel_answers, safety_answers)
ASKED = [asked for table in TABLES for asked in table.ASKED]


PREDICTED: list[tuple[str, float, float, float]] = [
    ("01.4", 0.5, 0.5, 1.0),
    ("11.4", 0.5, 0.25, 0.45),
    ("12.3", 0.3, -0.1, 0.1),
    ("13.3", 0.9, 0.5, 0.65),
    ("14.4", 0.6, 0.85, 1.0),
    ("15.2", 0.5, 0.6, 1.0),
    ("16.2", 0.8, 0.99, 1.0),
    ("17.3", 0.1, -math.inf, math.inf),
    ("17.4", 0.1, -math.inf, math.inf),
    ("05.4", 1.0, -math.inf, math.inf),
    ("20.3", 0.1, -math.inf, math.inf),
    ("03.6", 0.6, 0.7, 0.87),
    ("21.4", 0.5, -0.05, 0.05),
    ("22.3", 0.5, 0.0, 0.5),
    ("26.3", 0.5, 0.0, 0.3),
    ("29.2", 1.0, 0.7, 0.9),
    ("34.3", 0.8, 0.0, 0.4),
    ("03.8", 0.0, -math.inf, math.inf),
    ("25.3", 0.5, 0.0, 0.2),
    ("08.2", 1.0, 0.0, 0.5),
    ("08.4", 0.5, 0.0, 0.2),
    ("18.1", 0.1, 0.5, 0.75),
    ("18.4", 16, 0, 6),
    ("23.1", 2, N_STORIES / 2 + 1, N_STORIES),
    ("24.1", 30, 1, 9),
    ("05.2", 0.05, 0.0, 0.1),
    ("28.3", 0.5, 0.75, 1.0),
    ("07.2", 0.5, 0.3, 0.6),
    ("07.3", 0.0, -0.15, 0.05),
    ("30.2", 0.0, 0.0, 0.05),
    ("30.4", 0.0, 0.0, 0.2),
    ("31.4", 0.5, 0.2, 0.35),
    ("32.3", 0.5, -0.01, 0.01),
    ("33.3", 0.5, 0.1, 0.15),
    ("35.2", 0.8, 0.85, 1.01),
    ("35.4", 0.9, 0.2, 0.6),
    ("36.2", 13, -1, 3),
    ("36.4", 0.2, 0.9, 1.1),
    ("37.2", 0.6, 0.0, 0.3),
    ("39.1", 0.7, 0.97, 1.0),
    ("39.2", 5, 8, 20),
    ("38.2", 0.2, 1.0, 4.0),
    ("06.3", 0.3, 0.5, 0.8),
    ("02.9", 1.0, 0.3, 0.7),
    ("04.2", 0.5, 0.97, 1.0),
    ("04.4", 0.5, 0.55, 0.85),
    ("27.2", 0.5, 0.1, 0.5),
    ("10.4", 0.5, 0.8, 1.0),
]
"""Number, a guess, and the bounds that question and hints give to what is measured."""


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.id)
def test_right_answers_are_right_and_mistakes_are_named(asked: Asked) -> None:
    """However it is written; the verdict names the mistake."""
    for answer in asked.right:
        assert exercise(asked.id).check(answer)
    for answer, words in asked.near:
        exercise(asked.id).reset()
        verdict = exercise(asked.id).check(answer)
        assert verdict.state == "wrong"
        assert words in verdict.message, answer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("id", "guess", "low", "high"), PREDICTED, ids=[row[0] for row in PREDICTED]
)
def test_a_prediction_is_held_against_what_is_measured(
    id: str, guess: float, low: float, high: float
) -> None:
    """Nothing is revealed before; the measured value lies where question and hints put it."""
    asked = exercise(id)
    assert not asked.reveal()
    asked.predict(guess)
    seen = asked.reveal()
    assert seen.passed
    assert low <= seen.measured <= high


# --- what questions and hints say -----------------------------------------------------------------


@pytest.mark.slow
def test_the_change_is_measured_near_where_theory_puts_it() -> None:
    """Three seeds: 0.02 – 0.06 before the crossing of the two closed forms."""
    for seed in range(3):
        assert -0.06 <= measured_change(seed) - critical_sparsity(0.3) <= 0.0


@pytest.mark.parametrize("angle", [10.0, 30.0, 45.0, 60.0, 80.0])
def test_every_atom_between_the_two_fools_greed(angle: float) -> None:
    """All directions strictly between them correlate more, and matching pursuit takes them."""
    turned = torch.deg2rad(torch.tensor(angle))
    atom = torch.stack([turned.cos(), turned.sin()])
    assert exercise("11.3").check(atom)
    dictionary = torch.cat([torch.eye(2), atom[None]])
    _, trace = sn.matching_pursuit(torch.ones(1, 2), dictionary, 1, trace=True)
    assert trace.atoms.tolist() == [[2]]


@pytest.mark.slow
def test_numbers_in_questions_and_hints_are_right() -> None:
    """Of 02.3, 04.2, 11.1, 10.7, 11.3, 20.1 and 23.4, computed again."""
    assert 0.68 < named_by_one_step(0.0) < 0.76
    always_on = 2 * (1 / 6) / (1 + 1 / 6)
    assert always_on == pytest.approx(0.29, abs=0.005)
    assert pytest.approx(COST, abs=1e-4) == PUSHED
    assert read_share(torch.ones(2), torch.tensor([[3.0, 0.0]])) == pytest.approx(0.5)
    trained = recorded("bench_references").of("tiny-gpt tpp trained").mean
    assert trained == pytest.approx(random_tpp(), abs=0.02)
    assert len(names_from_images()) == MOST
    assert 0 < first_block() <= 3


@pytest.mark.slow
def test_where_an_atom_lives_is_that_of_the_library() -> None:
    """The same as `difference()` of a crosscoder whose sites are in other units."""
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    c = sn.Crosscoder([4, 6], n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    c.initialise([x, 30 * x @ torch.randn(4, 6, generator=torch.Generator().manual_seed(1))])
    units = [float(unit[0]) for unit in c.operator.unit.split([4, 6])]
    assert difference(*c.dictionaries, *units) == pytest.approx(c.difference(), abs=1e-5)


@pytest.mark.slow
def test_the_loop_of_patching_finds_what_the_library_finds() -> None:
    """07.1 on tiny-induction: a state before block 1 is what block 0 returns."""
    model = sn.load_model("tiny-induction")
    pairs = sn.data.prompt_pairs("induction", 1, seed=1, model=model)
    found = sn.circuits.patch(model, *pairs.clean, *pairs.corrupted, *pairs.answers, progress=False)
    clean, corrupted = (
        torch.tensor([model.tokenizer(text)["input_ids"]])
        for text in (*pairs.clean, *pairs.corrupted)
    )
    one, other = (
        model.tokenizer(a, add_special_tokens=False)["input_ids"][0] for a in pairs.answers[0]
    )
    shares = patch_map(
        lambda ids: model.module(ids).logits,
        [model.module.get_submodule("transformer.h.0")],
        clean,
        corrupted,
        lambda logits: logits[0, -1, one] - logits[0, -1, other],
    )
    assert shares[0] == pytest.approx(found.effect[1], abs=1e-3)


@pytest.mark.slow
def test_a_detector_of_images_reads_captions() -> None:
    pairs, sae = paired(), joint_sae()
    is_green = pairs.scenes.colour == 3
    atom = best_detector(sae.encode(pairs.image[400:]).to_dense(), is_green[400:])
    fires = sae.encode(pairs.text[:400]).to_dense()[:, atom] > 0
    hits = float((fires & is_green[:400]).sum())
    assert 2 * hits / float(fires.sum() + is_green[:400].sum()) > 0.7
