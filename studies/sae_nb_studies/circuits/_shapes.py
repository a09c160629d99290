"""The shape of attribution graphs in numbers, and whether they say that an answer is right.

A walk goes from the targets back along the shares Ã until it ends in a token, an error or an atom that was not
looked into: depth is its mean number of steps, and entropies are −Σ p log₂ p of the influence where it passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from sae_nb.checks import Between, Seed, as_tensor, at_least, checked, shown
from sae_nb.circuits import AttributionGraph, live_passes
from sae_nb.figures import Chart, Points
from sae_nb.findings import Plotted
from sae_nb.models import run
from sae_nb.statistics import auroc, logistic_probe

if TYPE_CHECKING:
    from pandas import DataFrame, Series


EDGES = 0.98
"""Share of the influence that the edges have which are counted, as `prune` has it."""

SHAPE, SIMPLER = "shape", ("length", "confidence", "activation norm")
TOGETHER, BOTH, SHUFFLED = "all three", "shape and all three", "shape, shuffled labels"

N_REPEATS = 5
"""Divisions into folds, over which scores are means."""


@checked(leave=("graphs",))
def graph_features(
    graphs: AttributionGraph | Sequence[AttributionGraph],
    *,
    share: Annotated[float, Between(0, 1, "(]")] = 0.8,
) -> DataFrame:
    """Describe the shape of attribution graphs, a row each.

    Parameters
    ----------
    graphs
        As traced: a pruned graph has lost what is counted here.
    share
        Of the influence, that what `size` and `edges` count has together, in (0, 1].

    Returns
    -------
    size: atoms and errors that together have `share` of the influence; edges: between them, tokens and
    targets, with 98 % of what runs there; depth: mean number of edges from a target back to where a walk along
    the shares ends, at least 1; entropy, input_entropy: of the influence of atoms and errors, and of tokens, in
    bits; error_share: 1 − `replacement`; completeness; agreement: |Σ| / Σ|·| of the edges into the targets, 1
    where all speak for them or all against; last_position: share of the influence of atoms and errors that is
    at the last position. NaN where a graph has no influence.

    Source
    ------
    After He et al., arXiv 2602.07080 (CodeCircuit), of which we had the abstract: topological features
    of attribution graphs predict whether a model's code is right. The choice of these features is ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> modular = sn.load_model("tiny-modular")
    >>> neurons = sn.circuits.neuron_transcoders(modular)
    >>> graph = sn.circuits.attribution_graph(modular, neurons, "3 + 5 =", target="8", drop_first=False)
    >>> found = graph_features(graph)
    >>> found.columns.tolist()[:4], bool(1 < found.depth[0] < 2)
    (['size', 'edges', 'depth', 'entropy'], True)
    """
    import pandas as pd

    return pd.DataFrame([_features(graph, share) for graph in _several(graphs)])


class Correctness(Plotted):
    """Whether the shape of a graph predicts that the answer is right; made by `predict_correctness`."""

    features: DataFrame
    """Of `graph_features`, a row per graph."""

    simpler: DataFrame
    """A row per graph: length (tokens), confidence (log-odds of the likeliest answer), activation norm (mean
    over positions, after the last block)."""

    correct: Bool[np.ndarray, " n_graphs"]

    scores: DataFrame
    """A row per way: way, auc (ROC-AUC on graphs left out, mean over folds), sd (over divisions into folds).
    Ways are the shape, each simpler number alone, all three, these with the shape, and the shape where labels
    are shuffled."""

    weights: Series
    """Of each feature in a regression on all graphs, in its standard deviations: above 0 speaks for a right
    answer."""

    def auc(self, way: str = SHAPE) -> float:
        """Return the ROC-AUC of one way."""
        ways = self.scores.way.tolist()
        if way not in ways:
            raise ValueError(f"`way` must be one of {ways}, got {way!r}.")
        return float(self.scores.auc[ways.index(way)])

    @property
    def ahead(self) -> float:
        """AUC of the shape, less that of the best simpler number alone."""
        return self.auc() - max(self.auc(name) for name in SIMPLER)

    @property
    def chart(self) -> Chart:
        """The AUC of every way, with its deviation over divisions into folds; the line is a guess."""
        ways, at = self.scores.way.tolist()[::-1], self.scores.iloc[::-1]
        deviation = {"type": "data", "array": at.sd}
        series = (
            Points("ROC-AUC", at.auc, ways, error_x=deviation, hover="%{x:.3f}"),
            Points("a guess", [0.5, 0.5], [ways[0], ways[-1]], control=True, line=True),
        )
        return Chart(series=series, x="ROC-AUC", marks=True)

    @property
    def headline(self) -> str:
        """AUC of the shape, of simpler numbers, and of shuffled labels."""
        said = ", ".join(f"{name} {self.auc(name):.3f}" for name in (*SIMPLER, TOGETHER, BOTH))
        return (
            f"{len(self.correct)} graphs, {self.correct.mean():.0%} right: AUC of the shape "
            f"{self.auc():.3f}, {said}; shuffled labels {self.auc(SHUFFLED):.3f}"
        )


@checked(leave=("graphs", "correct"))
def predict_correctness(
    graphs: Sequence[AttributionGraph],
    correct: Any,
    *,
    share: float = 0.8,
    n_folds: Annotated[int, at_least(2)] = 5,
    seed: Seed = 0,
) -> Correctness:
    """Test whether the shape of a graph predicts that the answer is right, beyond simpler numbers.

    A logistic regression on `graph_features`, judged on graphs left out; compared with the same on the
    length of the input, on the model's confidence and on the norm of its activations, each alone and
    all three, and on labels in a random order.

    Parameters
    ----------
    graphs
        Of one model that is there to be asked, each of the model's own answer (not of the right one: that is
        not known where such a prediction would be of use).
    correct
        Of each graph whether that answer is right, (n_graphs,): True and False, or 1 and 0.
    share
        As in `graph_features`.
    n_folds
        Parts of which each is left out once; at least so many right and wrong answers are needed.
    seed
        Of the division into folds, and of the shuffled labels.

    Raises
    ------
    ValueError, TypeError: If labels do not fit, there are too few of a kind, a graph has no influence, or was
        read from a file.

    Source
    ------
    After He et al., arXiv 2602.07080 (CodeCircuit), of which we had the abstract; the features, the regression
    and the comparison are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> brackets = sn.load_model("tiny-brackets")
    >>> neurons = sn.circuits.neuron_transcoders(brackets)
    >>> texts = ["( )", "( ( )", ") (", "( ) )", "( (", ") )"]
    >>> graphs = [sn.circuits.attribution_graph(brackets, neurons, text, drop_first=False) for text in texts]
    >>> found = predict_correctness(graphs, [1, 0, 1, 0, 1, 0], n_folds=2)  # made-up labels
    >>> found.scores.way.tolist()[:2]
    ['shape', 'length']
    """
    import pandas as pd

    several = _several(graphs)
    right = _labels(correct, len(several), n_folds)
    simpler = pd.DataFrame([_simpler(graph) for graph in several])
    features = graph_features(several, share=share)
    _check_influence(features)
    columns: dict[str, DataFrame] = {SHAPE: features}
    columns |= {name: simpler[[name]] for name in SIMPLER}
    columns |= {TOGETHER: simpler, BOTH: pd.concat([features, simpler], axis=1)}
    judged = {way: _aucs(table, right, n_folds, seed) for way, table in columns.items()}
    judged[SHUFFLED] = _aucs(features, right, n_folds, seed, shuffled=True)
    rows = [(way, aucs.mean(), aucs.std(ddof=1)) for way, aucs in judged.items()]
    fitted = logistic_probe(features.to_numpy(float), right)
    return Correctness(
        features=features,
        simpler=simpler,
        correct=right,
        scores=pd.DataFrame(rows, columns=["way", "auc", "sd"]),
        weights=fitted.weight[0] * features.std(ddof=0),
    )


# -------------------------------------------------------------------------------------------------
# The shape.


def _features(graph: AttributionGraph, share: float) -> dict[str, float]:
    """Of one graph."""
    nodes, influence = graph.nodes, graph.influence
    tokens, targets = (nodes.kind == "token").to_numpy(), (nodes.kind == "target").to_numpy()
    inner = ~tokens & ~targets
    small = graph.pruned(share, EDGES)[0]
    into = np.asarray(nodes.weight.to_numpy() @ graph.matrix).ravel()
    gross, within = np.abs(into).sum(), influence[inner].sum()
    last = inner & (nodes.position == nodes.position.max()).to_numpy()
    return {
        "size": float(small.nodes.kind.isin(["atom", "error"]).sum()),
        "edges": float(small.matrix.nnz),
        "depth": _depth(graph),
        "entropy": _entropy(influence[inner]),
        "input_entropy": _entropy(influence[tokens]),
        "error_share": 1 - graph.replacement,
        "completeness": graph.completeness,
        "agreement": float(abs(into.sum()) / gross) if gross > 0 else float("nan"),
        "last_position": float(influence[last].sum() / within) if within > 0 else float("nan"),
    }


def _depth(graph: AttributionGraph) -> float:
    """Mean number of steps of a walk from the targets back to where it ends."""
    shares = graph.shares
    ends = np.asarray(shares.sum(axis=1)).ravel() == 0
    term, steps, arrived = graph.nodes.weight.to_numpy(float), 0.0, 0.0
    for step in range(1, len(graph) + 1):
        term = np.where(ends, 0.0, term) @ shares
        if not term.any():
            break
        here = float(np.abs(term[ends]).sum())
        steps, arrived = steps + step * here, arrived + here
    return steps / arrived if arrived > 0 else float("nan")


def _entropy(amounts: Float[np.ndarray, " n"]) -> float:
    """In bits; of shares of the whole."""
    total = amounts.sum()
    p = amounts[amounts > 0] / total
    return float(-(p * np.log2(p)).sum()) if total > 0 else float("nan")


# -------------------------------------------------------------------------------------------------
# What is simpler.


def _simpler(graph: AttributionGraph) -> dict[str, float]:
    """Length, confidence and norm of one graph's input, by one run."""
    passes, _ = live_passes(graph)
    model = passes.model
    last = f"resid_post.{(model.n_layers or 1) - 1}"
    ran = run(model, passes.batch, read=last)
    if ran.answer.kind == "vector":
        raise ValueError(
            f"`graphs` must be of a model that answers with tokens or classes, and {model.name} answers with "
            "numbers of which none is right. Use `graph_features` with a regression of your own."
        )
    top = ran.answer.one().log_softmax(dim=-1).max()
    odds = float(top - torch.log(-torch.expm1(top.clamp(max=-1e-6))))
    norm = float(ran.states[last].float().norm(dim=-1).mean())
    return dict(zip(SIMPLER, (float(len(graph.tokens)), odds, norm), strict=True))


