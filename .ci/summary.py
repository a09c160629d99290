"""Print what failed and what was skipped in the junit files of a folder, then one pytest-like closing line."""

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

LINES_EACH = 30
"""Lines of a failure that are printed: the last ones, where the error is."""
MAY_SKIP = re.compile(r"\b(GPU|CUDA|MPS|your own)\b")
"""What no environment here has: a device, or a file of the user's."""


def main(folder: str) -> int:
    """Print failures, skips and the sum; return 1 when anything failed, nothing ran or a test never runs."""
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
    once = sorted(name for name in skipped if name in ran)
    never = {name: why for name, why in sorted(skipped.items()) if name not in ran}
    print(f"Skipped in one run, passed in another: {len(once)}", *once, sep="\n  ")
    print(f"Never run: {len(never)}")
    for name, why in never.items():
        print(f"  {name}: {why}")
    idle = [name for name, why in never.items() if not MAY_SKIP.search(why)]
    if idle:
        print("These name neither a device nor a file of the user's:", *idle, sep="\n  ")
    parts = [f"{failed} failed"] * bool(failed) + [f"{len(passed)} passed"]
    parts += [f"{len(never)} skipped"] * bool(never)
    print(f"{'=' * 20} {', '.join(parts)} in {seconds:.2f}s {'=' * 20}")
    return int(bool(failed or idle or not passed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
