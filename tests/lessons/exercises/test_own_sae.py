"""Notebook 02: loops and dictionaries of one's own, judged with their mistakes, and the SAE that it builds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sae_nb_lessons import exercise
from sae_nb_lessons.exercises import _own_sae as exercises
from sae_nb_lessons.studies import OwnSAE, hidden_rows, on_features, own_sae
from sae_nb_lessons.studies._own_sae import encode, random_cosine, replacements, unit_rows
from torch import Tensor

import sae_nb as sn


def loop(mistake: str = "") -> Callable[..., Any]:
    def fit(x: Tensor, n_atoms: int, k: int, steps: int, seed: int) -> Any:
        draws = torch.Generator().manual_seed(7 if mistake == "seed" else seed)
        d = x.shape[1]
        first = torch.randn(n_atoms, d, generator=None if mistake == "global" else draws)
        D = unit_rows(first).requires_grad_()
        E = D.detach().clone().requires_grad_()
        a, b = torch.zeros(n_atoms, requires_grad=True), x.mean(0).requires_grad_()
        named = {"E": E, "a": a, "D": D, "b": b}
        trained = [one for name, one in named.items() if mistake != f"without {name}"]
        optimiser = torch.optim.Adam(trained, lr=0.08 / d**0.5, maximize=mistake == "up")
        for _ in range(1 if mistake == "once" else steps):
            rows = x[torch.randint(len(x), (512,), generator=draws)]
            x_hat = encode(rows, E, a, b, 2 if mistake == "k" else k) @ D + b
            optimiser.zero_grad()
            ((rows - x_hat).square().sum() / (rows - rows.mean(0)).square().sum()).backward()
            optimiser.step()
            if mistake != "norm":
                with torch.no_grad():
                    D.copy_(unit_rows(D))
        done = {name: one.detach() for name, one in named.items()}
        if mistake == "tuple":
            return done["D"], done["b"]
        return tuple(done[name] for name in "EaDb")

    return fit


@pytest.mark.parametrize(
    ("mistake", "words"),
    {
        "norm": "Your atoms end with lengths from",
        "once": "all is as after one",
        "without E": "E is as after one: never trained",
        "seed": "Seeds 0 and 1 give the same atoms",
        "global": "Two runs with the same seed",
        "k": "`k` is not used",
        "up": "worse than the mean",
        "tuple": "got a tuple of 2",
    }.items(),
)
def test_a_loop_is_told_its_mistake(mistake: str, words: str) -> None:
    assert words in exercise("02.5").check(loop(mistake)).message


def test_a_loop_without_a_mistake_is_right() -> None:
    assert exercise("02.5").check(loop())


def test_three_dictionaries_are_held_against_three_toys() -> None:
    right = [own_sae(hidden_rows(seed), 64, 2, 600, seed).D for seed in range(3)]
    assert exercise("02.6").check(right)
    assert exercise("02.6").check(torch.stack(right))
    for answer, words in (
        ([right[0]] * 3, "Dictionary 1 lies on the features of toy 0"),
        ([right[1], right[0], right[2]], "Dictionary 0 lies on the features of toy 1"),
        ([one[:30] for one in right], "With 30 atoms at least 2 features have none"),
        ([right[0], right[1], right[2].flip(1)], "On toy 2 the mean cosine is"),
        (right[:2], "(3, n, 10)"),
    ):
        assert words in exercise("02.6").check(answer).message


def test_an_sae_of_a_real_model_is_judged_on_new_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """By R², after what is wrong with it in a way that has a name."""
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 16, generator=draws).relu() @ torch.randn(16, 64, generator=draws)
    monkeypatch.setattr(exercises, "_held_out", lambda: x)
    good = own_sae(x, 512, 20, 150)
    given = good.E, good.a, good.D, good.b
    silent = good.E, good.a - 100 * (torch.arange(512) > 30), good.D, good.b
    random = torch.randn(512, 64, generator=draws) / 8
    assert exercise("02.7").check(given)
    for answer, words in (
        ((good.E, good.a, 2 * good.D, good.b), "lengths from 2.00"),
        (silent, "atoms never fire on new images"),
        ((random, good.a, good.E, good.b), "lengths from"),
        ((good.D, good.a, 0 * good.E, good.b), "lengths from 0.00"),
        ((good.E, good.a, good.D.flip(0), good.b), "0.95 are asked"),
    ):
        assert words in exercise("02.7").check(answer).message


def test_a_penalty_is_dodged_without_unit_norm() -> None:
    assert 0.3 < exercises.strength_without_unit_norm() < 0.7
    x = hidden_rows(0)
    held, free = (own_sae(x, 64, 2, l1=0.05, unit_norm=unit) for unit in (True, False))
    assert held.r2(x) == pytest.approx(free.r2(x), abs=0.01)


def test_the_lessons_sae_is_the_toolkits() -> None:
    """Codes of both with the same numbers, and R² as reports compute it."""
    x = hidden_rows(0)[:500]
    own = own_sae(x, 64, 2, 50)
    theirs = exercises._toolkit_codes(x, own.E, own.a, own.b, 2)
    assert torch.allclose(own.encode(x), theirs, atol=1e-6)
    x_hat: Any = own.encode(x) @ own.D + own.b
    assert own.r2(x) == pytest.approx(sn.evaluation.explained_variance(x, x_hat), abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_lessons_sae_finds_the_features_of_a_toy_it_shares_no_seed_with(seed: int) -> None:
    """Every feature, on three seeds; random directions of the toy's own seed would look better than they are."""
    x = hidden_rows(seed)
    cosines = on_features(seed, own_sae(x, 64, 2, 600, seed).D)
    assert cosines.min() > 0.99
    blind = torch.randn(64, 10, generator=torch.Generator().manual_seed(seed))
    assert on_features(seed, blind).mean() < 0.73


def test_dead_atoms_return_and_curves_fall() -> None:
    """An atom that is far from everything is put where it is needed; random directions are the floor."""
    x = hidden_rows(0)
    whole = own_sae(x, 64, 2)
    assert isinstance(whole, OwnSAE)
    for _, values in (whole.sorted_norms(), whole.sorted_rates(x)):
        assert values == sorted(values, reverse=True)
    rows = replacements(x[:50], torch.zeros(50, 10), 3)
    assert torch.allclose(rows.norm(dim=1), torch.ones(3))
    assert 0.6 < random_cosine() < 0.75
