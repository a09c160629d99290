"""Details of the chosen node of a CircuitPanel: its name, its sources, its targets, other inputs on
which it fires.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import ipywidgets as ipw
import traitlets as t

from sae_nb.figures import escape
from sae_nb_widgets.atom import examples_view
from sae_nb_widgets.circuit import _words as words
from sae_nb_widgets.circuit._changes import ChangesAtoms
from sae_nb_widgets.components import RowTable
from sae_nb_widgets.panel import COLUMNS, reacts, show

N_NEIGHBOURS, N_EXAMPLES = 6, 4
ELSEWHERE = "where else the {} fires most"


class ShowsNode(ChangesAtoms):
    """A heading, two tables that lead on, and examples; names come as dictionaries are opened."""

    view: Any = None
    _in_rows: Sequence[int] = ()
    _out_rows: Sequence[int] = ()

    def _build_chosen(self) -> None:
        self._heading = ipw.HTML()
        self.inputs, self.outputs = RowTable(), RowTable()
        for table, what in ((self.inputs, "made by"), (self.outputs, "makes")):
            table.description = f"{what} (strongest)"
            table.observe(partial(self._choose_row, table), "selected")
        self._tables = ipw.Box([self.inputs, self.outputs]).add_class(COLUMNS)
        self._missing = ipw.HTML()
        what = "neuron" if self.graph.of_neurons else "atom"
        title = ipw.HTML(f'<div class="sae-nb-cardtitle">{ELSEWHERE.format(what)}</div>')
        self._examples = ipw.VBox([title, self._missing])

    def _draw_node(self) -> None:
        """Draw the chosen node's name, its sources, its targets, and other inputs on which it fires."""
        node, some = self.node, self.node >= 0
        show(self._tables, some)
        if not some:
            show(self._examples, False)
            self._heading.value = f'<div class="sae-nb-empty">{words.NOTHING_CHOSEN}</div>'
        else:
            group = self._group_of(node)
            name = f"{group}: {self._named.full(node)}" if group else self._named.full(node)
            self._heading.value = words.heading(self.circuit, node, name, node in self.pinned)
            for table, found in zip(
                (self.inputs, self.outputs), self.circuit.neighbours(node, N_NEIGHBOURS)
            ):
                self._fill(table, found)  # fmt: skip
            self._show_examples()
        self._show_note()

    @reacts("pinned", doing="pinning")
    def _mark_pinned(self) -> None:
        self._draw_node()

    # --- what made it, what it makes --------------------------------------------------------------

    def _fill(self, table: RowTable, found: Any) -> None:
        nodes = found["node"].astype(int).tolist()
        # Only atoms have a card.
        cards = [node if self.circuit.kinds[node] == "atom" else -1 for node in nodes]
        table.show(
            words.HEADERS, words.cells(found, self._named), numeric=words.NUMERIC, atoms=cards
        )
        setattr(self, "_in_rows" if table is self.inputs else "_out_rows", nodes)
        table.empty_text = "Nothing: an input, or its causes were not traced."
        if table is self.outputs:
            table.empty_text = "Nothing: it is what is explained."

    def _choose_row(self, table: RowTable, change: t.Bunch) -> None:
        nodes = self._in_rows if table is self.inputs else self._out_rows
        if 0 <= change["new"] < len(nodes):
            with self.guarded("choosing a node"):
                self.node = nodes[change["new"]]

    # --- where else it fires, and names -----------------------------------------------------------

    def _show_examples(self) -> None:
        book = self._named.book(self.node)
        catalogue = None if book is None else book[0].catalogue
        show(self._examples, self.circuit.kinds[self.node] == "atom" and self.live is not None)
        known = book is not None and catalogue is not None
        self._missing.value = "" if known else escape(self._no_examples())
        show(self._missing, not known)
        if self.view is None and catalogue is not None:
            self.view = examples_view(catalogue.acts.context)
            self.view.component.description = ELSEWHERE.format("atom")
            self._examples.children = (*self._examples.children, self.view.widget)
        if self.view is not None:
            show(self.view.widget, known)
        if book is not None and catalogue is not None:
            found = self._named.examples(self.node, N_EXAMPLES)
            self.view.show(found, float(catalogue.max_strength[book[1]]))

    def _no_examples(self) -> str:
        if not self._named.is_open(self.node):
            return "Examples are on their way …"
        if self.graph.of_neurons:
            return "No examples of this neuron are known: make the graph with examples=, a list of texts."
        return "No examples of this atom are known: open sw.AtomBrowser(transcoder, acts) once."

    def _open_names(self) -> None:
        """Open dictionaries off the main thread: that of the chosen node, then those of the tables' rows."""
        rows = (self.node, *self._in_rows, *self._out_rows) if self.node >= 0 else ()
        closed = next((node for node in rows if not self._named.is_open(node)), None)
        if closed is None:
            return

        def done(_: None) -> None:
            self.draw_names()
            self._open_names()

        self.run_async(
            lambda: self._named.open(closed), done, doing="drawing examples", channel="names"
        )

    def draw_names(self) -> None:
        """Rewrite names: a label was changed, or examples arrived."""
        self._draw_figure()
        self._draw_node()
        self._conclude()

    def _send_card(self, atom: int) -> None:
        if self._named.is_open(atom):
            super()._send_card(atom)
            return

        def done(_: None) -> None:
            super(ShowsNode, self)._send_card(atom)
            self.draw_names()

        self.run_async(lambda: self._named.open(atom), done, channel=f"card {atom}")
