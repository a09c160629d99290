"""The controls of a CircuitPanel, each linked to a trait or a method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as ipw
import traitlets as t

from sae_nb_widgets.circuit._queries import found_nodes
from sae_nb_widgets.circuit._story import other_text
from sae_nb_widgets.components._find_box import SHOWN, FindBox
from sae_nb_widgets.panel._declaring import button, control, line, show, small_button
from sae_nb_widgets.panel._frame import small_toggle

if TYPE_CHECKING:
    from sae_nb_widgets.circuit._panel import CircuitPanel

AS_GRAPH = "the whole circuit as a graph"
SIZES = (12, 20, 50)
"""Nodes that one click draws."""


class CircuitControls:
    """The controls of `panel`: those seen at once, the button that cuts, and those in the menu."""

    def __init__(self, panel: CircuitPanel) -> None:
        self._panel = panel
        self.sizes = self._segments()
        self.first = [
            self.sizes,
            line(
                small_button("‹", "The node of more influence (←)", panel.previous),
                small_button("›", "The node of less influence (→)", panel.next),
            ),
            small_button(
                "pin", "Draw it whatever else is drawn, or no longer (p)", panel.toggle_pin
            ),
            small_button("group", "Draw and change the pinned nodes as one", panel.group_pinned),
        ]
        tip = "Take the chosen node, and those that are pinned, out of the live model"
        self.cut = button("Cut chosen", tip, panel.cut)
        show(self.cut, panel.live is not None)
        tip = "The answer as it is, and with the story's neurons or atoms exchanged or taken out"
        changed = "exchanged" if other_text(panel.circuit) else "without"
        self.switch = ipw.ToggleButtons(
            options=[("as it is", False), (changed, True)],
            tooltips=[tip] * 2,
            style={"button_width": "auto"},
        )
        t.link((panel, "without"), (self.switch, "value"))
        self.fold = small_toggle(AS_GRAPH, "Every node and line, each to be chosen and changed")
        t.link((panel, "as_graph"), (self.fold, "value"))
        self.find = FindBox(description="find a node of the circuit", hint="find a word or a name")
        self.find.add_class("sae-nb-search")
        self.find.observe(self._search, "query")
        self.find.on_choice(self._take)
        self.story = [self.switch, self.find, self.fold]
        here = "Number of the node where the strongest path"
        alike = "Draw neurons that fire together on the input and its contrast as one"
        self.more = [
            control(panel, "node", "node", "Number of the node chosen; empty for none", 120),
            control(
                panel, "threshold", "keep",
                "Share of the influence on the answer that is drawn: less of it, fewer nodes",
                340, step=0.01, readout_format=".0%",
            ),
            line(
                control(panel, "path_from", "path from", f"{here} begins", 140),
                control(panel, "path_to", "to", f"{here} ends", 110),
                small_button("path to the answer", "From the chosen node", panel.path_to_answer),
            ),
            line(
                control(panel, "group_name", "group", "What the pinned nodes are called together", 200),
                *([small_button("group alike", alike, panel.group_alike)] * panel.graph.of_neurons),
                small_button("ungroup", "Draw the chosen group’s nodes alone again", panel.ungroup_chosen),
            ),
            control(panel, "n_random", "random directions", "Compared with every change", 190),
        ]  # fmt: skip

    def _search(self, change: t.Bunch) -> None:
        query = change["new"]
        rows = found_nodes(self._panel.circuit, self._panel._named, query)
        head = (
            f"nodes at or about “{query}”, strongest first"
            if rows
            else f"no node answers to “{query}”"
        )
        shown = rows[:SHOWN]
        self.find.show(query, shown, head, f"{len(shown)} of {len(rows)}" * bool(rows))

    def _take(self, row: int, _: str) -> None:
        if 0 <= row < len(self.find.rows):
            self.find.opened, self._panel.as_graph = False, True
            self._panel.node = self.find.rows[row]["atom"]

    def _segments(self) -> ipw.ToggleButtons:
        """Return the choice of how many nodes are drawn; none is chosen where a share is."""
        panel = self._panel
        shares = {n: panel.circuit.share_of(n) for n in SIZES}
        segments = ipw.ToggleButtons(
            options=[(f"{n} nodes" if n == SIZES[0] else str(n), n) for n in SIZES],
            tooltips=[f"Draw the {n} nodes of most influence" for n in SIZES],
            style={"button_width": "auto"},
            value=None,
        )

        def follow(_: object = None) -> None:
            near = (n for n in SIZES if abs(shares[n] - panel.threshold) < 1e-9)
            segments.value = next(near, None)

        def take(change: t.Bunch) -> None:
            if change["new"] is not None:
                panel.threshold = shares[change["new"]]

        follow()
        panel.observe(follow, "threshold")
        segments.observe(take, "value")
        return segments
