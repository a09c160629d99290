"""The two lanes of the tests, and the tests of a room: chosen by one rule each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lanes
import pytest
import rooms
from rooms import House

TESTS = Path(__file__).parents[1]


def item(file: str, name: str = "test_it", *, mark: str = "", **params: str) -> Any:
    """As much of a collected test as the lanes look at."""
    return SimpleNamespace(
        path=TESTS / file,
        name=name,
        get_closest_marker=lambda asked: asked == mark or None,
        callspec=SimpleNamespace(params=params),
    )


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two slow tests of one file, and a file with nothing else than slow ones."""
    seconds = {"test_a.py::test_long": 9.0, "test_b.py::test_1": 2.0, "test_b.py::test_2": 1.0}
    monkeypatch.setattr(lanes, "noted", lambda: seconds | {"test_c.py::test_it": 30.0})


@pytest.mark.usefixtures("recorded")
def test_the_short_lane_leaves_out_what_is_recorded_as_slow() -> None:
    """But not what is essential, nor the quickest of a file that would be left out whole; and it says so."""
    quick, long = item("uses/test_a.py"), item("uses/test_a.py", "test_long")
    slower, slow = item("lab/test_b.py", "test_1"), item("lab/test_b.py", "test_2")
    alone, needed = item("lab/test_c.py"), item("lab/test_c.py", mark="essential")
    choice = lanes.short_lane([quick, long, slower, slow, alone])
    assert choice.chosen == [quick, slow]
    assert choice.left_out == [long, slower, alone]
    first, then = lanes.told(choice.tests, choice.seconds)
    assert "3 tests of 0.3 s or more, 1 minutes one after the other. 2 of lab, 1 of uses." in first
    assert "`make test-all` runs everything" in then
    assert lanes.short_lane([needed, alone]).chosen == [needed]
    assert lanes.short_lane([item("browser/test_new.py", mark="browser")]).chosen == []
    assert lanes.short_lane([long, slower, alone], [TESTS / "lab"]).left_out == [long]


def test_the_list_of_slow_tests_does_not_change_with_the_weather() -> None:
    """One enters at .3 s and leaves below .2; one that did not run keeps its place."""
    old = {"a": 1.0, "b": 1.0, "c": 1.0}
    run = {"a": 0.25, "b": 0.15, "d": 0.25, "e": 0.35}
    assert lanes.updated(old, run) == {"a": 0.25, "c": 1.0, "e": 0.35}


@pytest.mark.usefixtures("recorded")
def test_no_process_ends_with_a_long_test() -> None:
    """Long files first, each whole; where tests share nothing, every process begins with one of the longest."""
    quick, long = item("uses/test_a.py"), item("uses/test_a.py", "test_long")
    slower, slow = item("lab/test_b.py", "test_1"), item("lab/test_b.py", "test_2")
    other, longest = item("lab/test_d.py"), item("lab/test_c.py")
    ordered = lanes.in_order([other, slower, quick, longest, slow, long], 3)
    assert ordered == [longest, quick, long, slower, slow, other]
    names = {"test_a.py": ["test_long", "test_it"], "test_b.py": ["test_1", "test_2"]}
    alone = [item(f"notebooks/{file}", name) for file in names for name in names[file]]
    long, quick, slower, slow = alone
    assert lanes.in_order([quick, slow, slower, long], 2) == [long, slow, slower, quick]


def test_a_room_has_its_tests_and_those_of_the_rooms_that_import_it(house: House) -> None:
    """Panels and lessons too; of other folders what imports one of them; never a room beside."""
    above = lanes.Above("uses", house, rooms)
    assert above.own == [TESTS / "studies" / "uses"]
    assert {"sae_nb_studies.uses", "sae_nb_widgets.corpora"} <= above.rooms
    assert "sae_nb.kernels" not in above.rooms
    here = ["studies/uses/test_documents.py", "widgets/corpora/test_corpora.py"]
    assert all(above.concerns(item(file)) for file in here)
    assert not above.concerns(item("kernels/test_autograd.py"))
    assert above.concerns(item("test_docstrings.py", room="sae_nb_studies.uses"))
    assert not above.concerns(item("test_docstrings.py", room="sae_nb.kernels"))
    golden = item("golden/test_golden.py")
    assert lanes.Above("architectures", house, rooms).concerns(golden)
    everything = lanes.Above("checks", house, rooms)
    assert everything.own == [TESTS / "test_checks.py"]
    assert len(everything.rooms) > 40


def test_a_room_that_is_not_there_is_refused(house: House) -> None:
    """With those there are."""
    with pytest.raises(ValueError, match="ROOM must be a room of the tree, got 'cellar'.*'uses'"):
        lanes.Above("cellar", house, rooms)


def test_every_test_lies_in_a_folder_that_the_summary_can_name() -> None:
    """Studies, panels and lessons one by one, the rest by its folder."""
    names = Counter(lanes.folder_of(path) for path in TESTS.rglob("test_*.py"))
    assert {"studies/uses", "widgets/atom", "lessons/exercises", "kernels", ""} <= set(names)
