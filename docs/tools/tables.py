"""Tables of pages, from files that hold them: words, definitions, certificates, classes, published releases."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS, TOOL = ROOT / "docs", ROOT / "sae_nb"
FOUND = ROOT / "tests" / "families" / "found.json"
FAMILIES = FOUND.with_name("families.json")
BETTER = {"higher": "higher", "lower": "lower", "one": "close to 1", "none": "neither"}
SHOWN = ("real", "return", "halves", "kept", "R²", "steers", "detection")
"""Numbers of a certificate that its row has."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows as Markdown; what would end a cell is replaced."""
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(
        f"| {' | '.join(cell.strip().replace('|', '∣') for cell in line)} |" for line in lines
    )


def folded(title: str, inside: str) -> str:
    """A note that is closed until it is clicked."""
    body = "\n".join(f"    {line}" for line in inside.splitlines())
    return f'??? note "{title}"\n\n{body}\n'


def words(kind: str) -> str:
    """Names of other libraries, or of "models", and what to write here."""
    entries = tomllib.loads((TOOL / "words.toml").read_text(encoding="utf-8"))[kind]
    rows = [
        (", ".join(f"`{name}`" for name in theirs), ours if ours.endswith(".") else f"`{ours}`")
        for ours, theirs in entries.items()
    ]
    return table(("elsewhere", "here"), rows)


def measured(name: str) -> str:
    """The table of that name in metrics.json."""
    kept = json.loads((DOCS / "metrics.json").read_text(encoding="utf-8"))
    if name not in kept:
        raise ValueError(f"docs/metrics.json holds {', '.join(kept)}, not {name!r}.")
    head, *rows = kept[name]
    return table(head, rows)


def training(name: str) -> str:
    """What was measured along the training of a bundled temporal SAE, every second look, beside its floors."""
    curve = _trained(name)["curve"]
    head = {
        "predicted share": "share",
        "in random order": "shuffled share",
        "of the previous token": "previous token share",
        "cosine of neighbours: predicted": "lag-1",
        "its codes in random order": "order lost lag-1",
        "novel": "novel lag-1",
        "unexplained": "FVU",
    }
    rows = [
        [f"{look['step']:,.0f}".replace(",", " ")]
        + [_three_digits(look[one]) for one in head.values()]
        for look in [*curve[:-1:2], curve[-1]]
    ]
    return table(("steps", *head), rows)


def trainings(name: str) -> str:
    """A row for each training of a temporal SAE: that of the bundled one, and of those in docs/records."""
    others = sorted((DOCS / "records" / name).glob("*.json"))
    records = [_trained(name), *(json.loads(file.read_text()) for file in others)]
    head = {
        "predicted share": "share",
        "in random order": "shuffled share",
        "cosine of neighbours: predicted": "lag-1",
        "its codes in random order": "order lost lag-1",
        "novel": "novel lag-1",
        "activations": "raw lag-1",
        "unexplained": "FVU",
    }
    rows = [
        [f"{one['form']}, seed {one['seed']}", f"{one['plan']['steps']:,}".replace(",", " ")]
        + [_three_digits(one["held-out"][number]) for number in head.values()]
        for one in records
    ]
    return table(("form", "steps", *head), rows)


