"""The page "The papers": a row for each of docs/papers.toml, our number next to its floor or control."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from html import escape
from typing import Any

from cards import ARXIV, LOOKS, digits
from lessons import BINDER, NOTEBOOKS, ROOT
from measured import claim_of

WIDTH = 64
"""Of the longer bar, in pixels."""
HEADS = ("paper", "claim", "here, next to floor or control", "verdict", "run it")


@cache
def entries(key: str = "paper") -> tuple[dict[str, Any], ...]:
    """Rows of docs/papers.toml, in their order: those with a number ("paper"), or every paper ("named")."""
    return tuple(tomllib.loads((ROOT / "docs" / "papers.toml").read_text(encoding="utf-8"))[key])


def papers(_: str) -> str:
    """The rows as one table, which a narrow screen shows as cards."""
    head = "".join(f'<th scope="col">{name}</th>' for name in HEADS)
    body = "".join(_row(entry) for entry in entries())
    return f'<table class="papers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def counts(_: str) -> str:
    """How many of the papers are there whole, in part, and left out."""
    states = [_state(entry) for entry in entries("named")]
    whole, part, out = (states.count(state) for state in ("whole", "in part", "left out"))
    return f"Of {len(states)} papers {whole} are there whole, {part} in part, {out} left out"


def named(_: str) -> str:
    """Every paper, one line each: whole, in part, or left out; the call, and what is missing or why."""
    rows = [
        f"| {_linked(entry['paper'], entry.get('arxiv'))} | {_state(entry)} | {_where(entry)} |"
        for entry in entries("named")
    ]
    return "\n".join(["| paper | state | where, and what is missing |", "|---|---|---|", *rows])


def _state(entry: dict[str, Any]) -> str:
    return "left out" if "out" in entry else "in part" if "missing" in entry else "whole"


def _where(entry: dict[str, Any]) -> str:
    parts = [f"`{entry['call']}`"] if "call" in entry else []
    parts += [f"experiment `{entry['experiment']}`"] if "experiment" in entry else []
    return "; ".join([*parts, *(entry[key] for key in ("missing", "out") if key in entry)])


def _linked(name: str, arxiv: str | None) -> str:
    return f"[{name}](https://arxiv.org/abs/{arxiv})" if arxiv else name


def _row(entry: dict[str, Any]) -> str:
    one, artefact = claim_of(entry["claim"])
    cells = (
        _paper(entry, one),
        escape(entry["words"]),
        _here(entry, artefact),
        _verdict(one),
        _run(entry, artefact),
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _paper(entry: dict[str, Any], one: dict[str, Any]) -> str:
    name, found = escape(entry["name"]), ARXIV.search(one["paper"])
    return f'<a href="https://arxiv.org/abs/{found[1]}">{name}</a>' if found else name


def _here(entry: dict[str, Any], artefact: dict[str, Any]) -> str:
    """Two bars in one unit, both numbers in words, what was measured, and the paper's own number."""
    parts = [entry["ours"], entry["control"]]
    means = [artefact["numbers"][part["number"]]["mean"] for part in parts]
    scale = WIDTH / (max(abs(mean) for mean in means) or 1)
    bars = "".join(
        f'<span class="{look}" style="width:{max(abs(mean) * scale, 1):.0f}px"></span>'
        for look, mean in zip(("ours", "grey"), means, strict=True)
    )
    measure = entry["measure"] + (f"; theirs: {entry['theirs']}" if "theirs" in entry else "")
    ours, control = (
        f"{digits(mean)} {escape(part['label'])}" for part, mean in zip(parts, means, strict=True)
    )
    return (
        f'<span class="pair"><span>{bars}</span><span><b>{ours}</b>, {control}'
        f"<small>{escape(measure)}</small></span></span>"
    )


def _verdict(one: dict[str, Any]) -> str:
    verdict, seeds = one["verdict"], one["n_seeds"]
    sign = ", sign only" if one.get("sign_only") and verdict == "holds" else ""
    words = escape(verdict.removesuffix(" at this scale") + sign)
    return f'<span class="dot {LOOKS[verdict]}"></span>{words}<small>{seeds} seeds</small>'


def _run(entry: dict[str, Any], artefact: dict[str, Any]) -> str:
    """The notebook or page that shows it, and how long a seed takes; the command is its tooltip."""
    seconds = [record["seconds"] for record in artefact["seeds"].values()]
    command = f"make reproduce-full NAME={artefact['experiment']}"
    again = f'<small title="{command}">again: {_time(sum(seconds) / len(seconds))} a seed</small>'
    number = entry.get("notebook")
    if not number:
        return f'<a href="{entry["page"]}.html">{entry["page"].rpartition("/")[2]}</a>{again}'
    (file,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    return f'<a href="{BINDER}{file.name}">notebook {number.replace("_", " ")}</a>{again}'


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def by_paper(_: str) -> str:
    """Every claim below the paper that it is of, folded, the papers in order of their first number."""
    from measured import cards_of

    groups: dict[str, list[str]] = {}
    for paper, told in cards_of():
        groups.setdefault(_group(paper), []).append(told)
    # Papers by arXiv number, then other sources, then ours.
    order = sorted(groups, key=lambda name: (name == "ours", not name.startswith("arXiv"), name))
    return "\n\n".join(f"### {name}\n\n" + "\n\n".join(groups[name]) for name in order)


def _group(paper: str) -> str:
    found = ARXIV.search(paper)
    if paper.startswith("ours"):
        return "ours"
    return found[0] if found else re.split(r"[;,]| of which", paper)[0].strip('“”" ')