# -------------------------------------------------------------------------------------------------
# The regression.


def _aucs(
    table: DataFrame,
    right: Bool[np.ndarray, " n"],
    n_folds: int,
    seed: int,
    *,
    shuffled: bool = False,
) -> Float[np.ndarray, " divisions"]:
    """Of each division into folds the mean AUC on the fold left out."""
    from sklearn.model_selection import StratifiedKFold

    found = []
    for repeat in range(N_REPEATS):
        rng = np.random.default_rng((seed, repeat))
        labels = rng.permutation(right) if shuffled else right
        folds = StratifiedKFold(n_folds, shuffle=True, random_state=int(rng.integers(2**31)))
        x, areas = table.to_numpy(float), []
        for train, test in folds.split(x, labels):
            scores = logistic_probe(x[train], labels[train]).scores(x[test])
            areas.append(auroc(scores, labels[test])[0])
        found.append(np.mean(areas))
    return np.array(found)


# -------------------------------------------------------------------------------------------------
# Checks.


def _several(graphs: Any) -> list[AttributionGraph]:
    """One graph or several."""
    several = [graphs] if isinstance(graphs, AttributionGraph) else graphs
    if not isinstance(several, Sequence) or isinstance(several, str):
        raise TypeError(f"`graphs` must be a list of attribution graphs, got {shown(graphs)}.")
    wrong = [one for one in several if not isinstance(one, AttributionGraph)]
    if wrong:
        raise TypeError(f"`graphs` must hold attribution graphs alone, got {shown(wrong[0])}.")
    if not several:
        raise ValueError("`graphs` must hold at least one graph, got none.")
    return list(several)


