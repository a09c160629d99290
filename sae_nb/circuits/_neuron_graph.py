"""A graph of neurons: which of them turn an answer, and what reaches each.

The neurons of the largest attribution are the nodes. An edge is what one adds to another along all ways on
which no other node lies, so that the sum over all paths of the graph is the attribution again, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.circuits._graph import AttributionGraph
from sae_nb.circuits._graph_sites import grid_of, kept_input, position_texts
from sae_nb.circuits._neuron_examples import examples_of, fires_on
from sae_nb.circuits._neuron_names import names_of
from sae_nb.circuits._nodes import nodes_of_kind
from sae_nb.circuits._passes import left_out
from sae_nb.circuits._sites import AtomSite, Entries
from sae_nb.circuits._unit_passes import (
    Asked,
    States,
    UnitPasses,
    linear_run,
    ranked,
    unit_passes,
    wanted_of,
)
from sae_nb.progress import progress_bar

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csr_matrix

    from sae_nb.checks import Inputs
    from sae_nb.circuits._asked import Question
    from sae_nb.circuits._graph_sites import Transcoders
    from sae_nb.lenses import Lens
    from sae_nb.models import LiveModel

DEFAULT_NODES = 100
"""Neurons that are nodes unless another number is asked for."""

STEPS = (
    "reading the input and its contrast", "attributing the answer to every neuron",
    "tracing what reaches the strongest", "reading the examples",
)  # fmt: skip


def neuron_graph(
    model: LiveModel,
    transcoders: Transcoders,
    inputs: Inputs,
    *,
    target: Question,
    contrast: object,
    max_nodes: int | None,
    lens: Lens | None,
    examples: object,
    progress: bool,
) -> AttributionGraph:
    """See `attribution_graph`."""
    n_steps = len(STEPS) if examples is not None else len(STEPS) - 1
    with progress_bar(n_steps, STEPS[0], "step", enabled=progress) as bar:
        passes, states = unit_passes(model, transcoders, inputs, contrast)
        _next(bar)
        with torch.enable_grad(), model.lock:
            wanted = wanted_of(model, states, target)
            passes = ranked(passes, wanted)
            _next(bar)
            chosen = _strongest(passes, DEFAULT_NODES if max_nodes is None else max_nodes)
            nodes = [
                site.entries.chosen(which) for site, which in zip(passes.sites, chosen, strict=True)
            ]
            graph = _traced(passes, nodes, wanted, states, lens)
        _next(bar)
        if examples is None:
            return graph
        found = examples_of(passes, nodes, examples)
        _next(bar)
    empty = [""] * len(graph.tokens)
    table = graph.nodes.assign(fires=[*empty, *fires_on(found, passes, nodes), ""])
    return replace(graph, nodes=table, examples=found)


def _next(bar: Any) -> None:
    """Say that a step is done, and which one begins."""
    bar.update(1)
    if bar.n < bar.total:
        bar.set_description(STEPS[bar.n])


def _strongest(passes: UnitPasses, n: int) -> list[Int[Tensor, " m"]]:
    """Return which entries of each site are nodes: those of the largest attributions, whatever their sign."""
    sizes = torch.cat([found.abs() for found in passes.attributions])
    n = min(n, int((sizes > 0).sum()))
    order = sizes.argsort(descending=True, stable=True)[:n]
    counts = torch.tensor([len(site.entries) for site in passes.sites], device=sizes.device)
    ends = counts.cumsum(dim=0)
    found = []
    for start, end in zip((ends - counts).tolist(), ends.tolist(), strict=True):
        here = order[(order >= start) & (order < end)]
        found.append(here.sort().values - start)
    return found


def _traced(
    passes: UnitPasses,
    nodes: Sequence[Entries],
    wanted: Asked,
    states: States,
    lens: Lens | None,
) -> AttributionGraph:
    """Return the graph of the chosen entries."""
    from scipy.sparse import csr_matrix

    active = [i for i, found in enumerate(nodes) if len(found)]
    changes = [put for i in active for put in passes.sites[i].cut(nodes[i])]
    ran = linear_run(passes, changes, [passes.start])
    leaves: list[Tensor] = [ran.leaves[str(passes.start)]]
    differences = [found.now - found.then for found in nodes]
    tokens = states.tokens

    values = []
    for i in active:
        site = passes.sites[i]
        if site.values is None or site.leaf is None:
            raise RuntimeError(f"{site.place} was not reached in the pass.")
        values.append(site.values.float())
        leaves.append(site.leaf)
    with torch.enable_grad():
        answer = wanted.measure(ran.answer.one())
        reached = torch.cat([*values, answer.float().reshape(1)])
    eye = torch.eye(len(reached), dtype=reached.dtype, device=reached.device)
    rows = [  # of the nodes and the target: backward passes made together, in blocks
        _added(_slopes(reached, leaves, along), tokens, differences, active)
        for along in torch.split(eye, BLOCK)
    ]
    n = len(tokens) + sum(map(len, nodes)) + 1
    made = np.concatenate([np.zeros((len(tokens), n - 1)), *rows])
    matrix = csr_matrix(np.concatenate([made, np.zeros((n, 1))], axis=1))
    clean = float(answer.detach())
    texts = position_texts(passes.model, passes.batch, len(tokens))
    table = _table(passes, nodes, wanted, texts, clean, matrix)
    named_by, says = names_of(passes, nodes, len(tokens), lens)
    other, kept = passes.contrast, {s.place: s.kept for s in passes.sites if s.kept is not None}
    return AttributionGraph(
        nodes=table.assign(says=says),
        matrix=matrix,
        model_name=passes.model.name,
        tokens=texts,
        places=tuple(site.place for site in passes.sites),
        exact=False,
        left_out=left_out(kept, len(tokens)),
        inputs=kept_input(passes.model, passes.batch),
        picture=passes.batch.pictures,
        contrast=None if other is None else kept_input(passes.model, other),
        contrast_tokens=() if other is None else position_texts(passes.model, other, len(tokens)),
        grid=grid_of(passes.model),
        outcomes=(wanted.outcomes,),
        n_units=passes.n_units,
        named_by=named_by,
        passes=passes,
    )


def _added(
    slopes: Sequence[Tensor | None],
    tokens: Float[Tensor, "time d"],
    differences: Sequence[Tensor],
    active: Sequence[int],
) -> Float[np.ndarray, "b n"]:
    """Return the parts that tokens and nodes add, from slopes by what they write, (b, …) each."""
    n = next(len(s) for s in slopes if s is not None)
    parts = [torch.zeros(n, len(tokens))]
    if slopes[0] is not None:
        parts = [(slopes[0].reshape(n, *tokens.shape).float() * tokens).sum(dim=2).cpu()]
    before = dict(zip(active, slopes[1:], strict=False))
    for i, difference in enumerate(differences):
        slope = before.get(i)
        found = torch.zeros(n, len(difference)) if slope is None else (slope * difference).cpu()
        parts.append(found)
    return torch.cat(parts, dim=1).double().numpy()


def _slopes(
    values: Float[Tensor, " m"], leaves: Sequence[Tensor], along: Float[Tensor, "b m"]
) -> Sequence[Tensor | None]:
    return torch.autograd.grad(
        values, leaves, along, retain_graph=True, allow_unused=True, is_grads_batched=True
    )


BLOCK = 64
"""Backward passes that are made together."""


def _table(
    passes: UnitPasses,
    nodes: Sequence[Entries],
    wanted: Asked,
    texts: Sequence[str],
    clean: float,
    matrix: csr_matrix,
) -> DataFrame:
    import pandas as pd

    names = [f"“{text}” at {p}" for p, text in enumerate(texts)]
    parts = [nodes_of_kind("token", str(passes.start), -1, range(len(texts)), names)]
    for site, found in zip(passes.sites, nodes, strict=True):
        noun = "atom" if isinstance(site, AtomSite) else "neuron"
        where, units = found.position.tolist(), found.unit.tolist()
        block = site.layer.write.layer
        place = site.place if noun == "atom" else f"block {block}"
        names = [f"{noun} {j} of {place} at {p}" for j, p in zip(units, where, strict=True)]
        values = (found.now - found.then).tolist()
        parts.append(
            nodes_of_kind("atom", site.place, block, where, names, atom=units, value=values)
        )
    last, n_layers = [len(texts) - 1], passes.model.n_layers
    parts.append(nodes_of_kind("target", "answer", n_layers, last, [wanted.name], value=[clean]))
    table = pd.concat([part for part in parts if len(part)], ignore_index=True)
    read = (table.kind != "token").to_numpy()
    left = table.value.to_numpy(float) - np.asarray(matrix.sum(axis=1)).ravel()
    weight = (table.kind == "target").to_numpy(float)
    return table.assign(weight=weight, read=read, bias=np.where(read, left, np.nan))
