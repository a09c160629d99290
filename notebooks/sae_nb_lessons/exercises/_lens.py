"""Exercises of notebook 06: the logit lens, what the direct path is worth, and how an effect is judged."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

CLOSE, ROWS, WIDTH, TOKENS = 1e-3, 3, 8, 6
Lens = Callable[[Tensor, Tensor, Tensor], Tensor]


def logit_lens(states: Tensor, gain: Tensor, unembedding: Tensor) -> Tensor:
    """Return logits of states: RMS norm, gain, unembedding."""
    size = states.square().mean(dim=-1, keepdim=True).add(1e-6).sqrt()
    return (gain * states / size) @ unembedding.T


def _sized(size: Callable[[Tensor], Tensor], *, bias: float = 0.0) -> Lens:
    """Return a lens that divides by another size, and multiplies by `bias` more than the gain."""
    return lambda x, gain, rows: ((bias + gain) * x / size(x)) @ rows.T


def _rms(x: Tensor, dim: int | None = -1) -> Tensor:
    return x.square().mean(dim=dim, keepdim=True).sqrt()


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=-1, keepdim=True)


_LENS_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("You subtract the mean first: that is LayerNorm.", "This head has RMSNorm: the mean stays, and the state is only divided by √(mean of its squares).", lambda x, g, u: logit_lens(_centred(x), g, u)),
        ("You subtract the mean first: that is LayerNorm.", "This head has RMSNorm: the mean stays, and `std()` takes it away, too.", lambda x, g, u: (g * _centred(x) / x.std(dim=-1, keepdim=True)) @ u.T),
        ("You divide by the standard deviation, which is taken about the mean.", "The size of RMSNorm is √(mean of squares) of the state as it is.", _sized(lambda x: x.std(dim=-1, keepdim=True))),
        ("The state is not yet divided by its size.", "Divide by √(mean of squares) before the gain and the unembedding.", _sized(torch.ones_like)),
        ("The state is divided by its length, which makes the logits √width smaller.", "Take the mean of the squares, not their sum.", _sized(lambda x: x.norm(dim=-1, keepdim=True))),
        ("The state is divided by the mean of its squares.", "Take the root of that mean.", _sized(lambda x: _rms(x).square())),
        ("The mean of squares is taken over rows.", "Each row has a size of its own: `mean(dim=-1, keepdim=True)`.", _sized(lambda x: _rms(x, 0))),
        ("All rows are divided by one size.", "Each row has a size of its own: `mean(dim=-1, keepdim=True)`.", _sized(lambda x: _rms(x, None))),
        ("The norm's gain is missing.", "Multiply the divided state by `gain`, number by number.", lambda x, g, u: logit_lens(x, torch.ones_like(g), u)),
        ("You multiply by 1 + gain.", "Here the gain itself is stored, not its distance from 1.", _sized(_rms, bias=1.0)),
        ("You divide by the gain.", "Multiply by it.", lambda x, g, u: logit_lens(x, 1 / g, u)),
        ("The gain is in the size as well.", "Divide first, and multiply by the gain afterwards.", lambda x, g, u: logit_lens(g * x, torch.ones_like(g), u)),
        ("These are probabilities.", "Logits are asked for: leave the softmax out.", lambda x, g, u: logit_lens(x, g, u).softmax(dim=-1)),
    )
)  # fmt: skip


def _judge_lens(mine: Lens) -> Mistake | str | None:
    cases = {f"the {name} states": _states(seed) for seed, name in enumerate(("first", "second"))}
    return diagnose(mine, logit_lens, cases, _LENS_SLIPS, atol=CLOSE)


def _states(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return states whose mean is not 0, a gain and an unembedding."""
    generator = torch.Generator().manual_seed(seed)
    x = 2 + 5 * torch.randn(ROWS, WIDTH, generator=generator)
    gain = 0.5 + torch.rand(WIDTH, generator=generator)
    return x, gain, torch.randn(TOKENS, WIDTH, generator=generator)


