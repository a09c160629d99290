"""Exercises of notebook 45: atoms that fire together, a common cause, what a group draws, and how round it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, one_of, tensor, words
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

LONGEST = 40
"""Words that a claim takes at least."""

Ways = dict[str, Callable[[], Tensor]]

# --- 45.1: together oftener than by chance ------------------------------------------------------------


def _lift(fires: Tensor) -> Tensor:
    p = fires.mean(dim=0)
    return fires.T @ fires / len(fires) / torch.outer(p, p)


def _lift_slips() -> tuple[Slip, ...]:
    def made(way: str, fires: Tensor) -> Tensor:
        p, n = fires.mean(dim=0), len(fires)
        both = fires.T @ fires
        ways: Ways = {
            "counts": lambda: both,
            "shares": lambda: both / n,
            "given": lambda: both / n / p,
            "apart": lambda: both / n - torch.outer(p, p),
            "log": lambda: _lift(fires).log(),
            "rows": lambda: both / torch.outer(p, p),
            "sums": lambda: both / torch.outer(fires.sum(dim=0), fires.sum(dim=0)),
            "correlation": lambda: torch.corrcoef(fires.T),
            "either": lambda: both / (n * (p[:, None] + p) - both),
        }
        return ways[way]()

    told = {
        "counts": ("These are numbers of rows; an atom that fires often would be everyone's friend.", "Divide by what chance gives."),
        "shares": ("This is how often both fire; an atom that fires often would be everyone's friend.", "Divide by what chance gives: p_i p_j."),
        "given": ("You divide by one of the two shares: this is how often one fires given the other.", "Divide by both."),
        "apart": ("You subtract what chance gives; rare atoms would hardly differ from it.", "Divide by it."),
        "log": ("You took the logarithm; 1 is to be chance.", "Leave `log` out."),
        "rows": ("Above the bar you have a number of rows, below it shares.", "Divide by the number of rows, too."),
        "sums": ("Below the bar are numbers of rows, not shares.", "`fires.mean(dim=0)`."),
        "correlation": ("This is the correlation.", "p_ij / (p_i p_j)."),
        "either": ("You divide by the rows in which either fires.", "By what chance gives: p_i p_j."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_lift(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for n, m, seed in ((60, 4, 0), (90, 3, 1)):
        draws = torch.Generator().manual_seed(seed)
        often = torch.linspace(0.3, 0.7, m).double()
        fires = (torch.rand(n, m, generator=draws).double() < often).double()
        cases[f"{n} rows and {m} atoms"] = (fires,)
    return diagnose(mine, _lift, cases, _lift_slips(), atol=1e-6)


# --- 45.2 and 45.3: a common cause ----------------------------------------------------------------------


def _counts(a: Tensor, b: Tensor, here: Tensor, more: float = 0.5) -> tuple[Tensor, ...]:
    x, y = a[here], b[here]
    pairs = ((x, y), (1 - x, 1 - y), (x, 1 - y), (1 - x, y))
    return tuple((one * other).sum() + more for one, other in pairs)


def _log_odds(a: Tensor, b: Tensor, here: Tensor, more: float = 0.5) -> Tensor:
    both, neither, alone, other = _counts(a, b, here, more)
    return (both * neither / (alone * other)).log()


def _tie(a: Tensor, b: Tensor, cause: Tensor) -> Tensor:
    return torch.stack([_log_odds(a, b, cause == on) for on in (0, 1)])


def _tie_slips() -> tuple[Slip, ...]:
    def made(way: str, a: Tensor, b: Tensor, cause: Tensor) -> Tensor:
        def each(of: Callable[[Tensor], Tensor]) -> Tensor:
            return torch.stack([of(cause == on) for on in (0, 1)])

        def given(here: Tensor) -> Tensor:
            both, neither, alone, other = _counts(a, b, here)
            return (both / (both + alone) / (other / (other + neither))).log()

        ways: Ways = {
            "all": lambda: _log_odds(a, b, cause >= 0).expand(2),
            "turned": lambda: _tie(a, b, cause).flip(0),
            "odds": lambda: _tie(a, b, cause).exp(),
            "sign": lambda: -_tie(a, b, cause),
            "whole": lambda: each(lambda here: _log_odds(a, b, here, 1.0)),
            "bare": lambda: each(lambda here: _log_odds(a, b, here, 0.0)),
            "two": lambda: _tie(a, b, cause) / torch.tensor(2.0).double().log(),
            "given": lambda: each(given),
            "cause": lambda: each(lambda here: _log_odds(a, cause, torch.ones_like(here)) + 0 * here.sum()),
        }  # fmt: skip
        return ways[way]()

    told = {
        "all": ("You look at all rows at once: what the cause does is in both numbers.", "First the rows without the cause, then those with it."),
        "turned": ("Your two numbers are in the other order.", "Without the cause first."),
        "odds": ("These are odds.", "Their logarithm: 0 is independent."),
        "sign": ("Yours is below 0 where both fire together.", "Rows where they agree stand above the bar."),
        "whole": ("You add 1 to each count.", "Add ½."),
        "bare": ("You add nothing to the counts; an empty one gives infinity.", "Add ½ to each."),
        "two": ("This is a logarithm to the base 2.", "The natural one: `.log()`."),
        "given": ("You compare probabilities, not odds.", "both · neither / (only a · only b)."),
        "cause": ("You tie a to the cause.", "a and b, within the rows of each kind."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_tie(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for n, seed in ((80, 0), (120, 1)):
        draws = torch.Generator().manual_seed(seed)
        cause, u, v, w = (torch.rand(n, generator=draws).double() for _ in range(4))
        c = (cause < 0.4).double()
        a = (u < 0.3 + 0.4 * c).double()
        b = torch.where(w < 0.3, a, (v < 0.2 + 0.4 * c).double())
        cases[f"{n} rows"] = (a, b, c)
    return diagnose(mine, _tie, cases, _tie_slips(), atol=1e-6)


CAUSE = "a common cause"


def _judge_cause(answer: str) -> Mistake | None:
    if answer == CAUSE:
        return None
    return {
        "each other": Mistake("Within rows of one kind neither says anything of the other.", "What do all these rows have in common?"),
        "chance": Mistake("Over all rows they fire together four times as often as chance.", "What differs between the two kinds of rows?"),
    }[answer]  # fmt: skip


# --- 45.4: what a group draws -----------------------------------------------------------------------------


def _drawn(z: Tensor, dictionary: Tensor, group: list[int]) -> Tensor:
    own = z[:, group]
    points = own[(own != 0).any(dim=1)] @ dictionary[group]
    return points - points.mean(dim=0)


def _drawn_slips() -> tuple[Slip, ...]:
    def made(way: str, z: Tensor, dictionary: Tensor, group: list[int]) -> Tensor:
        own = z[:, group]
        there = own @ dictionary[group]
        fires, all_fire = (own != 0).any(dim=1), (own != 0).all(dim=1)
        ways: Ways = {
            "silent": lambda: there - there.mean(dim=0),
            "plain": lambda: there[fires],
            "early": lambda: there[fires] - there.mean(dim=0),
            "whole": lambda: z[fires] @ dictionary - (z[fires] @ dictionary).mean(dim=0),
            "together": lambda: there[all_fire] - there[all_fire].mean(dim=0),
            "once": lambda: (own[fires] != 0).double() @ dictionary[group] - ((own[fires] != 0).double() @ dictionary[group]).mean(dim=0),
            "codes": lambda: own[fires] - own[fires].mean(dim=0),
            "number": lambda: there[fires] - there[fires].mean(),
            "scaled": lambda: (there[fires] - there[fires].mean(dim=0)) / there[fires].std(dim=0),
        }  # fmt: skip
        return ways[way]()

    told = {
        "silent": ("You keep rows in which none of the group fires: they all lie at one point.", "`(own != 0).any(dim=1)`."),
        "plain": ("Your points are not centred.", "Subtract their mean."),
        "early": ("You subtract the mean of all rows, silent ones too.", "The mean of the rows that you keep."),
        "whole": ("You use all atoms.", "`z[:, group] @ dictionary[group]`."),
        "together": ("You keep only rows in which all of the group fire.", "One of them is enough: `any`."),
        "once": ("You leave the strengths out: every firing counts 1.", "`z` as it is."),
        "codes": ("These are codes; asked is what they write.", "`@ dictionary[group]`."),
        "number": ("You subtract one number.", "The mean point: `mean(dim=0)`."),
        "scaled": ("You divide by standard deviations, and a line would look like a disk.", "Subtract the mean alone."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_drawn(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for n, m, d, group, seed in ((30, 6, 5, [4, 1, 2], 0), (20, 5, 4, [0, 3], 1)):
        draws = torch.Generator().manual_seed(seed)
        z = torch.rand(n, m, generator=draws).double() - 0.6
        z[:, 1::2] *= -1
        z = z.clamp_min(0)
        z[::4, group] = 0
        z[1::4, group] += 0.1
        dictionary = torch.randn(m, d, generator=draws).double()
        cases[f"{n} rows and the group {group}"] = (z, dictionary, group)
    return diagnose(mine, _drawn, cases, _drawn_slips(), atol=1e-6)


# --- 45.5 and 45.6: how round -------------------------------------------------------------------------------


def _on_a_ring(y: Tensor) -> Tensor:
    out = (y - y.mean(dim=0)).norm(dim=1)
    return 1 - (out - out.mean()).square().sum() / out.square().sum()


def _ring_slips() -> tuple[Slip, ...]:
    def made(way: str, y: Tensor) -> Tensor:
        out = (y - y.mean(dim=0)).norm(dim=1)
        off = out - out.mean()
        ways: Ways = {
            "off": lambda: off.square().sum() / out.square().sum(),
            "origin": lambda: 1 - (y.norm(dim=1) - y.norm(dim=1).mean()).square().sum() / y.norm(dim=1).square().sum(),
            "radii": lambda: 1 - off.square().sum() / off.abs().sum(),
            "plain": lambda: 1 - off.abs().sum() / out.sum(),
            "one": lambda: 1 - (out - 1).square().sum() / out.square().sum(),
            "far": lambda: 1 - (out - out.amax()).square().sum() / out.square().sum(),
            "root": lambda: (1 - off.square().sum() / out.square().sum()).sqrt(),
            "ratio": lambda: 1 - off.square().mean().sqrt() / out.mean(),
        }  # fmt: skip
        return ways[way]()

    told = {
        "off": ("This is the share that is left over.", "1 minus it."),
        "origin": ("You measure from the origin.", "From the mean of the points."),
        "radii": ("Below the bar are distances from the circle.", "Squared distances from the mean."),
        "plain": ("You add distances, not squares.", "`square()` above and below the bar."),
        "one": ("Your circle has the radius 1.", "The mean distance."),
        "far": ("Your circle goes through the farthest point.", "The mean distance."),
        "root": ("This is a root.", "Leave `sqrt` out."),
        "ratio": ("You compare a deviation with the radius.", "Squares: Σ (r − R)² / Σ r²."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_ring(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for n, seed in ((40, 0), (25, 1)):
        draws = torch.Generator().manual_seed(seed)
        y = torch.randn(n, 2, generator=draws).double()
        y = (2.0 + seed) * y / y.norm(dim=1, keepdim=True)
        y = y + 0.4 * torch.randn(n, 2, generator=draws).double()
        cases[f"{n} points"] = (y + torch.tensor([1.0, -2.0]).double(),)
    return diagnose(mine, _on_a_ring, cases, _ring_slips(), atol=1e-6)


def of_a_disk() -> float:
    """Return how much of a filled disk a circle explains: E r² is ½, and r varies by ¹⁄₁₈ around its mean."""
    return 1 - (1 / 18) / (1 / 2)


def by_correlations() -> float:
    """Return the recorded share of planted manifolds whose group is found by correlations."""
    from sae_nb_studies.reproductions import recorded

    return float(recorded("found_shapes").of("groups found, by correlations").mean)


TASKS = tasks(
    "found_shapes",
    {
        "45.1": Answer(
            function(tensor("m", "m"), takes="firings (n, m) of 0 and 1"), judge=_judge_lift
        ),
        "45.2": Answer(
            function(tensor(2), takes="a, b and cause, each (n,) of 0 and 1"), judge=_judge_tie
        ),
        "45.3": Answer(one_of("each other", CAUSE, "chance"), judge=_judge_cause),
        "45.4": Answer(
            function(tensor("n", "d"), takes="z (n, m), dictionary (m, d) and a list of atoms"),
            judge=_judge_drawn,
        ),
        "45.5": Answer(function(number(), takes="points (n, 2)"), judge=_judge_ring),
        "45.6": Answer(number(0, 1), measure=of_a_disk),
        "45.7": Answer(number(0, 1), measure=by_correlations),
        "45.8": Answer(words(LONGEST)),
    },
)
