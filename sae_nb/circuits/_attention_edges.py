"""The attention heads that an edge of a graph goes through.

With attention held, everything between two nodes of a graph is linear. What a source adds to what a head writes
at t is J_t, what the target gains by what the head writes there g_t; through the head go Σ_t ⟨J_t, g_t⟩ of the
edge, along every path between the two that contains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.circuits._faithfulness import live_passes
from sae_nb.circuits._heads import part_places
from sae_nb.circuits._kept_lost import live_units
from sae_nb.circuits._passes import Trace
from sae_nb.circuits._unit_passes import linear_run
from sae_nb.models._running import run

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.circuits._record import Graph
    from sae_nb.circuits._sites import Entries
    from sae_nb.circuits._unit_passes import UnitPasses

LEAST = 0.05
"""Share of an edge from which a head is listed."""


def attention_edges(graph: Graph, target: int, sources: Sequence[int]) -> DataFrame:
    """See `AttributionGraph.attention`."""
    way = _of_neurons if graph.of_neurons else _of_dictionaries
    n_heads = int(
        (live_units(graph) if graph.of_neurons else live_passes(graph)[0]).model.n_heads or 1
    )
    with torch.enable_grad():
        value, heads, leaves, made = way(graph, target, sources)
        return _through(graph, target, sources, n_heads, value, heads, leaves, made)


def _through(
    graph: Graph,
    target: int,
    sources: Sequence[int],
    n_heads: int,
    value: Tensor,
    heads: Sequence[Tensor],
    leaves: Sequence[Tensor],
    made: Sequence[Made],
) -> DataFrame:
    import pandas as pd

    gained = torch.autograd.grad(value, heads, retain_graph=True, allow_unused=True)
    along = [torch.zeros_like(x, requires_grad=True) for x in heads]
    back = torch.autograd.grad(heads, leaves, along, create_graph=True, allow_unused=True)
    added = torch.stack([of(back) for of in made])
    if not added.requires_grad:  # no head stands between them
        return pd.DataFrame(columns=["source", "layer", "head", "flow", "share", "position"])
    eye = torch.eye(len(added), dtype=added.dtype, device=added.device)
    written = torch.autograd.grad(added, along, eye, is_grads_batched=True, allow_unused=True)
    rows = []
    for layer, (x, slope) in enumerate(zip(written, gained, strict=True)):
        if x is None or slope is None:
            continue
        each = (x * slope[None]).float()[:, 0]  # (sources, time, heads · d)
        flow = each.reshape(*each.shape[:2], n_heads, -1).sum(dim=-1)
        for row, source in enumerate(sources):
            edge = float(graph.matrix[target, source])
            for head, at in enumerate(flow[row].T):
                total = float(at.sum())
                share = total / edge if edge else 0.0
                if abs(share) >= LEAST:
                    rows.append((source, layer, head, total, share, int(at.abs().argmax())))
    table = pd.DataFrame(rows, columns=["source", "layer", "head", "flow", "share", "position"])
    order = table.flow.abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


Parts = tuple[Tensor, list[Tensor], list[Tensor], list["Made"]]
"""The target's value, what heads write, the zeros added to what nodes write; and of each source what it adds to
something that hangs on these, from the slopes by them.
"""


class Made:
    """A source: which of the zeros it writes to, at which place of them, and what."""

    def __init__(self, leaf: int, at: tuple[int, ...], what: Tensor) -> None:
        self.leaf, self.at, self.what = leaf, at, what

    def __call__(self, slopes: Sequence[Tensor | None]) -> Float[Tensor, ""]:
        slope = slopes[self.leaf]
        if slope is None:
            return torch.zeros((), device=self.what.device)
        return (slope[self.at].float() * self.what).sum()


def _of_neurons(graph: Graph, target: int, sources: Sequence[int]) -> Parts:
    passes = live_units(graph)
    entries, offsets = _entries(graph, passes)
    places = part_places(passes.model, "head")
    changes = [
        put
        for site, found in zip(passes.sites, entries, strict=True)
        if len(found)
        for put in site.cut(found)
    ]
    ran = linear_run(passes, changes, [passes.start], read=places)
    with torch.enable_grad():
        answer = passes.measures[0](ran.answer.one())
    leaves = [ran.leaves[str(passes.start)]]
    values: list[Tensor] = []
    numbers: dict[int, tuple[int, int]] = {}
    for site, found, offset in zip(passes.sites, entries, offsets, strict=True):
        if site.leaf is None or site.values is None or not len(found):
            continue
        numbers |= {offset + k: (len(leaves), k) for k in range(len(found))}
        leaves.append(site.leaf)
        values.append(site.values)
    kind = graph.nodes.kind[target]
    leaf, k = numbers.get(target, (0, 0))
    value = answer if kind == "target" else values[leaf - 1][k]
    tokens = _tokens(passes)
    here = [found for found in entries if len(found)]
    made = []
    for source in sources:
        position = int(graph.nodes.position[source])
        leaf, k = numbers.get(source, (0, 0))
        if leaf:
            made.append(Made(leaf, (k,), here[leaf - 1].now[k] - here[leaf - 1].then[k]))
        else:
            made.append(Made(0, (0, position), tokens[position]))
    return value, [ran.states[str(place)] for place in places], leaves, made


def _entries(graph: Graph, passes: UnitPasses) -> tuple[list[Entries], list[int]]:
    """Return the units of each place that are nodes, and the number of the first of them."""
    nodes = graph.nodes[graph.nodes.kind == "atom"]
    found, offsets = [], []
    for site in passes.sites:
        rows = nodes[nodes.place == site.place]
        keys = site.entries.position * site.n_units + site.entries.unit
        wanted = rows.position.to_numpy() * site.n_units + rows.atom.to_numpy()
        at = torch.searchsorted(keys.cpu(), torch.from_numpy(wanted.astype("int64")))
        found.append(site.entries.chosen(at.to(keys.device)))
        offsets.append(int(rows.index[0]) if len(rows) else -1)
    return found, offsets


def _tokens(passes: UnitPasses) -> Float[Tensor, "time d"]:
    """Return what tokens write on the input, less that on the contrast."""
    start = str(passes.start)
    with torch.no_grad():
        x = run(passes.model, passes.batch, read=[passes.start]).states[start][0].float()
        if passes.contrast is None:
            return x
        return x - run(passes.model, passes.contrast, read=[passes.start]).states[start][0].float()


def _of_dictionaries(graph: Graph, target: int, sources: Sequence[int]) -> Parts:
    passes, _ = live_passes(graph)
    places = part_places(passes.model, "head")
    trace = Trace(passes, also=places)
    order = [str(passes.start), *(str(layer.write) for layer in passes.layers)]
    nodes = graph.nodes

    def entry(node: int) -> tuple[int, int]:
        layer = order.index(str(nodes.place[node])) - 1
        written = trace.written[layer]
        same = (written.position == int(nodes.position[node])) & (
            written.atom == int(nodes.atom[node])
        )
        return layer, int(same.nonzero().item())

    if nodes.kind[target] == "target":
        number = int((nodes.index[nodes.kind == "target"] == target).argmax())
        with torch.enable_grad():
            value = passes.measures[number](trace.answer)
    else:
        layer, k = entry(target)
        written = trace.written[layer]
        with torch.enable_grad():
            value = (trace.reads[layer][0, written.position[k]].float() * written.slopes[k]).sum()
    made = []
    for source in sources:
        position = int(nodes.position[source])
        leaf = order.index(str(nodes.place[source])) if nodes.kind[source] != "token" else 0
        if nodes.kind[source] == "atom":
            layer, k = entry(source)
            what = trace.written[layer].atoms[k]
        elif nodes.kind[source] == "error":
            what = trace.written[leaf - 1].error[position]
        else:
            what = trace.values[0][0, position].float()
        made.append(Made(leaf, (0, position), what))
    return value, trace.also, trace.leaves, made
