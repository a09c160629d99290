"""Notebook 25: ten wrong answers to each exercise in which a function is written, and what they are told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sae_nb_lessons import exercise
from sae_nb_lessons.exercises import _probing as exercises
from sae_nb_lessons.studies import columns_apart, even_digits, logistic, probe_table
from torch import Tensor
from torch.nn.functional import softplus

from tests.lessons.exercises.asked import told_apart

Probe = Callable[[Tensor, Tensor, float], Tensor]


def trained(
    loss: Callable[[Tensor, Tensor, Tensor, float], Tensor], steps: int = 500, rate: float = 0.1
) -> Probe:
    """A probe by Adam, as students write it, with any loss of scores, labels, weights and penalty."""

    def probe(x: Tensor, y: Tensor, penalty: float) -> Tensor:
        p = torch.zeros(x.shape[1] + 1, requires_grad=True)
        optimiser = torch.optim.Adam([p], lr=rate)
        for _ in range(steps):
            optimiser.zero_grad()
            loss(x.float() @ p[:-1] + p[-1], y, p, penalty).backward()
            optimiser.step()
        return p.detach()

    return probe


def log_loss(s: Tensor, y: Tensor) -> Tensor:
    """Of each row."""
    return softplus(torch.where(y, -s, s))


def held(p: Tensor, penalty: float) -> Tensor:
    """½ penalty ‖w‖²."""
    return penalty / 2 * p[:-1].square().sum()


RIGHT = trained(lambda s, y, p, c: log_loss(s, y).mean() + held(p, c))
PROBES = [
    (trained(lambda s, y, p, c: log_loss(s, y).mean()), "without the penalty"),
    (trained(lambda s, y, p, c: log_loss(s, y).mean() + c / 2 * (p**2).sum()), "also holds b"),
    (trained(lambda s, y, p, c: log_loss(s, y).mean() + 2 * held(p, c)), "twice what is asked"),
    (trained(lambda s, y, p, c: log_loss(s, y).sum() + held(p, c)), "the sum of the log losses"),
    (
        trained(lambda s, y, p, c: (s - y.float()).square().mean() + held(p, c)),
        "least squares on 0 and 1",
    ),
    (
        trained(lambda s, y, p, c: (s - 2 * y.float() + 1).square().mean() + held(p, c)),
        "least squares on −1 and 1",
    ),
    (trained(lambda s, y, p, c: log_loss(s, ~y).mean() + held(p, c)), "the other class"),
    (
        trained(lambda s, y, p, c: log_loss(s - p[-1], y).mean() + held(p, c)),
        "intercept b is missing",
    ),
    (trained(lambda s, y, p, c: log_loss(s, y).mean() + held(p, c), steps=5), "yours gives"),
    (
        trained(lambda s, y, p, c: log_loss(s, y).mean() + c / 2 * p[:-1].norm(), steps=900),
        "on ‖w‖, not on its square",
    ),
]

COLUMNS = [
    (lambda z, y, k: (z[y].mean(0) - z[~y].mean(0)).topk(k).indices, "larger where the label"),
    (lambda z, y, k: z[y].mean(0).topk(k).indices, "the mean where the label is true"),
    (lambda z, y, k: z.mean(0).topk(k).indices, "without the labels"),
    (lambda z, y, k: (z[y].mean(0) - z[~y].mean(0)).abs().argsort()[:k], "means are nearest"),
    (lambda z, y, k: (z[y].sum(0) - z[~y].sum(0)).abs().topk(k).indices, "You compare sums"),
    (lambda z, y, k: z.var(0).topk(k).indices, "by variance"),
    (lambda z, y, k: z[y].max(0).values.topk(k).indices, "one row decides"),
    (
        lambda z, y, k: ((z[y].mean(0) - z[~y].mean(0)).abs() / z.std(0)).topk(k).indices,
        "each column's deviation",
    ),
    (lambda z, y, k: torch.arange(k), "yours gives"),
    (lambda z, y, k: columns_apart(z, y, k - 1), "yours returns the shape"),
]


@pytest.mark.parametrize(
    ("id", "right", "wrong"),
    [
        ("25.1", RIGHT, PROBES),
        ("25.3", lambda z, y, k: columns_apart(z, y, k).flip(0), COLUMNS),
    ],
)
def test_ten_wrong_answers_are_told_apart(
    id: str, right: object, wrong: list[tuple[object, str]]
) -> None:
    """Each gets its own sentence, and seven or more of them the name of the mistake."""
    told_apart(id, right, wrong)


def test_other_shapes_cost_nothing() -> None:
    """A vector without b is named."""
    verdict = exercise("25.1").check(lambda x, y, penalty: logistic(x, y, penalty)[:-1])
    assert verdict.state == "form"
    assert "must return 5 numbers, w and then b; yours returned 4" in verdict.message


def test_a_probe_fits_what_means_nothing_and_five_random_directions_know_something() -> None:
    """As questions and hints say."""
    assert exercises.shuffled_fit() > 0.97
    assert 0.55 < exercises.by_five_random() < 0.85


def test_the_table_finds_what_is_planted_and_nothing_in_shuffled_labels() -> None:
    """One column that is the label; noise around it."""
    draws = torch.Generator().manual_seed(0)
    x, (_, labels) = torch.randn(1200, 8, generator=draws), even_digits()
    x[:, 3] += 4 * labels
    row = probe_table({"planted": x}, labels, 600).loc["planted"]
    assert row["all columns"] > 0.95 < row["5 columns"]
    assert abs(row["control: shuffled labels"] - 0.5) < 0.2
