"""Ten wrong answers and more to each function of 34, as students write them; right ones share no code with it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from tests.lessons.exercises.asked import Asked


def by_counting(scores: Tensor, rate: float) -> float:
    allowed = math.floor(rate * len(scores))
    return min(t for t in scores.tolist() if sum(s > t for s in scores.tolist()) <= allowed)


def between(scores: Tensor, rate: float) -> float:
    """Half-way to the next score: other numbers, the same alarms."""
    ordered = np.append(np.sort(scores.numpy())[::-1], np.inf)
    k = int(rate * len(scores))
    above = ordered[k - 1] if k else ordered[k] + 1
    return float((ordered[k] + above) / 2)


def ordered(scores: Tensor, at: int) -> float:
    return sorted(scores.tolist(), reverse=True)[at]


def k_of(scores: Tensor, rate: float) -> int:
    return math.floor(rate * len(scores))


def by_loops(states: Tensor, text: Tensor, direction: Tensor) -> list[float]:
    length = math.sqrt(sum(float(d) ** 2 for d in direction))
    found: dict[int, list[float]] = {}
    for row, one in zip(states, text.tolist(), strict=True):
        found.setdefault(one, []).append(float((row * direction).sum()) / length)
    return [sum(found[one]) / len(found[one]) for one in sorted(found)]


def grouped(x: Tensor, text: Tensor, how: str = "mean") -> Tensor:
    """Reduce what belongs to each text by a method of tensors."""
    return torch.stack([getattr(x[text == one], how)() for one in text.unique()])


def part(states: Tensor, direction: Tensor) -> Tensor:
    return (states * direction).sum(dim=1) / direction.norm()


ASKED = [
    Asked(
        "34.1",
        right=[by_counting, between, lambda s, r: torch.topk(s, int(r * len(s)) + 1).values[-1]],
        near=[
            (lambda s, r: float(np.quantile(s.numpy(), r)), "at the lower end"),
            (lambda s, r: s[k_of(s, r)], "in no order"),
            (lambda s, r: 1.645, "yours gives the same"),
        ],
    ),
    Asked(
        "34.2",
        right=[by_loops, lambda x, t, d: grouped(x @ d / d.norm(), t)],
        near=[
            (lambda x, t, d: grouped(x @ d, t), "twice as long"),
            (lambda x, t, d: -grouped(part(x, d), t), "sign is turned"),
            (lambda x, t, d: part(x, d), "score for each token"),
        ],
    ),
    Asked(
        "34.4",
        right=[lambda n: -math.expm1(math.log(0.05) / n)],
        near=[
            (lambda n: 0, "Zero is what was seen"),
            (lambda n: 1 / n, "One in n"),
            (lambda n: 3 / n, "rule of three"),
        ],
    ),
]
