"""The sentences of a ChangesPanel: what changed, where, and what explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sae_nb.figures import format_number, format_percent, shortened, visible_token
from sae_nb_widgets.changes._asking import NONE
from sae_nb_widgets.panel import place_words

if TYPE_CHECKING:
    from sae_nb.studies.evaluation import ChangedText, ModelDiff

LONGEST_HEADLINE, LONGEST_ROW = 52, 230
"""Letters before a place; pixels of a text in the list."""

SAME = "Nothing differs on these texts: the largest difference is rounding."


def word(token: str) -> str:
    """Return a token in quotes, without the space before it."""
    return f"“{visible_token(token.strip() or token)}”"


def finding_words(found: ModelDiff, finding: int) -> str:
    """Return a finding in words: "principal component 1 after block 2"."""
    row = found.table.iloc[finding]
    kind = str(row["finding"])
    numbered = any(one.isdigit() for one in kind)
    return f"{'' if numbered else 'the '}{kind} {place_words(str(row['hook_point']))}"


def answer_words(found: ModelDiff) -> tuple[str, list[str]]:
    """Return what changed on all texts and which direction carries most of it, and the words to mark."""
    if found.same:
        return SAME, []
    best, raised = found.table.iloc[0], word(str(found.outcomes["outcome"].iloc[0]))
    carries = _share(best["share"])
    chance = _share(best["control"])
    said = (
        f"The training raised {raised} most; {finding_words(found, 0)} carries {carries} of the change, a "
        f"random direction {chance}."
    )
    simple = [note for note in found.notes if "simplest method" in note]
    return " ".join([said, *simple]), [raised.strip("“”")]


def numbers_words(found: ModelDiff) -> str:
    """Return the numbers behind the answer."""
    return (
        f"mean KL {format_number(found.kl)} nats, 95 % interval {format_number(found.low)} to "
        f"{format_number(found.high)}, {found.n_places} places"
    )


def headline_words(text: ChangedText, place: int) -> str:
    """Return what was read up to a place, and both answers: "… the gate. → So (before: The)"."""
    read = text.tokens[: place + 1]
    words = [one for one in read if not one.startswith("<|")] or list(read)
    said = visible_token(" ".join("".join(words).split()))
    if len(said) > LONGEST_HEADLINE:
        said = f"…{said[-LONGEST_HEADLINE:].partition(' ')[2]}"
    old, new = top_answers(text, place)
    return f"{said} → {new}" if old == new else f"{said} → {new} (before: {old})"


def top_answers(text: ChangedText, place: int) -> tuple[str, str]:
    """Return the most probable answers before and after."""
    names = [visible_token(name.strip() or name) for name in text.outcomes[place]]
    return names[int(text.before[place].argmax())], names[int(text.after[place].argmax())]


def first_place(text: ChangedText) -> int:
    """Return the place that a text opens on: where the direction explains most, else the largest change."""
    return int((text.kl if text.left is None else text.kl - text.left).argmax())


def place_sentence(text: ChangedText, place: int, back: str) -> str:
    """Return how far the answer at a place moved, and how much of that the direction explains."""
    said = f"The next token moved by {format_number(float(text.kl[place]))} nats"
    if text.left is None:
        return f"{said}."
    return f"{said}; {format_number(float(text.left[place]))} are left when {back} is set back."


def legend_words(text: ChangedText, back: str) -> str:
    """Return what the two rows of tokens are."""
    first = "Shaded: how far the answer after a token moved (KL, nats)."
    if text.left is None:
        return first
    whole = float(text.kl.sum())
    share = 1 - float(text.left.sum()) / whole if whole else 0.0
    goes = f"{_share(share)} of this text's change goes"
    return f"{first} Second row: what is left when {back} is set back; {goes}."


def finding_rows(found: ModelDiff) -> list[list[str]]:
    """Return the cells of the list of findings."""
    return [
        [
            str(row["finding"]),
            place_words(str(row["hook_point"])),
            _share(row["share"]),
            _share(row["control"]),
            ", ".join(word(one) for one in str(row["raises"]).split(", ")[:3]),
        ]
        for _, row in found.table.iterrows()
    ]


FINDING_HEADS = ("direction", "where", "share", "random", "raises")
TEXT_HEADS = ("text", "KL, nats", "left", "most after")
NUMBERS = {"share", "random", "KL, nats", "left"}
"""Columns of numbers."""


def text_rows(found: ModelDiff, texts: tuple[str, ...]) -> tuple[list[list[str]], list[int]]:
    """Return the cells of the list of texts, the most changed first, and which text each row is."""
    by = found.texts.groupby("sample")
    means = by[["kl", "left"]].mean().sort_values("kl", ascending=False, kind="stable")
    most = by["kl"].idxmax()
    numbers = [int(one) for one in means.index if int(one) < len(texts)]
    rows = [
        [
            shortened(" ".join(texts[n].split()), 13, LONGEST_ROW),
            format_number(float(means.at[n, "kl"])),
            format_number(float(means.at[n, "left"])),
            word(str(found.texts.at[most[n], "token"])),
        ]
        for n in numbers
    ]
    return rows, numbers


def record_rows(text: ChangedText, place: int) -> dict[str, str]:
    """Return the numbers of a text for exported pages: its largest places, and the chosen one's answers."""
    rows = {}
    for i in np.argsort(-text.kl, kind="stable")[:8].tolist():
        old, new = top_answers(text, i)
        left = "" if text.left is None else f", {format_number(float(text.left[i]))} left"
        rows[f"position {i}, after {word(text.tokens[i])}"] = (
            f"“{old}” → “{new}”, {format_number(float(text.kl[i]))} nats{left}"
        )
    if place != NONE:
        for name, p, q in zip(text.outcomes[place], text.before[place], text.after[place]):
            rows[f"next token {word(name)} at position {place}"] = (
                f"{format_percent(float(p), digits=2)} → {format_percent(float(q), digits=2)}"
            )
    return rows


def _share(value: float) -> str:
    """Return a share of the change; one below 0 explains nothing."""
    return format_percent(max(float(value), 0.0), digits=2)
