"""The page of the sweep: a table of every class, made from what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sae_nb.files import read_json
from tests.sweep.classes import CLOSE, KINDS, Row

FOUND = Path(__file__).parent / "found.json"
PAGE = Path(__file__).parents[2] / "docs" / "transformers.md"

_HEAD = """# Classes of transformers

Which models of transformers can be captured from, and how sure is that? Every class of these lists is built tiny (width 32, two blocks, random weights), wrapped with `sn.wrap`, and captured at the output of each block, two samples at a time. The rows are compared with two things:

- **plain hooks**: forward hooks of torch on the modules that the hook points name, in a pass without the toolkit. The layout of what they see is read from its shape alone.
- **hidden states**: transformers' own `output_hidden_states`, where a class gives any of the same layout. The last block is left out where there are others, since transformers gives its state after the final norm.

A class is *right* where both differ by at most {close:g} (float32). **Head** is the largest difference between a causal model's logits and what the lens's head (final norm, unembedding, and one factor or soft cap where the family has one) makes of the last block's captured output.

Made by `python -m tests.sweep` with transformers {version}; do not edit. `make test-all` computes all of it again.

## Counts by kind

| kind | classes | built | right | of those built | by hidden states, too | head found |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
{counts}

{images} of the vision-language classes read images in or with their texts here, the others texts alone. A class is not built where no settings were found by which it runs at this size; the reasons are [below](#not-built). That does not mean that its checkpoints cannot be loaded: `sn.load_model` takes a checkpoint's own configuration.

## What is missing, and why

### Read in part

| class | what is missing |
| --- | --- |
| `BltForCausalLM` | of its three stacks the local encoder's, of bytes, is read; the states of its patches and of its local decoder are not |
| `ClapModel` | rows of its audio tower have no seconds: the spectrogram is folded into a square, so that a patch holds several stretches of time |
| `LlavaNextForConditionalGeneration` | images in texts have no face: features of line ends lie between the rows of patches, and tiles of several views follow each other. Rows are captured, numbered along the image |
| `LlavaForConditionalGeneration` with Pixtral's tower | the same: each row of patches ends in a token of the text |

{missing}

## Not built

{unbuilt}

## Every class

{tables}
"""


def recorded() -> list[Row]:
    """Return the rows of the last sweep."""
    return [Row(**row) for row in read_json(FOUND)["rows"]]


def page(rows: Sequence[Row]) -> str:
    """Return the page."""
    import transformers

    counts, missing, unbuilt, tables = [], [], [], []
    for kind in KINDS:
        mine = [row for row in rows if row.kind == kind]
        built, right = [row for row in mine if row.built], [row for row in mine if row.right]
        by_states = [row for row in right if row.states is not None and row.states <= CLOSE]
        heads = sum(row.head is not None for row in mine)
        share = f"{100 * len(right) / max(len(built), 1):.0f} %"
        counts.append(
            f"| {kind} | {len(mine)} | {len(built)} | {len(right)} | {share} | {len(by_states)} | {heads or '–'} |"
        )
        wrong = [row for row in built if not row.right]
        if wrong:
            missing.append(f"### Not right: {kind}\n\n{_reasons(wrong, _reason)}")
        others = [row for row in mine if not row.built]
        if others:
            title = f'??? note "{kind[0].upper()}{kind[1:]}: {len(others)} classes"'
            unbuilt.append(f"{title}\n\n{_indented(_reasons(others, _short))}")
        head = "| class | reads | hook points | plain hooks | hidden states | head | remark |"
        lines = [f"### {kind[0].upper()}{kind[1:]}\n\n{head}"]
        lines.append("| --- | --- | ---: | ---: | ---: | ---: | --- |")
        lines += [_line(row) for row in built]
        tables.append("\n".join(lines))
    return _HEAD.format(
        close=CLOSE,
        version=transformers.__version__,
        counts="\n".join(counts),
        images=sum("image" in row.reads for row in rows if row.kind == "vision-language"),
        missing="\n\n".join(missing) or "Every class that is built is right.",
        unbuilt="\n\n".join(unbuilt),
        tables="\n\n".join(tables),
    )


def _line(row: Row) -> str:
    numbers = " | ".join(_number(value) for value in (row.hooks, row.states, row.head))
    remark = _plain(row.note) if row.right else ""
    return f"| `{row.name}` | {row.reads or '–'} | {row.points or '–'} | {numbers} | {remark} |"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.0e}" if value else "0"


def _reasons(rows: Sequence[Row], reason: Callable[[Row], str]) -> str:
    lines = ["| class | reason |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| `{row.name}` | {reason(row)} |" for row in rows)])


def _reason(row: Row) -> str:
    return _plain(row.note or "no reason found")


def _short(row: Row, most: int = 110) -> str:
    text = _reason(row)
    return text if len(text) <= most else f"{text[:most].rpartition(' ')[0]} …"


def _plain(text: str) -> str:
    return text.replace("<", "‹").replace(">", "›").replace("`", "'").replace("\n", " ")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def write_page(rows: Sequence[Row]) -> None:
    """Write the page of the documentation."""
    PAGE.write_text(page(rows), encoding="utf-8")
