"""Which share of each package the tests ran, from what `make coverage` measured; and the badge of the README.

python -m tests.covered  # reads build/coverage/coverage.json, writes build/coverage/badge.json
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path, PurePosixPath

FOLDER = Path(__file__).parents[1] / "build" / "coverage"
COUNTS = ("covered_lines", "num_statements", "covered_branches", "num_branches")
COLOURS = ((0.9, "brightgreen"), (0.75, "yellowgreen"), (0.5, "orange"), (0.0, "red"))


def by_package(files: dict[str, dict[str, dict[str, int]]]) -> dict[str, list[int]]:
    """Sums of `COUNTS` for each package, from the files of a report of coverage.py."""
    found: dict[str, list[int]] = defaultdict(lambda: [0] * len(COUNTS))
    for file, measured in files.items():
        package = _package(PurePosixPath(file))
        found[package] = [a + measured["summary"].get(b, 0) for a, b in zip(found[package], COUNTS)]
    return dict(sorted(found.items()))


def _package(file: PurePosixPath) -> str:
    top = next(i for i, part in enumerate(file.parts) if part.startswith("sae_nb"))
    return ".".join(file.parts[top:-1][:2])


def share(counts: list[int]) -> float:
    """Lines and branches that ran, of all; 1 where there is nothing to run."""
    lines, statements, taken, branches = counts
    return (lines + taken) / (statements + branches) if statements + branches else 1.0


def badge(whole: float) -> dict[str, object]:
    """What shields.io draws: whole per cent, never rounded up."""
    colour = next(colour for least, colour in COLOURS if whole >= least)
    said = f"{int(whole * 100)} %"
    return {"schemaVersion": 1, "label": "coverage", "message": said, "color": colour}


def main() -> None:
    """Print a row for each package, and write the badge."""
    files = json.loads((FOLDER / "coverage.json").read_text(encoding="utf-8"))["files"]
    packages = by_package(files)
    whole = [sum(column) for column in zip(*packages.values())]
    print(f"{'package':<32} {'lines':>7} {'branches':>9} {'run':>6}")
    for package, counts in [*packages.items(), ("all", whole)]:
        print(f"{package:<32} {counts[1]:>7} {counts[3]:>9} {share(counts):>6.1%}")
    (FOLDER / "badge.json").write_text(json.dumps(badge(share(whole))), encoding="utf-8")


if __name__ == "__main__":
    main()
