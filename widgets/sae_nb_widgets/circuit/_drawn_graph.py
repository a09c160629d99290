"""A circuit's record as it is drawn: every node in words, laid out for several widths of the stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sae_nb.circuits._summary import Circuit, CircuitSummary
from sae_nb_widgets.circuit import _words as words
from sae_nb_widgets.circuit._layout import Face, Layout, lay_out
from sae_nb_widgets.circuit._map import WIDTHS
from sae_nb_widgets.circuit._names import NodeNames
from sae_nb_widgets.circuit._queries import View

if TYPE_CHECKING:
    import pandas as pd

KINDS = {"token": "input", "error": "missed", "target": "answer"}


def drawn(
    circuit: Circuit,
    summary: CircuitSummary,
    view: View,
    names: NodeNames,
    tokens: Sequence[str],
    crops: Sequence[str],
) -> tuple[list[Face], list[Layout]]:
    """Return the nodes in words, and where they are on stages of several widths."""
    marks: dict[int, tuple[str, ...]] = {}
    for name, nodes in (("pinned", view.pinned), ("path", view.path)):
        for place in {summary.place_of(node) for node in nodes}:
            marks[place] = (*marks.get(place, ()), name)
    faces = [
        _face(circuit, summary, names, row, place, marks.get(place, ()))
        for place, row in enumerate(summary.nodes.itertuples())
    ]
    columns = summary.columns.position
    of_columns = ([tokens[p] for p in columns], [crops[p] for p in columns])
    return faces, [lay_out(summary, faces, *of_columns, width) for width in WIDTHS]


def _face(
    circuit: Circuit,
    summary: CircuitSummary,
    names: NodeNames,
    row: pd.Series,
    place: int,
    marks: tuple[str, ...],
) -> Face:
    node = int(row.node)
    members = [names.name(i) for i in summary.nodes_at(place)] if row.group else []
    text, quiet = (str(row.group), False) if row.group else names.pill(node)
    tone = "group" if row.group else KINDS.get(row.kind, "for" if row.adds >= 0 else "against")
    return Face(
        text="missed" if tone == "missed" else text,
        brief=names.brief(node, text) if tone in ("for", "against") else text,
        tip=words.hover(circuit, row, str(row.group) or names.full(node), members),
        tone=tone,
        atom=node if row.kind == "atom" and not row.group else -1,
        quiet=quiet,
        marks=marks,
    )
