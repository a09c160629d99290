"""All of transformers: every class that one generic tiny configuration builds gives what its page states."""

from __future__ import annotations

import pytest

from tests.sweep.classes import KINDS, row_of
from tests.sweep.page import PAGE, page, recorded

FOUND = recorded()


@pytest.mark.slow
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


def test_the_page_is_made_of_what_was_found() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(FOUND)
