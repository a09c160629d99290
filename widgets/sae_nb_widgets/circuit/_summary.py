"""A graph as a panel draws it: a place for every node, groups as one, the strongest edges, and answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from sae_nb.circuits import AttributionGraph
from sae_nb.findings import Finding
from sae_nb.models import outcome_names

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csr_matrix

    from sae_nb.circuits import Flow
    from sae_nb.models import LiveModel

EDGES = 0.98
"""Share of the influence that the edges of a drawing carry, before the strongest are chosen."""

FIRST_NODES, MOST_EDGES = (12, 20, 50), 200
"""Atoms and errors at first, the fewest that an input leads through, and edges ever: of more, a person sees a
wall."""

LINES, LINE_STEP, GAP = 3, 0.26, 0.4
"""Nodes of one place and position are in at most three lines; distance of lines, and of columns."""

MOST_TOKENS = 24
"""Inputs that are drawn: of more, as many, those of most influence."""

MOST_OUTCOMES = 5

N_STORY, MOST_STATIONS, MOST_ANSWERS, N_CHANCE = 20, 3, 2, 19
"""Of a story: nodes, inputs at which they are, outcomes, random changes next to it."""

MOST_TIES, LEAST_APART, EMPTY_COLUMN = 40, 1.7, 0.6
"""Of graphs of neurons, whose nodes are drawn as their names: edges ever, how far nodes of one line are apart,
and the width of a token without nodes, in widths of a node."""

TARGETS_ABREAST = 6
"""Targets are as far apart as this number would be over the whole width: fewer keep together."""


class CircuitSummary(Finding):
    """A graph as it is drawn; made by `Circuit.summarise`."""

    HEADLINE = (
        "{nodes.len} nodes in {rows.len} rows, {edges.len} of {n_edges} edges; {threshold:.0%} of "
        "the influence"
    )

    nodes: DataFrame
    """A row per thing drawn: node (its number in the graph; of a group that of its strongest member), group
    (empty but for groups), kind, row, position, influence, adds (to the targets, over all its paths), x, y."""

    edges: DataFrame
    """A row per edge drawn: source and target (rows of `nodes`), weight, share (of the influence)."""

    columns: DataFrame
    """A row per position drawn: position, x."""

    rows: tuple[str, ...]
    """Names of the rows, from the inputs up to the targets."""

    threshold: float
    n_nodes: int
    n_edges: int
    """Share of the influence that is kept; atoms and errors that carry it, and edges, drawn or not."""

    named: bool
    """Whether nodes are drawn as their names, and rows that hold nothing are left out: graphs of neurons."""

    reaches: bool
    """Whether a path leads from an input to a target."""

    members: Mapping[str, tuple[int, ...]]
    """Nodes of each group."""

    def place_of(self, node: int) -> int:
        """Return the row of `nodes` at which a node of the graph is drawn; −1 where it is not."""
        group = next((name for name, nodes in self.members.items() if node in nodes), "")
        of = self.nodes["group"] == group if group else self.nodes["node"] == node
        found = np.flatnonzero(of.to_numpy())
        return int(found[0]) if len(found) else -1

    def nodes_at(self, place: int) -> tuple[int, ...]:
        """Return the nodes that are drawn at a row of `nodes`: one, or those of a group."""
        row = self.nodes.iloc[place]
        return self.members[row.group] if row.group else (int(row.node),)


class Circuit:
    """A graph, with its derived values kept for repeated use."""

    def __init__(self, graph: AttributionGraph) -> None:
        self.graph, self.influence = graph, graph.influence
        self.adds = graph.flow
        """Contribution of every node to the targets, over all its paths."""

        self.kinds = graph.nodes.kind.to_numpy()
        self.read_at = _read_at(graph)
        """Position at which the targets are read: the last word's, of its logits; −1 if it is of none."""

        self._sums = np.asarray(abs(graph.matrix).sum(axis=1)).ravel()
        self._columns = graph.matrix.tocsc()

    @property
    def reaches(self) -> bool:
        """Whether a path leads from an input to a target."""
        return _reaches(self.graph)

    def share_of(self, n: int) -> float:
        """Return the largest share of the influence that at most `n` atoms and errors carry with the inputs."""
        order = np.argsort(-self.influence, kind="stable")
        inner = ~np.isin(self.kinds[order], ("token", "target"))
        over = np.flatnonzero(np.cumsum(inner) > n)
        if not len(over):
            return 1.0
        return float(self.influence[order[: over[0]]].sum() / self.influence.sum())

    def first_threshold(self) -> float:
        """Return the share of the influence of which a person can still see the parts, and a whole path."""
        shares = [self.share_of(n) for n in FIRST_NODES]
        return next((x for x in shares if _reaches(self.graph.pruned(x, EDGES)[0])), shares[-1])

    def summarise(
        self,
        threshold: float,
        always: Collection[int] = (),
        groups: Mapping[str, Sequence[int]] | None = None,
    ) -> CircuitSummary:
        """Lay out what carries a share of the influence.

        Parameters
        ----------
        threshold
            That share, in (0, 1].
        always
            Nodes that are drawn in any case.
        groups
            Name → nodes that are drawn as one; edges of its members add up.
        """
        groups = dict(groups or {})
        small, kept = self.graph.pruned(threshold, EDGES)
        n_inner = int((~small.nodes.kind.isin(["token", "target"])).sum())
        reaches = _reaches(small)
        extra = np.setdiff1d([*always, *(i for nodes in groups.values() for i in nodes)], kept)
        drawn = np.concatenate([kept, extra.astype(int)])
        weights = self._edges_of(small, kept, drawn, extra.astype(int))
        owner, table = self._things(drawn, groups)
        merged, flow = self._merged(weights, drawn, owner, len(table))
        shown = self._without_idle_tokens(table, always)
        merged, flow = merged[shown][:, shown], flow[shown][:, shown]
        table = table.iloc[shown].reset_index(drop=True)
        rows: Sequence[str] = ("input", *map(place_words, self.graph.places), "answer")
        named = self.graph.of_neurons
        if named:
            table, columns, rows = _laid_out_by_name(table, rows, self.read_at)
        else:
            table, columns = _laid_out(table, len(rows) - 1, self.read_at)
        edges = _strongest(merged, flow)
        return CircuitSummary(
            nodes=table,
            edges=edges.head(MOST_TIES if named else MOST_EDGES),
            columns=columns,
            rows=tuple(rows),
            threshold=float(threshold),
            n_nodes=n_inner,
            n_edges=len(edges),
            named=named,
            reaches=reaches,
            members={name: tuple(nodes) for name, nodes in groups.items() if nodes},
        )

    def stations(self, n: int = N_STORY) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Return the atoms that add most to the answer, by the position they are at: at most `MOST_STATIONS`.

        Positions at which less is added join the last station before them, or the first.
        """
        speaks = np.where(self.kinds == "atom", self.adds, 0.0)
        order = np.argsort(-speaks, kind="stable")[:n]
        order = order[speaks[order] > 0]
        position = self.graph.nodes.position.to_numpy()[order].astype(int)
        added = {int(p): float(speaks[order[position == p]].sum()) for p in np.unique(position)}
        kept = sorted(sorted(added, key=lambda p: -added[p])[:MOST_STATIONS])
        return tuple(
            (p, tuple(order[[_station(q, kept) == p for q in position]].tolist())) for p in kept
        )

    def story(
        self, n: int = N_STORY, *, n_random: int = N_CHANCE, live: bool = True
    ) -> CircuitStory:
        """Return the atoms that add most to the answer, and what the running model says without them.

        Those of the first station are changed alone where that turns the answer. Where the graph knows no live
        model, or `live` is False, the probabilities are empty.

        Example
        -------
        >>> import sae_nb as sn
        >>> gpt = sn.load_model("tiny-gpt")
        >>> graph = sn.circuits.attribution_graph(
        ...     gpt, "neurons", "One day she went", contrast="One day he went", target=(" to", " in"))
        >>> story = Circuit(graph).story(8, n_random=3)
        >>> len(story.answers), story.random.shape
        (2, (3, 2))
        """
        graph, stations = self.graph, self.stations(n)
        sets = [some for _, some in stations[:1]]
        if len(stations) > 1:
            sets.append(tuple(node for _, some in stations for node in some))
        none = np.zeros(0)
        found = CircuitStory(
            stations=stations, n=len(sets[-1]) if sets else 0, answers=(), before=none, without=none,
            without_other=none, random=np.zeros((0, 0)), says=("", ""), says_shares=(0.0, 0.0),
        )  # fmt: skip
        passes = graph.passes
        chooses = passes is not None and (
            passes.model.modality.is_text or passes.model.class_names is not None
        )
        if not (live and passes is not None and passes.measures and chooses):
            return found
        for i, some in enumerate(sets):
            found = self._without(passes.model, found, some, sets[i - 1], n_random)
            if found.decides:
                break
        return found

    def _without(
        self,
        model: LiveModel,
        story: CircuitStory,
        nodes: Sequence[int],
        other: Sequence[int],
        n_random: int,
    ) -> CircuitStory:
        """Return a story with the answers of the running model without nodes, and without another set."""
        flow = self.graph.intervene(nodes, 0.0, n_random=n_random)
        beside = flow if other == nodes else self.graph.intervene(other, 0.0, n_random=0)
        before, without, without_other, random = (
            x.float().softmax(dim=-1).numpy()
            for x in (flow.before, flow.after, beside.after, flow.controlled)
        )
        tops = int(before.argmax()), int(without.argmax())
        said, instead = outcome_names(model, tops)
        asked = [i for one in self.graph.outcomes or () for i in one or ()]
        shown = list(dict.fromkeys([*asked, *reversed(tops)]))[:MOST_ANSWERS]
        return replace(
            story, n=len(nodes), answers=tuple(outcome_names(model, shown)), before=before[shown],
            without=without[shown], without_other=without_other[shown], random=random[:, shown],
            says=(said, instead),
            says_shares=(float(before[tops[0]]), float(without[tops[1]])),
        )  # fmt: skip

    def neighbours(self, node: int, n: int) -> tuple[DataFrame, DataFrame]:
        """Return the strongest inputs and outputs of a node in the whole graph.

        Returns
        -------
        Of each node, weight, and share: of an input in what makes the node, of the node in each output.
        """
        import pandas as pd

        row, column = self.graph.matrix[[node]].tocoo(), self._columns[:, [node]].tocoo()
        found = []
        for others, made, data in (
            (row.col, np.full(row.nnz, node), row.data),
            (column.row, column.row, column.data),
        ):
            shares = np.abs(data) / self._sums[made]
            found.append(pd.DataFrame({"node": others, "weight": data, "share": shares}))
        inputs, outputs = found
        # Of outputs, what matters is how much runs on to the targets.
        onward = outputs.share * self._carried(outputs["node"].to_numpy())
        return (
            inputs.sort_values("share", ascending=False, kind="stable").head(n),
            outputs.iloc[np.argsort(-onward.to_numpy(), kind="stable")].head(n),
        )

    def _carried(self, nodes: Int[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        return self.influence[nodes] + self.graph.nodes.weight.to_numpy()[nodes]

    def _edges_of(
        self,
        small: AttributionGraph,
        kept: Int[np.ndarray, " k"],
        drawn: Int[np.ndarray, " m"],
        extra: Int[np.ndarray, " e"],
    ) -> csr_matrix:
        """Weights between the nodes drawn: the pruned graph's, and all of those drawn in any case."""
        from scipy.sparse import csr_matrix

        found, n = small.matrix.tocoo(), len(drawn)
        weights = csr_matrix((found.data, (found.row, found.col)), shape=(n, n))
        if not len(extra):
            return weights
        whole = self.graph.matrix[drawn][:, drawn].tocoo()
        new = (whole.row >= len(kept)) | (whole.col >= len(kept))
        more = csr_matrix((whole.data[new], (whole.row[new], whole.col[new])), shape=(n, n))
        return weights + more

    def _things(
        self, drawn: Int[np.ndarray, " m"], groups: Mapping[str, Sequence[int]]
    ) -> tuple[Int[np.ndarray, " m"], DataFrame]:
        """Return the row of the table that each node is part of, and the table: nodes alone, then groups."""
        import pandas as pd

        nodes = self.graph.nodes
        group_of = {int(node): name for name, members in groups.items() for node in members}
        alone = np.array([int(node) not in group_of for node in drawn], bool)
        owner = np.where(alone, np.cumsum(alone) - 1, -1)
        names = [name for name, members in groups.items() if members]
        for place, node in enumerate(drawn.tolist()):
            if node in group_of:
                owner[place] = int(alone.sum()) + names.index(group_of[node])
        strongest = [max(groups[name], key=lambda i: self.influence[i]) for name in names]
        of = np.array([*drawn[alone].tolist(), *strongest], int)
        sums = [float(sum(self.influence[list(groups[name])])) for name in names]
        added = [float(sum(self.adds[list(groups[name])])) for name in names]
        table = pd.DataFrame(
            {
                "node": of,
                "group": [""] * int(alone.sum()) + names,
                "kind": self.kinds[of],
                "row": [self._row_of(i) for i in of.tolist()],
                "position": nodes.position.to_numpy()[of],
                "influence": np.concatenate([self.influence[drawn[alone]], sums]),
                "adds": np.concatenate([self.adds[drawn[alone]], added]),
            }
        )
        return owner, table

    def _row_of(self, node: int) -> int:
        kind = self.kinds[node]
        if kind == "token":
            return 0
        places = self.graph.places
        return (
            len(places) + 1 if kind == "target" else 1 + places.index(self.graph.nodes.place[node])
        )

    def _merged(
        self,
        weights: csr_matrix,
        drawn: Int[np.ndarray, " m"],
        owner: Int[np.ndarray, " m"],
        n: int,
    ) -> tuple[csr_matrix, csr_matrix]:
        """Weights and flows between the things of the table; what runs inside a group is left out."""
        from scipy.sparse import csr_matrix, diags

        belongs = csr_matrix(
            (np.ones(len(owner)), (owner, np.arange(len(owner)))), shape=(n, len(owner))
        )
        sums = self._sums[drawn]
        scale = np.divide(self._carried(drawn), sums, out=np.zeros(len(sums)), where=sums > 0)
        both = []
        for matrix in (weights, diags(scale) @ abs(weights)):
            joined = (belongs @ matrix @ belongs.T).tolil()
            joined.setdiag(0)
            both.append(joined.tocsr())
        return both[0], both[1]

    def _without_idle_tokens(
        self, table: DataFrame, always: Collection[int]
    ) -> Int[np.ndarray, " m"]:
        """Rows of the table: of many inputs those of most influence, and those drawn in any case."""
        tokens = (table.kind == "token").to_numpy()
        if tokens.sum() <= MOST_TOKENS:
            return np.arange(len(table))
        order = np.argsort(-np.where(tokens, table.influence.to_numpy(), -1.0), kind="stable")
        shown = ~tokens | table["node"].isin(list(always)).to_numpy()
        shown[order[:MOST_TOKENS]] = True
        return np.flatnonzero(shown)


