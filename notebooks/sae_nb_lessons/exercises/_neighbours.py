"""Exercises of notebook 37: the contrastive term of neighbouring tokens, and what it takes to be smooth."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from sae_nb_lessons.exercises._answers import function, number, tensor, words
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

LONGEST = 40
"""Words that a claim takes at least."""

# --- 37.1: find your neighbour ---------------------------------------------------------------------


def _likeness(later: Tensor, earlier: Tensor, temperature: float) -> Tensor:
    return normalize(later, dim=1) @ normalize(earlier, dim=1).T / temperature


def _chosen(scores: Tensor) -> Tensor:
    return cross_entropy(scores, torch.arange(len(scores)))


def _contrast(later: Tensor, earlier: Tensor, temperature: float) -> Tensor:
    scores = _likeness(later, earlier, temperature)
    return (_chosen(scores) + _chosen(scores.T)) / 2


def _slips() -> tuple[Slip, ...]:
    def made(way: str, a: Tensor, b: Tensor, t: float) -> Tensor:
        scores = _likeness(a, b, t)
        both = _chosen(scores), _chosen(scores.T)
        products = a @ b.T / t
        others = scores.masked_fill(torch.eye(len(a), dtype=torch.bool), -torch.inf)
        own = scores.diagonal()
        ways: dict[str, Callable[[], Tensor]] = {
            "products": lambda: (_chosen(products) + _chosen(products.T)) / 2,
            "hot": lambda: (_chosen(scores * t) + _chosen(scores.T * t)) / 2,
            "times": lambda: (_chosen(scores * t * t) + _chosen(scores.T * t * t)) / 2,
            "one way": lambda: both[0],
            "other way": lambda: both[1],
            "sum": lambda: both[0] + both[1],
            "negative": lambda: -(both[0] + both[1]) / 2,
            "cosines": lambda: 1 - own.mean() * t,
            "own": lambda: -own.mean(),
            "probability": lambda: (scores.softmax(1).diagonal() + scores.softmax(0).diagonal()).mean() / 2,
            "without": lambda: ((others.logsumexp(1) + others.logsumexp(0)) / 2 - own).mean(),
            "total": lambda: (both[0] + both[1]) / 2 * len(a),
            "itself": lambda: _contrast(a, a, t),
        }  # fmt: skip
        return ways[way]()

    told = {
        "products": ("These are inner products: a strong code is like everything.", "Divide each row by its norm first: `torch.nn.functional.normalize(…, dim=1)`."),
        "hot": ("The temperature is not used.", "Divide the cosines by it before the softmax."),
        "times": ("You multiply by the temperature; asked is to divide.", "`cosines / temperature`."),
        "one way": ("You ask each later token for its earlier one; ask the earlier ones, too.", "The same with the matrix transposed, and the mean of both."),
        "other way": ("You ask each earlier token for its later one; ask the later ones, too.", "The same with the matrix transposed, and the mean of both."),
        "sum": ("You add the two ways; asked is their mean.", "Divide by 2."),
        "negative": ("The sign is wrong: a loss is small where the neighbour is found.", "Minus the logarithm of the probability."),
        "cosines": ("This only draws neighbours together; codes that are all the same would be best.", "The other rows must count: a softmax over them."),
        "own": ("This only draws neighbours together; codes that are all the same would be best.", "The other rows must count: a softmax over them."),
        "probability": ("You return the probability of the neighbour; asked is minus its logarithm.", "`torch.nn.functional.cross_entropy(scores, torch.arange(n))`."),
        "without": ("The neighbour is missing among those to choose from.", "The softmax runs over all rows, the neighbour too."),
        "total": ("You add over rows; asked is the mean.", "`cross_entropy` takes the mean by itself."),
        "itself": ("Tokens are compared with each other and `earlier` is not used.", "`normalize(later) @ normalize(earlier).T`."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_contrast(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for n, temperature, seed in ((5, 0.5, 0), (8, 0.2, 1), (3, 2.0, 2)):
        draws = torch.Generator().manual_seed(seed)
        later = torch.randn(n, 6, generator=draws).double() * 3
        earlier = later + torch.randn(n, 6, generator=draws).double()
        cases[f"{n} pairs and the temperature {temperature}"] = (later, earlier, temperature)
    return diagnose(mine, _contrast, cases, _slips(), atol=1e-6)


# --- 37.2: strangers -------------------------------------------------------------------------------


def of_strangers() -> float:
    """Return the recorded lag-1 cosine of high-level codes whose partners were drawn from all texts."""
    from sae_nb_studies.reproductions import recorded

    return float(recorded("t_sae").of("strangers: lag-1").mean)


TASKS = tasks(
    "neighbours",
    {
        "37.1": Answer(
            function(
                tensor(), takes="later (pairs, atoms), earlier (pairs, atoms) and temperature"
            ),
            judge=_judge_contrast,
        ),
        "37.2": Answer(number(-1, 1), measure=of_strangers),
        "37.3": Answer(words(LONGEST)),
    },
)