@cache
def direct_path_in_the_middle() -> float:
    """Return the rank correlation of the direct path with measured effects, tiny-vit block 6; recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("lens_effects").of("tiny-vit, direct path").mean


def hits(foreseen: Tensor, measured: Tensor, k: int) -> float:
    """Return the share of the k most raised outputs that were foreseen."""
    both = {*foreseen.topk(k).indices.tolist()} & {*measured.topk(k).indices.tolist()}
    return len(both) / k


def _top(effects: Tensor, k: int) -> set[int]:
    return {*effects.topk(k).indices.tolist()}


_HITS_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("You compare the two lists place by place, so that their order counts.", "An output is a hit if both lists have it, at whatever place: compare sets.", lambda f, m, k: (f.topk(k).indices == m.topk(k).indices).float().mean()),
        ("These are the most moved outputs, lowered ones too.", "Cards show the most raised: leave `abs` out.", lambda f, m, k: hits(f.abs(), m.abs(), k)),
        ("These are the most lowered outputs.", "`topk` or `argsort(descending=True)` gives the most raised.", lambda f, m, k: hits(-f, -m, k)),
        ("You compare the first outputs alone.", "All k of each list count.", lambda f, m, _: hits(f, m, 1)),
        ("You ask only whether the most raised output is in the other list.", "Ask it of all k, and divide by k.", lambda f, m, k: len(_top(f, k) & _top(m, 1))),
        ("This is how many were foreseen.", "A share: divide by k.", lambda f, m, k: k * hits(f, m, k)),
        ("You divide by the number of outputs.", "Of the k most raised: divide by k.", lambda f, m, k: k * hits(f, m, k) / len(m)),
        ("You divide by the outputs that either list has.", "That is Jaccard's index; here divide by k.", lambda f, m, k: len(_top(f, k) & _top(m, k)) / len(_top(f, k) | _top(m, k))),
        ("You count a foreseen effect above 0 as a hit.", "It must be among the k most raised as foreseen.", lambda f, m, k: (f[m.topk(k).indices] > 0).float().mean()),
        ("You compare the effects themselves.", "Compare which outputs they belong to: `topk(k).indices`.", lambda f, m, k: len({*f.topk(k).values.tolist()} & {*m.topk(k).values.tolist()}) / k),
        ("Whatever k is, you take two.", "Use the argument k.", lambda f, m, _: hits(f, m, 2)),
        ("Outputs are compared one by one: raised by both, or by neither.", "Only the k most raised by measurement are asked.", lambda f, m, _: ((f > 0) == (m > 0)).float().mean()),
    )
)  # fmt: skip


def _judge_hits(mine: Callable[[Tensor, Tensor, int], float]) -> Mistake | str | None:
    measured = torch.tensor([3.0, -9.0, 2.0, 0.5, 1.0, -0.1])
    drawn = torch.randn(2, 12, generator=torch.Generator().manual_seed(3))
    cases = {
        "the measured effects themselves, k = 2,": (measured, measured, 2),
        "their order exchanged, k = 2,": (torch.tensor([2.0, -9, 3, 0.5, 1, -0.1]), measured, 2),
        "the measured effects with their sign turned, k = 2,": (-measured, measured, 2),
        "twice the measured effects, k = 3,": (2 * measured, measured, 3),
        "one of the two right,": (torch.tensor([9.0, -3, 1, 5, -1, -2]), measured, 2),
        "twelve drawn effects, k = 5,": (*drawn, 5),
    }
    return diagnose(mine, hits, cases, _HITS_SLIPS, atol=CLOSE)


TASKS = tasks(
    "lens",
    {
        "06.1": Answer(
            function(tensor(ROWS, TOKENS), takes="states, the norm's gain, and the unembedding"),
            judge=_judge_lens,
        ),
        "06.3": Answer(number(-1, 1), measure=direct_path_in_the_middle),
        "06.4": Answer(
            function(number(), takes="foreseen effects, measured effects, and k"),
            judge=_judge_hits,
        ),
    },
)
