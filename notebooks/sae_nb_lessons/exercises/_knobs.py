"""Exercises of notebook 44: two measures of a push, its length, a forecast of held-out atoms, and its floors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from sae_nb.statistics import rank_correlation
from sae_nb_lessons.exercises._answers import function, number, one_of, tensor, words
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

LONGEST = 40
"""Words that a claim takes at least."""

Ways = dict[str, Callable[[], Tensor]]
Fit = Callable[[Tensor, Tensor], Callable[[Tensor], Tensor]]

# --- 44.1: how alike ------------------------------------------------------------------------------------


def _stability(change: Tensor, centred: bool = True) -> Tensor:
    if centred:
        change = change - change.mean(dim=1, keepdim=True)
    unit = change / change.norm(dim=1, keepdim=True)
    n = len(unit)
    return ((unit @ unit.T).sum() - n) / (n * (n - 1))


def _stability_slips() -> tuple[Slip, ...]:
    def made(way: str, change: Tensor) -> Tensor:
        centred = change - change.mean(dim=1, keepdim=True)
        unit = centred / centred.norm(dim=1, keepdim=True)
        cosine, n = unit @ unit.T, len(unit)
        mean = centred.mean(dim=0)
        ways: Ways = {
            "itself": cosine.mean,
            "constant": lambda: _stability(change, centred=False),
            "texts": lambda: _stability(change - change.mean(dim=0), centred=False),
            "lengths": lambda: (centred @ centred.T).fill_diagonal_(0).sum() / (n * (n - 1)),
            "next": lambda: (unit[1:] * unit[:-1]).sum(dim=1).mean(),
            "first": lambda: cosine[0, 1:].mean(),
            "mean": lambda: (unit @ (mean / mean.norm())).mean(),
            "size": lambda: cosine.abs().fill_diagonal_(0).sum() / (n * (n - 1)),
            "half": lambda: cosine.triu(1).sum() / (n * (n - 1)),
            "squares": lambda: cosine.square().fill_diagonal_(0).sum() / (n * (n - 1)),
            "words": lambda: _stability(change.T),
        }
        return ways[way]()

    told = {
        "itself": ("A text is compared with itself, too: that is 1 whatever the push does.", "Leave the n ones on the diagonal out: n (n − 1) pairs."),
        "constant": ("You do not take a text's mean off: a constant added to all words is no change of the answer.", "`change - change.mean(dim=1, keepdim=True)` first."),
        "texts": ("You take the mean over texts off; what all texts have in common is what is asked for.", "The mean over words: `dim=1`."),
        "lengths": ("These are inner products: a text that changes much counts more.", "Divide each row by its length."),
        "next": ("You compare each text with the next alone.", "All pairs: `unit @ unit.T`."),
        "first": ("You compare the first text with the others alone.", "All pairs: `unit @ unit.T`."),
        "mean": ("You compare texts with their mean, in which each has a share.", "Pairs of two texts: `unit @ unit.T`."),
        "size": ("You lost the sign: two opposite changes are not alike.", "Leave `abs` out."),
        "half": ("You add each pair up once and divide as if it were twice.", "Half as many pairs: n (n − 1) / 2."),
        "squares": ("You square cosines.", "The cosines themselves."),
        "words": ("You compare words over texts.", "Texts are rows: `unit @ unit.T`."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_stability(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for n, words_, seed in ((5, 7, 0), (3, 11, 1)):
        draws = torch.Generator().manual_seed(seed)
        change = torch.randn(n, words_, generator=draws).double()
        sizes = torch.rand(n, 1, generator=draws).double() * 3 + 0.2
        cases[f"{n} texts, {words_} words"] = (
            sizes * (change + 0.6 * change[:1]) + torch.arange(n).double()[:, None],
        )
    one = torch.tensor([3.0, 1.0, -1.0, 0.5]).double()
    cases["2 texts that go apart"] = (torch.stack([one, 0.5 - one + one.roll(1) / 3]),)
    return diagnose(mine, _stability, cases, _stability_slips(), atol=1e-6)


# --- 44.2: how far it spreads ---------------------------------------------------------------------------


def _spread(clean: Tensor, pushed: Tensor) -> Tensor:
    change = pushed.softmax(dim=1) - clean.softmax(dim=1)
    return (change.abs().sum(dim=1) ** 2 / (change**2).sum(dim=1)).mean()


def _spread_slips() -> tuple[Slip, ...]:
    def made(way: str, clean: Tensor, pushed: Tensor) -> Tensor:
        change = pushed.softmax(dim=1) - clean.softmax(dim=1)
        logs = pushed.log_softmax(dim=1) - clean.log_softmax(dim=1)
        total, energy = change.abs().sum(dim=1), change.square().sum(dim=1)
        p = change.abs() / total[:, None]
        ways: Ways = {
            "logits": lambda: (
                (pushed - clean).abs().sum(1) ** 2 / (pushed - clean).square().sum(1)
            ).mean(),
            "logs": lambda: (logs.abs().sum(1) ** 2 / logs.square().sum(1)).mean(),
            "pushed": lambda: 1 / pushed.softmax(1).square().sum(1).mean(),
            "turned": lambda: (energy / total**2).mean(),
            "signed": lambda: (change.sum(1) ** 2 / energy).mean(),
            "square": lambda: (total / energy).mean(),
            "root": lambda: (total / energy.sqrt()).mean(),
            "together": lambda: (total**2).sum() / energy.sum(),
            "all": lambda: change.abs().sum() ** 2 / energy.sum(),
            "entropy": lambda: (-(p * p.clamp_min(1e-30).log()).sum(1)).exp().mean(),
            "texts": lambda: (change.abs().sum(0) ** 2 / change.square().sum(0)).mean(),
            "axis": lambda: _spread(clean.softmax(0).log(), pushed.softmax(0).log()),
            "sum": lambda: (total**2 / energy).sum(),
        }
        return ways[way]()

    told = {
        "logits": ("You use logits: a word that never comes counts as much as one that does.", "Probabilities: `softmax(dim=1)`."),
        "logs": ("You use log-probabilities: a word that never comes counts as much as one that does.", "Probabilities: `softmax(dim=1)`."),
        "pushed": ("You count the words that are likely under the push, changed or not.", "The change: pushed minus clean."),
        "turned": ("You have the ratio upside down.", "The squared sum above the bar."),
        "signed": ("Changes of probabilities sum to 0.", "The sum of their sizes: `abs`."),
        "square": ("The sum is not squared.", "(Σ|Δp|)²."),
        "root": ("This is the root of each text's number.", "(Σ|Δp|)² / Σ Δp²."),
        "together": ("You add texts up before you divide: one that changes much decides.", "Divide text by text, then take the mean."),
        "all": ("You add all texts up before you square.", "A number for each text, then their mean."),
        "entropy": ("This is the exponential of an entropy, which also counts, but otherwise.", "(Σ|Δp|)² / Σ Δp²."),
        "texts": ("You sum over texts and count texts.", "Sum over words: `dim=1`."),
        "axis": ("Your softmax is over texts.", "Over words: `dim=1`."),
        "sum": ("You add texts up.", "The mean over texts."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_spread(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for n, words_, seed in ((4, 9, 0), (6, 5, 1)):
        draws = torch.Generator().manual_seed(seed)
        clean, change = (2 * torch.randn(n, words_, generator=draws).double() for _ in range(2))
        sizes = torch.linspace(0.2, 1.5, n).double()[:, None]
        cases[f"{n} texts, {words_} words"] = (clean, clean + sizes * change)
    return diagnose(mine, _spread, cases, _spread_slips(), atol=1e-6)


# --- 44.3: as long as it takes --------------------------------------------------------------------------


def _amount(kl_at: Callable[[float], float], target: float) -> float:
    by = 1.0
    for _ in range(60):
        by = by * (target / float(kl_at(by))) ** 0.5
    return by


def _amount_slips() -> tuple[Slip, ...]:
    def made(way: str, kl_at: Callable[[float], float], target: float) -> float:
        right = _amount(kl_at, target)
        ways: dict[str, Callable[[], float]] = {
            "once": lambda: (target / kl_at(1.0)) ** 0.5,
            "line": lambda: target / kl_at(1.0),
            "kl": lambda: float(kl_at(right)),
            "grid": lambda: min((i for i in range(1, 100)), key=lambda i: abs(kl_at(i) - target)),
            "reached": lambda: next(i for i in range(1, 100) if kl_at(i) >= target),
            "other": lambda: -right,
        }
        return ways[way]()

    told = {
        "once": ("One step is right where KL grows with the square, and it does for short pushes alone.", "Step again from where you are, until KL is the target."),
        "line": ("Twice the push is four times the KL, about, and you scale as if it were twice.", "The root: `(target / kl) ** 0.5`, and step again from there."),
        "kl": ("That is the KL which you reached.", "Return the amount."),
        "grid": ("Whole numbers are too coarse.", "Step by `(target / kl) ** 0.5`, or halve an interval."),
        "reached": ("Whole numbers are too coarse.", "Step by `(target / kl) ** 0.5`, or halve an interval."),
        "other": ("You push the other way.", "An amount above 0."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_amount(mine: Callable[..., float]) -> Mistake | str | None:
    def powers(a: float, b: float) -> Callable[[float], float]:
        return lambda by: a * abs(by) ** b

    def levelled(by: float) -> float:
        return 0.02 * by**2 / (1 + 0.05 * by**2)

    cases = {
        "a KL that grows with the power 1.5": (powers(0.03, 1.5), 0.1),
        "a KL that grows with the cube": (powers(0.4, 3.0), 0.25),
        "a KL that levels off": (levelled, 0.1),
    }
    return diagnose(mine, _amount, cases, _amount_slips(), atol=2e-3)


# --- 44.4: held out -------------------------------------------------------------------------------------


def _held_out(fit: Fit, x: Tensor, y: Tensor, fold: Tensor) -> Tensor:
    told = torch.zeros_like(y)
    for i in set(fold.tolist()):
        own = fold == i
        told[own] = fit(x[~own], y[~own])(x[own])
    return told


def _held_out_slips() -> tuple[Slip, ...]:
    def made(way: str, fit: Fit, x: Tensor, y: Tensor, fold: Tensor) -> Tensor:
        folds = sorted(set(fold.tolist()))

        def by_fold(rest: Callable[[int], Tensor]) -> Tensor:
            told = torch.zeros_like(y)
            for i in folds:
                told[fold == i] = fit(x[rest(i)], y[rest(i)])(x[fold == i])
            return told

        first, last = fold == folds[0], fold == folds[-1]
        ways: Ways = {
            "seen": lambda: fit(x, y)(x),
            "own": lambda: by_fold(lambda i: fold == i),
            "one": lambda: fit(x[~first], y[~first])(x),
            "last": lambda: fit(x[~last], y[~last])(x),
            "next": lambda: by_fold(lambda i: fold == (i + 1) % len(folds)),
            "before": lambda: by_fold(lambda i: (fold < i) if i else fold >= 0),
            "order": lambda: torch.cat([fit(x[fold != i], y[fold != i])(x[fold == i]) for i in folds]),
            "mean": lambda: torch.stack([fit(x[fold != i], y[fold != i])(x) for i in folds]).mean(0),
            "blank": lambda: torch.where(first, fit(x[~first], y[~first])(x), 0.0),
            "error": lambda: y - _held_out(fit, x, y, fold),
            "came": lambda: y.clone(),
        }  # fmt: skip
        return ways[way]()

    told = {
        "seen": ("Every atom was there when you fitted: this is memory, no forecast.", "Fit without the fold that is foretold."),
        "own": ("You fit on the very atoms that are foretold.", "Fit on the others: `x[~own]`."),
        "one": ("You leave the first fold out, and foretell all atoms by that one fit.", "A fit for each fold."),
        "last": ("You leave the last fold out, and foretell all atoms by that one fit.", "A fit for each fold."),
        "next": ("You fit on one other fold alone.", "On all the others."),
        "before": ("You fit on the folds before alone.", "On all other folds."),
        "order": ("Your atoms are in the order of the folds.", "Write each fold's numbers to its own places: `told[own] = …`."),
        "mean": ("Your means are over fits most of which have seen the atom.", "Each atom by the one fit without its fold."),
        "blank": ("You foretell the first fold alone.", "Every fold in its turn."),
        "error": ("That is what was missed.", "Return what is foretold."),
        "came": ("That is what came.", "Return what is foretold."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _line(x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    """Ridge regression with an offset, as a function of further rows."""
    middle = x.mean(dim=0)
    a = (x - middle).T @ (x - middle) + 0.1 * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(a, (x - middle).T @ (y - y.mean()))
    return lambda rows: (rows - middle) @ weight + y.mean()


def _judge_held_out(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for n, d, folds, seed in ((17, 3, 4, 0), (12, 2, 3, 1)):
        draws = torch.Generator().manual_seed(seed)
        x = torch.randn(n, d, generator=draws).double()
        y = x.sum(dim=1) + torch.randn(n, generator=draws).double()
        fold = (torch.arange(n) % folds)[torch.randperm(n, generator=draws)]
        cases[f"{n} atoms in {folds} folds"] = (_line, x, y, fold)
    return diagnose(mine, _held_out, cases, _held_out_slips(), atol=1e-6)


# --- 44.5: shuffled -------------------------------------------------------------------------------------

Foretell = Callable[[Tensor], Tensor]
Rank = Callable[[Tensor, Tensor], float]


def _rank(a: Tensor, b: Tensor) -> float:
    return rank_correlation(torch.as_tensor(a).numpy(), torch.as_tensor(b).numpy(), undefined=0.0)


def _beyond(foretell: Foretell, rank: Rank, y: Tensor, orders: Sequence[Tensor]) -> float:
    chance = max(rank(foretell(y[order]), y[order]) for order in orders)
    return rank(foretell(y), y) - chance


def _beyond_slips() -> tuple[Slip, ...]:
    def made(
        way: str, foretell: Foretell, rank: Rank, y: Tensor, orders: Sequence[Tensor]
    ) -> float:
        told = rank(foretell(y), y)
        shuffled = [rank(foretell(y[o]), y[o]) for o in orders]
        return {
            "rank": lambda: told,
            "chance": lambda: max(shuffled),
            "turned": lambda: max(shuffled) - told,
            "mean": lambda: told - sum(shuffled) / len(shuffled),
            "least": lambda: told - min(shuffled),
            "first": lambda: told - shuffled[0],
            "last": lambda: told - shuffled[-1],
            "size": lambda: told - max(map(abs, shuffled)),
            "same": lambda: told - max(rank(foretell(y), y[o]) for o in orders),
            "true": lambda: told - max(rank(foretell(y[o]), y) for o in orders),
            "told": lambda: told - max(rank(foretell(y)[o], y[o]) for o in orders),
            "ratio": lambda: told / max(shuffled),
            "share": lambda: sum(told > one for one in shuffled) / len(shuffled),
        }[way]()

    told = {
        "rank": ("That is the rank correlation, with nothing beside it.", "Take the largest of the shuffles off."),
        "chance": ("That is the largest of the shuffles alone.", "The rank correlation of y, minus this."),
        "turned": ("You have the difference the wrong way round.", "y first, minus the largest of the shuffles."),
        "mean": ("You take the mean of the shuffles off; half of all luck is above it.", "The largest of them: `max`."),
        "least": ("You take the least of the shuffles off.", "The largest of them: `max`."),
        "first": ("You use the first shuffle alone.", "All of `orders`."),
        "last": ("You use the last shuffle alone.", "All of `orders`."),
        "size": ("A forecast that is turned round foretells nothing.", "Leave `abs` out."),
        "same": ("You foretell y, and shuffle only what it is compared with: a forecast that fits anything would pass.", "`foretell(y[order])`, compared with `y[order]`."),
        "true": ("You foretell shuffled numbers and compare them with those that were not shuffled.", "`y[order]` in both places."),
        "told": ("You shuffle both after the forecast: every pair stays together.", "`foretell(y[order])`: shuffle before."),
        "ratio": ("You divide.", "The difference."),
        "share": ("You count shuffles.", "The difference from the largest."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_beyond(mine: Callable[..., float]) -> Mistake | str | None:
    cases = {}
    for n, d, noise, seed in ((30, 2, 0.5, 0), (24, 3, 1.0, 1), (17, 3, 30.0, 2)):
        draws = torch.Generator().manual_seed(seed)
        x = torch.randn(n, d, generator=draws).double()
        y = x[:, 0] + noise * torch.randn(n, generator=draws).double()
        orders = [torch.randperm(n, generator=draws) for _ in range(5)]
        fold = torch.arange(n) % 4
        foretell = partial(_foretold, x, fold)
        cases[f"{n} atoms, {d} statistics"] = (foretell, _rank, y, orders)
    return diagnose(mine, _beyond, cases, _beyond_slips(), atol=1e-6)


def _foretold(x: Tensor, fold: Tensor, y: Tensor) -> Tensor:
    return _held_out(_line, x, y, fold)


# --- 44.6 and 44.7 --------------------------------------------------------------------------------------

LENGTH = "it knows how long the push is"


def _judge_said(answer: str) -> Mistake | None:
    if answer == LENGTH:
        return None
    return {
        "it knows which atoms are clean": Mistake("One column does as well as all nine, and that is no more than how far the atom is pushed.", "Compare `rank` with `by p99`."),
        "it knows how often an atom fires": Mistake("By density alone nothing is foretold.", "Compare `rank` with `by density` and with `by p99`."),
        "it knows nothing": Mistake("It is above every shuffle.", "Compare `rank` with `shuffled`, then look for a column that does the same alone."),
    }[answer]  # fmt: skip


def foretold_stability() -> float:
    """Return the recorded rank correlation of SmolLM2's held-out stability with what was foretold of it."""
    from sae_nb_studies.reproductions import recorded

    return float(recorded("clean_pushes").of("stability, rank").mean)


TASKS = tasks(
    "knobs",
    {
        "44.1": Answer(function(number(), takes="change (n, words)"), judge=_judge_stability),
        "44.2": Answer(
            function(number(), takes="clean and pushed, each (n, words)"), judge=_judge_spread
        ),
        "44.3": Answer(
            function(number(), takes="a function kl_at and a target"), judge=_judge_amount
        ),
        "44.4": Answer(
            function(tensor("n"), takes="a function fit, x (n, d), y (n,) and fold (n,)"),
            judge=_judge_held_out,
        ),
        "44.5": Answer(
            function(
                number(), takes="two functions, foretell and rank, y (n,) and a list of orders"
            ),
            judge=_judge_beyond,
        ),
        "44.6": Answer(
            one_of(
                "it knows which atoms are clean",
                LENGTH,
                "it knows how often an atom fires",
                "it knows nothing",
            ),
            judge=_judge_said,
        ),
        "44.7": Answer(number(-1, 1), measure=foretold_stability),
        "44.8": Answer(words(LONGEST)),
    },
)
