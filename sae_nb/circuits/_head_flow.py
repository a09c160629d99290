"""The part of a graph's targets that flows through each attention head: its edges, shared out among heads.

Nodes of a graph are what MLPs, errors and tokens write; heads are in its edges. With patterns held, the targets
are linear in what a head writes, along every path that ends there: straight, through later heads, and through
atoms that answer in proportion. Flow of a head: Σ_t ⟨what it writes at t, ∂targets/∂(that)⟩.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sae_nb.circuits._faithfulness import live
from sae_nb.circuits._heads import places_of
from sae_nb.circuits._passes import Trace

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.circuits._record import Graph


def head_flow(graph: Graph) -> DataFrame:
    """See `AttributionGraph.heads`."""
    import pandas as pd

    passes, _ = live(graph)
    places = places_of(passes.model, "head")
    weights = graph.nodes.weight[graph.nodes.kind == "target"].tolist()
    with torch.inference_mode(False), passes.model.lock:
        trace = Trace(passes, passes.drop_first, also=places)
        with torch.enable_grad():
            parts = zip(weights, passes.measures, strict=True)
            value = torch.stack([w * measure(trace.answer) for w, measure in parts]).sum()
        slopes = _slopes(trace, value)
    n = int(passes.model.n_heads or 1)
    tables = []
    for place, x, slope in zip(places, trace.also, slopes, strict=True):
        flow = (x.detach()[0] * slope[0]).float().sum(dim=0).reshape(n, -1).sum(dim=1)
        columns = {"layer": place.layer, "head": range(n), "flow": flow.cpu().numpy()}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _slopes(trace: Trace, value: Tensor) -> list[Tensor]:
    """∂value/∂(what heads write): a backward pass of the value, and one of what each place's atoms read."""
    leaves, n = trace.leaves, len(trace.leaves)
    inside = [*leaves, *trace.also]
    total = [torch.zeros_like(x) for x in inside]

    def add(of: Tensor, towards: Tensor | None) -> None:
        found = torch.autograd.grad(of, inside, towards, retain_graph=True, allow_unused=True)
        for kept, slope in zip(total, found, strict=True):
            if slope is not None:
                kept += slope

    add(value, None)
    for i in reversed(range(n - 1)):
        written, read = trace.written[i], trace.reads[i]
        if not len(written.atom):
            continue
        along = (total[i + 1][0, written.position].float() * written.atoms).sum(dim=1)
        moved = (along / written.strength)[:, None] * written.slopes
        towards = torch.zeros_like(read)
        towards[0].index_add_(0, written.position, moved.to(read))
        add(read, towards)
    return total[n:]
