"""Permitted values of a parameter, as data in its annotation.

`n: Count` means that `n` is a whole number from 1. `checked` makes the check and its error from that,
the page on errors lists it, and the test of bad input draws its wrong values from it. A type checker
reads `Count` as `int`, `Share` as `float`: a rule is written next to the parameter and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from sae_nb.checks._values import LARGEST, between, check_count, interval, one_of

Ends = Literal["[]", "()", "(]", "[)"]


@dataclass(frozen=True)
class Between:
    """Rule of a parameter that is a number in an interval: `Annotated[float, Between(0, 1)]`.

    Parameters
    ----------
    low, high
        The ends; `math.inf` for an interval without one. Of whole numbers, both ends are permitted.
    ends
        A round bracket where an end itself is not permitted.
    do
        Advice about a value outside, for the message.
    whole
        Whether only integers are permitted; `checked` sets it where the parameter is an `int`.
    """

    low: float
    high: float
    ends: Ends = "[]"
    do: str = ""
    whole: bool = False

    def of_kind(self, kind: str) -> Between:
        """Return the rule for a parameter of that kind, "int" or "float"."""
        return replace(self, whole=kind == "int")

    def check(self, value: object, *, name: str) -> float:
        """Return a value that is permitted, as Python's number of the parameter's kind."""
        if self.whole:
            low, high = int(self.low), LARGEST if self.high == math.inf else int(self.high)
            return check_count(value, name=name, at_least=low, at_most=high, do=self.do)
        return float(between(value, self.low, self.high, name=name, ends=self.ends, do=self.do))

    @property
    def words(self) -> str:
        """The permitted values, as in a message after "must"."""
        if not self.whole:
            return interval(self.low, self.high, self.ends)
        most = "" if self.high in (math.inf, LARGEST) else f" and at most {self.high:,}"
        return f"be an integer, at least {self.low:g}{most}"


def at_least(low: float, do: str = "") -> Between:
    """Return the rule of numbers from `low` upwards, itself included; infinity is not permitted.

    Example
    -------
    >>> at_least(2).of_kind("int").check(1, name="n")
    Traceback (most recent call last):
    ...
    ValueError: `n` must be at least 2, got 1.
    """
    return Between(low, math.inf, "[)", do)


def above(low: float, do: str = "") -> Between:
    """Return the rule of numbers above `low`; infinity is not permitted.

    Example
    -------
    >>> above(0).check(0.0, name="rate")
    Traceback (most recent call last):
    ...
    ValueError: `rate` must be above 0 and finite, got 0.0.
    """
    return Between(low, math.inf, "()", do)


@dataclass(frozen=True)
class OneOf:
    """Rule of a parameter that is one of some choices: `Annotated[str, OneOf(MODES)]`.

    For choices that are written out in one place, `Literal["a", "b"]` means the same.
    """

    choices: Collection[Any]

    def check(self, value: object, *, name: str) -> object:
        """Return a value that is permitted."""
        return one_of(value, self.choices, name=name)

    @property
    def words(self) -> str:
        """The permitted values, as in a message after "must"."""
        return f"be one of {list(self.choices)}"


@dataclass(frozen=True)
class Each:
    """Rule of a parameter that holds several values, `Sequence[Count]`: each follows one rule."""

    rule: Between | OneOf

    @property
    def words(self) -> str:
        """The permitted values, as in a message after "must"."""
        return f"{self.rule.words}, each of them"


Rule = Between | OneOf | Each

Count = Annotated[int, at_least(1)]
"""Number of things: a whole number from 1."""

Seed = Annotated[int, Between(0, 2**32 - 1)]
"""Seed of any generator, torch's, numpy's and scikit-learn's: a whole number of 32 bits."""

Positive = Annotated[float, above(0)]
"""A finite number above 0."""

Weight = Annotated[float, at_least(0, do="0 leaves it out.")]
"""A finite number from 0; 0 leaves out what it weighs."""

Resamples = Annotated[int, at_least(0, do="0 leaves the interval out.")]
"""Number of resamples of a bootstrap: a whole number from 0."""

Share = Annotated[float, Between(0, 1)]
"""A part of a whole: from 0 to 1, both included."""
