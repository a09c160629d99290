"""Print the constraints for what conda has not installed, and hold on to conda's torch.

    python binder/pins.py constraints.txt > pins.txt

pip keeps an installed package that satisfies what is asked for, so conda's are left alone; torch is
pinned to the version that is there, because the index would replace it by a CUDA build.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path


def canonical(name: str) -> str:
    """Write a distribution's name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(constraints: str, installed: dict[str, str]) -> list[str]:
    """Return the constraints on packages that are not installed, and torch as it is."""
    kept = []
    for line in constraints.splitlines():
        name, separator, _ = line.partition("==")
        if separator and not name.startswith("#") and canonical(name) not in installed:
            kept.append(line.strip())
    return [*kept, f"torch=={installed['torch']}"]


def main(path: str) -> int:
    """Print one constraint a line; return 1 without a torch."""
    found = {canonical(d.metadata["Name"]): d.version for d in metadata.distributions()}
    if "torch" not in found:
        print("torch must be installed before the rest, by environment.yml.", file=sys.stderr)
        return 1
    print("\n".join(pins(Path(path).read_text(encoding="utf-8"), found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
