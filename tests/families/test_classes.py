"""All of transformers: every class that one generic tiny configuration builds gives what its page states.

Of the classes that gave the same (right, as many hook points, of the same kind of inputs) the first and the last
are tried; `SAE_NB_SWEEP=all` tries every one.
"""

from __future__ import annotations

import os

import pytest

from tests.families.classes import KINDS, Row, recorded, row_of

pytestmark = pytest.mark.slow

FOUND = recorded()


def _tried(kind: str) -> list[Row]:
    rows = [row for row in FOUND if row.kind == kind]
    if os.environ.get("SAE_NB_SWEEP") == "all":
        return rows
    alike: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        alike.setdefault((row.built, row.right, row.points, row.reads), []).append(row)
    return [row for group in alike.values() for row in dict.fromkeys((group[0], group[-1]))]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", list(KINDS))
def test_classes_give_what_their_page_states(kind: str) -> None:
    """Built or not, right or not, with as many hook points; what is right stays within the same line."""
    wrong = []
    for row in _tried(kind):
        now = row_of(kind, row.name)
        if (now.built, now.right, now.points) != (row.built, row.right, row.points):
            wrong.append((now, row))
    assert not wrong, "\n".join(f"{now} was {row}" for now, row in wrong)
