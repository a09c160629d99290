"""A graph taken apart from groups to single atoms: which of them an answer needs, by few runs of the model.

Groups of atoms: those of one place and position; parts of these that act on the targets through the same
nodes; parts of parts; single atoms. At each size every group that is left is taken out alone in the running
model, m(kept) − m(kept without it); then, those that cost least per atom first, as many together as the answer
can miss: |m(all) − m(kept)| ≤ (1 − share) |m(all) − m(none)|. Only what stays is divided further.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.circuits._asked import blocks, measured_copies
from sae_nb.circuits._faithfulness import add, live_passes
from sae_nb.findings import Finding

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.circuits._passes import Passes, Written
    from sae_nb.circuits._record import Graph
    from sae_nb.models import HookPoint
    from sae_nb.models._running import Put

Method = Literal["groups", "sweep", "greedy"]

LEVELS = ("level", "groups", "dropped", "atoms", "recovered", "runs")
GROUPS = ("level", "place", "position", "n_atoms", "lost", "kept")

SMALL = 1e-6
"""Of a measure, in logits: atoms that move the targets less have nothing to be divided."""

Nodes = Int[np.ndarray, " m"]


class Decomposition(Finding):
    """The atoms of a graph that an answer needs; made by `AttributionGraph.decompose`.

    Shares are of what all atoms together do to the targets' measure, as in `Faithfulness`.
    """

    graph: Graph
    """The remaining graph: the atoms kept, and all tokens, errors and targets."""

    kept: Int[np.ndarray, " n_kept"]
    """The atoms kept, by their number in the graph that was decomposed, ascending."""

    method: Method

    share: float
    """Share to keep."""

    recovered: float
    """Share kept: (m(kept) − m(none)) / (m(all) − m(none)), between `share` and 2 − `share`."""

    n_atoms: int
    """Atoms of the graph that was decomposed."""

    n_runs: int
    """Of the model, on the input: one for every set of atoms that was tried."""

    levels: DataFrame
    """A row per size of groups: level, groups (that were taken out one by one), dropped (how many of them
    went), atoms (left after it), recovered, runs (so far)."""

    groups: DataFrame
    """A row per group that was taken out: level, place, position, n_atoms, lost (the share that is gone
    without it, at that time; below 0 where it was in the way), kept."""

    influence: float
    """The share by the same number of atoms, those of most influence in the graph."""

    random: Float[np.ndarray, " n_random"]
    """By the same number of random atoms of the graph."""

    alike: Float[np.ndarray, " n_random"]
    """By random atoms, the same number of each place and position: what knowing the atoms adds to that."""

    everything: float
    nothing: float
    """The targets' measure, weighted, with all atoms and with none."""

    @property
    def table(self) -> DataFrame:
        """The atoms kept, in the order of the passes: place, position, atom, value, name."""
        nodes = self.graph.nodes
        wanted = ["place", "position", "atom", "value", "name"]
        return nodes.loc[nodes.kind == "atom", wanted].reset_index(drop=True)

    @property
    def comparison(self) -> DataFrame:
        """A row per way to choose so many atoms: way, n_atoms, recovered (the mean of random ones)."""
        import pandas as pd

        found = {
            "decomposed": self.recovered,
            "influence": self.influence,
            "random, same places": _mean(self.alike),
            "random": _mean(self.random),
        }
        return pd.DataFrame(
            {"way": list(found), "n_atoms": len(self.kept), "recovered": list(found.values())}
        )

    def plot(self) -> Any:
        """Draw how many atoms are kept of each place and position."""
        from sae_nb.figures import heatmaps, named_ticks, visible_token

        counts = self.table.groupby(["place", "position"]).size()
        tokens, places = self.graph.tokens, self.graph.places
        drawn = np.zeros((len(places), len(tokens)))
        for (place, position), n in counts.items():
            drawn[places.index(place), position] = n
        ends = (0.0, max(float(drawn.max()), 1.0))
        frame: dict[str, Any] = {"y": "", "height": 120 + 30 * len(places)}
        hover = "%{z} atoms, position %{x}, row %{y}"
        figure = heatmaps({"token": drawn}, ends=ends, hover=hover, bar="atoms", **frame)
        figure.update_xaxes(named_ticks(map(visible_token, tokens)))
        return figure.update_yaxes(named_ticks(places))

    @property
    def headline(self) -> str:
        """The effect recovered by the kept atoms, and by the same number of other atoms."""
        return (
            f"{len(self.kept)} of {self.n_atoms} atoms keep {self.recovered:.3f} of "
            f"{self.everything - self.nothing:+.3f}, found in {self.n_runs} runs; the same number by influence "
            f"{self.influence:.3f}, random at the same places {_mean(self.alike):.3f}, random "
            f"{_mean(self.random):.3f}"
        )