def _labels(correct: Any, n: int, n_folds: int) -> Bool[np.ndarray, " n"]:
    """Right or wrong, with enough of both."""
    given = as_tensor(correct, name="correct").detach()
    if given.is_meta or given.shape != (n,):
        raise ValueError(
            f"`correct` must have one label per graph, ({n},), got {tuple(given.shape)}"
            f"{' without values' if given.is_meta else ''}."
        )
    values = given.cpu().numpy()
    if not np.isin(values, (0, 1)).all():
        raise ValueError(
            "`correct` must hold True and False, or 1 and 0, got "
            f"{values[~np.isin(values, (0, 1))][0]}."
        )
    right = values.astype(bool)
    fewest = int(min(right.sum(), (~right).sum()))
    if fewest < n_folds:
        raise ValueError(
            f"`correct` must have at least `n_folds` right and wrong answers, {n_folds} of each, got "
            f"{int(right.sum())} right and {int((~right).sum())} wrong. Trace more graphs, or pass a smaller "
            "`n_folds`."
        )
    return right


def _check_influence(features: DataFrame) -> None:
    missing = features.index[features.isna().any(axis=1)]
    if len(missing):
        name = features.columns[features.loc[missing[0]].isna()][0]
        raise ValueError(
            f"`graphs` must have a path from an input to a target, and number {missing[0]} has none: its "
            f"{name} is undefined. Leave it out, or trace it again without pruning."
        )
