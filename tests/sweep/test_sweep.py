"""All of transformers: every class that one generic tiny configuration builds gives what its page states."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.sweep.classes import KINDS, recorded, row_of

FOUND = recorded()
SHARE = dict.fromkeys(KINDS, 0.9) | {"causal": 129 / 132}
"""Least share of the classes that are built whose states are right. Ours."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", list(KINDS))
def test_classes_give_what_their_page_states(kind: str) -> None:
    """Built or not, right or not, with as many hook points; what is right stays within the same line."""
    wrong = []
    for row in FOUND:
        if row.kind == kind:
            now = row_of(kind, row.name)
            if (now.built, now.right, now.points) != (row.built, row.right, row.points):
                wrong.append((now, row))
    assert not wrong, "\n".join(f"{now} was {row}" for now, row in wrong)


def test_what_is_not_right_has_a_reason() -> None:
    """No class is wrong without a word."""
    assert all(row.note for row in FOUND if not row.right)


@pytest.mark.parametrize("kind", list(SHARE))
def test_most_classes_are_right(kind: str) -> None:
    of = Counter((row.built, row.right) for row in FOUND if row.kind == kind)
    assert of[True, True] >= SHARE[kind] * (of[True, True] + of[True, False])


def test_every_kind_is_there() -> None:
    assert {row.kind for row in FOUND} == set(KINDS)
