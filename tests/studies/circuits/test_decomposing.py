"""Graphs taken apart: what is kept against the running model, runs against those that are made, known places."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import sae_nb as sn
from sae_nb.circuits import AttributionGraph, Decomposition, attribution_graph
from sae_nb_studies.circuits import neuron_transcoders


@cache
def graph() -> AttributionGraph:
    modular = sn.load_model("tiny-modular", device="cpu")
    neurons = neuron_transcoders(modular)
    return attribution_graph(modular, neurons, "3 + 5 =", target="8", drop_first=False)


@cache
def found() -> Decomposition:
    return graph().decompose(n_random=2)


@pytest.mark.slow
def test_what_is_kept_keeps_the_answer() -> None:
    """As `faithfulness` measures it, one set at a time by other code."""
    kept = found()
    assert 0.9 <= kept.recovered <= 1.1
    assert kept.recovered == pytest.approx(kept.graph.faithfulness(n_random=0).recovered, abs=1e-4)
    assert len(kept.kept) == len(kept.table) < kept.n_atoms / 5
    assert kept.levels.recovered.iloc[-1] == pytest.approx(kept.recovered, abs=1e-4)
    assert kept.levels.atoms.iloc[-1] == len(kept.kept)


@pytest.mark.slow
def test_it_is_found_where_the_answer_is_made() -> None:
    """In one block, at the last position alone: the other places go in the first level."""
    last = len(graph().tokens) - 1
    assert set(found().table.position) == {last}
    first = found().groups[found().groups.level == 0]
    assert first.n_atoms.sum() == found().n_atoms
    assert (first.kept == (first.position == last)).all()
    assert first.lost[~first.kept].abs().max() < 1e-4


def test_other_ways_to_choose_so_many_stand_beside() -> None:
    """By influence, and at random, which brings nothing back; the figure has a cell for every place and position."""
    table = found().comparison.set_index("way")
    assert table.index.tolist() == ["decomposed", "influence", "random, same places", "random"]
    assert (table.n_atoms == len(found().kept)).all()
    assert table.recovered["random"] < 0.6 < table.recovered["decomposed"]
    assert len(found().alike) == 2
    (drawn,) = found().plot().data
    assert np.asarray(drawn.z).sum() == len(found().kept)
    assert f"{len(found().kept)} of {found().n_atoms} atoms keep" in repr(found())
