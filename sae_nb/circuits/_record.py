"""The record of an attribution graph: atoms, errors, tokens and targets, and what each adds to each.

Ã = |A| / Σ|A| by rows (a row is a node, a column what it is made of; biases left out); influence of a node
ι = w(Ã + Ã² + …), w the targets' weights. Source: Ameisen et al., "Circuit Tracing", 2025
(safety-research/circuit-tracer, graph.py), whose replacement and completeness scores these are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Self, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from sae_nb.checks import Between, checked

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csr_matrix
    from torch import Tensor

    from sae_nb.circuits._neuron_examples import NeuronExamples
    from sae_nb.circuits._passes import Passes

KINDS = ("token", "atom", "error", "target")

MOST_LISTED = 3
"""Positions, or places, that a repr names one by one."""

_Graph = TypeVar("_Graph", bound="Graph")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Graph:
    """Nodes and edges, and what follows from them alone."""

    nodes: DataFrame
    """A row per node: kind (token, atom, error, target), place (the hook point that it writes), layer (−1 for
    tokens), position, atom (−1 but for atoms), value (an atom's strength, a target's measure), bias (what
    no node adds to it), name, weight (a target's, in the influence), read (whether its causes were traced)."""

    matrix: csr_matrix
    """(n, n) what the node of the column adds to the value of the node of the row, attention and norms held."""

    model_name: str
    tokens: tuple[str, ...]
    """Of the input, by position; numbers where the model reads no text."""

    places: tuple[str, ...]
    """The hook points that the dictionaries write, in the order of the passes."""

    exact: bool
    """Whether the model between the dictionaries is linear here: every MLP is a node. False where
    dictionaries of the residual stream have MLPs between them, of which the slope is taken."""

    left_out: Mapping[str, tuple[int, ...]] | None = None
    """By place the positions that its dictionary leaves out, such as first tokens: the state there passes
    untouched, in `bias`, without an error. None in older files, where it is one."""

    inputs: Tensor | None = None
    """Input of the model, (1, …): token ids, pixel values, a sound, or a row; of older files an image of 0 to
    255, or None."""

    picture: UInt8[Tensor, "1 3 height width"] | None = None
    """The image, or the picture of a sound, as displayed."""

    grid: tuple[int, int, int] | None = None
    """Of images: tokens before the first patch, then rows and columns of patches."""

    outcomes: tuple[tuple[int, ...] | None, ...] = ()
    """Of each target the class or token, or the two whose difference it is; None for functions and atoms."""

    contrast: Tensor | None = None
    """Of graphs of neurons: the input that values are differences from, in the form of `inputs`."""

    contrast_tokens: tuple[str, ...] = ()

    n_units: int = 0
    """Of graphs of neurons: all neurons, and atoms in their place, by position; 0 of other graphs."""

    named_by: str = ""
    """Of graphs of neurons: how the names in `nodes.says` were read, "lens" or "direct path only"."""

    examples: NeuronExamples | None = None
    """Of graphs of neurons: their activations on examples; None where none were given, or read from a file."""

    passes: Passes | None = None
    """The live model and its dictionaries; None for a graph that was read from a file, see `with_model`."""

    @property
    def of_neurons(self) -> bool:
        """Whether atoms are neurons, and values differences from a contrast: made with "neurons"."""
        return self.n_units > 0

    def __repr__(self) -> str:
        kinds = self.nodes.kind.value_counts()
        left_out = f"; left out: {self.left_out_words}" if self.left_out else ""
        if self.of_neurons:
            return (
                f"{type(self).__name__}({kinds.get('atom', 0)} of {self.n_units} neurons by position, "
                f"{kinds.get('token', 0)} tokens; {self.nodes['name'].iloc[-1]}{left_out})"
            )
        counts = ", ".join(f"{int(kinds.get(kind, 0))} {kind}s" for kind in KINDS)
        return (
            f"{type(self).__name__}({counts}; replacement {self.replacement:.2f}, completeness "
            f"{self.completeness:.2f}{left_out})"
        )

    @property
    def left_out_words(self) -> str:
        """The positions that no dictionary is for, and where, in words; empty where there are none."""
        places: dict[tuple[int, ...], list[str]] = {}
        for place, out in (self.left_out or {}).items():
            places.setdefault(out, []).append(place)
        words = [
            f"{_listed('position', out)} of {_listed('place', some)}"
            for out, some in places.items()
        ]
        return "; ".join(words)

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def edges(self) -> DataFrame:
        """A row per edge, the strongest first: source, target, weight, and both names."""
        import pandas as pd

        found = self.matrix.tocoo()
        order = np.argsort(-np.abs(found.data), kind="stable")
        source, target = found.col[order], found.row[order]
        names = self.nodes["name"].to_numpy()
        return pd.DataFrame(
            {
                "source": source,
                "target": target,
                "weight": found.data[order],
                "from": names[source],
                "to": names[target],
            }
        )

    @property
    def shares(self) -> csr_matrix:
        """Ã: each row of |matrix| divided by its sum."""
        from scipy.sparse import diags

        size = abs(self.matrix)
        total = np.asarray(size.sum(axis=1)).ravel()
        return diags(np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)) @ size

    @cached_property
    def influence(self) -> Float[np.ndarray, " n"]:
        """ι of each node: its share in the targets over all paths; targets themselves have none.

        Of neurons the size of what each adds to the answer, as a share of all nodes' sizes.
        """
        if self.of_neurons:
            sizes = np.where((self.nodes.kind == "target").to_numpy(), 0.0, np.abs(self.flow))
            return sizes / (sizes.sum() or 1.0)
        return influence_of(self.shares, self.nodes.weight.to_numpy())

    @property
    def flow(self) -> Float[np.ndarray, " n"]:
        """Part of the targets' weighted measure that flows through each node over all paths, with its sign.

        It is what the graph foresees to be gone without the node, where atoms answer in proportion: with r_s
        the relative change of a node, r_t = Σ_s A_ts r_s / z_t for atoms, none of tokens and errors.
        """
        weights = self.nodes.weight.to_numpy(float)
        return _over_paths(self.matrix, weights, self.per_strength)

    @property
    def per_strength(self) -> Float[np.ndarray, " n"]:
        """1 / z of each atom, by which it answers in proportion; 0 of others, at which paths end."""
        values = self.nodes.value.to_numpy(float)
        answering = (self.nodes.kind == "atom").to_numpy() & (values != 0)
        return np.divide(1.0, values, out=np.zeros(len(values)), where=answering)

    @property
    def replacement(self) -> float:
        """Share of the influence that reaches the input, and does not end in errors."""
        found, kind = self.influence, self.nodes.kind
        tokens, errors = (
            float(found[(kind == name).to_numpy()].sum()) for name in ("token", "error")
        )
        return tokens / (tokens + errors) if tokens + errors > 0 else float("nan")

    @property
    def completeness(self) -> float:
        """Share of the nodes' parts that is not an error, weighted by their influence."""
        shares, weights = self.shares, self.influence + self.nodes.weight.to_numpy()
        errors = (self.nodes.kind == "error").to_numpy()
        missing = np.asarray(shares[:, np.flatnonzero(errors)].sum(axis=1)).ravel()
        made = np.asarray(shares.sum(axis=1)).ravel() > 0
        total = weights[made].sum()
        return float(((1 - missing) * weights)[made].sum() / total) if total > 0 else float("nan")

    @checked
    def prune(
        self,
        nodes: Annotated[float, Between(0, 1, "(]")] = 0.8,
        edges: Annotated[float, Between(0, 1, "(]")] = 0.98,
    ) -> Self:
        """Return the part of the graph that carries so much of the influence.

        The atoms and errors of most influence that together have `nodes` of it, all tokens and targets;
        of what is left, the edges that together have `edges` of it; then what leads nowhere is taken out.
        """
        return self.pruned(nodes, edges)[0]

    def pruned(self, nodes: float, edges: float) -> tuple[Self, Int[np.ndarray, " m"]]:
        """Return what `prune` does, unchecked, and which node of this graph each one that is left is."""
        from scipy.sparse import csr_matrix

        rows = np.arange(len(self))
        ends = self.nodes.kind.isin(["token", "target"]).to_numpy()
        keep = ends | carrying(self.influence, nodes)
        small, rows = self._kept(keep), rows[keep]
        weights = small.influence + small.nodes.weight.to_numpy()
        found = small.shares.tocoo()
        strong = carrying(found.data * weights[found.row], edges)
        edges_kept = (np.ones(int(strong.sum())), (found.row[strong], found.col[strong]))
        matrix = small.matrix.multiply(csr_matrix(edges_kept, shape=small.matrix.shape)).tocsr()
        small = replace(small, matrix=matrix)
        while True:
            fixed = small.nodes.kind.isin(["token", "target"]).to_numpy()
            used = np.bincount(small.matrix.indices, minlength=len(small)) > 0
            made = (small.nodes.kind != "atom").to_numpy() | (np.diff(small.matrix.indptr) > 0)
            # An atom that was never looked into has no edges into it, and is no dead end.
            made |= ~small.nodes.read.to_numpy()
            keep = fixed | (used & made)
            if keep.all():
                return small, rows
            small, rows = small._kept(keep), rows[keep]

    def path(self, source: int, target: int) -> list[int]:
        """Return the nodes of the strongest path from one node to another, by the product of shares.

        Raises
        ------
        ValueError: If no path leads there.
        """
        from scipy.sparse.csgraph import dijkstra

        costs = self.shares.T.tocsr()
        # A share of one would cost nothing, and scipy takes that for no edge.
        costs.data = -np.log(np.clip(costs.data, 1e-300, 1 - 1e-12))
        distance, before = dijkstra(costs, indices=source, return_predecessors=True)
        if not np.isfinite(distance[target]):
            names = self.nodes["name"]
            raise ValueError(
                f"A path must lead from node {source} ({names[source]}) to node {target} "
                f"({names[target]}), and none does. Exchange them, or prune less."
            )
        nodes = [target]
        while nodes[-1] != source:
            nodes.append(int(before[nodes[-1]]))
        return nodes[::-1]

    # --- smaller graphs ---------------------------------------------------------------------------

    def _kept(self, mask: Bool[np.ndarray, " n"]) -> Self:
        rows = np.flatnonzero(mask)
        nodes = self.nodes.iloc[rows].reset_index(drop=True)
        return replace(self, nodes=nodes, matrix=self.matrix[rows][:, rows])


