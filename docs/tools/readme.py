"""The table of results in the README: rows of "The papers", with the numbers that the artefacts hold now."""

from __future__ import annotations

from typing import Any

from cards import digits
from lessons import NOTEBOOKS
from measured import claim_of
from papers import ARXIV, counts, entries

SHOWN = (
    "hierarchy / hierarchy and correlation",
    "heterogeneity / adaptive",
    "long_raptors / two blocks",
    "minkowski_vit / minkowski",
)
"""One of each family, and one that did not come out."""

PAPERS = "https://sae-nb.github.io/sae_nb/latest/claims.html"


def found(_: str) -> str:
    """A row for each claim that is shown: claim and paper, verdict and lesson, our number and its control.

    Three columns: of five, a phone shows the first two.
    """
    known = {entry["claim"]: entry for entry in entries()}
    head = [
        "| claim | verdict | measure: our number, its control (mean ± sd of seeds) |",
        "| --- | --- | --- |",
    ]
    rows = [*head, *(_row(known[claim]) for claim in SHOWN)]
    return "\n".join([*rows, "", f"{counts('named')}: [the list]({PAPERS}#every-paper-one-line)."])


def _row(entry: dict[str, Any]) -> str:
    one, artefact = claim_of(entry["claim"])
    found = ARXIV.search(one["paper"])
    paper = f"[{entry['name']}](https://arxiv.org/abs/{found[1]})" if found else entry["name"]
    ours, control = (_mean(artefact, entry[part]) for part in ("ours", "control"))
    seeds = artefact["numbers"][entry["ours"]["number"]]["n"]
    measure = entry["measure"][0].upper() + entry["measure"][1:]
    here = f"{measure}: **{ours}**, {control}"
    cells = (
        f"{entry['words']} {paper}",
        f"[{one['verdict']}]({_notebook(entry)}), {seeds} seeds",
        here,
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _mean(artefact: dict[str, Any], part: dict[str, Any]) -> str:
    """A number as its seeds have it: mean ± standard deviation, and where it is from."""
    number = artefact["numbers"][part["number"]]
    spread = (
        f" ± {digits(float(format(number['sd'], '.2g')))}" if number.get("sd") is not None else ""
    )
    return f"{digits(number['mean'])}{spread} {part['label']}"


def _notebook(entry: dict[str, Any]) -> str:
    number = entry.get("notebook")
    if not number:
        return PAPERS
    (file,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    return f"notebooks/{file.name}"
