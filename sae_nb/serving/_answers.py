"""Forms of an answer to a task of the bench: each checks an answer, scores it, and has the score of a guess."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

from sae_nb.checks import one_of
from sae_nb.serving._limits import number_of

MOST_GIVEN = 1000
"""Most entries of an answer."""


@dataclass(frozen=True)
class Choice:
    """One of some names; 1 if it is the right one."""

    options: tuple[str, ...]

    @property
    def form(self) -> str:
        """Description of the form for an agent."""
        return f"one of these texts: {', '.join(self.options)}"

    def score(self, answer: Any, truth: Any) -> float:
        """Return 1 if an answer is right, else 0."""
        return float(one_of(answer, self.options, name="answer") == truth)

    def chance(self, truth: Any) -> float:  # noqa: ARG002 - the same whatever is right
        """Return the mean score of a guess."""
        return 1 / len(self.options)


@dataclass(frozen=True)
class Subset:
    """Some of the numbers below `n`; balanced accuracy, (hits / right ones + rejections / wrong ones) / 2."""

    n: int

    @property
    def form(self) -> str:
        """Description of the form for an agent."""
        return f"a list of numbers from 0 to {self.n - 1}, without repetition"

    def score(self, answer: Any, truth: Set[int]) -> float:
        """Return the balanced accuracy of an answer."""
        given = _numbers(answer, self.n)
        wrong = set(range(self.n)) - truth
        return (len(given & truth) / len(truth) + len(wrong - given) / len(wrong)) / 2

    def chance(self, truth: Any) -> float:  # noqa: ARG002
        """Return the mean score of a guess, however many it names."""
        return 0.5


@dataclass(frozen=True)
class Picks:
    """`k` of the numbers below `n`; the share of them that is right."""

    k: int
    n: int

    @property
    def form(self) -> str:
        """Description of the form for an agent."""
        return f"a list of {self.k} different numbers from 0 to {self.n - 1}"

    def score(self, answer: Any, truth: Set[int]) -> float:
        """Return the share of an answer that is right."""
        given = _numbers(answer, self.n)
        if len(given) != self.k:
            raise ValueError(
                f"`answer` must have {self.k} numbers, got {len(given)}. Add or leave out some."
            )
        return len(given & truth) / self.k

    def chance(self, truth: Set[int]) -> float:
        """Return the mean score of a guess."""
        return len(truth) / self.n


def _numbers(answer: Any, n: int) -> set[int]:
    if not isinstance(answer, Sequence) or isinstance(answer, str) or len(answer) > MOST_GIVEN:
        raise ValueError(
            f"`answer` must be a list of numbers, got {answer!r:.40}. Send [3, 17], say."
        )
    given = [number_of(one, 0, n - 1, name=f"answer[{i}]") for i, one in enumerate(answer)]
    if len(set(given)) < len(given):
        raise ValueError(f"`answer` must have no number twice, got {answer!r:.40}. Leave one out.")
    return set(given)
