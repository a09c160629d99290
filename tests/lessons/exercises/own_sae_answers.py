"""Ten wrong answers to each exercise of notebook 24, as students write them, and what each is told."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from sae_nb_lessons.studies import encode, hidden_rows, own_sae, replacements, unit_rows
from torch import Tensor

from tests.lessons.exercises.asked import Asked


def top(u: Tensor, k: int) -> Tensor:
    """The k largest of each row, as they are."""
    values, atoms = u.topk(k, dim=1)
    return torch.zeros_like(u).scatter(1, atoms, values)


ENCODERS = [
    (lambda x, E, a, b, k: top(x @ E.T + a, k).relu(), "bias b is not subtracted"),
    (lambda x, E, a, b, k: top((x + b) @ E.T + a, k).relu(), "You add b to x"),
    (lambda x, E, a, b, k: top((x - b) @ E.T, k).relu(), "offset a is missing"),
    (lambda x, E, a, b, k: top((x - b) @ E.T + a, k), "Some of your codes are negative"),
    (lambda x, E, a, b, k: ((x - b) @ E.T + a).relu(), "ReLU SAE"),
    (lambda x, E, a, b, k: (top((x - b) @ E.T + a, k) != 0).float(), "which atoms are on, and not how"),
    (lambda x, E, a, b, k: -top(-((x - b) @ E.T + a), k), "For 6 rows and k = 3 yours"),
    (
        lambda x, E, a, b, k: torch.where(
            ((x - b) @ E.T + a).abs() >= ((x - b) @ E.T + a).abs().topk(k, 1).values[:, -1:],
            (x - b) @ E.T + a, torch.zeros(()),
        ).relu(),
        "You choose the largest by size",
    ),
    (
        lambda x, E, a, b, k: torch.where(
            (u := (x - b) @ E.T + a) >= u.flatten().sort().values[-k * len(x)], u, torch.zeros(())
        ).relu(),
        "That is BatchTopK",
    ),
    (
        lambda x, E, a, b, k: ((v := (x - b) @ E.T) + a).relu()
        * (v >= v.topk(k, 1).values[:, -1:]),
        "You choose the k atoms before adding a",
    ),
]  # fmt: skip

LOSSES = [
    (lambda x, y: torch.nn.functional.mse_loss(y, x), "mean squared error"),
    (lambda x, y: ((x - y) ** 2).sum(), "a sum of squares"),
    (lambda x, y: ((x - y) ** 2).sum() / (x**2).sum(), "divide by Σ‖x‖²"),
    (lambda x, y: ((x - y) ** 2).mean() / x.var(correction=0), "one mean over all numbers"),
    (lambda x, y: 1 - ((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum(), "This is R²"),
    (lambda x, y: (((x - y) ** 2).sum(1) / ((x - x.mean(0)) ** 2).sum(1)).mean(), "each row's own ratio"),
    (lambda x, y: (x - y).norm() / (x - x.mean(0)).norm(), "lengths, not squares"),
    (lambda x, y: ((x - y) ** 2).mean(0).sum() / x.var(0).sum(), "For 6 rows yours gives"),
    (lambda x, y: ((x - y) ** 2).sum() / ((y - y.mean(0)) ** 2).sum(), "spread of the reconstruction"),
    (lambda x, y: (x - y).abs().mean() / (x - x.mean(0)).abs().mean(), "sizes, not squares"),
]  # fmt: skip

UNITS = [
    (lambda D: torch.nn.functional.normalize(D, dim=0), "columns' lengths"),
    (lambda D: D / D.norm(), "that of the whole matrix"),
    (lambda D: D / (D * D).sum(1)[:, None], "squared lengths"),
    (lambda D: torch.nn.functional.normalize(D, p=1, dim=1), "the sum of sizes"),
    (lambda D: D / D.abs().max(1).values[:, None], "largest entry"),
    (lambda D: (D - D.mean(1)[:, None]) / D.std(1)[:, None], "another direction"),
    (lambda D: D.norm(dim=1), "You return the lengths"),
    (lambda D: D, "what came in"),
    (lambda D: torch.sign(D), "a sign"),
    (lambda D: D.softmax(dim=1), "For five atoms of width 5 yours"),
]


def worst(rows: Tensor, by: Tensor, n: int) -> Tensor:
    """Rows with the largest of some number."""
    return rows[by.argsort(descending=True)[:n]]


REPLACED = [
    (lambda x, y, n: unit_rows(worst(x, (x - y).norm(dim=1), n)), "the inputs themselves"),
    (lambda x, y, n: worst(x - y, (x - y).norm(dim=1), n), "their lengths are not 1"),
    (lambda x, y, n: unit_rows(worst(x - y, -(x - y).norm(dim=1), n)), "rebuilt best"),
    (lambda x, y, n: unit_rows(worst(x - y, x.norm(dim=1), n)), "the longest inputs"),
    (lambda x, y, n: unit_rows(worst(y - x, (x - y).norm(dim=1), n)), "the sign is turned"),
    (lambda x, y, n: unit_rows(worst(y, (x - y).norm(dim=1), n)), "return the reconstructions"),
    (lambda x, y, n: unit_rows(x - y)[:n], "the first n rows"),
    (lambda x, y, n: unit_rows(worst(x - y, (x - y).norm(dim=1), 1)).expand(n, -1), "the same residual"),
    (lambda x, y, n: (x - y).norm(dim=1).sort().values.flip(0)[:n], "the lengths of residuals"),
    (lambda x, y, n: unit_rows(torch.randn(n, x.shape[1])), "8 rows, 3 dead atoms yours"),
]  # fmt: skip


def loop(mistake: str = "") -> Callable[..., Any]:
    """The loop of the lesson as a student writes it, with a mistake."""

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
        order = "DaEb" if mistake == "order" else "EaDb"
        return tuple(done[name] for name in order)

    return fit


LOOPS = [
    (loop("norm"), "Your atoms end with lengths from"),
    (loop("once"), "all is as after one"),
    (loop("without E"), "E is as after one: never trained"),
    (loop("without D"), "D is as after one: never trained"),
    (loop("without b"), "b is as after one: never trained"),
    (loop("without a"), "a is as after one: never trained"),
    (loop("seed"), "Seeds 0 and 1 give the same atoms"),
    (loop("global"), "Two runs with the same seed"),
    (loop("k"), "`k` is not used"),
    (loop("up"), "worse than the mean"),
]


@cache
def found(seed: int, n_atoms: int = 64, steps: int = 600) -> Tensor:
    """A dictionary of a toy's features."""
    return own_sae(hidden_rows(seed), n_atoms, 2, steps, seed).D


