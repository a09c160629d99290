"""Print what failed in the junit files of a folder, then one pytest-like closing line for them all."""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

LINES_EACH = 30
"""Lines of a failure that are printed: the last ones, where the error is."""


def print_failures(file: Path, root: ElementTree.Element) -> None:
    """Print every failed test of a file with the end of its traceback."""
    for case in root.iter("testcase"):
        for child in (*case.iter("failure"), *case.iter("error")):
            print(f"{'_' * 10} {file.stem}: {case.get('classname')}::{case.get('name')} {'_' * 10}")
            print("\n".join((child.text or "").splitlines()[-LINES_EACH:]))


def main(folder: str) -> int:
    """Print the failures and the sum; return 1 when anything failed or nothing ran."""
    total = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    seconds = 0.0
    for file in sorted(Path(folder).glob("*.xml")):
        root = ElementTree.parse(file).getroot()  # noqa: S314 - our own file
        print_failures(file, root)
        for suite in root.iter("testsuite"):
            for name in total:
                total[name] += int(suite.get(name, 0))
            seconds += float(suite.get("time", 0))
    failed = total["failures"] + total["errors"]
    passed = total["tests"] - failed - total["skipped"]
    parts = [f"{failed} failed"] * bool(failed) + [f"{passed} passed"]
    parts += [f"{total['skipped']} skipped"] * bool(total["skipped"])
    print(f"{'=' * 20} {', '.join(parts)} in {seconds:.2f}s {'=' * 20}")
    return int(failed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
