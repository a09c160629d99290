"""Exercises of notebook 35: do two halves of the texts agree, and a cap on a direction."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor, words
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

LONGEST = 40
"""Words that a claim takes at least."""

# --- 35.1: do two halves agree? ---------------------------------------------------------------------


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return a @ b / (a.norm() * b.norm())


def _difference(x: Tensor, y: Tensor) -> Tensor:
    return x.mean(dim=0) - y.mean(dim=0)


def _agreement(x: Tensor, y: Tensor, half: Tensor) -> Tensor:
    return _cosine(_difference(x[half], y[half]), _difference(x[~half], y[~half]))


def _agreement_slips() -> tuple[Slip, ...]:
    def made(way: str, x: Tensor, y: Tensor, half: Tensor) -> Tensor:
        one, other = _difference(x[half], y[half]), _difference(x[~half], y[~half])
        sums = x[half].sum(dim=0) - y[half].sum(dim=0), x[~half].sum(dim=0) - y[~half].sum(dim=0)
        ways: dict[str, Callable[[], Tensor]] = {
            "product": lambda: one @ other,
            "same": lambda: _cosine(one, one),
            "whole": lambda: _cosine(one, _difference(x, y)),
            "groups": lambda: _cosine(x.mean(dim=0), y.mean(dim=0)),
            "first": lambda: _cosine(x[half].mean(dim=0), x[~half].mean(dim=0)),
            "crossed": lambda: _cosine(_difference(x[half], y[~half]), _difference(x[~half], y[half])),
            "across": lambda: _cosine(_difference(x[half], x[~half]), _difference(y[half], y[~half])),
            "turned": lambda: -_cosine(one, other),
            "angle": lambda: _cosine(one, other).arccos(),
            "squared": lambda: one @ other / (one @ one * (other @ other)),
            "half": lambda: one @ other / (one @ one),
            "pairs": lambda: torch.cosine_similarity(x[half] - y[half], x[~half] - y[~half]).mean(),
            "centred": lambda: _cosine(one - one.mean(), other - other.mean()),
            "sums": lambda: (sums[0] * sums[1]).sum(),
        }  # fmt: skip
        return ways[way]()

    told = {
        "product": ("This product grows with the lengths; asked is the cosine.", "Divide by both lengths."),
        "same": ("You compare a half with itself.", "The second direction is of the rows where `half` is false: `x[~half]`."),
        "whole": ("You compare a half with all rows, of which it is a part.", "The second direction is of the other rows alone: `x[~half]`."),
        "groups": ("You compare the means of the two groups, not two directions.", "A direction is a difference of two means."),
        "first": ("You compare means of the first group; a direction is a difference of two means.", "Subtract the mean of y's half from that of x's."),
        "crossed": ("You subtract the other half of y. Each direction must be of one half alone.", "`x[half]` with `y[half]`, `x[~half]` with `y[~half]`."),
        "across": ("You subtract half from half within a group; a direction goes from y to x.", "`x[half].mean(0) - y[half].mean(0)`, and the same of `~half`."),
        "turned": ("One of your directions goes from x to y.", "Both from y to x."),
        "angle": ("This is the angle; asked is its cosine.", "Leave arccos out."),
        "squared": ("You divide by the squared lengths.", "`a.norm() * b.norm()`."),
        "half": ("You divide by one length twice.", "`a.norm() * b.norm()`."),
        "pairs": ("You take the cosine of each pair of rows and then the mean; first take means, then one cosine.", "`x[half].mean(dim=0)`."),
        "centred": ("You took the mean over coordinates off; that is a correlation.", "The cosine of the differences as they are."),
        "sums": ("Sums of rows instead of means, and no lengths.", "Means, then divide by both lengths."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_agreement(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for n, seed, name in ((8, 0, ""), (12, 1, ""), (10, 2, ", whose halves point apart")):
        draws = torch.Generator().manual_seed(seed)
        x, y = (torch.randn(n, 6, generator=draws).double() for _ in range(2))
        half = torch.zeros(n, dtype=torch.bool)
        half[torch.randperm(n, generator=draws)[: n // 2]] = True
        along = torch.tensor([2.0, 1, 0, 0, 0, 3]) * (1 - 4 * half[:, None] if name else 1)
        cases[f"{n} rows of each group{name}"] = (x + along, y + 1, half)
    return diagnose(mine, _agreement, cases, _agreement_slips(), atol=1e-6)


# --- 35.3: a cap --------------------------------------------------------------------------------------


def _capped(x: Tensor, v: Tensor, most: float) -> Tensor:
    unit = v / v.norm()
    return x - (x @ unit - most).clamp(min=0)[:, None] * unit


def _cap_slips() -> tuple[Slip, ...]:
    def made(way: str, x: Tensor, v: Tensor, most: float) -> Tensor:
        unit = v / v.norm()
        p = x @ unit
        over = (p - most).clamp(min=0)
        ways: dict[str, Callable[[], Tensor]] = {
            "length": lambda: x - (x @ v - most).clamp(min=0)[:, None] * v,
            "amount": lambda: x - (x @ v - most).clamp(min=0)[:, None] * unit,
            "everywhere": lambda: x - (p - most)[:, None] * unit,
            "floor": lambda: x - (p - most).clamp(max=0)[:, None] * unit,
            "added": lambda: x + over[:, None] * unit,
            "gate": lambda: x - most * (p > most)[:, None] * unit,
            "removed": lambda: x - (p * (p > most))[:, None] * unit,
            "push": lambda: x - most * unit,
            "coordinates": lambda: x.clamp(max=most),
            "along": lambda: p.clamp(max=most)[:, None] * unit,
            "both": lambda: x - (p - p.clamp(-most, most))[:, None] * unit,
            "text": lambda: x - (p.mean() - most).clamp(min=0) * unit,
            "rows": lambda: x * (p.clamp(max=most) / p)[:, None],
            "still": lambda: x,
        }
        return ways[way]()

    told = {
        "length": ("v has a length of its own; along it is ⟨x, v⟩ / ‖v‖.", "Begin with `unit = v / v.norm()`."),
        "amount": ("You measure along v as it is, and move along it at length 1.", "Measure along the unit vector, too."),
        "everywhere": ("Rows below the cap are moved up to it; a cap leaves them alone.", "`.clamp(min=0)` of what is over."),
        "floor": ("This is a floor: rows below are moved up, and rows above stay.", "`.clamp(min=0)`."),
        "added": ("You add what is over instead of taking it off.", "`x - over * unit`."),
        "gate": ("This is a push behind a gate: rows above `most` are moved by `most`, not to it.", "Take off what is over: ⟨x, unit⟩ − most."),
        "removed": ("You take off all that rows above have along v; they shall keep `most`.", "Take off what is over: ⟨x, unit⟩ − most."),
        "push": ("You push every row by the same; rows below the cap must stay.", "Take off what is over, where something is."),
        "coordinates": ("You cap each coordinate; asked is the amount along v.", "⟨x, unit⟩, one number for each row."),
        "along": ("You return the part along v alone: what else the row had is lost.", "`x - over * unit`."),
        "both": ("You cap it from below as well, at −most.", "Rows below stay, however far."),
        "text": ("You cap the mean over rows; each row has its own amount.", "One number for each row."),
        "rows": ("You shrink the whole row; only its part along v may change.", "`x - over * unit`."),
        "still": ("Nothing has changed.", "Rows above the cap must come down to it."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_capped(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for n, d, most, seed in ((12, 5, 0.4, 0), (20, 3, 0.9, 1)):
        draws = torch.Generator().manual_seed(seed)
        x, v = (torch.randn(*shape, generator=draws).double() for shape in ((n, d), (d,)))
        cases[f"{n} rows and a cap at {most:g}"] = (2 * x + v, 1.7 * v, most)
    return diagnose(mine, _capped, cases, _cap_slips(), atol=1e-6)


# --- 35.2 and 35.4: predictions ---------------------------------------------------------------------------


@cache
def best_of_random() -> float:
    """Return the AUC of the best of 100 random directions on the sixteen texts of tiny-gpt."""
    from sae_nb_lessons.studies.moods import moods, said

    return float(said(moods("tiny-gpt")).separation_random)


def cost_of_capping() -> float:
    """Return the recorded cost of the cap on prose as a share of the push's."""
    from sae_nb_studies.reproductions import recorded

    return float(recorded("capping").of("harm of capping as a share of adding's").mean)


TASKS = tasks(
    "moods",
    {
        "35.1": Answer(
            function(number(), takes="x (n, d), y (n, d) and half, n times True or False"),
            judge=_judge_agreement,
        ),
        "35.2": Answer(number(0, 1), measure=best_of_random),
        "35.3": Answer(
            function(tensor("n", "d"), takes="x (n, d), v (d,) and most"),
            judge=_judge_capped,
        ),
        "35.4": Answer(number(0, 2), measure=cost_of_capping),
        "35.5": Answer(words(LONGEST)),
    },
)
