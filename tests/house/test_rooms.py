"""Promises of the house: rooms by subject, one door each, imports that point down. From the source."""

from __future__ import annotations

import pytest
from rooms import (
    PACKAGES,
    House,
    circles,
    module_graph,
    room_graph,
)

pytestmark = pytest.mark.slow


def test_rooms_stand_in_no_circle(house: House) -> None:
    """Function-local imports and those under `if TYPE_CHECKING` count."""
    assert circles(room_graph(house, *PACKAGES)) == []


def test_files_stand_in_no_circle(house: House) -> None:
    """Within a room too. Function-local imports count; those under `if TYPE_CHECKING` do not."""
    assert circles(module_graph(house, *PACKAGES, typing=False)) == []
