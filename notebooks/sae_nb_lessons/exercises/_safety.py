"""Exercises of notebook 34: a threshold, the score of a text, what no alarm shows, and a safety case."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sae_nb_lessons.exercises._answers import function, number, tensor, words
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import FIXED, Mistake, Slip, diagnose

# --- 34.1: a threshold at a rate of false alarms ----------------------------------------------------

Threshold = Callable[[Tensor, float], float]


def _drawn(n: int, seed: int) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed)).double() - 1.0


_SCORES = {
    "20 scores and a rate of 0.05": (_drawn(20, 0), 0.05),
    "10 scores and a rate of 0.25": (_drawn(10, 1), 0.25),
    "40 scores and a rate of 0.1": (_drawn(40, 2), 0.1),
}


def _down(scores: Tensor, at: int) -> float:
    return float(scores.sort(descending=True).values[at])


_THRESHOLD_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("Yours is at the lower end: nearly all harmless texts raise an alarm.", "An alarm is a score *above* the threshold. Begin at the largest score.", lambda s, r: float(s.quantile(r))),
        ("Yours is the right place counted from the smallest score.", "Sort with `descending=True`.", lambda s, r: float(s.sort().values[int(r * len(s))])),
        ("`quantile` reads between two scores, and then more may lie above than the rate allows: of 10 scores at 0.25, 3.", "Count: `int(rate * len(scores))` scores may lie above.", lambda s, r: float(s.quantile(1 - r))),
        ("A mean and standard deviations hold a rate only where scores are normal.", "No shape is known here. Count scores instead.", lambda s, _: float(s.mean() + 1.645 * s.std())),
        ("Two standard deviations above the mean is another rate, and only where scores are normal.", "Count scores: the rate is given.", lambda s, _: float(s.mean() + 2 * s.std())),
        ("Yours is the largest score, so there is no false alarm at all, and more is missed than need be.", "A rate of 0.05 allows one of 20 to lie above.", lambda s, _: float(s.max())),
        ("One alarm fewer than the rate allows: indices begin at 0.", "If k scores may lie above, the threshold is `values[k]`, the next one.", lambda s, r: _down(s, max(int(r * len(s)) - 1, 0))),
        ("One alarm more than the rate allows.", "If k scores may lie above, the threshold is `values[k]`.", lambda s, r: _down(s, int(r * len(s)) + 1)),
        ("You take a score at a place of the list as it is, and the list is in no order.", "Sort it first.", lambda s, r: float(s[int(r * len(s))])),
        ("The rate is a share already; you divide it by 100.", "0.05 of 20 is 1.", lambda s, r: _down(s, int(r * len(s) / 100))),
        ("You sort absolute scores: a score far below 0 is no alarm.", "Leave the sign.", lambda s, r: _down(s.abs(), int(r * len(s)))),
        ("That is a share of the distance from the smallest to the largest score, not of the texts.", "Count texts.", lambda s, r: float(s.min() + (1 - r) * (s.max() - s.min()))),
    )
)  # fmt: skip


def _judge_threshold(mine: Threshold) -> Mistake | str | None:
    found = {name: mine(scores.clone(), rate) for name, (scores, rate) in _SCORES.items()}
    above = {name: int((_SCORES[name][0] > value).sum()) for name, value in found.items()}
    allowed = {name: int(rate * len(scores)) for name, (scores, rate) in _SCORES.items()}
    if above == allowed:
        return None
    for slip in _THRESHOLD_SLIPS:
        made = (slip.way(*given) for given in _SCORES.values())
        if all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(made, found.values(), strict=True)):
            return Mistake(slip.said, slip.hint)
    if len(set(found.values())) == 1:
        return FIXED
    name = next(name for name in found if above[name] != allowed[name])
    return (
        f"For {name}, {above[name]} lie above yours of {found[name]:.3g}, and it should be "
        f"{allowed[name]}."
    )


# --- 34.2: the score of a text ----------------------------------------------------------------------


def scores(states: Tensor, text: Tensor, direction: Tensor) -> Tensor:
    """Return the mean of the states' parts along a unit direction, (texts,); `text` has a number for each row."""
    along = states @ normalize(direction, dim=0)
    return _means(along, text)


def _means(x: Tensor, text: Tensor) -> Tensor:
    sums = x.new_zeros(int(text.max()) + 1).index_add_(0, text, x)
    return sums / text.bincount()


def _each(reduce: Callable[[Tensor], Tensor], x: Tensor, text: Tensor) -> Tensor:
    return torch.stack([reduce(x[text == one]) for one in range(int(text.max()) + 1)])


def _wrong_score(change: str, x: Tensor, text: Tensor, d: Tensor) -> Tensor:
    unit = normalize(d, dim=0)
    along = x @ unit
    ways: dict[str, Callable[[], Tensor]] = {
        "length": lambda: _means(x @ d, text),
        "squared": lambda: _means(x @ d / (d @ d), text),
        "sum": lambda: _each(torch.sum, along, text),
        "max": lambda: _each(torch.amax, along, text),
        "abs": lambda: _means(along.abs(), text),
        "cosine": lambda: _means(normalize(x, dim=1) @ unit, text),
        "last": lambda: _each(lambda one: one[-1], along, text),
        "first": lambda: _each(lambda one: one[0], along, text),
        "all rows": lambda: _each(torch.sum, along, text) / len(x),
        "norm": lambda: _means(x.norm(dim=1), text),
        "sign": lambda: -_means(along, text),
        "median": lambda: _each(torch.median, along, text),
        "centred": lambda: _means(along - along.mean(), text),
        "rows": lambda: along,
        "one": lambda: along.mean()[None],
    }
    return ways[change]()


