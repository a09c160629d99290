"""The bars of an InputLens as plain lists: fired | mattered, or the differences of two inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool

from sae_nb.corpora import Contrast, InputSummary
from sae_nb.evaluation import SpliceCheck
from sae_nb.figures import plot_text, template, theme
from sae_nb.figures.theme import format_count, format_number, format_percent
from sae_nb.statistics import Difference
from sae_nb_widgets.components import Column
from sae_nb_widgets.components._paired_bars import HOLLOW_PX, NEGATIVE, POSITIVE
from sae_nb_widgets.input_lens._words import (
    activity_words,
    atoms_in_words,
    difference_words,
    effect_words,
    measured_words,
    signed_number,
    times_words,
)

if TYPE_CHECKING:
    from sae_nb.atoms import AtomNames

# -------------------------------------------------------------------------------------------------
# The bars of an InputLens as a plotly figure, for pictures and readers without JavaScript.


ROW_PX = 24
LONGEST_NAME = 22

VISIBLY = 1.05
"""Times its control, from which on a bar is seen to be longer and is filled. Ours."""


def input_lens_figure(labels: Sequence[str], columns: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Return one panel of lying bars per column, the first row on top."""
    figure = go.Figure()
    names = [_short(label, i) for i, label in enumerate(labels)]
    share = 1 / max(len(columns), 1)
    for i, column in enumerate(columns):
        axis = "" if i == 0 else f"{i + 1}"
        _add_bars(figure, names, column, axis)
        domain = [i * share + (0.04 if i else 0), (i + 1) * share - 0.02]
        figure.layout[f"xaxis{axis}"] = {
            "domain": domain,
            "title": {"text": plot_text(column["title"])},
            "anchor": f"y{axis}",
        }
        figure.layout[f"yaxis{axis}"] = {
            "autorange": "reversed",
            "anchor": f"x{axis}",
            "showticklabels": i == 0,
            "type": "category",
        }
    figure.update_layout(template=template(), height=90 + ROW_PX * max(len(labels), 1))
    return figure


def _add_bars(
    figure: go.Figure, names: Sequence[str], column: Mapping[str, Any], axis: str
) -> None:
    where = {"xaxis": f"x{axis}", "yaxis": f"y{axis}"}
    values = column["values"]
    colour = [theme.NEUTRAL] * len(values)
    if column["signed"]:
        colour = [NEGATIVE if (value or 0) < 0 else POSITIVE for value in values]
    within = [theme.CLEAR if hollow else of for hollow, of in zip(column["hollow"], colour)]
    figure.add_bar(
        x=values,
        y=names,
        orientation="h",
        marker={"color": within, "line": {"color": colour, "width": HOLLOW_PX}},
        name=column["title"],
        showlegend=False,
        **where,
    )
    for key, words, style in (
        (
            "control",
            "what chance reaches (outlined: no more than that)",
            {"symbol": "line-ns-open", "color": theme.CONTROL, "size": 12},
        ),
        (
            "exact",
            "measured by removing the atom",
            {"symbol": "line-ns-open", "color": theme.BLACK, "size": 12},
        ),
    ):
        known = [(v, n) for v, n in zip(column[key], names) if v is not None]
        if known:
            ends, rows = zip(*known, strict=True)
            figure.add_scatter(
                x=ends, y=rows, mode="markers", marker=style, name=words, showlegend=True, **where
            )


def _short(label: str, row: int) -> str:
    """Cut a long name; names of rows must differ, so the row's number joins where it is cut."""
    if len(label) <= LONGEST_NAME:
        return plot_text(label)
    return plot_text(f"{label[: LONGEST_NAME - 4]}… {row + 1}")


# -------------------------------------------------------------------------------------------------
# The bars of an InputLens as plain lists: fired | mattered, or the differences of two inputs.


