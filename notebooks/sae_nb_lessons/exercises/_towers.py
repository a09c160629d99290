"""Exercises of notebook 27: a search by captions, atoms of one side, the bridge, an atom chosen on images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sae_nb_lessons.exercises._answers import function, number, tensor, whole_number
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose
from sae_nb_lessons.studies._two_towers import (
    best_detector,
    bridges,
    own_found,
    sides,
    split_share,
)

N_ATOMS = 6


def _share(found: Tensor) -> float:
    """Return the share of rows whose place is their own."""
    return float((found == torch.arange(len(found))).double().mean())


def _unit_product(x: Tensor, y: Tensor) -> Tensor:
    return normalize(x, dim=1) @ normalize(y, dim=1).T


_SEARCH_SLIPS = tuple(
    Slip(*one)
    for one in (
        (
            "You compare dot products: a long caption wins against everyone's own.",
            "Divide every row by its length first.",
            lambda x, y: _share((x @ y.T).argmax(dim=1)),
        ),
        (
            "You search for the image of each caption. Asked is the caption of each image.",
            "The captions are the columns: the largest of each row.",
            lambda x, y: _share(_unit_product(x, y).argmax(dim=0)),
        ),
        (
            "You divide every column by its length, not every row.",
            "`normalize(x, dim=1)` divides rows.",
            lambda x, y: _share((normalize(x, dim=0) @ normalize(y, dim=0).T).argmax(dim=1)),
        ),
        (
            "You search by distance without dividing by the length: long captions are far from everything.",
            "Divide every row by its length first.",
            lambda x, y: _share(torch.cdist(x, y).argmin(dim=1)),
        ),
        (
            "You take the smallest cosine.",
            "The nearest caption has the largest cosine: `argmax`.",
            lambda x, y: _share(_unit_product(x, y).argmin(dim=1)),
        ),
        (
            "You ask whether the own caption is among the nearest two.",
            "It has to be the nearest of all.",
            lambda x, y: (
                (_unit_product(x, y).topk(2).indices == torch.arange(len(x))[:, None])
                .any(dim=1)
                .double()
                .mean()
            ),
        ),
        (
            "You ask for both directions: the image's caption, and the caption's image.",
            "Only the first: the largest of each row.",
            lambda x, y: (
                (
                    (_unit_product(x, y).argmax(dim=0) == torch.arange(len(x)))
                    & (_unit_product(x, y).argmax(dim=1) == torch.arange(len(x)))
                )
                .double()
                .mean()
            ),
        ),
        (
            "You return the share whose own caption is not the nearest.",
            "1 minus it.",
            lambda x, y: 1 - own_found(x, y),
        ),
        (
            "You return how many, not the share.",
            "Divide by the number of images.",
            lambda x, y: _share(_unit_product(x, y).argmax(dim=1)) * len(x),
        ),
        (
            "You return the mean cosine of the pairs. A pair may be close, and another caption closer.",
            "Compare the own caption with all the others.",
            lambda x, y: float(_unit_product(x, y).diagonal().mean()),
        ),
    )
)


def _judge_search(mine: Callable[..., float]) -> Mistake | str | None:
    cases = {}
    for seed, (n, d) in enumerate(((40, 5), (25, 4), (60, 3))):
        draws = torch.Generator().manual_seed(seed)
        x = torch.randn(n, d, generator=draws)
        y = x + 0.5 * torch.randn(n, d, generator=draws)
        lengths = (torch.randn(2, n, 1, generator=draws) * 0.8).exp()
        cases[f"{n} pairs of {d} numbers"] = (x * lengths[0], y * lengths[1])
    return diagnose(mine, own_found, cases, _SEARCH_SLIPS)


def _strengths() -> dict[str, tuple[Tensor, Tensor]]:
    """Return codes of images and captions by a description; the last atom never fires."""
    cases = {}
    for seed, n in ((0, 30), (1, 50)):
        draws = torch.Generator().manual_seed(seed)
        both = torch.randn(2, n, N_ATOMS, generator=draws).relu()
        both = both * (1 + 4 * torch.rand(2, 1, N_ATOMS, generator=draws))
        both[1, :, 0], both[0, :, 1], both[:, :, -1] = 0, 0, 0
        cases[f"{n} pairs, {N_ATOMS} atoms"] = (both[0] / n, both[1] / n)
    return cases


def _of(first: Tensor, second: Tensor) -> Tensor:
    return torch.where(first + second > 0, first / (first + second).clamp(min=1e-12), 0.5)


_SIDE_SLIPS = tuple(
    Slip(*one)
    for one in (
        (
            "1 is captions alone in yours.",
            "What is in the images stands above the bar.",
            lambda z, w: _of(w.mean(dim=0), z.mean(dim=0)),
        ),
        (
            "You count how often an atom fires, not how strongly.",
            "Means of the strengths themselves.",
            lambda z, w: _of((z > 0).double().mean(dim=0), (w > 0).double().mean(dim=0)),
        ),
        (
            "You take the largest strength of each side: one row decides.",
            "Means over all rows.",
            lambda z, w: _of(z.max(dim=0).values, w.max(dim=0).values),
        ),
        (
            "You take means over the rows on which an atom fires alone, so that a rare firing counts in full.",
            "Means over all rows, those with 0 included.",
            lambda z, w: _of(*(c.sum(dim=0) / (c > 0).sum(dim=0).clamp(min=1) for c in (z, w))),
        ),
        (
            "You take squares: strong rows count more.",
            "Means of the strengths themselves.",
            lambda z, w: _of(z.square().mean(dim=0), w.square().mean(dim=0)),
        ),
        (
            "An atom that never fires has 0 in yours: captions alone.",
            "0 / 0 has no side: return 0.5 there.",
            lambda z, w: z.mean(dim=0) / (z.mean(dim=0) + w.mean(dim=0)).clamp(min=1e-12),
        ),
        (
            "You divide images by captions. The share is of both together.",
            "Divide by the sum of both.",
            lambda z, w: torch.where(
                z.sum(0) + w.sum(0) > 0, z.mean(0) / w.mean(0).clamp(min=1e-12), 0.5
            ),
        ),
        (
            "You take a share in each row, then their mean: a faint row counts as much as a strong one.",
            "Two means first, then one share.",
            lambda z, w: _of(z, w).mean(dim=0),
        ),
        (
            "You divide by the larger of both means.",
            "Divide by the sum of both.",
            lambda z, w: torch.where(
                z.sum(0) + w.sum(0) > 0,
                z.mean(0) / torch.maximum(z.mean(0), w.mean(0)).clamp(min=1e-12),
                0.5,
            ),
        ),
        (
            "You return the difference, between −1 and 1.",
            "A share: images, divided by the sum of both.",
            lambda z, w: 2 * _of(z.mean(dim=0), w.mean(dim=0)) - 1,
        ),
    )
)


def _judge_sides(mine: Callable[..., Tensor]) -> Mistake | str | None:
    return diagnose(mine, sides, _strengths(), _SIDE_SLIPS)


_BRIDGE_SLIPS = tuple(
    Slip(*one)
    for one in (
        (
            "You sum over pairs: twice the pairs give twice the bridge.",
            "Divide by the number of pairs.",
            lambda z, w, D: z.T @ w * (D @ D.T),
        ),
        (
            "You leave out the directions: two atoms that point apart say different things.",
            "Multiply by `D @ D.T`, number by number.",
            lambda z, w, D: z.T @ w / len(z),  # noqa: ARG005
        ),
        (
            "Rows and columns are exchanged: i is an atom of images, j one of captions.",
            "`z.T @ w` has the images' atoms as rows.",
            lambda z, w, D: w.T @ z / len(z) * (D @ D.T),
        ),
        (
            "You take the product of means. That is the bridge of shuffled pairs: who fires together is lost.",
            "Multiply first, then take the mean.",
            lambda z, w, D: torch.outer(z.mean(dim=0), w.mean(dim=0)) * (D @ D.T),
        ),
        (
            "You count on which pairs both fire, not how strongly.",
            "Products of the strengths themselves.",
            lambda z, w, D: (z > 0).double().T @ (w > 0).double() / len(z) * (D @ D.T).double(),
        ),
        (
            "You take the mean away from both sides first: that is a covariance.",
            "The mean of the products as they are.",
            lambda z, w, D: (z - z.mean(0)).T @ (w - w.mean(0)) / len(z) * (D @ D.T),
        ),
        (
            "You only keep each atom with itself. Two atoms may say the same thing, one in each modality.",
            "All pairs i, j.",
            lambda z, w, D: (z.T @ w / len(z) * (D @ D.T)).diagonal().diag(),
        ),
        (
            "You multiply the matrices. Each number of one belongs to one number of the other.",
            "`*`, not `@`, between the two.",
            lambda z, w, D: z.T @ w / len(z) @ (D @ D.T),
        ),
        (
            "You take cosines. These atoms have lengths, and asked is the dot product.",
            "`D @ D.T` as it is.",
            lambda z, w, D: z.T @ w / len(z) * _unit_product(D, D),
        ),
        (
            "You take the size of the dot products: atoms that point opposite ways would join.",
            "Keep the sign.",
            lambda z, w, D: z.T @ w / len(z) * (D @ D.T).abs(),
        ),
    )
)


def _judge_bridges(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for seed, (name, (z, w)) in enumerate(_strengths().items()):
        atoms = torch.randn(N_ATOMS, 4, generator=torch.Generator().manual_seed(10 + seed))
        cases[name] = (z, w, atoms)
    return diagnose(mine, bridges, cases, _BRIDGE_SLIPS)


def _hits(z: Tensor, y: Tensor) -> Tensor:
    return ((z > 0) & y[:, None]).sum(dim=0).double()


def _firings(z: Tensor) -> Tensor:
    return (z > 0).sum(dim=0).double().clamp(min=1)


_DETECTOR_SLIPS = tuple(
    Slip(*one)
    for one in (
        (
            "You count hits alone: an atom that always fires has them all.",
            "Divide by firings and true rows.",
            lambda z, y: _hits(z, y).argmax(),
        ),
        (
            "You take precision: an atom that fires once, and rightly, wins.",
            "Misses count as well: the rows where the label is true stand under the bar, too.",
            lambda z, y: (_hits(z, y) / _firings(z)).argmax(),
        ),
        (
            "You count how often atom and label agree. Where the label is rare, silence agrees best.",
            "Rows on which both say no do not count.",
            lambda z, y: ((z > 0) == y[:, None]).double().mean(dim=0).argmax(),
        ),
        (
            "You take the largest mean strength where the label is true: the loudest atom wins.",
            "Firing or not is all that counts.",
            lambda z, y: z[y].mean(dim=0).argmax(),
        ),
        (
            "You take the atom with the largest difference of means, as in 04.3.",
            "Firing or not is all that counts.",
            lambda z, y: (z[y].mean(dim=0) - z[~y].mean(dim=0)).argmax(),
        ),
        (
            "You take the atom that is worst.",
            "The largest F1: `argmax`.",
            lambda z, y: (2 * _hits(z, y) / (_firings(z) + y.sum())).argmin(),
        ),
        (
            "You take the atom that fires most often, whatever the label.",
            "Count firings where the label is true.",
            lambda z, y: _firings(z).argmax(),  # noqa: ARG005
        ),
        (
            "You add up strengths in place of firings.",
            "Firing or not is all that counts: `z > 0`.",
            lambda z, y: (2 * z[y].sum(dim=0) / (z.sum(dim=0) + y.sum())).argmax(),
        ),
        (
            "You take the strongest single firing: one row decides.",
            "Firing or not is all that counts.",
            lambda z, y: z[y].max(dim=0).values.argmax(),
        ),
    )
)


def _judge_detector(mine: Callable[..., int]) -> Mistake | str | None:
    """Give every wrong way an atom of its own that it falls for."""
    cases = {}
    for seed, turn in ((0, 0), (1, 3)):
        draws = torch.Generator().manual_seed(seed)
        y = torch.arange(100) < 20
        rate = torch.tensor([0.45, 1.0, 0.05, 0.5, 0.9, 0.4, 0.25, 0.9, 0.0, 0.3, 0.25])
        wrong = torch.tensor([0.01, 0.6, 0.0, 0.1, 0.2, 0.4, 0.05, 1.0, 0.3, 0.0125, 0.2])
        on = torch.stack(
            [_placed(y, float(r), float(f)) for r, f in zip(rate, wrong, strict=True)], dim=1
        )
        strength = torch.tensor([1.0, 1.0, 1.0, 9.0, 1.0, 15.0, 1.0, 1.0, 1.0, 10.0, 1.0])
        z = on * strength * (0.9 + 0.2 * torch.rand(on.shape, generator=draws))
        z[0, 6] = 30.0
        cases[f"100 rows, 11 atoms, turned by {turn}"] = (z.roll(turn, dims=1), y)
    return diagnose(mine, best_detector, cases, _DETECTOR_SLIPS)


def _placed(y: Tensor, rate: float, wrong: float) -> Tensor:
    """Return where an atom fires: on a share of the rows that are so, and on a share of the others."""
    on = torch.zeros(len(y))
    on[y.nonzero()[: round(rate * int(y.sum())), 0]] = 1
    on[(~y).nonzero()[: round(wrong * int((~y).sum())), 0]] = 1
    return on


TASKS = tasks(
    "towers",
    {
        "27.1": Answer(function(number(), takes="images and captions"), judge=_judge_search),
        "27.2": Answer(number(0, 1), measure=split_share),
        "27.3": Answer(function(tensor(N_ATOMS), takes="z and w"), judge=_judge_sides),
        "27.4": Answer(
            function(tensor(N_ATOMS, N_ATOMS), takes="z, w and D"), judge=_judge_bridges
        ),
        "27.5": Answer(function(whole_number(0), takes="z and is_so"), judge=_judge_detector),
    },
)
