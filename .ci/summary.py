"""Print what failed and what was skipped in the junit files of a folder, then one pytest-like closing line."""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

LINES_EACH = 30
"""Lines of a failure that are printed: the last ones, where the error is."""


def main(folder: str) -> int:
    """Print failures, what never ran and the sum; return 1 when anything failed or nothing ran."""
    failed, passed, skipped, seconds = 0, set[str](), dict[str, str](), 0.0
    for file in sorted(Path(folder).glob("*.xml")):
        root = ElementTree.parse(file).getroot()  # noqa: S314 - our own file
        seconds += sum(float(suite.get("time", 0)) for suite in root.iter("testsuite"))
        for case in root.iter("testcase"):
            name = f"{case.get('classname')}::{case.get('name')}"
            if (skip := case.find("skipped")) is not None:
                skipped[name] = skip.get("message", "")
                continue
            faults = (*case.iter("failure"), *case.iter("error"))
            for fault in faults:
                print(f"{'_' * 10} {file.stem}: {name} {'_' * 10}")
                print("\n".join((fault.text or "").splitlines()[-LINES_EACH:]))
            failed += len(faults)
            if not faults:
                passed.add(f"{file.stem} {name}")
    ran = {name.partition(" ")[2] for name in passed}
    never = {name: why for name, why in sorted(skipped.items()) if name not in ran}
    print(
        f"Skipped in one run and passed in another: {len(skipped) - len(never)}. In none (CONTRIBUTING.md):"
    )
    for name, why in never.items():
        print(f"  {name}: {why}")
    parts = [f"{failed} failed"] * bool(failed) + [f"{len(passed)} passed"]
    parts += [f"{len(never)} skipped"] * bool(never)
    print(f"{'=' * 20} {', '.join(parts)} in {seconds:.2f}s {'=' * 20}")
    return int(failed > 0 or not passed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
