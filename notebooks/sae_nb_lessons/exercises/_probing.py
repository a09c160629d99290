"""Exercises of notebook 04: a logistic probe, what it fits without anything to find, and a sparse probe."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import WrongForm, function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose
from sae_nb_lessons.studies._probing import (
    columns_apart,
    descend,
    log_loss,
    logistic,
    shuffled_fit,
)

SETTLED = 0.02
"""Largest difference of a weight from the minimum's: a descent that has nearly converged."""


# --- 04.1: a logistic probe -----------------------------------------------------------------------


def _other(kind: str, x: Tensor, y: Tensor, penalty: float) -> Tensor:
    """Return what a probe with a common mistake converges to."""
    x = x.double()

    def loss(p: Tensor) -> Tensor:
        w, scores = p[:-1], x @ p[:-1] + p[-1]
        signs = y.double() * 2 - 1
        held = penalty / 2 * w.square().sum()
        return {
            "free": lambda: log_loss(p, x, y) + 1e-6 * p.square().sum(),
            "whole": lambda: log_loss(p, x, y) + penalty / 2 * p.square().sum(),
            "twice": lambda: log_loss(p, x, y) + 2 * held,
            "sum": lambda: len(x) * log_loss(p, x, y) + held,
            "squares": lambda: (scores - y.double()).square().mean() + held,
            "signs": lambda: (scores - signs).square().mean() + held,
            "turned": lambda: log_loss(p, x, ~y) + held,
            "no b": lambda: log_loss(p, x - 0, y) + held + 1e6 * p[-1].square(),
            "length": lambda: log_loss(p, x, y) + penalty / 2 * (w.square().sum() + 1e-12).sqrt(),
            "sizes": lambda: log_loss(p, x, y) + penalty / 2 * (w.square() + 1e-8).sqrt().sum(),
        }[kind]()

    return descend(loss, x)


_PROBE_SLIPS = tuple(
    Slip(said, hint, partial(_other, kind))
    for kind, (said, hint) in {
        "free": ("These weights are without the penalty.", "Add `penalty / 2 * w.square().sum()` to the mean loss."),
        "whole": ("Your penalty also holds b. The intercept says how frequent the class is, and is left free.", "Only w in the penalty."),
        "twice": ("Your penalty is twice what is asked.", "½ · penalty · ‖w‖²."),
        "sum": ("You take the sum of the log losses, so the penalty weighs n times less.", "`.mean()` over rows."),
        "squares": ("This is least squares on 0 and 1, not logistic regression.", "The loss of a row is log(1 + e^−s), s its score for the right class."),
        "signs": ("This is least squares on −1 and 1, not logistic regression.", "The loss of a row is log(1 + e^−s), s its score for the right class."),
        "turned": ("Your probe points at the other class: signs are turned.", "A true label wants a large score."),
        "no b": ("The intercept b is missing, or 0.", "The last number of p is b, and it is trained, too."),
        "length": ("Your penalty is on ‖w‖, not on its square.", "`w.square().sum()`."),
        "sizes": ("Your penalty is ℓ1: Σ|w|.", "`w.square().sum()`."),
    }.items()
)  # fmt: skip


def _rows(seed: int, n: int = 80, d: int = 4) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=draws)
    y = x @ torch.randn(d, generator=draws) + 0.5 + torch.randn(n, generator=draws) > 0
    return x, y


