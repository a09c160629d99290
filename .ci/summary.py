"""Print what was skipped and what failed in the junit files of a folder, then one pytest-like closing line."""

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

LINES_EACH = 30
"""Lines of a failure that are printed: the last ones, where the error is."""


def main(folder: str) -> int:
    """Print what never ran, then failures and the sum; return 1 when anything failed or nothing ran."""
    seconds, passed, skipped, failed = 0.0, set[str](), dict[str, str](), list[tuple[str, str]]()
    for file in sorted(Path(folder).glob("*.xml")):
        root = ElementTree.parse(file).getroot()  # noqa: S314 - our own file
        seconds += sum(float(suite.get("time", 0)) for suite in root.iter("testsuite"))
        for case in root.iter("testcase"):
            name = f"{case.get('classname')}::{case.get('name')}"
            if (skip := case.find("skipped")) is not None:
                skipped[name] = skip.get("message", "")
                continue
            faults = [fault.text or "" for fault in (*case.iter("failure"), *case.iter("error"))]
            failed += [(f"{file.stem}: {name}", fault) for fault in faults]
            if not faults:
                passed.add(f"{file.stem} {name}")
    ran = {name.partition(" ")[2] for name in passed}
    never = {name: why for name, why in skipped.items() if name not in ran}
    print(f"Skipped in one run and passed in another: {len(skipped) - len(never)}.")
    print("Passed in none (CONTRIBUTING.md has the reasons):")
    alike = Counter((name.partition("[")[0], why) for name, why in never.items())
    for (name, why), n in sorted(alike.items()):
        print(f"  {n} × {name}: {why}")
    for name, fault in failed:
        print(f"{'_' * 10} {name} {'_' * 10}")
        print("\n".join(fault.splitlines()[-LINES_EACH:]))
    for name, _ in failed:
        print(f"FAILED {name}")
    parts = [f"{len(failed)} failed"] * bool(failed) + [f"{len(passed)} passed"]
    parts += [f"{len(never)} skipped"] * bool(never)
    print(f"{'=' * 20} {', '.join(parts)} in {seconds:.2f}s {'=' * 20}")
    return int(bool(failed) or not passed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
