"""The bars of an InputLens as plain lists: fired | mattered, or the differences of two inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from sae_nb.evaluation import Difference, SpliceCheck
from sae_nb.figures import THIN_SPACE, format_number, plot_text, template, theme
from sae_nb.summaries import Contrast, InputSummary, Quantity, UseOrder
from sae_nb_widgets.components import NEGATIVE, POSITIVE, Column

# -------------------------------------------------------------------------------------------------
# The bars of an InputLens as a plotly figure, for pictures and readers without JavaScript.


ROW_PX = 24
LONGEST_NAME = 22


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
    figure.update_layout(
        template=template(), showlegend=False, height=90 + ROW_PX * max(len(labels), 1)
    )
    return figure


def _add_bars(
    figure: go.Figure, names: Sequence[str], column: Mapping[str, Any], axis: str
) -> None:
    where = {"xaxis": f"x{axis}", "yaxis": f"y{axis}"}
    values = column["values"]
    colour: Any = theme.NEUTRAL
    if column["signed"]:
        colour = [NEGATIVE if (value or 0) < 0 else POSITIVE for value in values]
    figure.add_bar(
        x=values, y=names, orientation="h", marker={"color": colour}, name=column["title"], **where
    )
    for key, style in (
        ("control", {"symbol": "line-ns-open", "color": theme.CONTROL, "size": 12}),
        ("exact", {"symbol": "line-ns-open", "color": theme.BLACK, "size": 12}),
    ):
        known = [(v, n) for v, n in zip(column[key], names) if v is not None]
        if known:
            ends, rows = zip(*known, strict=True)
            figure.add_scatter(x=ends, y=rows, mode="markers", marker=style, name=key, **where)


def _short(label: str, row: int) -> str:
    """Cut a long name; names of rows must differ, so the row's number joins where it is cut."""
    if len(label) <= LONGEST_NAME:
        return plot_text(label)
    return plot_text(f"{label[: LONGEST_NAME - 4]}… {row + 1}")


# -------------------------------------------------------------------------------------------------
# The bars of an InputLens as plain lists: fired | mattered, or the differences of two inputs.


COMPARED_BY: Mapping[str, Quantity] = {
    "surprise": "strength",
    "lift": "rate",
    "strength": "strength",
    "total strength": "strength",
    "attribution": "attribution",
}


def shown_atoms(
    summary: InputSummary,
    contrast: Contrast | None,
    sort: UseOrder,
    n: int,
    chosen: int | None = None,
) -> list[int]:
    """Return the atoms that get bars; the chosen one joins at the end where it fired at all."""
    if contrast is not None:
        of = COMPARED_BY[sort]
        of = "strength" if of == "attribution" and contrast.attribution is None else of
        found = contrast.difference(of)
        atoms = [int(a) for a in contrast.order(of)[:n] if found.value[a] != 0]
        fired = chosen is not None and bool(found.a[chosen] or found.b[chosen])
    else:
        known = summary.base is not None or sort not in ("surprise", "lift")
        atoms = summary.top(n, sort if known else None)
        fired = chosen is not None and summary.place(chosen) is not None
    return [*atoms, chosen] if fired and chosen is not None and chosen not in atoms else atoms


