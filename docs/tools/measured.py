"""Figures of pages, read where they were measured: docs/claims and benchmarks/results."""

from __future__ import annotations

import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from cards import card, digits, headline

ROOT = Path(__file__).parents[2]


def claim(argument: str) -> str:
    """One published claim with our numbers, floor, control and verdict; "experiment / name"."""
    return _card(*claim_of(argument))


def claims(experiment: str) -> str:
    """Every claim of an experiment that has a card of its own."""
    return _cards(experiment)


def more(argument: str) -> str:
    """Further cards of a page, folded: "experiment / name", or every card of an experiment."""
    if " / " in argument:
        return _card(*claim_of(argument), folded=True)
    return _cards(argument, folded=True)


def cards_of() -> list[tuple[str, str]]:
    """Every claim that has a card, folded, each with the paper that it is of."""
    artefacts = [_artefact(name) for name in sorted(_experiments())]
    return [
        (one["paper"], _card(one, artefact, folded=True))
        for artefact in artefacts
        for one in artefact["claims"]
        if _has_card(one)
    ]


def headlines(_: str) -> str:
    """The claims of docs/headlines.toml as cards with pictures."""
    entries = tomllib.loads((ROOT / "docs" / "headlines.toml").read_text(encoding="utf-8"))
    cards = [headline(entry, *claim_of(entry["claim"])) for entry in entries["headline"]]
    return f'<div class="cards headlines">{"".join(cards)}</div>'


def claims_beyond(folder: str) -> str:
    """Every experiment that no page of a folder of docs quotes, each under its title."""
    pages = (ROOT / "docs" / folder).glob("*.md")
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    left = sorted(
        name for name in _experiments() if not re.search(rf"(claims?|more): {name}\b", text)
    )
    told = ((_artefact(name)["title"], claims(name)) for name in left)
    return "\n\n".join(f"## {title}\n\n{cards}" for title, cards in told if cards)


def number(argument: str) -> str:
    """Mean ± standard deviation over seeds; "experiment / number"."""
    experiment, name = _pair(argument)
    records = _artefact(experiment)["seeds"].values()
    values = [float(_named(one["numbers"], name, f"numbers of {experiment}")) for one in records]
    mean = sum(values) / len(values)
    # Over seeds, as the artefacts count it.
    spread = (sum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1)) ** 0.5
    return f"{digits(mean)} ± {digits(spread)}"


def numbers(argument: str) -> str:
    """Cells of a table row, "—" where nothing was recorded; "experiment / beginning of names / ends, ends"."""
    experiment, begin, ends = (part.strip() for part in argument.split(" / "))
    recorded = [set(one["numbers"]) for one in _artefact(experiment)["seeds"].values()]
    names = [f"{begin} {end.strip()}" for end in ends.split(",")]
    if not any(name in recorded[0] for name in names):
        raise ValueError(f"{experiment} has no number that begins with {begin!r}.")
    found = [all(name in one for one in recorded) for name in names]
    return " | ".join(
        number(f"{experiment} / {name}") if there else "—"
        for name, there in zip(names, found, strict=True)
    )


def benchmark_table(argument: str) -> str:
    """A table of benchmarks/results with its date and machine; "benchmark / table"."""
    benchmark, name = _pair(argument)
    file = ROOT / "benchmarks" / "results" / f"{benchmark}.json"
    if not file.is_file():
        raise ValueError(f"benchmarks/results has no file {file.name}.")
    table = _named(json.loads(file.read_text(encoding="utf-8")), name, f"tables of {benchmark}")
    columns = table["columns"]
    lines = [columns, ["---"] * len(columns), *table["rows"]]
    about = f"{table['date']}, {table['machine']}, load: {table['load']}; `{table['command']}`"
    rows = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{rows}\n\n<small>{about}</small>"


def _cards(experiment: str, *, folded: bool = False) -> str:
    artefact = _artefact(experiment)
    found = [one for one in artefact["claims"] if _has_card(one)]
    return "\n\n".join(_card(one, artefact, folded=folded) for one in found)


def _has_card(one: dict[str, Any]) -> bool:
    """Not a column or a line of the history of another card, and no identity."""
    return not any(one.get(key) for key in ("beside", "replaced_by", "tested_by"))


def _card(one: dict[str, Any], artefact: dict[str, Any], *, folded: bool = False) -> str:
    """A card with a further column for every experiment that asked the same of other data."""
    name = f"{artefact['experiment']} / {one['name']}"
    beside, history = (_those(key, name) for key in ("beside", "replaced_by"))
    return card(one, artefact, beside=beside, history=history, folded=folded)


def _those(key: str, name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Claims that name another one, each with its artefact."""
    return [
        (other, artefact)
        for artefact in map(_artefact, sorted(_experiments()))
        for other in artefact["claims"]
        if other.get(key) == name and not other.get("tested_by")
    ]


def claim_of(argument: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A claim and the artefact that holds it; "experiment / name"."""
    experiment, name = _pair(argument)
    told = {one["name"]: one for one in _artefact(experiment)["claims"]}
    return _named(told, name, f"claims of {experiment}"), _artefact(experiment)


def _pair(argument: str) -> tuple[str, str]:
    first, _, second = argument.partition(" / ")
    return first.strip(), second.strip()


def _experiments() -> dict[str, Path]:
    return {path.stem: path for path in (ROOT / "docs" / "claims").glob("*.json")}


@cache
def _artefact(experiment: str) -> dict[str, Any]:
    path = _named(_experiments(), experiment, "experiments")
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


def _named(known: dict[str, Any], name: str, what: str) -> Any:
    if name not in known:
        raise ValueError(f"{name!r} is none of the {what}: {', '.join(sorted(known))}.")
    return known[name]