def _dictionaries() -> list[Tensor]:
    return [found(seed) for seed in range(3)]


def asked() -> list[Asked]:
    """All of them; those that train are made when they are asked for."""
    right = _dictionaries()
    none = torch.Generator().manual_seed(0)
    toys = [
        ([right[0]] * 3, "Dictionary 1 lies on the features of toy 0"),
        ([right[1], right[0], right[2]], "Dictionary 0 lies on the features of toy 1"),
        ([right[0], right[2], right[1]], "Dictionary 1 lies on the features of toy 2"),
        ([one[:30] for one in right], "With 30 atoms at least 2 features have none"),
        (torch.randn(3, 64, 10, generator=none), "On toy 0 the mean cosine is"),
        ([found(seed, 64, 10) for seed in range(3)], "On toy 0 the mean cosine is"),
        ([found(seed, 32, 60) for seed in range(3)], "the mean cosine is"),
        ([right[0], right[1], torch.randn(64, 10, generator=none)], "On toy 2 the mean cosine is"),
        ([right[0], hidden_rows(1)[:64], right[2]], "On toy 1 the mean cosine is"),
        ([right[0], right[1], right[2].flip(1)], "On toy 2 the mean cosine is"),
    ]
    rows, n_atoms = torch.randn(20, 5, generator=none), 12
    return [
        Asked("24.1", right=[encode], near=ENCODERS),
        Asked(
            "24.2",
            right=[lambda x, y: float(((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum())],
            near=LOSSES,
        ),
        Asked("24.3", right=[unit_rows, lambda D: torch.nn.functional.normalize(D)], near=UNITS),
        Asked(
            "24.4",
            right=[replacements, lambda x, y, n: unit_rows(worst(x - y, (x - y).norm(dim=1), n))],
            near=REPLACED,
        ),
        Asked(
            "24.5",
            right=[loop()],
            near=LOOPS,
            malformed=[
                (loop("tuple"), "expected four tensors E (n, d), a (n,), D (n, d), b (d,), got a tuple of 2"),
                (lambda x, n, k, s, seed: x.sub_(1), "changed its argument 1"),
                (lambda x, n, k, s, seed: (rows,) * 4, "expected a tensor of shape (n,)"),
                (lambda x, n, k, s, seed: 1 / 0, "raised ZeroDivisionError"),
            ],
        ),
        Asked("24.6", right=[right, torch.stack(right)], near=toys, malformed=[(right[:2], "(3, n, 10)")]),
        Asked(
            "24.7",
            malformed=[
                ((rows[:n_atoms], torch.zeros(12), rows[:12], torch.zeros(5)), "got D of shape (12, 5)"),
                ((rows, torch.zeros(3), rows, torch.zeros(5)), "got the shapes (20, 5), (3,)"),
            ],
        ),
    ]  # fmt: skip
