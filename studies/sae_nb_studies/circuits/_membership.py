"""Which atoms of a graph an answer needs: learned from graphs that were taken apart, foretold without a run.

A node is described by its influence and its place, and by the same of the nodes that it acts on and of those it
is made of, averaged along the edges' shares, once and again: a graph convolution without layers of its own. A
logistic regression of that gives the probability that an atom is kept by `AttributionGraph.decompose`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix, diags

from sae_nb.checks import Seed, at_least, checked
from sae_nb.circuits import AttributionGraph, GraphRuns
from sae_nb.findings import Finding

if TYPE_CHECKING:
    from typing import Annotated

    import pandas as pd

    from sae_nb.circuits import Decomposition

SMALLEST = 1e-9
"""Of an influence, before its logarithm is taken."""


class LearnedMembership(Finding):
    """Probabilities that atoms are needed, for any graph of the same kind; made by `learn_membership`."""

    HEADLINE = (
        "atoms needed, learned from {n_graphs} graphs with {n_atoms} atoms, of which {share:.1%} were kept; "
        "{hops} steps along edges"
    )

    n_graphs: int
    n_atoms: int
    share: float
    """Of the atoms learned from, those kept."""

    hops: int
    """Steps along edges, from which a node is described; 0: each by itself."""

    classifier: Any
    """A scikit-learn pipeline."""

    def scores(self, graph: AttributionGraph) -> Float[np.ndarray, " n_atoms"]:
        """Return the probability of each atom of a graph, in the order of its nodes."""
        return self.classifier.predict_proba(_described(graph, self.hops))[:, 1]

    @checked
    def compare(
        self,
        graph: AttributionGraph,
        n: int,
        *,
        n_random: Annotated[int, at_least(1)] = 20,
        seed: Seed = 0,
    ) -> pd.DataFrame:
        """Run a graph's model with n atoms alone: those of highest score, those of most influence, random ones.

        Returns
        -------
        DataFrame
            `way`, `recovered`: share of what all atoms do, of random ones the mean.
        """
        import pandas as pd

        runs = GraphRuns(graph)
        atoms, draws = runs.atoms, np.random.default_rng(seed)
        if not 1 <= n <= len(atoms):
            raise ValueError(f"`n` must be from 1 to {len(atoms)} atoms, got {n}. Pass fewer.")
        ranked = [
            atoms[np.argsort(-by, kind="stable")[:n]]
            for by in (self.scores(graph), graph.influence[atoms])
        ]
        random = [draws.choice(atoms, n, replace=False) for _ in range(n_random)]
        found = runs.shares([np.sort(nodes) for nodes in (*ranked, *random)])
        ways = {"learned": found[0], "influence": found[1], "random": found[2:].mean()}
        return pd.DataFrame({"way": list(ways), "recovered": list(ways.values())})


@checked(leave=("graphs", "found"))
def learn_membership(
    graphs: Sequence[AttributionGraph],
    found: Sequence[Decomposition],
    *,
    hops: Annotated[int, at_least(0)] = 2,
) -> LearnedMembership:
    """Learn from graphs that were decomposed which atoms are kept.

    Parameters
    ----------
    graphs
        Of one model, live.
    found
        `graph.decompose()` of each.

    Raises
    ------
    ValueError: If there is not one decomposition per graph, or all atoms were kept, or none.

    Source
    ------
    After Uddin, Alam and Pasha, arXiv 2601.12879 (HAGD), in which a graph neural network gives each node its
    membership in the circuit. A regression of averages along edges in its place is ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> from sae_nb.circuits import attribution_graph
    >>> from sae_nb_studies.circuits import neuron_transcoders
    >>> modular = sn.load_model("tiny-modular")
    >>> neurons = neuron_transcoders(modular)
    >>> graphs = [
    ...     attribution_graph(modular, neurons, text, drop_first=False) for text in ("40 + 20 =", "3 + 5 =")
    ... ]
    >>> learned = learn_membership(graphs, [graph.decompose(n_random=1) for graph in graphs])
    >>> len(learned.scores(graphs[0])) == (graphs[0].nodes.kind == "atom").sum()
    True
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(graphs) != len(found) or not len(graphs):
        raise ValueError(
            f"`found` must hold one decomposition per graph, got {len(found)} for {len(graphs)} graphs."
        )
    if (
        other := next((one for one in graphs if not isinstance(one, AttributionGraph)), None)
    ) is not None:
        raise TypeError(
            f"`graphs` must be AttributionGraphs, got a {type(other).__name__} among them."
        )
    x = np.concatenate([_described(graph, hops) for graph in graphs])
    kept = np.concatenate(
        [np.isin(_atoms(g), one.kept) for g, one in zip(graphs, found, strict=True)]
    )
    if kept.all() or not kept.any():
        raise ValueError(
            "`found` must keep some atoms and not all. Decompose with another `share`."
        )
    regression = LogisticRegression(class_weight="balanced", max_iter=2000)
    return LearnedMembership(
        n_graphs=len(graphs),
        n_atoms=len(x),
        share=float(kept.mean()),
        hops=hops,
        classifier=make_pipeline(StandardScaler(), regression).fit(x, kept),
    )


def _atoms(graph: AttributionGraph) -> Int[np.ndarray, " n"]:
    return np.flatnonzero((graph.nodes.kind == "atom").to_numpy())


def _described(graph: AttributionGraph, hops: int) -> Float[np.ndarray, "n_atoms features"]:
    """Return features of each atom's node, and their averages along edges, up to so many steps away."""
    nodes = graph.nodes
    last = max(len(graph.tokens) - 1, 1)
    own = np.stack(
        [
            np.log(graph.influence + SMALLEST),
            graph.flow,
            nodes.value.fillna(0).to_numpy(float),
            nodes.position.fillna(last).to_numpy(float) / last,
            nodes.layer.fillna(-1).to_numpy(float),
            *[(nodes.kind == kind).to_numpy(float) for kind in ("target", "token", "error")],
        ],
        axis=1,
    )
    made_of = csr_matrix(graph.shares)
    acts_on = made_of.T.tocsr()
    total = np.asarray(acts_on.sum(axis=1)).ravel()
    acts_on = diags(1 / np.maximum(total, SMALLEST)) @ acts_on
    described = [own]
    for _ in range(hops):
        width = own.shape[1]
        before, after = described[-1][:, :width], described[-1][:, -width:]
        described.append(np.concatenate([made_of @ before, acts_on @ after], axis=1))
    return np.concatenate(described, axis=1)[_atoms(graph)]