def _listed(noun: str, given: Sequence[object]) -> str:
    """Name a few, or say how many there are."""
    if len(given) > MOST_LISTED:
        return f"{len(given)} {noun}s"
    names = ", ".join(map(str, given))
    return names if noun == "place" else f"{noun}{'s' * (len(given) > 1)} {names}"


def influence_of(shares: csr_matrix, weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """ι = w(Ã + Ã² + …); a graph without circles ends after as many terms as its longest path."""
    return _over_paths(shares, np.asarray(weights, float))


def _over_paths(
    matrix: csr_matrix, weights: Float[np.ndarray, " n"], per: Float[np.ndarray, " n"] | float = 1.0
) -> Float[np.ndarray, " n"]:
    """W A + (w A ⊙ p) A + …: what of the weights leads back to each node, over all paths."""
    found, term = np.zeros(len(weights)), weights
    for _ in range(len(weights)):
        term = matrix.T @ term
        if not term.any():
            break
        found += term
        term = term * per
    return found


def carrying(amounts: Float[np.ndarray, " n"], share: float) -> Bool[np.ndarray, " n"]:
    """Return the smallest set that together has a share of the whole; none of those that have nothing."""
    order = np.argsort(-amounts, kind="stable")
    before = np.cumsum(amounts[order]) - amounts[order]
    keep = np.zeros(len(amounts), bool)
    keep[order] = (before < share * amounts.sum() * (1 - 1e-12)) & (amounts[order] > 0)
    return keep
