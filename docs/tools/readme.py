"""The table of results in the README: the first headlines, with the numbers that the artefacts hold now.

    python docs/tools/readme.py

writes it between its two comments.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from cards import digits
from lessons import NOTEBOOKS, ROOT
from measured import _claim  # the artefact of a claim, as the pages read it

README = ROOT / "README.md"
BEGIN = "<!-- found: written by `python docs/tools/readme.py` from docs/headlines.toml and docs/claims -->"
END = "<!-- end of found -->"
ROWS = 8


def with_found(text: str) -> str:
    """The README with its table of results as headlines and artefacts have it now.

    Raises
    ------
    ValueError
        If one of the two comments is gone.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md must hold the lines {BEGIN!r} and {END!r}. Put them back.")
    return f"{head}{BEGIN}\n{found()}\n{END}{tail}"


def found() -> str:
    """A row for each of the first headlines: paper, claim, our number beside its control, verdict, notebook."""
    entries = tomllib.loads((ROOT / "docs" / "headlines.toml").read_text(encoding="utf-8"))
    head = [
        "| paper | claim, in our words | here | verdict | open |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *(_row(entry) for entry in entries["headline"][:ROWS])])


def _row(entry: dict[str, Any]) -> str:
    one, artefact = _claim(entry["claim"])
    paper = re.sub(r"arXiv (\d{4}\.\d{5})", r"[\1](https://arxiv.org/abs/\1)", one["paper"])
    cells = (paper, entry["words"], _numbers(entry, artefact), one["verdict"], _notebook(one))
    return f"| {' | '.join(cells)} |"


def _numbers(entry: dict[str, Any], artefact: dict[str, Any]) -> str:
    """Ours, and what it is compared with: the control where there is one."""
    ours, *others = entry["bars"]
    grey = [bar for bar in others if bar.get("grey")]
    shown = [ours, *(grey or others)[:1]]
    told = (f"{bar['label']} {digits(artefact['numbers'][bar['number']]['mean'])}" for bar in shown)
    return f"{'; '.join(told)} ({entry['measure']})"


def _notebook(one: dict[str, Any]) -> str:
    named = re.match(r"(?:lab_)?\d+", str(one.get("notebook") or ""))
    files = sorted(NOTEBOOKS.glob(f"{named[0]}*.ipynb")) if named else []
    shown = named[0].replace("_", " ") if named else ""
    return f"[{shown}](notebooks/{files[0].name})" if files else "[card](docs/claims.md)"


if __name__ == "__main__":
    README.write_text(with_found(README.read_text(encoding="utf-8")), encoding="utf-8")