def _trained(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(
        (TOOL / "pretrained" / "saes" / name / "record.json").read_text()
    )
    return record


def _three_digits(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def definitions(_: str) -> str:
    """Every definition of definitions.toml, one table per family."""
    file = TOOL / "evaluation" / "report" / "definitions.toml"
    parts = []
    for family in tomllib.loads(file.read_text(encoding="utf-8")).values():
        own = {name: one for name, one in family.items() if isinstance(one, dict)}
        rows = [
            (
                f"`{name}`",
                one["formula"],
                BETTER[one["better"]],
                one["floor"],
                one.get("differs", "–"),
            )
            for name, one in ((name, family | one) for name, one in own.items())
        ]
        head = ("id", "formula", "better", "floor", "where libraries differ")
        parts.append(f"### {family['title']}\n\n{table(head, rows)}")
    return "\n\n".join(parts)


def certificates(_: str) -> str:
    """A row for each SAE, bundled ones first, with intervals and controls; the notes of each folded below."""
    kept = json.loads((DOCS / "certificates.json").read_text(encoding="utf-8"))
    found = sorted(
        kept.items(), key=lambda one: (one[1]["facts"]["sae"] == "Imported", _parts(one[0]))
    )
    head = ("SAE", "atoms", *SHOWN, "sisters' steps", "budget, CPU used")
    notes = [folded(name, _notes(one)) for name, one in found]
    return "\n".join([table(head, [_certificate(*one) for one in found]), "", *notes])


def _parts(name: str) -> list[int | str]:
    """A name in parts, so that block 9 comes before block 16."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _certificate(name: str, one: dict[str, Any]) -> list[str]:
    numbers = {number["number"]: number for number in one["numbers"]}
    cells = []
    for number in map(numbers.get, SHOWN):
        if number is None:
            cells.append("–")
            continue
        control = "" if number["control"] is None else f"<br>control {number['control']:.3g}"
        cells.append(f"{number['value']:.3g} [{number['low']:.3g}, {number['high']:.3g}]{control}")
    used = "" if one["cpu_seconds"] is None else f", {one['cpu_seconds']} s"
    how = f"{one['facts']['steps']}, {one['facts']['rows']} rows"
    return [f"`{name}`", str(one["atoms"]), *cells, how, one["budget"] + used]


def _notes(one: dict[str, Any]) -> str:
    shares = ", ".join(f"{share:.1%} {verdict}" for verdict, share in one["shares"].items())
    controls = "; ".join(
        f"of {control['dictionary']} {control['real']:.1%} are called real"
        for control in one["controls"]
    )
    said = [f"{shares}. {controls}.", f"Return needed: {one['facts']['bar']}.", *one["notes"]]
    return "\n".join(f"- {sentence}" for sentence in said)


def releases(_: str) -> str:
    """Published releases by format, folded: SAEs of each, their model and places, whether they are read."""
    from sae_nb.interop import published

    every = published()
    read = every[every.readable]
    parts = [
        f"{read.release.nunique()} of {every.release.nunique()} releases are read, {len(read)} of "
        f"{len(every)} SAEs.\n"
    ]
    for name, saes in every.groupby("format", sort=True):
        rows = [_release(str(one), own) for one, own in saes.groupby("release", sort=False)]
        share = saes.readable.mean()
        word = "all read" if share == 1 else "none read" if share == 0 else "some read"
        title = f"{escape(str(name))}: {len(rows)} releases, {len(saes)} SAEs, {word}"
        parts.append(folded(title, table(("release", "SAEs", "model", "reads", "read here"), rows)))
    return "\n".join(parts)


def _release(name: str, saes: Any) -> list[str]:
    kinds = dict.fromkeys(str(point).partition(".")[0] for point in saes.hook_point.dropna())
    read = "yes" if bool(saes.readable.all()) else "no"
    return [
        f"`{name}`",
        str(len(saes)),
        f"`{saes.model.iloc[0]}`",
        ", ".join(kinds) or "no name here",
        read,
    ]


def classes(which: str) -> str:
    """What the sweep over transformers found: "counts", what is "wrong", or by kind "unbuilt" or "every".

    Raises
    ------
    ValueError
        If it is asked for anything else.
    """
    rows = json.loads(FOUND.read_text(encoding="utf-8"))["rows"]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for one in rows:
        kinds.setdefault(one["kind"], []).append(one)
    if which == "counts":
        columns = ("kind", "classes", "built", "right", "by hidden states, too", "head found")
        return table(columns, [_counts(kind, mine) for kind, mine in kinds.items()])
    if which == "wrong":
        wrong = [one for one in rows if one["built"] and not one["right"]]
        return table(("class", "reason"), map(_reason, wrong))
    if which not in ("unbuilt", "every"):
        raise ValueError(f"`classes` is 'counts', 'wrong', 'unbuilt' or 'every', got {which!r}.")
    parts = []
    for kind, mine in kinds.items():
        built = [one for one in mine if bool(one["built"]) == (which == "every")]
        if which == "every":
            head = ("class", "reads", "hook points", "plain hooks", "hidden states", "head")
            inside = table(head, map(_built, built))
        else:
            inside = table(("class", "reason"), map(_reason, built))
        if built:
            parts.append(folded(f"{kind[0].upper()}{kind[1:]}: {len(built)}", inside))
    return "\n".join(parts)


def families(which: str) -> str:
    """What every family promises: "counts" by kind, or "every" class with its cells and what is refused.

    Raises
    ------
    ValueError
        If it is asked for anything else.
    """
    if which not in ("counts", "every"):
        raise ValueError(f"`families` is 'counts' or 'every', got {which!r}.")
    rows = json.loads(FAMILIES.read_text(encoding="utf-8"))["rows"]
    promises = [key for key in rows[0] if key not in ("kind", "name")]
    kinds: dict[str, list[dict[str, str]]] = {}
    for one in rows:
        kinds.setdefault(one["kind"], []).append(one)
    if which == "counts":
        lines = [
            [kind, str(len(mine)), *(_right_and_refused(mine, key) for key in promises)]
            for kind, mine in kinds.items()
        ]
        return table(("kind", "classes", *promises), lines)
    marks = {"right": "right", "none": "–"}
    parts = []
    for kind, mine in kinds.items():
        said = list(dict.fromkeys(one[key] for one in mine for key in promises if ": " in one[key]))
        numbers = {sentence: f"refused ({i})" for i, sentence in enumerate(said, 1)}
        cells = [
            [f"`{one['name']}`", *((marks | numbers)[one[key]] for key in promises)] for one in mine
        ]
        told = [f"{i}. {sentence.removeprefix('refused: ')}" for i, sentence in enumerate(said, 1)]
        inside = "\n".join([table(("class", *promises), cells), "", *told])
        parts.append(folded(f"{kind[0].upper()}{kind[1:]}: {len(mine)}", inside))
    return "\n".join(parts)


def _right_and_refused(mine: Sequence[dict[str, str]], key: str) -> str:
    right = sum(one[key] == "right" for one in mine)
    refused = sum(one[key].startswith("refused") for one in mine)
    return f"{right}, {refused} refused" if refused else str(right) if right else "–"


def _counts(kind: str, mine: Sequence[dict[str, Any]]) -> list[str]:
    right = [one for one in mine if one["built"] and one["right"]]
    by_states = sum(one["states"] is not None and one["states"] <= 1e-4 for one in right)
    heads = sum(one["head"] is not None for one in mine)
    counts = (len(mine), sum(one["built"] for one in mine), len(right), by_states, heads)
    return [kind, *map(str, counts)]


def _reason(one: dict[str, Any], most: int = 110) -> list[str]:
    text = one["note"].replace("<", "‹").replace(">", "›").replace("`", "'").replace("\n", " ")
    short = text if len(text) <= most else f"{text[:most].rpartition(' ')[0]} …"
    return [f"`{one['name']}`", short or "no reason found"]


def _built(one: dict[str, Any]) -> list[str]:
    numbers = (one[key] for key in ("hooks", "states", "head"))
    shown = ["–" if value is None else f"{value:.0e}" if value else "0" for value in numbers]
    return [f"`{one['name']}`", one["reads"] or "–", str(one["points"] or "–"), *shown]