def _station(position: int, kept: Sequence[int]) -> int:
    """Return the station that a position belongs to."""
    return max((p for p in kept if p <= position), default=kept[0])


def place_words(place: str) -> str:
    """Return what a row of the drawing is called: "MLP 2", or the hook point."""
    kind, _, layer = place.partition(".")
    return f"MLP {layer}" if kind in ("mlp_out", "mlp_post") else place


def _reaches(graph: AttributionGraph) -> bool:
    """Whether an edge after another leads from a token, or an atom that was not looked into, to a target."""
    kinds = graph.nodes.kind.to_numpy()
    begins = (kinds == "token") | ((kinds == "atom") & ~graph.nodes.read.to_numpy(bool))
    behind = kinds == "target"
    backwards = abs(graph.matrix).T.tocsr()
    while True:
        new = behind | (backwards @ behind > 0)
        if (new & begins).any():
            return True
        if (new == behind).all():
            return False
        behind = new


def _strongest(weights: csr_matrix, flow: csr_matrix) -> DataFrame:
    """Edges as a table, those that carry most first."""
    import pandas as pd

    found = flow.tocoo()
    order = np.argsort(-found.data, kind="stable")
    order = order[found.data[order] > 0]
    source, target = found.col[order], found.row[order]
    signed = np.asarray(weights[target, source]).ravel() if len(order) else np.zeros(0)
    return pd.DataFrame(
        {"source": source, "target": target, "weight": signed, "share": found.data[order]}
    )


