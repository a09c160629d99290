"""Shapes of graphs: numbers of graphs made by hand; labels that follow the shape are foreseen, shuffled ones not."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

import sae_nb as sn
from sae_nb.circuits import AttributionGraph, attribution_graph
from sae_nb_studies.circuits import graph_features, neuron_transcoders, predict_correctness
from tests.refusing import refused


def made(kinds: list[str], edges: dict[tuple[int, int], float], positions: Any = 0) -> Any:
    n = len(kinds)
    matrix = np.zeros((n, n))
    for (source, target), weight in edges.items():
        matrix[target, source] = weight
    nodes = pd.DataFrame({"kind": kinds, "position": positions, "value": 1.0, "read": True})
    nodes = nodes.assign(weight=(nodes.kind == "target").astype(float), name=[*map(str, range(n))])
    return AttributionGraph(
        nodes=nodes,
        matrix=csr_matrix(matrix),
        model_name="by hand",
        tokens=("a", "b"),
        places=("mlp_out.0",),
        exact=True,
    )


def test_a_chain_is_deep_and_of_one_mind() -> None:
    chain = made(["token", "atom", "atom", "target"], {(0, 1): 2.0, (1, 2): 1.0, (2, 3): -3.0})
    (row,) = graph_features(chain).to_dict("records")
    assert (row["depth"], row["size"], row["edges"]) == (3.0, 2.0, 3.0)
    assert row["entropy"] == pytest.approx(1.0)  # both atoms have all of the influence
    assert (row["input_entropy"], row["error_share"]) == (0.0, 0.0)
    assert (row["completeness"], row["agreement"], row["last_position"]) == (1.0, 1.0, 1.0)


def test_a_star_is_flat_and_divided() -> None:
    star = made(
        ["token", "token", "atom", "error", "target"],
        {(0, 4): 1.0, (1, 4): 1.0, (2, 4): 1.0, (3, 4): -1.0, (0, 2): 1.0},
        positions=[0, 1, 1, 0, 1],
    )
    (row,) = graph_features(star, share=1.0).to_dict("records")
    assert row["depth"] == pytest.approx(0.75 * 1 + 0.25 * 2)
    assert row["error_share"] == pytest.approx(0.25)
    assert row["agreement"] == pytest.approx(0.5)
    assert row["last_position"] == pytest.approx(0.5)
    p = np.array([2 / 3, 1 / 3])
    assert row["input_entropy"] == pytest.approx(float(-(p * np.log2(p)).sum()))


@cache
def graphs() -> tuple[AttributionGraph, ...]:
    brackets = sn.load_model("tiny-brackets", device="cpu")
    neurons = neuron_transcoders(brackets)
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["(", ")"], 4)) for _ in range(12)]
    return tuple(
        attribution_graph(brackets, neurons, text, drop_first=False, max_nodes=0) for text in texts
    )


@pytest.mark.slow
def test_labels_that_follow_the_shape_are_foreseen() -> None:
    """Length is the same everywhere, and a guess; labels in a random order are one, too."""
    agreement = graph_features(list(graphs())).agreement
    found = predict_correctness(graphs(), agreement > agreement.median(), n_folds=3)
    assert found.auc() > 0.8 > 0.75 > found.auc("shape, shuffled labels")
    assert found.auc("length") == pytest.approx(0.5)
    assert found.weights.idxmax() == "agreement"
    assert found.ahead == found.auc() - max(map(found.auc, found.simpler.columns))
    assert "12 graphs, 50% right" in repr(found)
    refused("`way` must be one of", found.auc, "size")


@pytest.mark.slow
def test_confidence_and_norm_are_the_model_s() -> None:
    found = predict_correctness(graphs()[:4], [True, False, True, False], n_folds=2)
    model, text = sn.load_model("tiny-brackets", device="cpu"), graphs()[0].inputs
    p = float(model(text)[0, -1].softmax(dim=-1).max())
    assert found.simpler.confidence[0] == pytest.approx(np.log(p / (1 - p)), rel=1e-3)
    acts = sn.capture(model, text, "resid_post.1", progress=False, drop_first=False)
    norm = float(acts.x.norm(dim=1).mean())
    assert found.simpler["activation norm"][0] == pytest.approx(norm, rel=1e-3)
    assert found.simpler.length[0] == 5  # the start, four brackets
