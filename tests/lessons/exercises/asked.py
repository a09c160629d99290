"""The form of an exercise's answers, right and wrong, as the tables of notebooks and labs list them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sae_nb_lessons import exercise
from sae_nb_lessons.exercises._mistakes import Slip

Ways = list[tuple[object, str]]
"""Wrong answers, each with a part of what the verdict says of it."""


def named(slips: Iterable[Slip]) -> Ways:
    """Return every mistake with a name, and its sentence."""
    return [(slip.way, slip.said) for slip in slips]


def told_apart(id: str, right: object, wrong: Ways) -> None:
    """Check that ten wrong answers get sentences of their own, seven or more the name of the mistake."""
    verdict = exercise(id).check(right)
    assert verdict, verdict.message
    assert len(wrong) == 10
    told = 0
    for answer, words in wrong:
        exercise(id).reset()
        verdict = exercise(id).check(answer)
        assert verdict.state == "wrong"
        assert words in verdict.message
        told += "yours gives" not in verdict.said and "yours returns" not in verdict.said
    assert told >= 7


@dataclass(frozen=True)
class Asked:
    """Answers to one exercise; what is wrong comes with a part of what the verdict says of it."""

    id: str
    right: Sequence[object] = ()
    near: Sequence[tuple[object, str]] = ()
    malformed: Sequence[tuple[object, str]] = ()
