"""The requests of a CircuitPanel, as frozen values, and their answers: nothing here knows a widget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sae_nb.checks import check_integers
from sae_nb.circuits import AttributionGraph
from sae_nb.figures.theme import format_number
from sae_nb_widgets.circuit._summary import Circuit, CircuitAnswer, CircuitSummary, summarise_flow
from sae_nb_widgets.components._find_box import FindRow

if TYPE_CHECKING:
    from sae_nb_widgets.circuit._names import NodeNames

MOST_TRIED = 20
"""Atoms among which one with a name is looked for."""


@dataclass(frozen=True, kw_only=True)
class View:
    """The drawn part of a graph."""

    node: int
    threshold: float
    pinned: tuple[int, ...] = ()
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    path: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of the live model: atoms, the factor of their strength, and the number of random controls."""

    nodes: tuple[int, ...]
    factor: float
    n_random: int


def viewed(circuit: Circuit, view: View) -> CircuitSummary:
    """Return the record of what is drawn: the chosen node, pins and the path whatever the threshold."""
    chosen = (view.node,) if view.node >= 0 else ()
    always = {*view.pinned, *view.path, *chosen}
    return circuit.summarise(view.threshold, sorted(always), view.groups)


def changed(live: AttributionGraph, change: Change) -> CircuitAnswer:
    """Return what a change does to the answer of the running model."""
    flow = live.intervene(list(change.nodes), change.factor, n_random=change.n_random)
    return summarise_flow(live, change.nodes, flow)


# --- rules ----------------------------------------------------------------------------------------


def check_nodes(given: Iterable[object], n_nodes: int, name: str) -> tuple[int, ...]:
    """Return nodes of a graph, each once.

    Raises
    ------
    ValueError: If one is not of the graph.
    """
    nodes = tuple(dict.fromkeys(check_integers(list(given), name=name)))
    outside = [node for node in nodes if not 0 <= node < n_nodes]
    if outside:
        raise ValueError(
            f"`{name}` must be nodes of the graph, 0 to {n_nodes - 1}, got {outside[0]}. See "
            "`panel.graph.nodes`; a pruned graph numbers them anew."
        )
    return nodes


def check_groups(given: Mapping[str, Any], circuit: Circuit) -> dict[str, tuple[int, ...]]:
    """Return groups with their nodes, each node in one.

    Raises
    ------
    ValueError: If a group has no name or no nodes, or a node is in two, or a target.
    """
    found: dict[str, tuple[int, ...]] = {}
    taken: set[int] = set()
    for name, members in dict(given).items():
        nodes = check_nodes(members, len(circuit.graph), "groups")
        if not str(name).strip() or not nodes:
            raise ValueError(
                f"A group must have a name and at least one node, got {name!r} and {list(nodes)}."
            )
        wrong = [i for i in nodes if i in taken or circuit.kinds[i] == "target"]
        if wrong:
            raise ValueError(
                f"A group must be of nodes that are in no other and are no targets, got {wrong[0]} in "
                f"{name!r}. Ungroup the other one first."
            )
        taken.update(nodes)
        found[str(name)] = nodes
    return found


def alike(live: AttributionGraph, drawn: set[int]) -> dict[str, tuple[int, ...]]:
    """Return neurons that are drawn and fire together, two and more, by the name of their group."""
    found = {
        name: tuple(node for node in nodes if node in drawn)
        for name, nodes in live.groups().items()
    }
    return {name: nodes for name, nodes in found.items() if len(nodes) > 1}


def first_atom(circuit: Circuit, names: NodeNames) -> int:
    """Return the atom that a panel opens on: of most influence, for the answer, with a name; −1 for none."""
    inner = (circuit.kinds == "atom") & (circuit.influence > 0)
    found = np.flatnonzero(inner)
    found = found[np.argsort(-circuit.influence[found], kind="stable")].tolist()
    for_it = [node for node in found if circuit.adds[node] > 0]
    named = (node for node in for_it[:MOST_TRIED] if not names.pill(node)[1])
    return int(next(named, next(iter(for_it or found), -1)))


def found_nodes(circuit: Circuit, names: NodeNames, query: str) -> list[FindRow]:
    """Return the nodes that answer to a word, by name or by the word they are at; those that add most first."""
    wanted = query.strip().casefold()
    nodes = np.flatnonzero(circuit.kinds == "atom")
    nodes = (
        nodes[np.argsort(-np.abs(circuit.adds[nodes]), kind="stable")].tolist() if wanted else []
    )
    most, rows = float(np.abs(circuit.adds).max()) or 1.0, []
    for node in nodes:
        text, quiet = names.pill(node)
        position = int(circuit.graph.nodes.position.iat[node])
        at = names.token(position).strip("“”")
        if wanted not in names.name(node).casefold() and not at.casefold().startswith(wanted):
            continue
        adds = float(circuit.adds[node])
        tip = f"adds {format_number(adds)} to the answer"
        row = FindRow(
            atom=node, name=names.short(node) if quiet else text, named=not quiet, word=at,
            hit=at.casefold().startswith(wanted), share=abs(adds) / most, tip=tip,
        )  # fmt: skip
        rows.append(row)
    return rows


def heaviest_target(circuit: Circuit) -> int:
    """Return the target of the largest weight."""
    weight = np.where(circuit.kinds == "target", circuit.graph.nodes.weight.to_numpy(), -1.0)
    return int(weight.argmax())


def by_influence(summary: CircuitSummary) -> Sequence[int]:
    """Return the drawn nodes without the targets, the most influential first."""
    nodes = summary.nodes
    order = nodes[nodes.kind != "target"].sort_values("influence", ascending=False, kind="stable")
    return order["node"].astype(int).tolist()
