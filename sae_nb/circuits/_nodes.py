"""The nodes of a graph in their order, the rows of its matrix, and what these take of the memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sae_nb.checks import available_memory, check_memory
from sae_nb.circuits._graph import AttributionGraph
from sae_nb.circuits._graph_sites import grid_of, kept_input, position_texts
from sae_nb.circuits._passes import Passes, Trace, Wanted, atom_name
from sae_nb.circuits._record import influence_of

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csr_matrix

logger = logging.getLogger(__name__)

AT_ONCE = 512
"""Atoms that are chosen by one ranking; the next are ranked by what is known then."""


MOST_ROWS, BLOCK_BYTES = 128, 2**29
"""Backward passes that are made together, and what one block of them takes, at most."""

STREAMS = {True: 8, False: 32}
"""Gradients under way in a pass, in widths of the stream: through attention alone, or through MLPs, too."""

KEPT_STREAMS = 40
"""Memory of a layer and position in the two forward passes, in widths of the stream: an MLP four times
as wide and its gate, queries, keys, values, norms. Patterns of attention are kept once.
"""


def traced(trace: Trace, targets: Sequence[Wanted], max_nodes: int) -> AttributionGraph:
    """Return every edge into the targets, and into the atoms of most influence."""
    nodes = Nodes(trace, targets)
    n_traced = len(targets) + min(max_nodes, len(nodes.entries))
    nodes.block = rows_together(trace, nodes.n, n_traced)
    rows: dict[int, Any] = {}
    for t, target in enumerate(targets):
        rows[nodes.first_target + t] = nodes.row(trace.of(target.value))
    while len(rows) < n_traced:
        for layer, entries in nodes.next(rows, max_nodes - len(rows) + len(targets)):
            for row, entry in zip(trace.into(layer, entries), entries, strict=True):
                rows[nodes.node_of(layer, int(entry))] = nodes.row(row)
    measures = tuple(target.measure for target in targets if target.measure is not None)
    passes = replace(
        trace.passes, written=trace.written, measures=measures, left_out=trace.left_out
    )
    outcomes = tuple(target.outcomes for target in targets)
    return replace(nodes.graph_of(rows), passes=passes, outcomes=outcomes)


class Nodes:
    """Where each node is: tokens, then each place's atoms and errors, then the targets."""

    block: int = 1
    """Backward passes that are made together."""

    def __init__(self, trace: Trace, targets: Sequence[Wanted]) -> None:
        self.trace, self.targets = trace, targets
        self.time = trace.leaves[0].shape[1]
        self.first: list[int] = []
        n = self.time
        for written in trace.written:
            self.first.append(n)
            n += len(written.atom) + self.time
        self.first_target, self.n = n, n + len(targets)
        self.entries = [
            (layer, entry)
            for layer, written in enumerate(trace.written)
            for entry in range(len(written.atom))
        ]

    def node_of(self, layer: int, entry: int) -> int:
        """Return the node of an entry."""
        return self.first[layer] + entry

    def row(self, slopes: Sequence[Tensor]) -> csr_matrix:
        """Return what every node adds, from the slopes by what each place writes."""
        from scipy.sparse import csr_matrix

        found = np.zeros((1, self.n), np.float32)
        for i, slope in enumerate(slopes):
            if not len(slope):
                continue
            if i == 0:
                found[0, : self.time] = (slope * self.trace.values[0][0]).sum(1).cpu()
                continue
            written, start = self.trace.written[i - 1], self.first[i - 1]
            made = (slope[written.position] * written.atoms).sum(dim=1)
            missed = (slope * written.error).sum(dim=1)
            both = torch.cat([made, missed]).cpu().numpy()
            found[0, start : start + len(both)] = both
        return csr_matrix(found)

    def next(self, rows: Mapping[int, Any], left: int) -> list[tuple[int, Tensor]]:
        """Return the atoms of most influence that were not looked into, a block of them, by place."""
        open_ = [e for e in self.entries if self.node_of(*e) not in rows]
        if len(open_) > left:
            influence = influence_of(self.graph_of(rows).shares, self._weights())
            open_.sort(key=lambda e: -influence[self.node_of(*e)])
            open_ = open_[: min(left, AT_ONCE)]
        groups: dict[int, list[int]] = {}
        for layer, entry in open_:
            groups.setdefault(layer, []).append(entry)
        return [
            (layer, torch.tensor(entries[i : i + self.block]))
            for layer, entries in groups.items()
            for i in range(0, len(entries), self.block)
        ]

    def _weights(self) -> np.ndarray:
        weights = np.zeros(self.n)
        weights[self.first_target :] = [target.weight for target in self.targets]
        return weights

    def graph_of(self, rows: Mapping[int, Any]) -> AttributionGraph:
        """Return the graph of the rows that are known so far."""
        from scipy.sparse import csr_matrix, vstack

        empty = csr_matrix((1, self.n), dtype=np.float32)
        matrix = vstack([rows.get(i, empty) for i in range(self.n)]).tocsr()
        passes = self.trace.passes
        model, layers, batch = passes.model, passes.layers, passes.batch
        return AttributionGraph(
            nodes=self._table(np.isin(np.arange(self.n), list(rows)), matrix),
            matrix=matrix,
            model_name=model.name,
            tokens=self.tokens,
            places=tuple(str(layer.write) for layer in layers),
            exact=self.trace.exact,
            left_out=self.trace.left_out,
            inputs=kept_input(model, batch),
            picture=batch.pictures,
            grid=grid_of(model),
        )

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Text at each position."""
        return position_texts(self.trace.passes.model, self.trace.passes.batch, self.time)

    def _table(self, read: np.ndarray, matrix: csr_matrix) -> DataFrame:
        import pandas as pd

        passes, time = self.trace.passes, range(self.time)
        names = [f"“{token}” at {p}" for p, token in enumerate(self.tokens)]
        parts = [nodes_of_kind("token", str(passes.start), -1, time, names)]
        for layer, written in zip(passes.layers, self.trace.written, strict=True):
            place, block = str(layer.write), layer.write.layer
            where, atoms = written.position.tolist(), written.atom.tolist()
            names = [atom_name(place, j, p) for j, p in zip(atoms, where, strict=True)]
            values = written.strength.tolist()
            parts.append(
                nodes_of_kind("atom", place, block, where, names, atom=atoms, value=values)
            )
            missed = [f"missed of {place} at {p}" for p in time]
            parts.append(nodes_of_kind("error", place, block, time, missed))
        names = [target.name for target in self.targets]
        values = [float(target.value.detach()) for target in self.targets]
        last = [self.time - 1] * len(names)
        parts.append(
            nodes_of_kind("target", "answer", passes.model.n_layers, last, names, value=values)
        )
        table = pd.concat([part for part in parts if len(part)], ignore_index=True)
        return table.assign(
            weight=self._weights(), read=read, bias=self._biases(table, matrix, read)
        )

    def _biases(self, table: DataFrame, matrix: csr_matrix, read: np.ndarray) -> np.ndarray:
        """Return the part that no node adds: by a pass in which no node writes, or what is left."""
        left = table.value.to_numpy(float) - np.asarray(matrix.sum(axis=1)).ravel()
        if not self.trace.exact:
            return np.where(read, left, np.nan)
        found = np.full(self.n, np.nan)
        for layer, written in enumerate(self.trace.written):
            if len(written.atom):
                clean = self.trace.reads[layer].detach()[0].float()[written.position]
                empty = self.trace.empty_reads[layer][written.position]
                own = written.strength - (written.slopes * clean).sum(dim=1)
                values = own + (written.slopes * empty).sum(dim=1)
                start = self.first[layer]
                found[start : start + len(values)] = values.cpu().numpy()
        for t, target in enumerate(self.targets):
            i = self.first_target + t
            found[i] = (
                left[i]
                if target.measure is None
                else float(target.measure(self.trace.empty_answer))
            )
        return np.where(read, found, np.nan)


def nodes_of_kind(
    kind: str,
    place: str,
    layer: int | None,
    position: Sequence[int],
    name: list[str],
    **more: Sequence[object],
) -> DataFrame:
    """Nodes of one kind at one place."""
    import pandas as pd

    columns = {"kind": kind, "place": place, "layer": layer, "position": list(position)}
    return pd.DataFrame({**columns, "atom": -1, "value": np.nan, **more, "name": name})


# -------------------------------------------------------------------------------------------------
# Memory, estimated before the work: backward passes are made in blocks that are bounded.


def check_forward(passes: Passes) -> None:
    """Refuse an input whose forward passes, patterns of attention included, would not fit."""
    model, time = passes.model, _positions(passes)
    layers, heads = int(model.n_layers or 1), int(model.n_heads or 1)
    width = int(model.width(str(passes.start)) or 0)
    needed = 4 * layers * (heads * time * time + KEPT_STREAMS * time * width)
    instead = "Pass a shorter text, or a smaller image."
    check_memory(needed, f"The passes of a graph over {time} positions", instead)


def rows_together(trace: Trace, n_nodes: int, n_traced: int) -> int:
    """Return how many backward passes a block has, and say what the whole will take.

    A pass takes a gradient at every place that is written, and those under way; the matrix a number and a
    column for every node of a traced row, twice while it is put together.
    """
    time, width = trace.leaves[0].shape[1:]
    per_row = 4 * time * width * (len(trace.leaves) + STREAMS[trace.exact])
    free = available_memory()
    most = BLOCK_BYTES if free is None else min(BLOCK_BYTES, free // 4)
    rows = int(min(max(most // per_row, 1), MOST_ROWS))
    matrix = 16 * n_traced * n_nodes
    check_memory(matrix + rows * per_row, f"A graph of {n_nodes} nodes", "Lower `max_nodes`.")
    logger.info(
        "A graph of %d nodes, the causes of %d of them traced in blocks of %d backward passes: about %.3g MiB "
        "of memory, %.3g MiB of it for a block",
        n_nodes,
        n_traced,
        rows,
        (matrix + rows * per_row) / 2**20,
        rows * per_row / 2**20,
    )
    return rows


def _positions(passes: Passes) -> int:
    """Return how many positions the model reads: words, patches and the tokens before them, or one row."""
    ids, model = passes.batch.token_ids, passes.model
    if ids is not None:
        return int(ids.shape[1])
    if model.patch_grid is None:
        return 1
    return model.prefix_tokens + model.patch_grid[0] * model.patch_grid[1]
