"""A circuit's edges open onto the attention heads that they go through."""

from __future__ import annotations

import sae_nb_widgets as sw

import sae_nb as sn


def test_an_edge_opens_onto_its_heads() -> None:
    gpt, pair = sn.load_model("tiny-gpt"), ("One day she was", "One day he was")
    graph = sn.circuits.attribution_graph(gpt, "neurons", pair[0], contrast=pair[1], target=" her")
    panel = sw.CircuitPanel(graph)
    panel.wait(120)
    panel.node = len(graph) - 1
    panel.wait(120)
    table = panel.edge_heads.table
    found = graph.attention(len(graph) - 1)
    assert [row[1] for row in table.cells] == [
        f"L{row.layer}H{row.head}" for row in found.head(6).itertuples()
    ]
    table.selected = 0
    (heads,) = panel.edge_heads.below.children
    heads.wait(60)
    first = found.iloc[0]
    assert (heads.layer, heads.head, heads.position) == (first.layer, first["head"], first.position)
    assert not heads.problem
    panel.node = -1
    panel.wait(60)
    assert table.layout.display == "none"
    panel.close()
