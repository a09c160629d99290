"""Notebook 02: loops and dictionaries of one's own, judged with their mistakes, and the SAE that it builds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sae_nb_lessons import exercise
from sae_nb_lessons.exercises import _own_sae as exercises
from sae_nb_lessons.studies import OwnSAE, hidden_rows, on_features, own_sae
from sae_nb_lessons.studies._own_sae import encode, random_cosine, replacements
from torch import Tensor

import sae_nb as sn
from tests.lessons.exercises.answered import CELLS, handed_in

LOSS = "loss_of(rows, x_hat).backward()"
DRAWN = "torch.randint(len(x), (512,), generator=draws)"
LOOPS = [
    ("D.copy_(unit_rows(D))", "pass", "Your atoms end with lengths from"),
    ("manual_seed(seed)", "manual_seed(7)", "Seeds 0 and 1 give the same atoms"),
    (LOSS, "(rows - x_hat).square().mean().backward()", "your loss has a unit"),
    (LOSS, "(loss_of(rows, x_hat) + 0.01 * z.sum(dim=1).mean()).backward()", "one more term"),
    ("x_hat = z @ D + b", "x_hat = z @ D", "You rebuild without b"),
    (DRAWN, DRAWN.replace("512", "64"), "do not have 512 rows"),
    (DRAWN, "slice(512)", "nothing is drawn"),
    ("optim.Adam(", "optim.AdamW(", "Your optimiser is AdamW"),
    ("and len(dead)", "and False", "none was replaced"),
    ("fired.zero_()", "pass", "is never replaced, however long"),
    ("a[dead] = 0.0", "pass", "keeps its old offset"),
    ("(z > 0).sum", "(z > 1).sum", "You replace atoms that fire"),
]
"""A part of the solution, what stands there instead, and what is said to it."""


def loop(part: str = "", instead: str = "") -> Callable[..., Any]:
    steps = "\n".join(CELLS[id, "check"] for id in ("02.1", "02.2", "02.4", "02.5"))
    assert part in steps
    return handed_in(steps.replace(part, instead))


@pytest.mark.slow
@pytest.mark.parametrize(("part", "instead", "words"), LOOPS)
def test_a_loop_is_told_its_mistake(part: str, instead: str, words: str) -> None:
    verdict = exercise("02.5").check(loop(part, instead))
    assert not verdict
    assert words in verdict.message


@pytest.mark.slow
def test_a_loop_without_a_mistake_is_right() -> None:
    """Also one whose optimiser has another order, or whose rate falls at the end."""
    assert exercise("02.5").check(loop())
    cooled = lambda x, n, k, steps, seed: own_parts(own_sae(x, n, k, steps, seed))  # noqa: E731
    assert exercise("02.5").check(cooled)


def own_parts(one: OwnSAE) -> tuple[Tensor, ...]:
    return one.E, one.a, one.D, one.b


def test_a_part_that_cannot_be_trained_through_is_refused() -> None:
    loss = lambda x, y: ((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()  # noqa: E731
    assert exercise("02.1").check(encode)
    assert exercise("02.2").check(loss)
    for id, mine in (
        ("02.1", torch.no_grad()(encode)),
        ("02.2", lambda x, y: loss(x, y).item()),
    ):
        assert "no gradient" in exercise(id).check(mine).message


@pytest.mark.slow
def test_three_dictionaries_are_held_against_three_toys() -> None:
    hidden = [hidden_rows(seed) for seed in range(3)]
    right = [own_sae(hidden_rows(seed), 64, 3, 600, seed).D for seed in range(3)]
    assert exercise("02.6").check(right)
    assert exercise("02.6").check(torch.stack(right))
    encoders = [own_sae(rows, 64, 3, 600, seed).E for seed, rows in enumerate(hidden)]
    assert "is this E?" in exercise("02.6").check(encoders).message
    for answer, words in (
        ([right[0]] * 3, "Dictionary 1 lies on the features of toy 0"),
        ([one[:30] for one in right], "With 30 atoms at least 2 features have none"),
        (hidden, "(3, n, 10)"),
    ):
        verdict = exercise("02.6").check(answer)
        assert not verdict
        assert words in verdict.message


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_data_do_not_win(seed: int) -> None:
    """64 of them, as they are, are the higher floor; random directions the lower one."""
    raw = on_features(seed, hidden_rows(seed)[:64])
    assert 0.75 < raw.mean() < 0.85
    assert (raw > 0.9).mean() < 0.5
    assert random_cosine() < raw.mean()


@pytest.mark.slow
def test_atoms_that_begin_asleep_are_needed_back() -> None:
    """56 of 64 on two toys: without their return no feature is found, with it most are."""
    for seed in range(2):
        x = hidden_rows(seed)
        back, gone = (own_sae(x, 64, 3, asleep=56, revived=one) for one in (True, False))
        assert back.r2(x) > gone.r2(x) + 0.2
        found = [(on_features(seed, one.D) > 0.9).sum() for one in (back, gone)]
        assert found[0] > 15 > 3 > found[1]


@pytest.mark.slow
def test_a_rate_that_falls_lets_atoms_rest() -> None:
    x = hidden_rows(0)
    assert own_sae(x, 64, 3).r2(x) > own_sae(x, 64, 3, cooled=False).r2(x) + 0.003


@pytest.mark.slow
def test_an_sae_of_a_real_model_is_judged_on_new_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """By R², after what is wrong with it in a way that has a name."""
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 16, generator=draws).relu() @ torch.randn(16, 64, generator=draws)
    x = 5 * x + 10 * torch.randn(64, generator=draws)
    monkeypatch.setattr(exercises, "_held_out", lambda: x)
    good = own_sae(x, 512, 20, 150)
    E, a, D, b = own_parts(good)
    toolkit = sn.TopK(64, 512, 20, generator=torch.Generator().manual_seed(0))
    sn.train(toolkit, x, steps=150, batch_size=512, seed=0, progress=False)
    tensors = toolkit.to_saelens()
    theirs = tensors["W_enc"].T, tensors["b_enc"], tensors["W_dec"], tensors["b_dec"]
    for right in ((E, a, D, b), own_parts(own_sae(x, 512, 20, 200, cooled=False)), theirs):
        assert exercise("02.7").check(right)
    for answer, words in (
        ((E, a, 2 * D, b), "lengths from 2.00"),
        ((E, a - 100 * (torch.arange(512) > 30), D, b), "atoms never fire on new images"),
        ((E, a, D, 0 * b), "b is 0 long"),
        ((E, a, -D, b), "sign of D"),
    ):
        exercise("02.7").reset()
        verdict = exercise("02.7").check(answer)
        assert words in verdict.message
        assert verdict.hint.startswith("Hint: ")
    for answer, words in (
        ((E, b, D, a), "got the shapes"),
        ((E[:64], a[:64], D[:64], b), "of 512 atoms and width 64"),
        (good, "four tensors"),
    ):
        assert words in exercise("02.7").check(answer).message


@pytest.mark.slow
def test_a_penalty_is_dodged_without_unit_norm() -> None:
    assert 0.3 < exercises.strength_without_unit_norm() < 0.7
    x = hidden_rows(0)
    held, free = (own_sae(x, 64, 3, l1=0.01, unit_norm=unit) for unit in (True, False))
    assert held.r2(x) == pytest.approx(free.r2(x), abs=0.01)


def test_the_lessons_sae_is_the_toolkits() -> None:
    """Codes of both with the same numbers, and R² as reports compute it."""
    x = hidden_rows(0)[:500]
    own = own_sae(x, 64, 3, 50)
    theirs = exercises._toolkit_codes(x, own.E, own.a, own.b, 3)
    assert torch.allclose(own.encode(x), theirs, atol=1e-6)
    x_hat: Any = own.encode(x) @ own.D + own.b
    assert own.r2(x) == pytest.approx(sn.evaluation.explained_variance(x, x_hat), abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_lessons_sae_finds_the_features_of_a_toy_it_shares_no_seed_with(seed: int) -> None:
    """Every feature, on three seeds; random directions of the toy's own seed would look better than they are."""
    x = hidden_rows(seed)
    cosines = on_features(seed, own_sae(x, 64, 3, 600, seed).D)
    assert cosines.min() > 0.99
    blind = torch.randn(64, 10, generator=torch.Generator().manual_seed(seed))
    assert on_features(seed, blind).mean() < 0.73


def test_dead_atoms_return_and_curves_fall() -> None:
    """An atom that is far from everything is put where it is needed; random directions are the floor."""
    x = hidden_rows(0)
    whole = own_sae(x, 64, 3)
    assert isinstance(whole, OwnSAE)
    for _, values in (whole.sorted_norms(), whole.sorted_rates(x)):
        assert values == sorted(values, reverse=True)
    rows = replacements(x[:50], torch.zeros(50, 10), 3)
    assert torch.allclose(rows.norm(dim=1), torch.ones(3))
    assert 0.6 < random_cosine() < 0.75
