"""The two lanes of the tests, chosen by recorded seconds, and the tests of one room and those above it.

`make test` leaves out what takes a third of a second or more, except a file's quickest test, where the whole
file would be left out, and what is marked `essential`. A browser takes longer always. `make test-all` leaves out
nothing. After it, and after `make notebooks` and `make reproduce`, `make slow` writes slow_tests.txt from their
times; it is not edited by hand. A line is a test's seconds, its file's name
and its own. A test that is in the list stays until it takes less than a fifth, so that the list does not
change with the weather.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

HERE = Path(__file__).parent
LIST = HERE / "slow_tests.txt"
ENTERS_SECONDS, LEAVES_SECONDS = 0.3, 0.2
LONG_SECONDS = 3.0
"""From here on what the tests of a file wait for together is each one's own; the first pays for the rest below.
Nor is a file's quickest test kept in the short lane, if it takes as long."""
SHARED = "seconds of shared fixtures"
"""Property of a test in the junit file: what it would wait for if it were the only one of its file."""


# -------------------------------------------------------------------------------------------------
# What is recorded.


def key(file: str, name: str) -> str:
    """How a test is called in the list: without its folder, so that files may move."""
    return f"{Path(file).name}::{name}"


def noted() -> dict[str, float]:
    """Seconds of each slow test."""
    lines = LIST.read_text(encoding="utf-8").splitlines() if LIST.is_file() else []
    pairs = (line.split(" ", 1) for line in lines)
    return {test: float(seconds) for seconds, test in pairs}


def measured(junit: Path) -> dict[str, float]:
    """Seconds of each test of a run that passed; the longest, where two have one name."""
    found: dict[str, float] = {}
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        if len(case) == 0 or {part.tag for part in case} <= {"properties", "system-out"}:
            test = key(case.get("file", ""), case.get("name", ""))
            own = float(case.get("time", 0))
            shared = [
                float(p.get("value", 0)) for p in case.iter("property") if p.get("name") == SHARED
            ]
            found[test] = max(found.get(test, 0.0), own, *shared)
    return found


def updated(old: dict[str, float], run: dict[str, float]) -> dict[str, float]:
    """The list after a run; what did not pass in it keeps its place."""
    slow = {test: seconds for test, seconds in old.items() if test not in run}
    for test, seconds in run.items():
        if seconds >= (LEAVES_SECONDS if test in old else ENTERS_SECONDS):
            slow[test] = seconds
    return slow


# -------------------------------------------------------------------------------------------------
# What is left out.


@dataclass
class Choice:
    """The tests that run, and how many are left out of each folder, with their recorded seconds."""

    chosen: list[pytest.Item] = field(default_factory=list)
    left_out: list[pytest.Item] = field(default_factory=list)
    tests: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)

    def leave_out(self, item: pytest.Item, seconds: float) -> None:
        """Count it to its folder."""
        folder = folder_of(item.path)
        self.left_out.append(item)
        self.tests[folder] += 1
        self.seconds[folder] += seconds


def short_lane(items: Iterable[pytest.Item], own_room: Iterable[Path] = ()) -> Choice:
    """What `make test` runs; of the rooms in `own_room` all but the browser's."""
    seconds, choice = noted(), Choice()
    slow: defaultdict[Path, list[tuple[float, pytest.Item]]] = defaultdict(list)
    own_room = tuple(own_room)
    for item in items:
        taken = seconds.get(key(item.path.name, item.name))
        if taken is None and item.get_closest_marker("browser"):
            taken = LONG_SECONDS
        own = any(item.path.is_relative_to(folder) for folder in own_room)
        if taken is None or own or item.get_closest_marker("essential"):
            choice.chosen.append(item)
        else:
            slow[item.path].append((taken, item))
    with_a_test = {item.path for item in choice.chosen}
    for path, left in slow.items():
        left.sort(key=lambda pair: pair[0])
        if path not in with_a_test and left[0][0] < LONG_SECONDS:
            choice.chosen.append(left.pop(0)[1])
        for taken, item in left:
            choice.leave_out(item, taken)
    return choice