def _read_at(graph: AttributionGraph) -> int:
    """The last position, where every target is a logit of it or the difference of two; else −1."""
    if graph.grid is not None or not graph.outcomes or None in graph.outcomes:
        return -1
    return len(graph.tokens) - 1


def _laid_out(table: DataFrame, top: int, read_at: int) -> tuple[DataFrame, DataFrame]:
    """Return the positions of everything: a column for each position, as wide as its fullest row needs."""
    import pandas as pd

    inner = table[table.row < top]
    counts = inner.groupby(["row", "position"]).size()
    positions = sorted(inner.position.unique())
    wide = {p: max(1, int(np.ceil(counts.xs(p, level=1).max() / LINES))) for p in positions}
    centre, left = {}, 0.0
    for p in positions:
        centre[p] = left + wide[p] / 2
        left += wide[p] + GAP
    x, y = np.zeros(len(table)), table.row.to_numpy(float).copy()
    for (row, p), cell in inner.groupby(["row", "position"]):
        order = cell.sort_values("influence", ascending=False, kind="stable").index.to_numpy()
        lines = [order[i : i + wide[p]] for i in range(0, len(order), wide[p])]
        for number, members in enumerate(lines):
            y[members] = row + (number - (len(lines) - 1) / 2) * LINE_STEP
            x[members] = centre[p] + np.arange(len(members)) - (len(members) - 1) / 2
    targets = np.flatnonzero(table.row.to_numpy() == top)
    x[targets] = _abreast(len(targets), max(left - GAP, 1.0), centre.get(read_at))
    columns = pd.DataFrame({"position": positions, "x": [centre[p] for p in positions]})
    return table.assign(x=x, y=y), columns


