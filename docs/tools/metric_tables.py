"""Tables of docs/metrics.md: the measured example of metrics.json, and every definition of definitions.toml."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path

DOCS = Path(__file__).parents[1]
DEFINITIONS = DOCS.parent / "sae_nb" / "evaluation" / "report" / "definitions.toml"
BETTER = {"higher": "higher", "lower": "lower", "one": "close to 1", "none": "neither"}


def measured(name: str) -> str:
    """The table of that name in metrics.json."""
    kept = json.loads((DOCS / "metrics.json").read_text(encoding="utf-8"))
    if name not in kept:
        raise ValueError(f"docs/metrics.json holds {', '.join(kept)}, not {name!r}.")
    return _table(kept[name])


def definitions(_: str) -> str:
    """One table per family."""
    families = tomllib.loads(DEFINITIONS.read_text(encoding="utf-8"))
    head = ["id", "formula", "better", "floor", "where libraries differ"]
    parts = []
    for family in families.values():
        shared = {key: value for key, value in family.items() if not isinstance(value, dict)}
        rows = [
            [
                f"`{name}`",
                one["formula"],
                BETTER[one["better"]],
                one["floor"],
                one.get("differs", "–"),
            ]
            for name, own in family.items()
            if isinstance(own, dict)
            for one in [shared | own]
        ]
        parts.append(f"### {family['title']}\n\n{_table([head, *rows])}")
    return "\n\n".join(parts)


def _table(lines: Iterable[list[str]]) -> str:
    head, *rows = lines
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(c.strip().replace('|', '∣') for c in line)} |" for line in cells
    )