def decompose(
    graph: Graph, *, share: float, method: Method, parts: int, n_random: int, seed: int
) -> Decomposition:
    """See `AttributionGraph.decompose`."""
    rng = np.random.default_rng(seed)
    search = _Search(graph, share)
    _METHODS[method](search, parts)
    kept, atoms = search.kept, search.atoms
    ranked = atoms[np.argsort(-graph.influence[atoms], kind="stable")]
    random = [rng.choice(atoms, len(kept), replace=False) for _ in range(n_random)]
    alike = [_drawn_alike(graph, atoms, kept, rng) for _ in range(n_random)]
    judged = search.runs.shares([kept, ranked[: len(kept)], *random, *alike])
    stays = (graph.nodes.kind != "atom").to_numpy(copy=True)
    stays[kept] = True
    return Decomposition(
        graph=graph._kept(stays),
        kept=kept,
        method=method,
        share=float(share),
        recovered=float(judged[0]),
        n_atoms=len(atoms),
        n_runs=search.n_runs,
        levels=_table(search.levels, LEVELS),
        groups=_table(search.tried, GROUPS),
        influence=float(judged[1]),
        random=judged[2 : 2 + n_random],
        alike=judged[2 + n_random :],
        everything=search.runs.everything,
        nothing=search.runs.nothing,
    )


# -------------------------------------------------------------------------------------------------
# The model, run with some atoms alone.


class GraphRuns:
    """The live model with sets of a graph's atoms, several at once; nothing is dense in atoms."""

    def __init__(self, graph: Graph) -> None:
        self.passes, self.measure = live_passes(graph)
        self.atoms = np.flatnonzero((graph.nodes.kind == "atom").to_numpy())
        self.place, self.entry = _entries_of(graph, self.passes, self.atoms)
        ends = self.measured([self.atoms[:0], None])
        self.nothing, self.everything = float(ends[0]), float(ends[1])

    def measured(self, several: Sequence[Nodes | None]) -> Float[np.ndarray, " n"]:
        """Return the targets' measure with each set of nodes alone; None: with all atoms that fire."""
        found = []
        for block in blocks(len(several)):
            edits = self._edits([several[i] for i in block])
            batch, model = self.passes.batch, self.passes.model
            found.append(measured_copies(model, batch, len(block), edits, self.measure))
        return torch.cat(found).double().numpy() if found else np.zeros(0)

    def shares(self, several: Sequence[Nodes]) -> Float[np.ndarray, " n"]:
        """Return the same as shares of what all atoms do."""
        return (self.measured(several) - self.nothing) / (self.everything - self.nothing)

    def _edits(self, several: Sequence[Nodes | None]) -> list[tuple[HookPoint, Put]]:
        """Return the missing parts at each place, in every copy, without the atoms that are not in its set."""
        gone = np.ones((len(several), len(self.atoms)), np.float32)
        for row, nodes in zip(gone, several, strict=True):
            row[... if nodes is None else np.searchsorted(self.atoms, nodes)] = 0.0
        edits: list[tuple[HookPoint, Put]] = []
        for at, (layer, written) in enumerate(
            zip(self.passes.layers, self.passes.written, strict=True)
        ):
            n = len(written.atom)
            if not n:
                continue
            # Atoms that fire and are no nodes are in no set; with all atoms, they are there as well.
            missing = np.ones((len(several), n), np.float32)
            missing[[nodes is None for nodes in several]] = 0.0
            here = self.place == at
            missing[:, self.entry[here]] = gone[:, here]
            less = _less(torch.from_numpy(missing).to(written.atoms), written)
            edits.append((layer.write, partial(add, less)))
        return edits


def _less(missing: Float[Tensor, "n entries"], written: Written) -> Float[Tensor, "n time d_out"]:
    """Minus what the missing entries write, position by position."""
    less = written.error.new_zeros(len(missing), *written.error.shape)
    for position in sorted(set(written.position.tolist())):
        here = written.position == position
        less[:, position] = -(missing[:, here] @ written.atoms[here])
    return less


