"""The layers of a CircuitPanel: which part of the graph is drawn, named, marked and pointed at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import traitlets as t
from jaxtyping import Int

from sae_nb.checks import check_integers
from sae_nb.studies.circuits import AttributionGraph, Circuit, CircuitSummary
from sae_nb_widgets.circuit import _words as words
from sae_nb_widgets.circuit._figure import Drawn, Marks, circuit_figure, draw_circuit
from sae_nb_widgets.circuit._names import NodeNames
from sae_nb_widgets.panel import Number, Panel, Whole, reacts

N_NAMED = 5
"""Atoms whose name is written next to them."""


def a_node(**about: Any) -> Whole:
    """Return the index of a node of a panel, or −1."""
    return Whole(-1, 0, lambda panel: panel.n_nodes - 1, none=-1, **about)


class CircuitDrawing(Panel):
    """A graph in layers: so much of it, what is pinned, groups as one, a path, the node chosen."""

    graph: AttributionGraph
    live: AttributionGraph | None
    """The graph as the running model is asked about it; None where it only shows."""

    circuit: Circuit
    n_nodes: int
    tokens: Sequence[str]
    crops: Sequence[str]
    """Text under each column: a token, or the address of a patch; "" if it is none."""

    plot: Any
    _named: NodeNames
    _summary: CircuitSummary
    _points: Mapping[int, Int[np.ndarray, " m"]]
    _path: Sequence[int] = ()

    node = a_node(help="The node chosen, by its row in `graph.nodes`; −1 for none.")
    threshold = Number(0.8, 0.05, 1.0, help="Share of the influence that is drawn.")
    pinned = t.Tuple(help="Nodes that are drawn whatever the threshold.")
    groups = t.Dict(help="Name → nodes that are drawn, and changed, as one.")

    @property
    def summary(self) -> CircuitSummary:
        """The record that is drawn."""
        return self._summary

    def _nodes(self, given: Any, name: str) -> tuple[int, ...]:
        """Nodes of the graph, each once."""
        nodes = tuple(dict.fromkeys(check_integers(list(given), name=name)))
        outside = [node for node in nodes if not 0 <= node < self.n_nodes]
        if outside:
            raise ValueError(
                f"`{name}` must be nodes of the graph, 0 to {self.n_nodes - 1}, got {outside[0]}. See "
                "`panel.graph.nodes`; a pruned graph numbers them anew."
            )
        return nodes

    def _summarised(self) -> CircuitSummary:
        chosen = (self.node,) if self.node >= 0 else ()
        always = {*self.pinned, *self._path, *chosen}
        return self.circuit.summarise(self.threshold, sorted(always), self.groups)

    def _drawn(self) -> Drawn:
        summary = self._summary
        place, nodes = summary.place_of, summary.nodes
        targets = np.flatnonzero((nodes.kind == "target").to_numpy()).tolist()
        named = {*targets, *(place(node) for node in (self.node, *self.pinned, *self._path))}
        named |= set(np.flatnonzero((nodes.group != "").to_numpy()).tolist())
        named |= set(self._large())
        if summary.named:
            named = set(range(len(nodes)))
        marks = Marks(
            chosen=place(self.node),
            pinned=[place(node) for node in self.pinned],
            path=[place(node) for node in self._path],
            # The chosen one first: of two that would touch, the first is written.
            names={
                i: self._label(i)
                for i in sorted(named - {-1}, key=lambda i: i != place(self.node))
                if nodes.kind[i] != "token"
            },
        )
        if summary.named:
            atoms = np.flatnonzero(((nodes.kind == "atom") & (nodes.group == "")).to_numpy())
            nameless = [i for i in atoms.tolist() if not self._named.words(int(nodes.node[i]))]
            marks = replace(marks, nameless=nameless)
        hovers = [self._hover(i) for i in range(len(nodes))]
        columns = summary.columns.position
        tokens, crops = [self.tokens[p] for p in columns], [self.crops[p] for p in columns]
        return circuit_figure(summary, marks, hovers, tokens, crops)

    def _group_of(self, node: int) -> str:
        return next((name for name, nodes in self.groups.items() if node in nodes), "")

    def _large(self) -> list[int]:
        """The atoms of most influence, of which something is known besides their number."""
        nodes = self._summary.nodes
        atoms = nodes[nodes.kind == "atom"].sort_values("influence", ascending=False)
        return [i for i in atoms.index[:N_NAMED].tolist() if self._named.words(int(nodes.node[i]))]

    def _label(self, place: int) -> str:
        row = self._summary.nodes.iloc[place]
        if self._summary.named:
            return str(row.group) or self._named.pill(int(row.node))
        return str(row.group) or self._named.name(int(row.node))

    def _hover(self, place: int) -> str:
        row = self._summary.nodes.iloc[place]
        members = [self._named.name(i) for i in self._summary.nodes_at(place)] if row.group else []
        name = str(row.group) or self._named.full(int(row.node))
        return words.hover(self.circuit, row, name, members)

    @reacts("threshold", "pinned", "groups", doing="drawing the circuit")
    def _redraw(self) -> None:
        self._summary = self._summarised()
        self._draw_figure()
        self._conclude()

    def _draw_figure(self) -> None:
        drawn = self._drawn()
        self._points = drawn.points
        draw_circuit(self.plot, drawn)

    def _rescale(self) -> None:
        self._draw_figure()

    def _conclude(self) -> None:
        """Describe the drawing; a panel that changes atoms describes the effect."""
        numbers = words.overview_numbers(self.circuit, self._summary)
        self.conclude(words.overview(self.circuit, self._summary), numbers)
