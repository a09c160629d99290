"""An attribution graph of six nodes, whose numbers can be told by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from sae_nb.circuits import AttributionGraph

KIND = ("token", "token", "atom", "atom", "error", "target")


def graph(weight: float = 1.0, **more: Any) -> AttributionGraph:
    """Two tokens, atoms of strength 2 and 4, an error, and what they add to a target and to each other."""
    made = np.zeros((6, 6))
    made[2, 0] = 1.0
    made[3, [1, 2]] = 1.0, 3.0
    made[5, [1, 2, 3, 4]] = 0.5, 1.0, -2.0, 0.5
    nodes = pd.DataFrame(
        {
            "kind": KIND,
            "place": ["", "", "mlp_out.0", "mlp_out.1", "mlp_out.1", ""],
            "layer": [-1, -1, 0, 1, 1, 2],
            "position": [0, 1, 0, 1, 1, 1],
            "atom": [-1, -1, 7, 3, -1, -1],
            "value": [0.0, 0.0, 2.0, 4.0, 0.0, 0.0],
            "bias": 0.0,
            "name": list("abcdef"),
            "weight": [0.0] * 5 + [weight],
            "read": True,
        }
    )
    facts = {"outcomes": ((0,),), "places": ("mlp_out.0", "mlp_out.1"), "tokens": ("x", "y")}
    facts |= {"model_name": "m", "exact": True}
    return AttributionGraph(nodes=nodes, matrix=csr_matrix(made), **(facts | more))


INFLUENCE = [0.625, 0.25, 0.625, 0.5, 0.125, 0]


def without_edges(*gone: tuple[int, int], read: bool = True) -> AttributionGraph:
    """The graph with some edges less."""
    whole = graph()
    matrix = whole.matrix.toarray()
    for edge in gone:
        matrix[edge] = 0
    nodes = whole.nodes.assign(read=[*[True] * 2, read, *[True] * 3])
    return replace(whole, matrix=csr_matrix(matrix), nodes=nodes)
