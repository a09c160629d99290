"""The page of the sweep: a table of every class, made from what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sae_nb.files import read_json
from tests.sweep.classes import CLOSE, KINDS, Row

FOUND = Path(__file__).parent / "found.json"
PAGE = Path(__file__).parents[2] / "docs" / "transformers.md"

_HEAD = """# Classes of transformers

Which models of transformers can be captured from, and how sure is that? Every class of these lists is built by one generic configuration (width 32, two blocks, random weights), wrapped, and captured at the output of each block; rows are compared with transformers' own `output_hidden_states`. The last block is left out where there are others, since transformers gives its state after the final norm. A difference of at most {close:g} (float32) is right.

Made by `python -m tests.sweep` with transformers {version}; do not edit. `make test-all` computes it again.

## Counts by kind

| kind | classes | built | right |
| --- | ---: | ---: | ---: |
{counts}

A class is not built where its configuration refuses the generic settings or stays large. That does not mean that its checkpoints cannot be loaded: `sn.load_model` takes a checkpoint's own configuration.

## What is missing, and why

{missing}

## Every class

{tables}
"""


def recorded() -> list[Row]:
    """Return the rows of the last sweep."""
    return [Row(**row) for row in read_json(FOUND)["rows"]]


def page(rows: Sequence[Row]) -> str:
    """Return the page."""
    import transformers

    counts, missing, tables = [], [], []
    for kind in KINDS:
        mine = [row for row in rows if row.kind == kind]
        built, right = sum(row.built for row in mine), sum(row.right for row in mine)
        counts.append(f"| {kind} | {len(mine)} | {built} | {right} |")
        wrong = [row for row in mine if row.built and not row.right]
        if wrong:
            missing.append(f"### Not right: {kind}\n\n| class | reason |\n| --- | --- |")
            missing[-1] += "".join(f"\n| `{row.name}` | {_reason(row)} |" for row in wrong)
        lines = [f"### {kind[0].upper()}{kind[1:]}\n\n| class | hook points | largest difference |"]
        lines.append("| --- | ---: | --- |")
        lines += [f"| `{row.name}` | {row.points or '–'} | {_difference(row)} |" for row in mine]
        tables.append("\n".join(lines))
    return _HEAD.format(
        close=CLOSE,
        version=transformers.__version__,
        counts="\n".join(counts),
        missing="\n\n".join(missing),
        tables="\n\n".join(tables),
    )


def _difference(row: Row) -> str:
    if not row.built:
        return "not built"
    return "–" if row.difference is None else f"{row.difference:.0e}" if row.difference else "0"


def _reason(row: Row) -> str:
    text = row.note or "no reason found"
    return text.replace("<", "‹").replace(">", "›").replace("`", "'").replace("\n", " ")


def write_page(rows: Sequence[Row]) -> None:
    """Write the page of the documentation."""
    PAGE.write_text(page(rows), encoding="utf-8")