def columns_of(
    summary: InputSummary, atoms: list[int], checks: Mapping[int, SpliceCheck]
) -> tuple[Column, Column]:
    """Return strengths with their lifts, and contributions with their random control."""
    used, places = summary.used, np.searchsorted(summary.used.atom, atoms)
    strength = used.strength[places].tolist()
    notes = [format_number(z) for z in strength]
    title = "fired (strongest)"
    if used.lift is not None:
        notes = [f"{z} · {_times(lift)}" for z, lift in zip(notes, used.lift[places], strict=True)]
        title = "fired (strongest · × usual)"
    effect, control = used.attribution[places].tolist(), used.control[places].tolist()
    exact = [checks[atom].exact if atom in checks else None for atom in atoms]
    words = [
        f"{signed_number(e)} to the {summary.measure}, first order; random directions ±{format_number(c)}"
        + (f"; exact {signed_number(x)}" if x is not None else "")
        for e, c, x in zip(effect, control, exact, strict=True)
    ]
    fired = [
        f"at {n} of {len(summary.read)} positions, strongest {format_number(z)}"
        for n, z in zip(used.n_fired[places].tolist(), strength, strict=True)
    ]
    return (
        Column(title=title, values=strength, notes=notes, tips=fired),
        Column(
            title="mattered (logit)" if summary.answers else "mattered",
            values=effect,
            notes=[signed_number(e) for e in effect],
            control=[np.copysign(c, e) for c, e in zip(control, effect, strict=True)],
            exact=exact,
            signed=True,
            tips=words,
        ),
    )


def difference_columns(contrast: Contrast, atoms: list[int]) -> tuple[Column, ...]:
    """Return differences A − B with their permutation floors."""
    columns = [_difference("fired: A − B, mean strength", contrast.strength, atoms)]
    if contrast.attribution is not None:
        columns.append(_difference("mattered: A − B", contrast.attribution, atoms))
    return tuple(columns)


def _difference(title: str, found: Difference, atoms: list[int]) -> Column:
    value = found.value[atoms]
    ends = found.expected[atoms] + np.copysign(found.floor[atoms], value - found.expected[atoms])
    p = found.p_adjusted[atoms]
    tips = [
        f"A {format_number(a)}, B {format_number(b)}; floor ±{format_number(f)}, p = "
        f"{format_number(q)} corrected for all atoms"
        for a, b, f, q in zip(found.a[atoms], found.b[atoms], found.floor[atoms], p, strict=True)
    ]
    return Column(
        title=title,
        values=value.tolist(),
        notes=[signed_number(float(v)) for v in value],
        control=ends.tolist(),
        signed=True,
        tips=tips,
    )


def record_table(
    summary: InputSummary, other: InputSummary | None, contrast: Contrast | None, atoms: list[int]
) -> dict[str, Any]:
    """Return the numbers behind the bars in reading order, for exported pages."""
    used, places = summary.used, [summary.place(atom) for atom in atoms]
    table: dict[str, Any] = {
        "model": summary.model_name,
        "hook_point": summary.hook_point,
        "input": summary.text or f"{len(summary.tokens)} positions",
        "answer": ", ".join(f"{name} {format_number(p)}" for _, name, p in summary.answers[:5]),
        "contributions_are_to": summary.measure,
        "base_rate": None if summary.base is None else summary.base.source,
    }
    for atom, place in zip(atoms, places, strict=True):
        text = "does not fire in A"
        if place is not None:
            lift = "" if used.lift is None else f", {_times(float(used.lift[place]))} its base rate"
            text = (
                f"{int(used.n_fired[place])} positions, strongest "
                f"{format_number(float(used.strength[place]))}{lift}, contributes "
                f"{signed_number(float(used.attribution[place]))} (random ±"
                f"{format_number(float(used.control[place]))})"
            )
        if contrast is not None:
            found = contrast.strength
            text += (
                f"; A − B {signed_number(float(found.value[atom]))}, floor ±"
                f"{format_number(float(found.floor[atom]))}"
            )
        table[f"atom {summary.name_of(atom)}"] = text
    if other is not None:
        table["second_input"] = other.text or f"{len(other.tokens)} positions"
        table["floor"] = "" if contrast is None else contrast.caveat
    notes = [*summary.notes, *(() if other is None else other.notes)]
    return {**table, "notes": "; ".join(dict.fromkeys(notes)) or None}


def _times(lift: float) -> str:
    return f"{format_number(lift)}{THIN_SPACE}×"


def signed_number(value: float) -> str:
    """Write a number with its sign."""
    return ("+" if value > 0 else "") + format_number(value)
