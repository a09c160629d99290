"""The texts of a CircuitPanel: its answer, the heading of a node, the rows of its tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sae_nb.figures import escape, format_count, format_number, format_percent
from sae_nb.studies.circuits import Circuit, CircuitAnswer, CircuitSummary, FaithfulnessCurve
from sae_nb_widgets.components import atom_mark

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb_widgets.circuit._names import NodeNames

HEADERS = ("node", "adds", "share")
NUMERIC = (False, True, True)

SHOWS_ONLY = (
    "This graph was read without a live model, so it shows and cannot be asked. Pass the model and the "
    "transcoders: CircuitPanel(graph, model, transcoders)."
)
CANNOT_ASK = (
    "The target of this graph is an atom or a function that no file keeps, so a change has nothing to be "
    "measured by. Make the graph with a class or token as target."
)
NOT_AN_ATOM = "Only atoms can be changed; choose a round node, or a group of them."
NOTHING_CHOSEN = (
    "Choose an atom in the drawing or in a table: what it is, what made it and what it makes."
)


def targets_words(circuit: Circuit) -> str:
    """Name what is explained, the heaviest first."""
    targets = circuit.graph.nodes[circuit.kinds == "target"].sort_values(
        "weight", ascending=False, kind="stable"
    )
    names = [
        name.replace("“ ", "“") if name.startswith("“") else f"“{name.strip()}”"
        for name in targets["name"]
    ]
    if len(names) < 3:
        return " and ".join(names)
    return f"{names[0]}, {names[1]} and {len(names) - 2} other answers"


def overview(circuit: Circuit, summary: CircuitSummary) -> str:
    """State how much of the influence is drawn, and how much of it ends in errors."""
    share = format_percent(summary.threshold)
    if not summary.reaches:
        return (
            f"At {share} no path leads from an input to the answer: what is drawn explains nothing. Raise "
            "“keep”."
        )
    atoms = circuit.kinds == "atom"
    if circuit.graph.of_neurons:
        return (
            f"{format_count(summary.n_nodes)} of {format_count(circuit.graph.n_units)} neurons, by position, "
            f"carry {share} of what is traced of {targets_words(circuit)}."
        )
    return (
        f"{format_count(summary.n_nodes)} of {format_count(int((atoms | (circuit.kinds == 'error')).sum()))} "
        f"nodes carry {share} of the influence on {targets_words(circuit)}."
    )


def overview_numbers(circuit: Circuit, summary: CircuitSummary) -> str:
    """State the numbers about the graph for experts."""
    graph = circuit.graph
    drawn, kept = len(summary.edges), summary.n_edges
    edges = (
        f"the {format_count(drawn)} strongest of {format_count(kept)}" if drawn < kept else "all"
    )
    if graph.of_neurons:
        return (
            f"{format_count(int((circuit.kinds == 'atom').sum()))} neurons are nodes; {edges} edges are drawn. "
            f"Names: {graph.named_by or 'none, the model has no unembedding'}."
        )
    linear = "" if graph.exact else " Between the dictionaries the model is taken by its slope."
    return (
        f"Replacement {format_percent(graph.replacement)} (share of the influence that reaches the inputs and "
        f"does not end in what atoms miss); completeness {format_percent(graph.completeness)}; {edges} edges "
        f"are drawn.{linear}"
    )


def curve_words(curve: FaithfulnessCurve, targets: str) -> str:
    """State what the strongest neurons take away, next to random ones; some work against the answer."""
    lost = float(curve.lost[0])
    gone = f"{format_percent(lost)} of the effect on {targets} is gone"
    larger = f"the effect on {targets} is larger by {format_percent(-lost)}"
    return (
        f"Without {curve.k[0]} of {format_count(curve.n_units)} neurons, by position, "
        f"{gone if lost >= 0 else larger}; without {curve.k[0]} random ones "
        f"{format_percent(max(curve.random_lost[0], 0.0))} is gone."
    )


def change_words(answer: CircuitAnswer, name: str, targets: str) -> str:
    """Describe the effect of a change, with the prediction and with chance."""
    done = (
        f"Without {name}"
        if answer.factor == 0
        else f"With {name} at {format_number(answer.factor)} times its strength"
    )
    way = "rises" if answer.effect > 0 else "falls"
    moved = f"the score of {targets} {way} by {_size(answer.effect)}"
    if answer.effect == 0:
        moved = f"the score of {targets} stays"
    return f"{done}, {moved}; the graph foresaw {_signed(answer.predicted)}; {_luck(answer)}."


def change_numbers(answer: CircuitAnswer, seconds: float) -> str:
    """State the numbers behind that sentence."""
    sizes = ", ".join(_signed(one) for one in answer.random)
    return (
        f"Scores are logits above the mean of all, weighted as the targets are. Foreseen straight "
        f"{_signed(answer.direct)}, over all paths {_signed(answer.predicted)}; random directions of the "
        f"same size at the same place: {sizes}; {seconds * 1000:.0f} ms."
    )


def _luck(answer: CircuitAnswer) -> str:
    if not len(answer.random):
        return "no random direction was tried"
    most = float(np.abs(answer.random).max())
    n = len(answer.random)
    beyond = "" if answer.is_beyond_luck else ": no more than luck does"
    return f"{n} random directions of that size move it by up to {_size(most)}{beyond}"


def _size(value: float) -> str:
    return format_number(abs(value), digits=2)


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{format_number(value, digits=2)}"


def hover(circuit: Circuit, row: Any, name: str, members: Sequence[str] = ()) -> str:
    """Return the tooltip of a node in the figure."""
    value = circuit.graph.nodes.value.iat[row.node]
    lines = [name]
    if members:
        lines += [", ".join(members[:6]) + (" …" if len(members) > 6 else "")]
    if row.kind == "target":
        return "\n".join([*lines, f"score {format_number(value)}"])
    lines.append(f"influence {format_percent(row.influence)}")
    lines.append(f"adds {_signed(row.adds)} to the answer, over all its paths")
    if row.kind == "atom" and not members:
        lines.append(f"strength {format_number(value)}")
    return "\n".join(lines)


def heading(circuit: Circuit, node: int, name: str, pinned: bool) -> str:
    """Write the heading of the chosen node, as escaped HTML."""
    row = circuit.graph.nodes.iloc[node]
    facts = [f"influence {format_percent(circuit.influence[node])}"]
    if row.kind == "atom":
        unit = "differs by" if circuit.graph.of_neurons else "strength"
        facts.append(f"{unit} {format_number(row.value)}")
    if row.kind == "target":
        facts = [f"score {format_number(row.value)}", f"weight {format_number(row.weight)}"]
    else:
        facts.append(f"adds {_signed(float(circuit.adds[node]))} to the answer")
    if pinned:
        facts.append("pinned")
    title = atom_mark(node, name) if row.kind == "atom" else escape(name)
    return (
        f'<div class="sae-nb-cardtitle">{title} '
        f'<span class="sae-nb-cardfacts">{escape(" · ".join(facts))}</span></div>'
    )


def cells(found: DataFrame, names: NodeNames) -> list[list[str]]:
    """Write the rows of a table of neighbours."""
    return [
        [names.full(int(row.node)), _signed(row.weight), format_percent(row.share, digits=2)]
        for row in found.itertuples()
    ]