def shown_atoms(
    summary: InputSummary,
    contrast: Contrast | None,
    sort: Any,
    n: int,
    chosen: int | None = None,
    names: AtomNames | None = None,
) -> list[int]:
    """Return the atoms that get bars; the chosen one joins at the end where it fired at all.

    By effect, only those beyond chance as far as there are some; where `names` are given, those that the
    sentence names before others.
    """
    if contrast is not None:
        # By the size of the differences that are on screen, so that rows fall from the first.
        by_effect = sort == "attribution" and contrast.attribution is not None
        found = contrast.difference("attribution" if by_effect else "strength")
        order = np.argsort(-np.abs(found.value), kind="stable")[:n]
        atoms = [int(a) for a in order if found.value[a] != 0]
        fired = chosen is not None and bool(found.a[chosen] or found.b[chosen])
    else:
        known = summary.base is not None or sort not in ("surprise", "lift")
        order = summary.order(sort if known else None)
        if sort == "attribution" and summary.used.mattering.any():
            said = atoms_in_words(summary, names) if names is not None else []
            plain = summary.used.atom[summary.used.mattering & _plainly_beyond(summary)]
            kept = np.isin(order, [*said, *plain])
            order = order[kept] if kept.any() else order
            first = order[np.argsort(~np.isin(order, said), kind="stable")][:n]
            order = order[np.isin(order, first)]  # whatever is spoken of, bars fall from the first
        atoms = order[:n].tolist()
        fired = chosen is not None and summary.place(chosen) is not None
    return [*atoms, chosen] if fired and chosen is not None and chosen not in atoms else atoms


def _plainly_beyond(summary: InputSummary) -> Bool[np.ndarray, " active"]:
    """Return which effects are longer than their control to the eye, too: a bar ending at its mark is not."""
    used = summary.used
    return used.beyond & (np.abs(used.attribution) > VISIBLY * used.control)


def columns_and_key(
    summary: InputSummary,
    contrast: Contrast | None,
    atoms: list[int],
    checks: Mapping[int, SpliceCheck],
) -> tuple[Sequence[Column], Sequence[tuple[str, str]]]:
    """Return the bars of atoms in an input, or of what two differ in, and the meaning of their marks."""
    measured = any(atom in checks for atom in atoms)
    key = key_of(summary, atoms, compared=contrast is not None, measured=measured)
    if contrast is not None:
        return difference_columns(contrast, atoms), key
    return columns_of(summary, atoms, checks), key


def rows_title(summary: InputSummary, contrast: Contrast | None, sort: Any) -> str:
    """Return the heading of the rows' names: never more than the sentence above them states."""
    if contrast is not None:
        return "atoms that differ most"
    if sort != "attribution":
        return "atoms"
    if not summary.used.mattering.any():
        return "largest effects: none stands out"
    return "atoms that matter most"


def columns_of(
    summary: InputSummary, atoms: list[int], checks: Mapping[int, SpliceCheck]
) -> tuple[Column, Column]:
    """Return strengths with their lifts, and contributions with their random control."""
    used, places = summary.used, np.searchsorted(summary.used.atom, atoms)
    strength = used.strength[places].tolist()
    notes = [format_number(z) for z in strength]
    title = "activation (max)"
    if used.lift is not None:
        lifts = used.lift[places].tolist()
        notes = [f"{z} | {times_words(x)}" for z, x in zip(notes, lifts, strict=True)]
        title = "activation (max) | × usual"
    effect, control = used.attribution[places].tolist(), used.control[places].tolist()
    hollow = (~_plainly_beyond(summary)[places]).tolist()
    known = [checks.get(atom) for atom in atoms]
    words = [
        " ".join(
            [effect_words(summary, place), *([measured_words(check, summary)] if check else [])]
        )
        for place, check in zip(places.tolist(), known, strict=True)
    ]
    return (
        Column(
            title=title,
            values=strength,
            notes=notes,
            tips=[activity_words(summary, place) for place in places.tolist()],
        ),
        Column(
            title="effect on the answer" if summary.answers else "effect on the output",
            values=effect,
            notes=[signed_number(e) for e in effect],
            control=[np.copysign(c, e) for c, e in zip(control, effect, strict=True)],
            exact=[None if check is None else check.exact for check in known],
            hollow=hollow,
            signed=True,
            tips=words,
        ),
    )


