"""The attention heads that the chosen node's inputs come through; a click opens one under the circuit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as ipw
import traitlets as t

from sae_nb.circuits import given_again
from sae_nb.figures.theme import format_percent
from sae_nb.pretrained import load_sae, pretrained_names
from sae_nb_widgets.components._row_table import RowTable
from sae_nb_widgets.heads import HeadsPanel
from sae_nb_widgets.panel._declaring import show

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.circuits import AttributionGraph
    from sae_nb_widgets.circuit._panel import CircuitPanel

N_LISTED = 6
HEADERS = ["from", "head", "share of the edge"]


class EdgeHeads:
    """A table of heads, and the panel of the one that was opened."""

    def __init__(self, panel: CircuitPanel) -> None:
        self._panel, self._opened = panel, None
        self._rows: list[tuple[int, int, int]] = []  # layer, head, position
        self.table = RowTable(
            description="Attention heads on the way; choose one to see where it looks"
        )
        self.table.empty_text = "None: what drives it stands at its own position."
        self.table.observe(self._open, "selected")
        self.below = ipw.VBox()
        show(self.table, False)

    _opened: HeadsPanel | None

    def ask(self) -> None:
        """List the heads of the chosen node, once they are known."""
        panel, graph, node = self._panel, self._panel.live, self._panel.node
        sources = list(panel.chosen.rows[panel.inputs])
        show(self.table, False)
        passes = None if graph is None else graph.passes
        if graph is None or passes is None or node < 0 or not sources:
            return
        if passes.model.n_heads is None or not passes.measures:
            return

        def take(found: pd.DataFrame) -> None:
            if node == panel.node:
                self._list(found)

        panel.run_async(lambda: graph.attention(node, sources), take, channel="heads")

    def _list(self, found: pd.DataFrame) -> None:
        rows = list(found.head(N_LISTED).itertuples())
        self._rows = [(int(row.layer), int(row.head), int(row.position)) for row in rows]
        cells = [
            [
                self._panel.chosen.in_row(int(row.source)),
                f"L{row.layer}H{row.head}",
                format_percent(row.share, digits=2),
            ]
            for row in rows
        ]
        self.table.show(HEADERS, cells, numeric=[False, False, True])
        show(self.table, True)

    def _open(self, change: t.Bunch) -> None:
        graph = self._panel.live
        if graph is None or graph.passes is None or not 0 <= change["new"] < len(self._rows):
            return
        layer, head, position = self._rows[change["new"]]
        with self._panel.guarded(f"head {layer}.{head}"):
            if self._opened is None:
                self._opened = self._heads_panel(graph)
                self.below.children = (self._opened,)
            self._opened.wait()
            self._opened.choose(layer, head)
            self._opened.position = position

    def _heads_panel(self, graph: AttributionGraph) -> HeadsPanel:
        model = graph.passes.model if graph.passes is not None else None
        if model is None or graph.inputs is None:
            raise ValueError(
                "The graph's input is not known: make it again with attribution_graph."
            )
        saes = [
            load_sae(name) for name in pretrained_names() if name.startswith(f"{model.name}/resid_")
        ]
        return HeadsPanel(model, given_again(model, graph.inputs), saes=saes)
