"""The table of claims in Markdown, made from artefacts and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

HEAD = """# Published claims, and what came out here

Made by `python -m sae_nb_lessons.reproductions --table` from the files in `claims/`; do not edit. Every number is the mean ± standard deviation over seeds. A claim **holds** if every line is met with two standard deviations to spare (the gate, mean ∓ 2 sd, is in brackets), holds **partly** if some line is met by the mean, and **does not hold at this scale** if none is. The floor is the same number for something that learned nothing, the control where the claimed cause is absent.
"""
COLUMNS = ("claim", "paper", "our numbers", "floor", "control", "verdict", "notebook")


def claims_table(artefacts: Sequence[dict[str, Any]]) -> str:
    """The whole page.

    Parameters
    ----------
    artefacts
        As `read_artefacts` gives them.

    Example
    -------
    >>> claims_table([]).splitlines()[0]
    '# Published claims, and what came out here'
    """
    return "\n".join([HEAD, *(_section(artefact) for artefact in artefacts)])


def _section(artefact: dict[str, Any]) -> str:
    rows = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    rows += [f"| {' | '.join(_cells(claim))} |" for claim in artefact["claims"]]
    return "\n".join([f"## {artefact['title']}", "", _made(artefact), "", *rows, ""])


def _made(artefact: dict[str, Any]) -> str:
    records = artefact["seeds"].values()
    dates = sorted({record["date"] for record in records})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    used = next(iter(records))["environment"]
    sizes = ", ".join(f"{name} {_plain(value)}" for name, value in sorted(artefact["size"].items()))
    seconds = sum(record["seconds"] for record in records) / len(records)
    return (
        f"`{artefact['command']}` · {when} · {len(records)} seeds, {seconds:.0f} s each · torch "
        f"{used['torch']}, {used['cores']} cores, threads {used['threads']} · {sizes}"
    )


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _cells(claim: dict[str, Any]) -> list[str]:
    lines = [
        f"{_number(line)} ({line['line']}; gate {_digits(line['gate'])}{'' if line['met'] else ', missed'})"
        for line in claim["lines"]
    ]
    shown = [_number(part) for part in claim["shown"]]
    cells = [
        claim["text"],
        claim["paper"],
        "<br>".join([*lines, *shown]),
        _number(claim["floor"]),
        _number(claim["control"]),
        f"**{claim['verdict']}**",
        claim["notebook"] or "–",
    ]
    return [cell.replace("|", "\\|") for cell in cells]


def _number(part: dict[str, Any] | None) -> str:
    if part is None:
        return "–"
    return f"{part['label']}: {_digits(part['mean'])} ± {_digits(part['sd'])}"


def _digits(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
