"""What a family promises is right, or refused by name: never wrong in silence."""

from __future__ import annotations

import pytest

from tests.families.promises import QUICK, cells, classes, recorded

KEPT = recorded()


@pytest.mark.parametrize("name", list(QUICK))
def test_families_that_tell_most(name: str) -> None:
    """Each cell is what the page states."""
    assert cells(name) == KEPT[name]


def test_no_cell_of_the_page_is_wrong_in_silence() -> None:
    """Every class has its row, and each cell is right, refused by a sentence, or has nothing to ask."""
    assert list(KEPT) == list(classes())
    told = ("right", "none", "refused: ")
    cells_of = ((name, cell) for name, row in KEPT.items() for cell in row.values())
    assert not [one for one in cells_of if not one[1].startswith(told)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(set(classes().values())))
def test_every_family_keeps_what_its_page_states(kind: str) -> None:
    """The cells of today are those of the page."""
    names = [name for name, own in classes().items() if own == kind]
    now = {name: cells(name) for name in names}
    assert now == {name: KEPT[name] for name in names}
