"""The blocks under a circuit about its chosen node: what made it, what it makes, where else it fires."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import traitlets as t

from sae_nb.figures.theme import escape
from sae_nb_widgets.circuit import _words as words
from sae_nb_widgets.circuit._names import NodeNames
from sae_nb_widgets.circuit._summary import Circuit
from sae_nb_widgets.components._row_table import RowTable
from sae_nb_widgets.panel._declaring import show
from sae_nb_widgets.panel._examples import examples_view

if TYPE_CHECKING:
    import pandas as pd

N_NEIGHBOURS, N_EXAMPLES = 5, 4
ELSEWHERE = "Where else it fires"


class ChosenNode:
    """A heading, two tables that lead on, and examples; names come as dictionaries are opened."""

    def __init__(
        self, circuit: Circuit, names: NodeNames, live: bool, choose: Callable[[int], None]
    ) -> None:
        self._circuit, self._named, self._live, self._choose = circuit, names, live, choose
        self.heading = ipw.HTML()
        self.inputs, self.outputs = RowTable(), RowTable()
        self.rows: dict[RowTable, Sequence[int]] = {self.inputs: (), self.outputs: ()}
        for table, what in ((self.inputs, "What drives it"), (self.outputs, "What it drives")):
            table.description = what
            table.observe(lambda change, table=table: self._take(table, change), "selected")
        self.inputs.empty_text = "Nothing: it is an input, or its causes were not traced."
        self.outputs.empty_text = "Nothing: it is what is explained."
        self._missing = ipw.HTML()
        self.view: Any = None
        title = ipw.HTML(f'<div class="sae-nb-cardtitle">{ELSEWHERE}</div>')
        self.examples = ipw.VBox([title, self._missing])

    @property
    def nodes(self) -> Sequence[int]:
        """Nodes of both tables."""
        return (*self.rows[self.inputs], *self.rows[self.outputs])

    def in_row(self, node: int) -> str:
        """Return a node's name as a row of a table has it."""
        return self._named.in_row(node)

    def draw(self, node: int, group: str, pinned: bool) -> None:
        """Draw a node; −1 clears the blocks."""
        some = node >= 0
        show(self.inputs, some)
        show(self.outputs, some)
        if not some:
            show(self.examples, False)
            self.heading.value = f'<div class="sae-nb-empty">{words.NOTHING_CHOSEN}</div>'
            return
        name = self._named.full(node)
        self.heading.value = words.heading(
            self._circuit, node, f"{group}: {name}" if group else name, pinned
        )
        for table, found in zip(self.rows, self._circuit.neighbours(node, N_NEIGHBOURS)):
            self._fill(table, found)
        self._show_examples(node)

    def _fill(self, table: RowTable, found: pd.DataFrame) -> None:
        nodes = found["node"].astype(int).tolist()
        self.rows[table] = nodes
        # Only atoms have a card.
        cards = [node if self._circuit.kinds[node] == "atom" else -1 for node in nodes]
        cells = words.cells(found, self._named)
        headers = words.INPUTS if table is self.inputs else words.OUTPUTS
        table.show(headers, cells, numeric=words.NUMERIC, atoms=cards)

    def _take(self, table: RowTable, change: t.Bunch) -> None:
        nodes = self.rows[table]
        if 0 <= change["new"] < len(nodes):
            self._choose(nodes[change["new"]])

    def _show_examples(self, node: int) -> None:
        book = self._named.book(node)
        catalogue = None if book is None else book[0].catalogue
        show(self.examples, self._circuit.kinds[node] == "atom" and self._live)
        known = book is not None and catalogue is not None
        self._missing.value = "" if known else escape(self._no_examples(node))
        show(self._missing, not known)
        if self.view is None and catalogue is not None:
            self.view = examples_view(catalogue.acts.context)
            self.examples.children = (*self.examples.children, self.view.widget)
        if self.view is not None:
            show(self.view.widget, known)
        if book is not None and catalogue is not None and self.view is not None:
            found = self._named.examples(node, N_EXAMPLES)
            self.view.show(found, float(catalogue.max_strength[book[1]]))

    def _no_examples(self, node: int) -> str:
        if not self._named.is_open(node):
            return "Examples are on their way …"
        if self._circuit.graph.of_neurons:
            return "No examples of this neuron are known: make the graph with examples=, a list of texts."
        return "No examples of this atom are known: open sw.AtomBrowser(transcoder, acts) once."
