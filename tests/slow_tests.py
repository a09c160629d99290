"""Which tests take a second or more: noted from a run, read when tests are collected.

`make slow` writes slow_tests.txt from the times of the last `make test`; nobody edits it. A line is a test's
seconds, its file's name and its own. A test that is in the list stays until it takes less than half a second,
so that the list does not change with the weather.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

LIST = Path(__file__).with_name("slow_tests.txt")
ENTERS_SECONDS, LEAVES_SECONDS = 1.0, 0.5
LONG_SECONDS = 3.0
"""From here on what the tests of a file wait for together is each one's own; the first pays for the rest below."""
SHARED = "seconds of shared fixtures"
"""Property of a test in the junit file: what it would wait for if it were the only one of its file."""


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


def main(junit: str) -> None:
    """Write the list anew."""
    slow = updated(noted(), measured(Path(junit)))
    lines = [f"{slow[test]:.1f} {test}\n" for test in sorted(slow)]
    LIST.write_text("".join(lines), encoding="utf-8")
    print(f"{len(slow)} tests take a second or more, {sum(slow.values()):.0f} s together")


if __name__ == "__main__":
    main(sys.argv[1])
