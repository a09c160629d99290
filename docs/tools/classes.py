"""Tables of the classes of transformers, from what `python -m tests.sweep` found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOUND = Path(__file__).parents[2] / "tests" / "sweep" / "found.json"
Rows = Sequence[dict[str, Any]]


def classes(which: str) -> str:
    """One table of "counts", one of what is "wrong", or a folded one a kind: "unbuilt" or "every".

    Raises
    ------
    ValueError
        If it is asked for anything else.
    """
    rows = json.loads(FOUND.read_text(encoding="utf-8"))["rows"]
    kinds = {kind: [one for one in rows if one["kind"] == kind] for kind in _kinds(rows)}
    if which == "counts":
        columns = ("kind", "classes", "built", "right", "by hidden states, too", "head found")
        return _table(columns, [_counts(kind, mine) for kind, mine in kinds.items()])
    if which == "wrong":
        wrong = [one for one in rows if one["built"] and not one["right"]]
        return _table(("class", "reason"), [_reason(one) for one in wrong])
    if which == "unbuilt":
        head: tuple[str, ...] = ("class", "reason")
        made = _reason
        kinds = {kind: [one for one in mine if not one["built"]] for kind, mine in kinds.items()}
    elif which == "every":
        head, made = (
            ("class", "reads", "hook points", "plain hooks", "hidden states", "head"),
            _line,
        )
        kinds = {kind: [one for one in mine if one["built"]] for kind, mine in kinds.items()}
    else:
        raise ValueError(f"`classes` is 'counts', 'wrong', 'unbuilt' or 'every', got {which!r}.")
    return "\n\n".join(
        f'??? note "{kind[0].upper()}{kind[1:]}: {len(mine)}"\n\n'
        + "\n".join(f"    {line}" for line in _table(head, map(made, mine)).splitlines())
        for kind, mine in kinds.items()
        if mine
    )


def _kinds(rows: Rows) -> list[str]:
    return list(dict.fromkeys(one["kind"] for one in rows))


def _counts(kind: str, mine: Rows) -> list[str]:
    right = [one for one in mine if one["built"] and one["right"]]
    by_states = sum(one["states"] is not None and one["states"] <= 1e-4 for one in right)
    heads = sum(one["head"] is not None for one in mine)
    counts = (len(mine), sum(one["built"] for one in mine), len(right), by_states, heads)
    return [kind, *map(str, counts)]


def _reason(one: dict[str, Any]) -> list[str]:
    return [f"`{one['name']}`", _plain(one["note"]) or "no reason found"]


def _line(one: dict[str, Any]) -> list[str]:
    numbers = [_number(one[key]) for key in ("hooks", "states", "head")]
    return [f"`{one['name']}`", one["reads"] or "–", str(one["points"] or "–"), *numbers]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.0e}" if value else "0"


def _plain(text: str, most: int = 110) -> str:
    text = text.replace("<", "‹").replace(">", "›").replace("`", "'").replace("\n", " ")
    text = text.replace("|", "∣")
    return text if len(text) <= most else f"{text[:most].rpartition(' ')[0]} …"


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
