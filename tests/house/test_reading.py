"""Promises of what reads the house: every kind of import is seen for what it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from rooms import House, Import, circles, floors, goes_past_a_door, room_graph

FILES = {
    "sae_nb/__init__.py": "from sae_nb.high import idea\n",
    "sae_nb/checks.py": "",
    "sae_nb/high/__init__.py": "from sae_nb.high._idea import idea as idea\n",
    "sae_nb/high/_idea.py": """
from typing import TYPE_CHECKING
from sae_nb.low import idea
from sae_nb.checks import check
from .. import low
if TYPE_CHECKING:
    from sae_nb.low._idea import idea as other
else:
    import json
class Panel:
    def draw(self):
        try:
            from sae_nb.low.inner import idea
        except ImportError:
            import importlib
            importlib.import_module("sae_nb.low")
""",
    "sae_nb/low/__init__.py": "",
    "sae_nb/low/_idea.py": "idea = 1\n",
    "sae_nb/low/plain.py": "",
    "sae_nb/low/inner/__init__.py": "",
}


@pytest.fixture
def small(tmp_path: Path) -> House:
    """Two rooms, one within the lower, and a module that stands alone."""
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return House(tmp_path)


def test_lazy_and_typing_imports_are_told_apart(small: House) -> None:
    """Also inside a class, a `try`, an `else`, and relative ones."""
    seen = {
        (one.target, one.name, one.lazy, one.typing)
        for one in small.imports
        if one.importer == "sae_nb.high._idea"
    }
    assert seen == {
        ("typing", "TYPE_CHECKING", False, False),
        ("sae_nb.low", "idea", False, False),
        ("sae_nb.checks", "check", False, False),
        ("sae_nb.low", None, False, False),
        ("sae_nb.low._idea", "idea", False, True),
        ("json", None, False, False),
        ("sae_nb.low.inner", "idea", True, False),
        ("importlib", None, True, False),
    }
    assert [one.text for one in small.string_imports] == ["'sae_nb.low'"]


@pytest.mark.parametrize(
    ("importer", "target", "past"),
    [
        ("sae_nb.high._idea", "sae_nb.low", False),
        ("sae_nb.high._idea", "sae_nb.low._idea", True),
        ("sae_nb.high._idea", "sae_nb.low.plain", True),
        ("sae_nb.high._idea", "sae_nb.low.inner", False),
        ("sae_nb.high._idea", "sae_nb.checks", False),
        ("sae_nb.low.inner", "sae_nb.low._idea", False),
        ("sae_nb", "sae_nb.low._idea", True),
        ("sae_nb.high._idea", "numpy._core", False),
    ],
)
def test_doors(small: House, importer: str, target: str, past: bool) -> None:
    """A room's own files and modules that stand alone are open; another room's files are not."""
    one = Import(importer, target, "idea", 1, False, False)
    assert goes_past_a_door(small, one) == past


def test_a_module_that_a_door_offers_is_asked_for_there(tmp_path: Path) -> None:
    """`from room import module` enters by the door, `from room.module import name` goes past it."""
    room = tmp_path / "sae_nb" / "low"
    room.mkdir(parents=True)
    (room / "__init__.py").write_text("from sae_nb.low import colours as colours\n")
    (room / "colours.py").write_text("RED = 1\n")
    house = House(tmp_path)
    for name, past in ((None, False), ("RED", True)):
        one = Import("sae_nb.high", "sae_nb.low.colours", name, 1, False, False)
        assert goes_past_a_door(house, one) == past


def test_floors_and_circles(small: House) -> None:
    """A chain has its length, a circle is one floor."""
    graph = room_graph(small)
    assert graph == {
        "sae_nb.checks": set(),
        "sae_nb.low": set(),
        "sae_nb.high": {"sae_nb.checks", "sae_nb.low"},
    }
    assert (floors(graph)["sae_nb.high"], circles(graph)) == (2, [])
    ring = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "top": {"a"}}
    assert circles(ring) == [{"a", "b", "c"}]
    assert floors(ring) == {"d": 1, "a": 2, "b": 2, "c": 2, "top": 3}