def key_of(
    summary: InputSummary, atoms: Sequence[int], *, compared: bool = False, measured: bool = False
) -> list[tuple[str, str]]:
    """Return what every mark of the bars of atoms means, mark and words, and how many atoms have none."""
    if compared:
        return [
            ("control", "what chance alone would give"),
            ("hollow", "no more than that"),
            ("", "A − B: right of 0 more in A"),
        ]
    beyond, listed = _plainly_beyond(summary), np.isin(summary.used.atom, atoms)
    more, less = (format_count(int((one & ~listed).sum())) for one in (beyond, ~beyond))
    usual = (
        [] if summary.used.lift is None else ["× usual: how often, compared with the example set"]
    )
    return [
        *(("", words) for words in usual),
        ("control", "what random pushes reach"),
        *([("hollow", "no more than that")] * bool((listed & ~beyond).any())),
        ("", f"not listed: {more} that go beyond it, {less} that do not"),
        *([("before", "measured by removing the atom")] * measured),
        ("above", "raises the answer"),
        ("below", "lowers it"),
    ]


def difference_columns(contrast: Contrast, atoms: list[int]) -> tuple[Column, ...]:
    """Return differences A − B with their permutation floors."""
    columns = [_difference("activation: A − B (mean)", contrast.strength, atoms)]
    if contrast.attribution is not None:
        columns.append(_difference("effect on the answer: A − B", contrast.attribution, atoms))
    return tuple(columns)


def _difference(title: str, found: Difference, atoms: list[int]) -> Column:
    value = found.value[atoms]
    ends = found.expected[atoms] + np.copysign(found.floor[atoms], value - found.expected[atoms])
    p = found.p_adjusted[atoms]
    tips = [
        f"A {format_number(a)}, B {format_number(b)}; chance alone: up to ±{format_number(f)} (p = "
        f"{format_number(q)}, corrected for all atoms)"
        for a, b, f, q in zip(found.a[atoms], found.b[atoms], found.floor[atoms], p, strict=True)
    ]
    return Column(
        title=title,
        values=value.tolist(),
        notes=[signed_number(float(v)) for v in value],
        control=ends.tolist(),
        hollow=(~found.above_floor[atoms]).tolist(),
        signed=True,
        tips=tips,
    )


def record_table(
    summary: InputSummary,
    other: InputSummary | None,
    contrast: Contrast | None,
    atoms: list[int],
    names: AtomNames,
) -> dict[str, Any]:
    """Return the numbers behind the bars in reading order, for exported pages."""
    table: dict[str, Any] = {
        "model": summary.model_name,
        "hook_point": summary.hook_point,
        "input": summary.text or f"{len(summary.tokens)} positions",
        "answer": ", ".join(f"{name} {format_percent(p)}" for _, name, p in summary.answers[:5]),
        "effects_are_on": summary.measure,
        "usual_is_from": None if summary.base is None else summary.base.source,
    }
    for atom in atoms:
        place = summary.place(atom)
        sentences = ["Silent in A."] if place is None else [
            activity_words(summary, place), effect_words(summary, place)
        ]  # fmt: skip
        if contrast is not None:
            sentences.append(difference_words(contrast, atom))
        table[f"atom {names.name(atom)}"] = " ".join(sentences)
    if other is not None:
        table["second_input"] = other.text or f"{len(other.tokens)} positions"
        table["floor"] = "" if contrast is None else contrast.caveat
    notes = [*summary.notes, *(() if other is None else other.notes)]
    return {**table, "notes": "; ".join(dict.fromkeys(notes)) or None}
