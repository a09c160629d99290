"""Add up the junit files of a folder and print one pytest-like closing line."""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def main(folder: str) -> int:
    """Print the sum; return 1 when anything failed or nothing ran."""
    total = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    seconds = 0.0
    for file in sorted(Path(folder).glob("*.xml")):
        for suite in ElementTree.parse(file).getroot().iter("testsuite"):  # noqa: S314 - our own file
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