_SCORE_SLIPS = tuple(
    Slip(said, hint, partial(_wrong_score, change))
    for change, said, hint in (
        ("length", "A direction that is twice as long gives twice the score in yours.", "Divide `direction` by its norm."),
        ("squared", "You divide by the direction's squared length: that is how many directions fit, not how far.", "Divide by the norm, once."),
        ("sum", "Yours is a sum: a longer text gets a larger score, whatever it says.", "The mean over the text's own rows."),
        ("max", "Yours is the largest token of each text, which one token can set off.", "The mean was asked for."),
        ("abs", "You drop the sign: a text that goes the other way would raise an alarm.", "No `abs`."),
        ("cosine", "You also divide each state by its own length: that is a cosine.", "Only the direction gets length 1."),
        ("last", "Yours is the last row of each text alone.", "All rows of the text, and their mean."),
        ("first", "Yours is the first row of each text alone.", "All rows of the text, and their mean."),
        ("all rows", "You divide by the rows of all texts.", "Each text's sum by its own number of rows: `text.bincount()`."),
        ("norm", "Yours is the length of the states; the direction has no part in it.", "`states @ unit`."),
        ("sign", "The sign is turned: what the direction points to gets the lowest score.", "`+ states @ unit`."),
        ("median", "Yours is the median of each text's rows.", "The mean was asked for."),
        ("centred", "You subtract the mean of the texts at hand: then one text's score depends on the others.", "Leave the mean where it is; the threshold takes care of it."),
        ("rows", "Yours has a score for each token; a text has one.", "Average the rows whose number in `text` is the same."),
        ("one", "Yours is one score for all texts together.", "One for each number in `text`."),
    )
)  # fmt: skip


def _states(seed: int, lengths: list[int], d: int) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    text = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    x = torch.randn(len(text), d, generator=draws) + 0.3
    mixed = torch.randperm(len(text), generator=draws)
    return x, text[mixed], 3 * torch.randn(d, generator=draws)


_TEXTS = {
    "3 texts of 2, 5 and 3 tokens": _states(0, [2, 5, 3], 4),
    "4 texts and 6 dimensions": _states(1, [4, 1, 6, 3], 6),
}


def _judge_scores(mine: Callable[..., Tensor]) -> Mistake | str | None:
    return diagnose(mine, scores, _TEXTS, _SCORE_SLIPS)


# --- 34.3: the mood in a copy that was trained again ------------------------------------------------


def mood_seen_again() -> float:
    """Return the share of texts that the mean difference catches, of a copy that was taught the mood again."""
    from sae_nb_lessons.studies._safety_case import mean_difference, set_on, share_above, watched

    along = mean_difference("sad")
    return share_above(watched("sad", 1).states @ along, set_on().states @ along)


# --- 34.4: none in n ----------------------------------------------------------------------------------


def at_most(n: int) -> float:
    """Return the rate at which none in n texts has a probability of 5 %."""
    return 1 - 0.05 ** (1 / n)


_NONE_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("Zero is what was seen, not what it shows: a rate of 1 % gives none in 60 texts more often than not.", "At which rate p would (1 − p)ⁿ be 0.05?", lambda _: 0.0),
        ("One in n is the rate of a text that was seen. At that rate none in n happens in over a third of all tries.", "Solve (1 − p)ⁿ = 0.05 for p.", lambda n: 1 / n),
        ("That is the rule of three, near for large n. The exact number is asked for.", "(1 − p)ⁿ = 0.05; take the n-th root.", lambda n: 3 / n),
        ("You took e^(−pn) for (1 − p)ⁿ, which is near for large n.", "Take the n-th root of 0.05.", lambda n: -math.log(0.05) / n),
        ("You divided 0.05 by n; that is what one does to a line for n tests.", "(1 − p)ⁿ = 0.05.", lambda n: 0.05 / n),
        ("0.05 and 0.95 are exchanged: at that rate you would see none 95 times of 100.", "None in n is the event that has 5 %.", lambda n: 1 - 0.95 ** (1 / n)),
        ("That is 1 − p, how often a text is *not* missed.", "Subtract it from 1.", lambda n: 0.05 ** (1 / n)),
        ("You raised to the power n; the equation asks for the n-th root.", "p = 1 − 0.05^(1/n).", lambda n: 1 - 0.05**n),
        ("That is the chance of one or more in n texts at a rate of 5 %, not the rate.", "The rate is what is unknown: (1 − p)ⁿ = 0.05.", lambda n: 1 - 0.95**n),
        ("You took 2.5 % for 5 %: with none seen there is one side only.", "0.05, whole.", lambda n: 1 - 0.025 ** (1 / n)),
        ("That is Laplace's guess of the next text, not a limit.", "(1 − p)ⁿ = 0.05.", lambda n: 1 / (n + 2)),
        ("A standard error does not work at none: it needs a rate, and yours assumes 5 %.", "(1 − p)ⁿ = 0.05.", lambda n: 1.96 * math.sqrt(0.05 * 0.95 / n)),
    )
)  # fmt: skip


def _judge_at_most(mine: Callable[[int], float]) -> Mistake | str | None:
    cases = {f"{n} texts": (n,) for n in (20, 60, 300)}
    return diagnose(mine, at_most, cases, _NONE_SLIPS, atol=1e-5)


TASKS = tasks(
    "safety",
    {
        "34.1": Answer(function(number(), takes="scores and a rate"), judge=_judge_threshold),
        "34.2": Answer(
            function(tensor("texts"), takes="states, the number of each row's text, a direction"),
            judge=_judge_scores,
        ),
        "34.3": Answer(number(0, 1), measure=mood_seen_again),
        "34.4": Answer(function(number(), takes="a number of texts"), judge=_judge_at_most),
        "34.5": Answer(words(60)),
    },
)