def _laid_out_by_name(
    table: DataFrame, names: Sequence[str], read_at: int
) -> tuple[DataFrame, DataFrame, tuple[str, ...]]:
    """Return positions for nodes as wide as their names: a row for each place that holds some, or several."""
    import pandas as pd

    top = len(names) - 1
    inner = table[(table.row > 0) & (table.row < top)]
    columns = sorted(table[table.row < top].position.unique())
    centre, left, full = {}, 0.0, set(inner.position)
    for p in columns:
        width = 1.0 if p in full else EMPTY_COLUMN
        centre[p], left = left + width / 2, left + width
    x = np.array(table.position.map(centre), float)
    y = np.zeros(len(table))
    rows, at = ["input"], 1
    for row in sorted(inner.row.unique()):
        lines: list[list[float]] = []
        cell = inner[inner.row == row].sort_values("influence", ascending=False, kind="stable")
        for i in cell.index:
            free = (all(abs(x[i] - other) >= LEAST_APART for other in line) for line in lines)
            number = next((n for n, ok in enumerate(free) if ok), len(lines))
            if number == len(lines):
                lines.append([])
            lines[number].append(float(x[i]))
            y[i] = at + number
        rows += [names[row], *[""] * (len(lines) - 1)]
        at += len(lines)
    targets = np.flatnonzero(table.row.to_numpy() == top)
    x[targets], y[targets] = _abreast(len(targets), max(left, 1.0), centre.get(read_at)), at
    places = pd.DataFrame({"position": columns, "x": [centre[p] for p in columns]})
    return table.assign(x=x, y=y, row=y.astype(int)), places, (*rows, "answer")


