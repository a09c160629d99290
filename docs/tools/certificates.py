"""The certificates of docs/certificates.json as a table, and the notes of each folded below it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sae_nb.files._atomic import read_json

MEASURED = Path(__file__).parents[1] / "certificates.json"
SHOWN = ("real", "return", "halves", "R²", "steers", "detection")
HEAD = ("SAE", "atoms", *SHOWN, "sisters' steps", "budget, CPU used")


def certificates(_: str) -> str:
    """A row for each SAE, bundled ones first: six numbers with interval and control, and what they were
    measured with.
    """
    rows = dict(
        sorted(read_json(MEASURED).items(), key=lambda row: (_is_foreign(row[1]), _counted(row[0])))
    )
    lines = [f"| {' | '.join(HEAD)} |", "|" + " --- |" * len(HEAD)]
    lines += [_line(name, one) for name, one in rows.items()]
    return "\n".join([*lines, "", *(_notes(name, one) for name, one in rows.items())])


def _is_foreign(one: dict[str, Any]) -> bool:
    return bool(one["facts"]["sae"] == "Imported")


def _counted(name: str) -> list[Any]:
    """A name in parts, so that block 9 comes before block 16."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _line(name: str, one: dict[str, Any]) -> str:
    numbers = {number["number"]: number for number in one["numbers"]}
    cells = [
        f"`{name}`",
        str(one["atoms"]),
        *(_cell(numbers.get(number)) for number in SHOWN),
        f"{one['facts']['steps']}, {one['facts']['rows']} rows",
        one["budget"] + ("" if one["cpu_seconds"] is None else f", {one['cpu_seconds']} s"),
    ]
    return f"| {' | '.join(cells)} |"


def _cell(number: dict[str, Any] | None) -> str:
    if number is None:
        return "–"
    control = "" if number["control"] is None else f"<br>control {number['control']:.3g}"
    return f"{number['value']:.3g} [{number['low']:.3g}, {number['high']:.3g}]{control}"


def _notes(name: str, one: dict[str, Any]) -> str:
    shares = ", ".join(f"{share:.1%} {verdict}" for verdict, share in one["shares"].items())
    controls = "; ".join(
        f"of {control['dictionary']} {control['real']:.1%} are called real"
        for control in one["controls"]
    )
    said = [f"{shares}. {controls}.", f"Return needed: {one['facts']['bar']}.", *one["notes"]]
    body = "\n".join(f"    - {sentence}" for sentence in said)
    return f'??? note "{name}"\n{body}\n'
