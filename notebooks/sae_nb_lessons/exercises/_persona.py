"""Exercises of notebook 43: a watch, what an edit moves, a gate, what it costs, and what the cost is due to."""

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

# --- 43.1: the usual range ----------------------------------------------------------------------------


def _from_usual(amounts: Tensor, usual: Tensor, below: float = 0.05, above: float = 0.95) -> Tensor:
    low, middle, high = (usual.quantile(q) for q in (below, 0.5, above))
    over = amounts - middle
    return over / torch.where(over > 0, high - middle, middle - low)


def _readings(x: Tensor, v: Tensor, neutral: Tensor) -> Tensor:
    return _from_usual(x @ v, neutral @ v)


def _reading_slips() -> tuple[Slip, ...]:
    def made(way: str, x: Tensor, v: Tensor, neutral: Tensor) -> Tensor:
        a, usual = x @ v / v.norm(), neutral @ v / v.norm()
        low, middle, high = (usual.quantile(q) for q in (0.05, 0.5, 0.95))
        over = a - middle
        ways: Ways = {
            "amount": lambda: a,
            "shifted": lambda: over,
            "deviations": lambda: (a - usual.mean()) / usual.std(),
            "one": lambda: over / (high - middle),
            "whole": lambda: 2 * over / (high - low),
            "mean": lambda: (a - usual.mean()) / torch.where(a > usual.mean(), high - usual.mean(), usual.mean() - low),
            "own": lambda: _from_usual(a, a),
            "largest": lambda: _from_usual(a, usual, 0, 1),
            "quarters": lambda: _from_usual(a, usual, 0.25, 0.75),
            "cut": lambda: _from_usual(a, usual).clamp(-1, 1),
            "size": lambda: _from_usual(a, usual).abs(),
            "mixed": lambda: over / torch.where(over > 0, middle - low, high - middle),
            "ratio": lambda: a / torch.where(a > 0, high, -low),
            "unit": lambda: (x @ v - middle) / torch.where(x @ v > middle, high - middle, middle - low),
            "cosine": lambda: _from_usual(a / x.norm(dim=1), usual / neutral.norm(dim=1)),
        }  # fmt: skip
        return ways[way]()

    told = {
        "amount": ("These are amounts; nothing says what is usual.", "Median and percentiles of `neutral @ unit`."),
        "shifted": ("You take the median off and leave the unit.", "Divide by the distance from the median to the percentile on that side."),
        "deviations": ("You count standard deviations from the mean.", "Median and percentiles: `.quantile(0.5)`, `.quantile(0.95)`."),
        "one": ("You divide by the upper distance on both sides; the 5th percentile is not at −1.", "Below the median, divide by its distance to the 5th percentile."),
        "whole": ("You divide by half of the whole range; a range is rarely as wide above as below.", "Two distances: median to 95th above, 5th to median below."),
        "mean": ("Your 0 is the mean of prose.", "The median: `.quantile(0.5)`."),
        "own": ("You compare the text with itself.", "Median and percentiles are those of `neutral`."),
        "largest": ("Your ends are the least and the largest amount: one odd token of prose decides.", "The 5th and the 95th percentile."),
        "quarters": ("Your ends are the quartiles.", "The 5th and the 95th percentile."),
        "cut": ("You cut at ±1, and what lies beyond is what a watch is for.", "Leave `clamp` out."),
        "size": ("You lost the sign: below the median is negative.", "Leave `abs` out."),
        "mixed": ("You exchanged the two distances.", "Above the median, that to the 95th percentile."),
        "ratio": ("Your 0 is at the amount 0.", "Take the median off first."),
        "unit": ("You measure the text along v and prose along v / ‖v‖.", "The same unit vector for both."),
        "cosine": ("You divide by the length of each state; that is a cosine.", "⟨x, v⟩ / ‖v‖."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_readings(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for time, n, seed in ((12, 61, 0), (9, 40, 1)):
        draws = torch.Generator().manual_seed(seed)
        v = torch.randn(5, generator=draws).double()
        neutral = torch.randn(n, 5, generator=draws).double()
        neutral += torch.rand(n, 1, generator=draws).double() ** 3 * 4 * v  # wider above than below
        x = 2 * torch.randn(time, 5, generator=draws).double() + v
        cases[f"{time} tokens and {n} of prose"] = (x, 1.7 * v, neutral)
    return diagnose(mine, _readings, cases, _reading_slips(), atol=1e-6)


# --- 43.2: what was moved -------------------------------------------------------------------------------


def _log_odds(logits: Tensor, up: list[int], down: list[int]) -> Tensor:
    return (logits[:, down].logsumexp(dim=1) - logits[:, up].logsumexp(dim=1)).mean()


def _odds_slips() -> tuple[Slip, ...]:
    def made(way: str, logits: Tensor, up: list[int], down: list[int]) -> Tensor:
        log_p = logits.log_softmax(dim=1)
        p = log_p.exp()
        one, other = p[:, up].sum(dim=1), p[:, down].sum(dim=1)
        ways: Ways = {
            "turned": lambda: (one / other).log().mean(),
            "logits": lambda: (logits[:, down].sum(1) - logits[:, up].sum(1)).mean(),
            "means": lambda: (logits[:, down].mean(1) - logits[:, up].mean(1)).mean(),
            "best": lambda: (logits[:, down].amax(1) - logits[:, up].amax(1)).mean(),
            "first": lambda: (logits[:, down[0]] - logits[:, up[0]]).mean(),
            "ratio": lambda: (other / one).mean(),
            "late": lambda: (other / one).mean().log(),
            "together": lambda: (other.sum() / one.sum()).log(),
            "difference": lambda: (other - one).mean(),
            "rest": lambda: (other / (1 - other)).log().mean(),
            "share": lambda: (other / (one + other)).mean(),
            "down": lambda: other.log().mean(),
            "average": lambda: (p[:, down].mean(1) / p[:, up].mean(1)).log().mean(),
            "two": lambda: (other / one).log2().mean(),
            "sum": lambda: (other / one).log().sum(),
            "last": lambda: (other / one).log()[-1],
        }
        return ways[way]()

    told = {
        "turned": ("You have `up` over `down`.", "`down` above the bar."),
        "logits": ("You add logarithms up; that is the probability that all these words come at once.", "`logsumexp` adds probabilities."),
        "means": ("You take the mean of logits; a word that never comes counts as much as one that does.", "`logsumexp` adds probabilities."),
        "best": ("You take the likeliest word of each list alone.", "All words of a list: `logsumexp`."),
        "first": ("You take the first word of each list alone.", "All words of a list: `logsumexp`."),
        "ratio": ("These are odds; asked is their logarithm, text by text.", "`.log()` before the mean."),
        "late": ("You take the mean of the odds before the logarithm: one text decides.", "The logarithm first, then the mean."),
        "together": ("You add the probabilities of all texts up first: one text decides.", "The logarithm of each text first, then the mean."),
        "difference": ("You subtract probabilities.", "The logarithm of their ratio."),
        "rest": ("You compare `down` with all other words.", "With those of `up` alone."),
        "share": ("This is the share of `down` among both lists.", "The logarithm of the ratio."),
        "down": ("`up` is not used.", "Subtract the logarithm of its probability."),
        "average": ("You take means over the words of each list; the lists differ in length.", "Sums."),
        "two": ("This is a logarithm to the base 2.", "The natural one: `.log()`."),
        "sum": ("You add texts up.", "The mean over texts."),
        "last": ("You use the last text alone.", "The mean over texts."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_odds(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for n, up, down, seed in ((5, [1, 4, 7], [2, 3], 0), (3, [0, 6], [5, 8, 9, 2], 1)):
        logits = 3 * torch.randn(n, 10, generator=torch.Generator().manual_seed(seed)).double()
        cases[f"{n} texts, up {up} and down {down}"] = (logits, up, down)
    return diagnose(mine, _log_odds, cases, _odds_slips(), atol=1e-6)


# --- 43.3: a gate ---------------------------------------------------------------------------------------


def _gated(x: Tensor, v: Tensor, by: float, over: float) -> Tensor:
    unit = v / v.norm()
    return torch.where((x @ unit > over)[:, None], x - by * unit, x)


def _gate_slips() -> tuple[Slip, ...]:
    def made(way: str, x: Tensor, v: Tensor, by: float, over: float) -> Tensor:
        unit = v / v.norm()
        p = (x @ unit)[:, None]
        ways: Ways = {
            "everywhere": lambda: x - by * unit,
            "added": lambda: torch.where(p > over, x + by * unit, x),
            "below": lambda: torch.where(p < over, x - by * unit, x),
            "length": lambda: torch.where(p > over, x - by * v, x),
            "amount": lambda: torch.where((x @ v)[:, None] > over, x - by * unit, x),
            "neither": lambda: torch.where((x @ v)[:, None] > over, x - by * v, x),
            "cap": lambda: x - (p - over).clamp(min=0) * unit,
            "most": lambda: x - (p - over).clamp(0, by) * unit,
            "zero": lambda: torch.where(p > 0, x - by * unit, x),
            "size": lambda: torch.where(p.abs() > over, x - by * unit, x),
            "text": lambda: x - by * unit if p.mean() > over else x,
            "removed": lambda: torch.where(p > over, x - p * unit, x),
            "to": lambda: torch.where(p > over, x - (p - by) * unit, x),
            "shrunk": lambda: torch.where(p > over, (1 - by) * x, x),
            "exchanged": lambda: torch.where(p > by, x - over * unit, x),
            "dropped": lambda: (x - by * unit) * (p > over),
            "still": lambda: x,
        }
        return ways[way]()

    told = {
        "everywhere": ("Every row is pushed: there is no gate.", "Only rows whose amount is above `over`."),
        "added": ("You step along v instead of against it.", "`x - by * unit`."),
        "below": ("Your gate is open below `over`.", "Above it."),
        "length": ("Your step is `by` lengths of v.", "A step of length `by` is `by * unit`."),
        "amount": ("You compare ⟨x, v⟩ with `over`; the amount is divided by ‖v‖.", "`x @ unit > over`."),
        "neither": ("v has a length of its own, in the gate and in the step.", "Begin with `unit = v / v.norm()`."),
        "cap": ("This is a cap: rows come down to `over`. A gate pushes each of them by the same.", "A step of length `by`."),
        "most": ("You stop at `over`; a gate pushes each open row by all of `by`.", "A step of length `by`."),
        "zero": ("Your gate opens at 0.", "At `over`."),
        "size": ("Rows far on the other side are pushed as well.", "The amount itself, with its sign."),
        "text": ("You decide once for all rows, by their mean.", "A gate for each row."),
        "removed": ("You take off all that a row has along v.", "A step of length `by`."),
        "to": ("You set the amount to `by`.", "A step of length `by` from where it is."),
        "shrunk": ("You shrink the whole row.", "Only along v: `x - by * unit`."),
        "exchanged": ("You exchanged `by` and `over`.", "Open above `over`, a step of `by`."),
        "dropped": ("Rows below are 0.", "They stay as they are."),
        "still": ("Nothing has changed.", "Rows above `over` take a step."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_gated(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for n, d, by, over, seed in ((14, 5, 2.5, 0.4, 0), (20, 3, 0.6, 1.3, 1)):
        draws = torch.Generator().manual_seed(seed)
        x, v = (torch.randn(*shape, generator=draws).double() for shape in ((n, d), (d,)))
        cases[f"{n} rows, steps of {by:g} above {over:g}"] = (2 * x + v, 1.7 * v, by, over)
    # Amounts without rounding: a row at `over` exactly stays.
    rows = torch.tensor([[3.0, 1], [2, -1], [1, 4], [-3, 0]]).double()
    cases["a row at `over`"] = (rows, torch.tensor([2.0, 0]).double(), 0.5, 2.0)
    return diagnose(mine, _gated, cases, _gate_slips(), atol=1e-6)


# --- 43.4: what it costs --------------------------------------------------------------------------------


def _cost(clean: Tensor, edited: Tensor) -> Tensor:
    log_p, log_q = clean[1:].log_softmax(dim=-1), edited[1:].log_softmax(dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1).mean()


def _cost_slips() -> tuple[Slip, ...]:
    def made(way: str, clean: Tensor, edited: Tensor) -> Tensor:
        log_p, log_q = clean.log_softmax(dim=-1), edited.log_softmax(dim=-1)
        p, q = log_p.exp(), log_q.exp()
        each = (p * (log_p - log_q)).sum(dim=-1)
        ways: Ways = {
            "turned": lambda: _cost(edited, clean),
            "first": lambda: each.mean(),
            "last": lambda: each[-1],
            "end": lambda: each[:-1].mean(),
            "sum": lambda: each[1:].sum(),
            "words": lambda: each[1:].mean() / p.shape[1],
            "bits": lambda: each[1:].mean() / torch.tensor(2.0).log(),
            "logits": lambda: (p * (clean - edited)).sum(dim=-1)[1:].mean(),
            "cross": lambda: -(p * log_q).sum(dim=-1)[1:].mean(),
            "sign": lambda: -each[1:].mean(),
            "both": lambda: (_cost(clean, edited) + _cost(edited, clean)) / 2,
            "variation": lambda: (p - q).abs().sum(dim=-1)[1:].mean() / 2,
            "squares": lambda: (p - q).square().sum(dim=-1)[1:].mean(),
            "axis": lambda: _cost(clean.log_softmax(0).exp().log(), edited.log_softmax(0).exp().log()),
            "unweighted": lambda: (log_p - log_q).sum(dim=-1)[1:].mean(),
            "most": lambda: each[1:].max(),
            "share": lambda: each[1:].sum() / len(each),
        }  # fmt: skip
        return ways[way]()

    told = {
        "turned": ("This is KL(edited‖clean).", "Weigh with the probabilities of the clean run."),
        "first": ("The first token is in it.", "From the second on: `[1:]`."),
        "last": ("This is the last token alone.", "The mean over tokens."),
        "end": ("You left the last token out; the first is to be left out.", "`[1:]`."),
        "sum": ("You add tokens up; a long text would cost more.", "The mean over tokens."),
        "words": ("You take the mean over words as well.", "The sum over words, the mean over tokens."),
        "bits": ("These are bits.", "Nats: the natural logarithm."),
        "logits": ("Logits are no logarithms of probabilities.", "`log_softmax(dim=-1)` first."),
        "cross": ("This is the cross-entropy: it is not 0 where nothing has changed.", "log p − log q."),
        "sign": ("KL is never negative.", "log p − log q, in this order."),
        "both": ("You take the mean of both directions.", "KL(clean‖edited) alone."),
        "variation": ("This is half the sum of differences of probabilities.", "Σ p (log p − log q)."),
        "squares": ("You add squared differences up.", "Σ p (log p − log q)."),
        "axis": ("Your softmax is over tokens.", "Over words: `dim=-1`."),
        "unweighted": ("You do not weigh: a word that never comes counts as much as one that does.", "p (log p − log q)."),
        "most": ("This is the token that changed most.", "The mean over tokens."),
        "share": ("You leave the first token out and still divide by all.", "The mean over those that are left."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_cost(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for time, n, seed in ((6, 7, 0), (4, 11, 1)):
        draws = torch.Generator().manual_seed(seed)
        clean, change = (2 * torch.randn(time, n, generator=draws).double() for _ in range(2))
        cases[f"{time} tokens, {n} words"] = (clean + 1, clean + change)
    return diagnose(mine, _cost, cases, _cost_slips(), atol=1e-6)


# --- 43.5 and 43.6 ----------------------------------------------------------------------------------------


def of_a_random_push() -> float:
    """Return the recorded cost of random directions as a share of the cost of the push."""
    from sae_nb_studies.reproductions import recorded

    return float(recorded("persona").of("cost of random adding as a share of adding's").mean)


TAKES_OFF = "it moves a token by what is over"


def _judge_cheap(answer: str) -> Mistake | None:
    if answer == TAKES_OFF:
        return None
    return {
        "it moves the answer less": Mistake("All three move the answer equally far: so their strengths were chosen.", "Which column of the table is the same for cap, push and gated push?"),
        "it acts on fewer tokens than the gate": Mistake("Cap and gate act where the amount is above the same median: on the same tokens.", "What does each do to a token that is just above it?"),
        "its direction is better": Mistake("Cap, push and gate use one direction.", "What differs is how far a token is moved."),
    }[answer]  # fmt: skip


TASKS = tasks(
    "persona",
    {
        "43.1": Answer(
            function(tensor("time"), takes="x (time, d), v (d,) and neutral (n, d)"),
            judge=_judge_readings,
        ),
        "43.2": Answer(
            function(number(), takes="logits (n, vocabulary) and two lists of tokens, up and down"),
            judge=_judge_odds,
        ),
        "43.3": Answer(
            function(tensor("n", "d"), takes="x (n, d), v (d,), by and over"), judge=_judge_gated
        ),
        "43.4": Answer(
            function(number(), takes="clean and edited, each (time, vocabulary)"), judge=_judge_cost
        ),
        "43.5": Answer(number(0, 10), measure=of_a_random_push),
        "43.6": Answer(
            one_of(
                "it moves the answer less",
                "it acts on fewer tokens than the gate",
                TAKES_OFF,
                "its direction is better",
            ),
            judge=_judge_cheap,
        ),
        "43.7": Answer(words(LONGEST)),
    },
)