def _entries_of(
    graph: Graph, passes: Passes, atoms: Nodes
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Of each atom's node the number of its place, and its entry there."""
    entry = {
        (at, position, atom): i
        for at, written in enumerate(passes.written)
        for i, (position, atom) in enumerate(
            zip(written.position.tolist(), written.atom.tolist(), strict=True)
        )
    }
    order = {name: at for at, name in enumerate(graph.places)}
    rows = graph.nodes.iloc[atoms]
    place = np.array([order[name] for name in rows.place], int)
    keys = zip(place.tolist(), rows.position.tolist(), rows.atom.tolist(), strict=True)
    return place, np.array([entry[key] for key in keys], int)


# -------------------------------------------------------------------------------------------------
# The search.


class _Search:
    """The nodes kept so far, and those tried."""

    def __init__(self, graph: Graph, share: float) -> None:
        self.graph, self.missing = graph, 1 - share
        self.runs = GraphRuns(graph)
        self.atoms = self.kept = self.runs.atoms
        self.recovered = _recovered_by(self.runs, share)
        self.n_runs = 1
        self.levels: list[dict[str, Any]] = []
        self.tried: list[dict[str, Any]] = []

    def without(self, several: Sequence[Nodes]) -> Float[np.ndarray, " n"]:
        """Return shares by what is kept, each time less some of it."""
        self.n_runs += len(several)
        return self.runs.shares([np.setdiff1d(self.kept, nodes) for nodes in several])

    def take(self, nodes: Nodes, left: float) -> None:
        """Leave some nodes out from now on, after which a share is left."""
        self.kept, self.recovered = np.setdiff1d(self.kept, nodes), float(left)

    def level(self, groups: list[Nodes], missing: float) -> list[Nodes]:
        """Try every group alone, take out as many together as may be missing, and return the others."""
        lost = self.recovered - self.without(groups)
        sizes = np.array([len(nodes) for nodes in groups])
        order = np.argsort(np.abs(lost) / sizes, kind="stable")
        gone = order[: self._most([groups[i] for i in order], missing)]
        kept = np.ones(len(groups), bool)
        kept[gone] = False
        self.note(groups, lost, kept)
        return [nodes for nodes, stays in zip(groups, kept, strict=True) if stays]

    def _most(self, groups: list[Nodes], missing: float) -> int:
        """Take out as many of the first groups together as halving finds that may go; how many."""
        few, many, left = 0, len(groups), self.recovered
        while few < many:
            n = (few + many + 1) // 2
            (found,) = self.without([np.concatenate(groups[:n])])
            if abs(1 - found) <= missing:
                few, left = n, found
            else:
                many = n - 1
        if few:
            self.take(np.concatenate(groups[:few]), left)
        return few

    def note(
        self, groups: list[Nodes], lost: Float[np.ndarray, " n"], kept: Bool[np.ndarray, " n"]
    ) -> None:
        """Write down what became of groups."""
        level, nodes = len(self.levels), self.graph.nodes
        numbers = (level, len(groups), int((~kept).sum()), len(self.kept))
        row = (*numbers, self.recovered, self.n_runs)
        self.levels.append(dict(zip(LEVELS, row, strict=True)))
        for group, gone, stays in zip(groups, lost, kept, strict=True):
            at = nodes.iloc[int(group[0])]
            row = (level, at.place, int(at.position), len(group), float(gone), bool(stays))
            self.tried.append(dict(zip(GROUPS, row, strict=True)))


def _by_groups(search: _Search, parts: int) -> None:
    """From places and positions down; single atoms are tried last, all of them at once."""
    groups = list(_cells(search.graph, search.atoms).values())
    n_levels = 1 + int(np.ceil(np.log(max(map(len, groups))) / np.log(parts)))
    for level in count(1):
        several = [nodes for nodes in groups if len(nodes) > 1]
        if not several:
            break
        # What may be missing is spent size by size: what large groups use up, single atoms have not.
        allowed = search.missing * min(level / (n_levels + 1), 1.0)
        left = search.level(several, allowed)
        groups = [nodes for nodes in groups if len(nodes) == 1]
        groups += [part for nodes in left for part in _divided(search.graph, nodes, parts)]
    search.level(groups, search.missing)


def _by_sweep(search: _Search, parts: int) -> None:
    """Every atom once, that of least influence first."""
    del parts
    order = search.atoms[np.argsort(search.graph.influence[search.atoms], kind="stable")]
    lost, kept = np.zeros(len(order)), np.ones(len(order), bool)
    for i, node in enumerate(order):
        before = search.recovered
        (left,) = search.without([order[i : i + 1]])
        lost[i] = before - left
        if abs(1 - left) <= search.missing:
            search.take(np.array([node]), left)
            kept[i] = False
    search.note([np.array([node]) for node in order], lost, kept)


def _by_greed(search: _Search, parts: int) -> None:
    """Again and again the atom without which most is left, until too little would be."""
    del parts
    lost, kept = np.zeros(len(search.atoms)), np.ones(len(search.atoms), bool)
    while len(search.kept):
        left = search.without(list(search.kept[:, None]))
        rows = np.searchsorted(search.atoms, search.kept)
        lost[rows] = search.recovered - left
        best = int(np.abs(1 - left).argmin())
        if abs(1 - left[best]) > search.missing:
            break
        kept[rows[best]] = False
        search.take(search.kept[best : best + 1], left[best])
    search.note(list(search.atoms[:, None]), lost, kept)


_METHODS: dict[str, Callable[[_Search, int], None]] = {
    "groups": _by_groups,
    "sweep": _by_sweep,
    "greedy": _by_greed,
}


def _recovered_by(runs: GraphRuns, share: float) -> float:
    """The share by all atoms of the graph: they must do something, and enough of it."""
    if not len(runs.atoms):
        raise ValueError(
            "The graph must hold atoms to be divided, and has none. Decompose it as it was before it was "
            "pruned, or trace it with dictionaries of which some fire."
        )
    effect = runs.everything - runs.nothing
    if abs(effect) < SMALL:
        raise ValueError(
            f"The atoms must move the target to be divided, and all {len(runs.atoms)} together move it by "
            f"{effect:+.1g}. Choose another target, or dictionaries of which more atoms fire."
        )
    recovered = float(runs.shares([runs.atoms])[0])
    if abs(1 - recovered) > 1 - share:
        raise ValueError(
            f"The graph must keep a share of {share:g} by itself, and its {len(runs.atoms)} atoms keep "
            f"{recovered:.3f}. Decompose the graph as it was before it was pruned, or ask for less."
        )
    return recovered


# -------------------------------------------------------------------------------------------------
# Groups.


def _cells(graph: Graph, atoms: Nodes) -> dict[tuple[str, int], Nodes]:
    """Atoms by place and position."""
    rows = graph.nodes.iloc[atoms]
    found = rows.groupby(["place", "position"], sort=False).indices
    return {(str(place), int(at)): atoms[which] for (place, at), which in found.items()}


def _divided(graph: Graph, nodes: Nodes, parts: int) -> list[Nodes]:
    """At most so many parts: atoms of one act on the targets through the same nodes (Ward's clusters).

    An atom's coordinates are what of the targets flows from it through each node: those that do little are
    alike as well.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(nodes) <= parts:
        return list(nodes[:, None])
    through = _per_unit(graph)
    used = np.flatnonzero(through)
    profiles = graph.matrix[used][:, nodes].toarray() * through[used, None]
    labels = fcluster(linkage(profiles.T, method="ward"), parts, criterion="maxclust")
    found = [nodes[labels == label] for label in np.unique(labels)]
    # Atoms that are all alike, such as those without a path to the targets, are one cluster.
    return found if len(found) > 1 else [*np.array_split(nodes, parts)]


def _per_unit(graph: Graph) -> Float[np.ndarray, " n"]:
    """Return the gain of the targets' measure with a unit of each node's value, over all its paths."""
    values, per_strength = graph.nodes.value.to_numpy(float), graph.per_strength
    return graph.nodes.weight.to_numpy(float) + np.divide(
        graph.flow, values, out=np.zeros(len(values)), where=per_strength != 0
    )


def _drawn_alike(graph: Graph, atoms: Nodes, kept: Nodes, rng: np.random.Generator) -> Nodes:
    """Random atoms, of every place and position the same number as are kept there."""
    everywhere, here = _cells(graph, atoms), _cells(graph, kept)
    drawn = [
        rng.choice(everywhere[cell], len(nodes), replace=False) for cell, nodes in here.items()
    ]
    return np.concatenate([atoms[:0], *drawn])


def _table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(columns))


def _mean(values: Float[np.ndarray, " n"]) -> float:
    return float(values.mean()) if len(values) else float("nan")