def told(tests: Counter[str], seconds: Counter[str]) -> list[str]:
    """Lines that say what was left out, and how to run it."""
    folders = sorted(tests, key=lambda folder: -seconds[folder])
    each = ", ".join(f"{tests[folder]} of {folder or 'tests'}" for folder in folders)
    return [
        f"Left out of this lane: {sum(tests.values())} tests of {ENTERS_SECONDS} s or more, "
        f"{sum(seconds.values()) / 60:.0f} minutes one after the other. {each}.",
        "`make test-all` runs everything, `.venv/bin/pytest tests/FOLDER` all of one folder.",
    ]


# -------------------------------------------------------------------------------------------------
# The order in which several processes take them.

EACH_ALONE = (HERE / "lessons" / "reproductions", HERE / "notebooks")
"""Folders whose tests share nothing and take up to minutes each: `make reproduce`, `make notebooks`."""


def in_order(items: Iterable[pytest.Item], processes: int) -> list[pytest.Item]:
    """Return the tests so that no process ends with long ones; each begins with an equal part of the list.

    Files that take longest come first, and a file's tests stay together, which share its fixtures. Tests that
    share nothing are dealt like cards, the longest first.
    """
    items, seconds = list(items), noted()
    taken = [seconds.get(key(item.path.name, item.name), 0.0) for item in items]
    if all(item.path.parent in EACH_ALONE for item in items):
        longest = sorted(range(len(items)), key=lambda i: -taken[i])
        return [items[i] for process in range(processes) for i in longest[process::processes]]
    of_file = Counter[Path]()
    for item, its in zip(items, taken, strict=True):
        of_file[item.path] += its
    return sorted(items, key=lambda item: -of_file[item.path])


# -------------------------------------------------------------------------------------------------
# The tests of a room, and those of the rooms above it.


def folder_of(path: Path) -> str:
    """The folder of a test file in tests/, of a study or a panel its own: `uses`, `studies/lab`."""
    *folders, _ = path.relative_to(HERE).parts
    return "/".join(folders[: 2 if folders[:1] in (["studies"], ["widgets"], ["lessons"]) else 1])


class Above:
    """Which test files concern a room: its own, those of rooms that import it, those that import any of these."""

    def __init__(self, room: str, house: Any, tools: Any) -> None:
        graph = tools.room_graph(house, *tools.PACKAGES)
        named = [known for known in graph if known.rpartition(".")[2] == room]
        if not named:
            last = sorted({known.rpartition(".")[2] for known in graph})
            raise ValueError(f"ROOM must be a room of the tree, got {room!r}. There are {last}.")
        self.rooms, waiting = set[str](), list(named)
        while waiting:
            one = waiting.pop()
            if one not in self.rooms:
                self.rooms.add(one)
                waiting += [other for other, below in graph.items() if one in below]
        self._house, self._tools, self._known = house, tools, set(graph)
        self._seen: dict[Path, bool] = {}
        self.own = [HERE / self._folder(name) for name in named]

    def concerns(self, item: pytest.Item) -> bool:
        """Whether a test is of these rooms, or of none and imports from one of them."""
        params = getattr(getattr(item, "callspec", None), "params", {})
        if params.get("room") in self._known:
            return params["room"] in self.rooms
        if item.path not in self._seen:
            self._seen[item.path] = self._is_above(item.path)
        return self._seen[item.path]

    def _is_above(self, path: Path) -> bool:
        homes = {room for room in self._known if path.is_relative_to(HERE / self._folder(room))}
        if homes:
            return bool(homes & self.rooms)
        imports = self._house.imports_of("tests", self._tools.parsed(path))
        return any(self._tools.room_of(one.target) in self.rooms for one in imports)

    def _folder(self, room: str) -> str:
        """Where the tests of a room are: `sae_nb.uses` in uses, `sae_nb_widgets.atom` in widgets/atom."""
        package, _, rest = room.partition(".")
        folder = rest.replace(".", "/")
        if package == "sae_nb":
            return folder if (HERE / folder).is_dir() else f"test_{folder}.py"
        return f"{package.removeprefix('sae_nb_')}/{folder}"


def main(*junit: str) -> None:
    """Write the list again, from the runs that there are."""
    slow = noted()
    for file in junit:
        slow = updated(slow, measured(Path(file)))
    lines = [f"{slow[test]:.1f} {test}\n" for test in sorted(slow)]
    LIST.write_text("".join(lines), encoding="utf-8")
    print(
        f"{len(slow)} tests take {ENTERS_SECONDS} s or more, {sum(slow.values()) / 60:.0f} minutes together"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