def _abreast(n: int, wide: float, centre: float | None) -> Float[np.ndarray, " n"]:
    """Return the positions of `n` targets: around the column that they are read at, or over all of them."""
    step = wide / max(n, 1 if centre is None else TARGETS_ABREAST)
    middle = wide / 2 if centre is None else centre
    places = middle + step * (np.arange(n) - (n - 1) / 2)
    # One stands over its column; several keep their names inside.
    over = 0.0 if n < 2 else max(places[-1] + step / 2 - wide, 0.0)
    return places - over


# -------------------------------------------------------------------------------------------------
# A circuit as a story: from word to word, and the answer without it.


class CircuitStory(Finding):
    """The atoms that speak most for an answer by the inputs they are at, and the answer without them; made by
    `Circuit.story`.
    """

    HEADLINE = "{n} nodes at {stations.len} inputs"

    stations: tuple[tuple[int, tuple[int, ...]], ...]
    """Position and nodes, the strongest first, in the order of the input."""

    n: int
    """Nodes that are changed: those of the first station where they turn the answer alone, else all."""

    answers: tuple[str, ...]
    """The outcomes that are explained, of a difference both; none without a live model."""

    before: Float[np.ndarray, " answers"]
    """Their probabilities with everything as it is."""

    without: Float[np.ndarray, " answers"]
    """The same with these n nodes taken out; of neurons: as on the contrast."""

    without_other: Float[np.ndarray, " answers"]
    """The same with the other set taken out: all, or those of the first station."""

    random: Float[np.ndarray, "n_random answers"]
    """The same after random changes of the same sizes at the same places."""

    says: tuple[str, str]
    """The likeliest outcome with everything, and without these nodes."""

    says_shares: tuple[float, float]
    """Their probabilities."""

    @property
    def n_all(self) -> int:
        """Number of nodes at all stations."""
        return sum(len(nodes) for _, nodes in self.stations)

    @property
    def decides(self) -> bool:
        """Whether changing them turns the answer that is explained, and no random change moves it as far."""
        turned = bool(self.answers) and self.says[0] == self.answers[0] != self.says[1]
        return turned and self.beyond_chance

    @property
    def beyond_chance(self) -> bool:
        """Whether no random change moves the answer as far."""
        if not self.random.size:
            return False
        moved = abs(self.without[0] - self.before[0])
        return bool(moved > np.abs(self.random[:, 0] - self.before[0]).max())


