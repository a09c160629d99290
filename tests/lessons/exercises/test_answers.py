"""The answers of the course are right, mistakes are told why, predictions meet what is measured."""

from __future__ import annotations

import math

import numpy as np
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
from sae_nb_lessons.exercises._superposition import measured_change, regular_polygon
from sae_nb_lessons.exercises._talking import N_STORIES
from sae_nb_lessons.studies import joint_sae, paired
from sae_nb_lessons.studies._two_towers import best_detector
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.evaluation import critical_sparsity
from tests.lessons.exercises.answered import ANSWERS

P = 1 / (1 + math.exp(-2))
PUSHED = 0.5 * math.log(0.5 / P) + 0.5 * math.log(0.5 / (1 - P))
"""KL(clean‖steered) of a push of 2, in nats."""
OTHER_WAY = P * math.log(P / 0.5) + (1 - P) * math.log((1 - P) / 0.5)


def without_itself(w: Tensor) -> Tensor:
    products = (w @ w.T) ** 2 / (w**2).sum(dim=1, keepdim=True)
    return (w**2).sum(dim=1) / products.fill_diagonal_(0).sum(dim=1)


def along(rows: Tensor, v: Tensor) -> Tensor:
    return (rows @ v).square().sum() / v.square().sum()


NEAR: dict[str, list[tuple[object, str]]] = {
    "00.2": [(512, "how many atoms"), (64, "width of a row")],
    "01.1": [(4, "Two of the four"), (1, "One is missing")],
    "01.2": [(0.5, "more than the 2"), (0.2, "left unused")],
    "01.3": [(torch.eye(5)[:, :2], "has length 0, not 1"), (2 * regular_polygon(5), "has length 2, not 1")],
    "01.5": [
        (lambda w: w.norm(dim=1) ** 2 / ((w @ w.T) ** 2).sum(dim=1), "never divide by a length"),
        (without_itself, "leaves out j = i"),
    ],
    "02.8": [("ours", "ours ends lower")],
    "03.2": [("loss recovered", "has a red ring"), ("accuracy", "has a red ring")],
    "03.3": [(lambda v, lo, hi, c: v > c, "ignore the interval"), (lambda v, lo, hi, c: True, "True whatever"),
        (lambda v, lo, hi, c: v >= c and not lo <= c <= hi, "is not above"),
        (lambda v, lo, hi, c: v > c and not lo < c < hi, "not outside it"),
    ],
    "03.4": [(7 / 11, "one mean"), (0.8, "about zero")],
    "03.5": [(1 / 128, "one atom")],
    "05.3": [(OTHER_WAY, "steered‖clean"), (-PUSHED, "never below 0")],
    "05.5": [
        (lambda v, w: along(torch.linalg.svd(w, full_matrices=False).Vh, v), "SVD or QR returns"),
        (lambda v, w: along(w, v), "use the rows as they are"),
        (lambda v, w: along(torch.linalg.svd(w, full_matrices=False).Vh[torch.linalg.svdvals(w) > 0.5], v), "read weakly"),
    ],
    "07.4": [([2, 6], "changed places"), ([3, 11], "block 1 act")],
    "08.1": [("her", "Another word"), ("lost", "came early")],
    "09.2": [("scrambled", "right ends")],
    "11.1": [("OMP", "OMP refits")],
    "11.2": [(1.0, "= 17,"), (4.1, "= 32.8,")],
    "11.3": [([1.0, 1.0], "That is x"), ([0.5, 0.5], "add up to 1")],
    "12.1": [(0.5, "add up to 1"), (1.0, "add up to 1")],
    "12.2": [(1, "After one step"), (4, "k is the most")],
    "13.1": [([0.9, 0.5, 0.0], "sums to 1.4"), ([0.8, 0.4, -0.2], "negative")],
    "13.4": [("SpaDE", "SpaDE's"), ("TopK", "TopK's")],
    "14.1": [(0.95, "exact copy")],
    "15.1": [([5, 9], "One off"), ([6, 12], "")],
    "16.1": [(5, "number of archetypes"), (12, "Count the ways")],
    "16.4": [(0.35, "second neigh"), (0.89, "F1")],
    "17.1": [(10, "10 cancels"), (0.3, "10 cancels")],
    "19.2": [(0.1, "lost"), (0.96, "worth")],
    "19.3": [(0, "solid tick"), (0.761, "against nothing"), (0.991, "what was trained"), (0.2, "shows more")],
    "20.2": [("ℓ1 price", "shrinks every"), ("ℓ1 price, copy", "same price")],
    "21.1": [(0.05, "of each one"), (0, "wrong with a chance")],
    "21.3": [("good story", "at the oth")],
    "21.6": [(0.349, "none of them"), (1, "do not add up")],
    "25.1": [(2 / 3, "square"), (0.2, "other one")],
    "25.2": [(8.89, "As a share"), (0.89, "F1")],
    "26.2": [(1.0, "That is the effect"), (0.4, "a random di")],
    "29.3": [("full stop", "nearly white")],
    "30.3": [("queries", "says which token it is"), ("values", "handed on")],
    "33.5": [(10, "is in both"), (48, "name the smaller")],
    "34.1": [
        (lambda s, r: float(np.quantile(s.numpy(), r)), "at the lower end"),
        (lambda s, r: s[int(r * len(s))], "in no order"),
    ],
    "41.5": [("truth", "turns round"), ("the writer", "as often as wrong"), ("single words", "as many true")],
    "42.4": [("they do nothing", "equal things"), ("others do their work", "something first")],
    "43.6": [("it moves the answer less", "equally far"), ("it acts on fewer tokens than the gate", "the same tokens"), ("its direction is better", "one direction")],
    "44.6": [("it knows which atoms are clean", "no more than how far"), ("it knows how often an atom fires", "By density alone"), ("it knows nothing", "above every shuffle")],
    "45.3": [("each other", "says anything of the other"), ("chance", "four times as often")],
    "lab_01.2": [(0.125, "leaves out the reconstruction"), (0.5, "Halve it")],
    "lab_01.4": [("0.05", "already cuts"), (0.2, "smaller λ")],
    "lab_02.2": [(500, "½")],
    "lab_02.4": [(8, "With eight units"), (16, "Sixteen are enough")],
    "lab_03.2": [(10, "held")],
    "lab_03.4": [("5", "swings faster")],
    "lab_04.2": [(1, "overlap"), (1.96, "1 / L")],
    "lab_04.4": [(0.3, "At a lower price"), ("3", "the other end")],
    "lab_05.3": [(1000, "One fewer"), (99, "1/100")],
    "lab_05.4": [(1.25, "the difference"), (1.5, "first width")],
    "lab_06.1": [(0.2, "variance"), (0.5, "noise alone")],
    "lab_06.4": [("50%", "nearly sure"), ("25%", "longer with")],
    "lab_07.2": [(3, "change of +1")],
    "lab_07.4": [("0.1", "1.2 times"), (0.3, "1.6 times")],
    "lab_08.2": [(36, "within rows")],
    "lab_08.4": [(4, "the turn"), (6, "the roll")],
    "lab_09.2": [(4 / 99, "count it")],
    "lab_09.4": [("no", "solid line")],
    "lab_10.2": [(4, "patches"), (8, "")],
    "lab_10.4": [("3", "fit many images"), (5, "of several images")],
}  # fmt: skip
"""Wrong answers, with a part of what the verdict says of them."""

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
    ("41.2", 0.8, 0.4, 0.6),
    ("41.4", 0.8, 0.2, 0.4),
    ("42.3", 0.6, -0.1, 0.2),
    ("42.5", 0.5, 1.0, 1.5),
    ("43.5", 0.3, 0.6, 1.6),
    ("44.7", 0.6, 0.25, 0.55),
    ("45.6", 0.5, 0.885, 0.895),
    ("45.7", 0.9, 0.3, 0.7),
    ("38.2", 0.2, 1.0, 4.0),
    ("06.3", 0.3, 0.5, 0.8),
    ("02.9", 1.0, 0.3, 0.7),
    ("04.2", 0.5, 0.9, 0.96),
    ("04.4", 0.5, 0.55, 0.85),
    ("27.2", 0.5, 0.1, 0.5),
    ("10.4", 0.5, 0.8, 1.0),
]
"""Number, a guess, and the bounds that question and hints give to what is measured."""


@pytest.mark.parametrize("id", ANSWERS)
def test_the_answers_of_the_course_are_right(id: str) -> None:
    assert exercise(id).check(ANSWERS[id])


@pytest.mark.parametrize("id", NEAR)
def test_mistakes_are_named(id: str) -> None:
    for answer, words in NEAR[id]:
        exercise(id).reset()
        verdict = exercise(id).check(answer)
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
