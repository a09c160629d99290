"""Learned membership: what is kept is found again, and what it is asked of must fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sae_nb as sn
from sae_nb.circuits import attribution_graph
from sae_nb_studies.circuits import learn_membership, neuron_transcoders

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def taken_apart() -> Any:
    model = sn.load_model("tiny-modular")
    neurons = neuron_transcoders(model)
    texts = ("40 + 20 =", "3 + 5 =", "17 + 30 =")
    graphs = [attribution_graph(model, neurons, text, drop_first=False) for text in texts]
    return graphs, [graph.decompose(n_random=1) for graph in graphs]


def test_kept_atoms_of_a_new_graph_have_higher_scores(taken_apart: Any) -> None:
    graphs, found = taken_apart
    learned = learn_membership(graphs[:2], found[:2])
    atoms = np.flatnonzero((graphs[2].nodes.kind == "atom").to_numpy())
    kept = np.isin(atoms, found[2].kept)
    scores = learned.scores(graphs[2])
    assert np.median(scores[kept]) > np.quantile(scores[~kept], 0.9)
    table = learned.compare(graphs[2], int(kept.sum())).set_index("way").recovered
    assert abs(1 - table.learned) < 0.5 < abs(1 - table.random)
    assert "learned from 2 graphs" in str(learned)


def test_neighbours_count_unless_it_is_asked_of_nodes_alone(taken_apart: Any) -> None:
    """Two steps along edges add what a node is made of and what it acts on, twice, to its own features."""
    graphs, found = taken_apart
    near, alone = (learn_membership(graphs[:2], found[:2], hops=hops) for hops in (2, 0))
    assert near.classifier[-1].coef_.shape[1] == 5 * alone.classifier[-1].coef_.shape[1]