# -------------------------------------------------------------------------------------------------
# What happens when an atom is changed, next to what was foreseen and what chance does.


class CircuitAnswer(Finding):
    """Atoms changed in the running model, as a panel shows it; made by `summarise_flow`."""

    HEADLINE = "× {factor:g}: {effect:+.3g}, foreseen {predicted:+.3g}"

    nodes: tuple[int, ...]
    factor: float
    effect: float
    predicted: float
    direct: float
    random: Float[np.ndarray, " n_random"]
    """As in `Flow`: what the change did to the targets, what the graph foresaw over all paths and straight,
    and what random directions of the same size did."""

    names: tuple[str, ...]
    before: Float[np.ndarray, " m"]
    after: Float[np.ndarray, " m"]
    after_random: Float[np.ndarray, "n_random m"]
    """The outcomes that are likeliest before or after, and their probabilities; none where the model gives
    no choice."""

    @property
    def is_beyond_luck(self) -> bool:
        """Whether no random direction did so much."""
        return bool(len(self.random)) and abs(self.effect) > float(np.abs(self.random).max())


def summarise_flow(graph: AttributionGraph, nodes: Sequence[int], flow: Flow) -> CircuitAnswer:
    """Return the change with the outcomes that it moved, as probabilities."""
    model = None if graph.passes is None else graph.passes.model
    chooses = model is not None and (model.modality.is_text or model.class_names is not None)
    before, after, controlled = (
        x.float().softmax(dim=-1).numpy() for x in (flow.before, flow.after, flow.controlled)
    )
    order = np.argsort(-np.maximum(before, after), kind="stable")[: MOST_OUTCOMES if chooses else 0]
    return CircuitAnswer(
        nodes=tuple(nodes),
        factor=flow.factor,
        effect=flow.effect,
        predicted=flow.predicted,
        direct=flow.direct,
        random=flow.controls,
        names=() if model is None else tuple(outcome_names(model, order)),
        before=before[order],
        after=after[order],
        after_random=controlled[:, order],
    )