def _judge_probe(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {
        f"{n} rows of width {d}, penalty {penalty:g}": (*_rows(seed, n, d), penalty)
        for seed, n, d, penalty in ((0, 80, 4, 0.1), (1, 60, 3, 0.3), (3, 80, 3, 0.02))
    }

    def sized(x: Tensor, y: Tensor, penalty: float) -> Tensor:
        found = mine(x, y, penalty)
        if found.shape != (x.shape[1] + 1,):
            raise WrongForm(
                f"for width {x.shape[1]} it must return {x.shape[1] + 1} numbers, w and then b; yours returned {len(found)}"
            )
        return found

    problem = diagnose(sized, logistic, cases, _PROBE_SLIPS, atol=SETTLED)
    if not isinstance(problem, str):
        return problem
    return _not_there(mine, next(iter(cases.values()))) or problem


def _not_there(mine: Callable[..., Tensor], given: tuple[Tensor, Tensor, float]) -> Mistake | None:
    """Return the mistake of a descent that has not begun, or has stopped on its way."""
    found, end = mine(*(x.clone() if isinstance(x, Tensor) else x for x in given)), logistic(*given)
    if not bool(found.any()):
        return Mistake(
            "All your numbers are 0, as at the start: nothing was minimised.",
            "`loss.backward()`, then `optimiser.step()`, many times; does p require a gradient?",
        )
    straight = torch.cosine_similarity(found, end, dim=0) > 0.9
    if straight and float(found.norm()) < 0.95 * float(end.norm()):
        return Mistake(
            "Your probe points the right way and is too short: the descent has not settled.",
            "More steps, or larger ones, until the loss no longer falls.",
        )
    return None


# --- 04.3: a sparse probe -------------------------------------------------------------------------


def _columns(kind: str, z: Tensor, y: Tensor, k: int) -> Tensor:
    on, off = z[y].mean(dim=0), z[~y].mean(dim=0)
    by = {
        "signed": on - off,
        "mean": on,
        "all": z.mean(dim=0),
        "least": -(on - off).abs(),
        "sums": (z[y].sum(dim=0) - z[~y].sum(dim=0)).abs(),
        "often": (z[y] > 0).double().mean(dim=0) - (z[~y] > 0).double().mean(dim=0),
        "varied": z.var(dim=0),
        "largest": z[y].amax(dim=0),
        "units": (on - off).abs() / z.std(dim=0),
        "sizes": (z[y].abs().mean(dim=0) - z[~y].abs().mean(dim=0)).abs(),
        "first": -torch.arange(z.shape[1]),
    }[kind]
    return by.topk(k).indices


_SPARSE_SLIPS = tuple(
    Slip(said, hint, partial(_columns, kind))
    for kind, (said, hint) in {
        "signed": ("You only take columns that are larger where the label is true. One that is off there says as much.", "`.abs()` of the difference."),
        "mean": ("You rank by the mean where the label is true. A column that is always on comes first, and says nothing.", "The difference of the two means."),
        "all": ("You rank by the mean over all rows, without the labels.", "The difference of the two means."),
        "least": ("You take the columns whose means are nearest.", "The largest differences: `topk(k)`."),
        "sums": ("You compare sums; with more rows of one class every column looks different.", "Means: `z[y].mean(dim=0)`."),
        "often": ("You compare how often a column is on, not its means.", "`z[y].mean(dim=0) - z[~y].mean(dim=0)`."),
        "varied": ("You rank by variance, without the labels.", "The difference of the two means."),
        "largest": ("You rank by the largest value where the label is true: one row decides.", "Means."),
        "first": ("You return the first k columns.", "The difference of the two means."),
        "units": ("You divide by each column's deviation. That is another good rule, and not the one asked.", "The plain difference of means."),
        "sizes": ("You take sizes before the means: a column that is 1 in one class and −1 in the other looks the same in both.", "Means first, then the size of their difference."),
    }.items()
)  # fmt: skip


def _judge_columns(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for seed, k in ((0, 3), (1, 5)):
        draws = torch.Generator().manual_seed(seed)
        y = torch.rand(60, generator=draws) < 0.3
        z = torch.randn(60, 12, generator=draws).relu() * (3 * torch.rand(12, generator=draws))
        z[:, 0] += 2
        z[y, 1] += 1.5
        z[~y, 2:4] += torch.tensor([1.2, 0.9])
        z[:, 4] = torch.where(y, 1.4, -1.4)
        cases[f"12 columns, k = {k}"] = (z, y, k)

    return diagnose(
        _in_order(mine), _in_order(columns_apart),
        cases, [Slip(s.said, s.hint, _in_order(s.way)) for s in _SPARSE_SLIPS],
    )  # fmt: skip


def _in_order(choose: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the chosen columns sorted: which they are counts, not their order."""
    return lambda z, y, k: torch.as_tensor(choose(z, y, k)).sort().values


@cache
def by_five_random() -> float:
    """Return the test accuracy of five columns of a random dictionary, with 600 labels; mean over five dictionaries."""
    import sae_nb as sn
    from sae_nb_lessons.studies import even_digits, probe_table, random_latents

    x, y = even_digits()
    sae = sn.load_sae("tiny-vit/resid_post.6")
    drawn = {f"random {seed}": random_latents(sae, x, seed) for seed in range(5)}
    return float(probe_table(drawn, y, 600)["5 columns"].mean())


TASKS = tasks(
    "probing",
    {
        "04.1": Answer(function(tensor("d + 1"), takes="x, y and penalty"), judge=_judge_probe),
        "04.2": Answer(number(0, 1), measure=shuffled_fit),
        "04.3": Answer(function(tensor("k"), takes="z, y and k"), judge=_judge_columns),
        "04.4": Answer(number(0, 1), measure=by_five_random),
    },
)
