"""Graphs taken apart: what is kept against the running model, runs against those that are made, known places."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import sae_nb as sn
from sae_nb.circuits import (
    AtomTarget,
    AttributionGraph,
    Decomposition,
    _decomposing as decomposing,
    attribution_graph,
)
from sae_nb_studies.circuits import neuron_transcoders
from tests.refusing import refused


@cache
def graph() -> AttributionGraph:
    """Of neurons: what tiny-modular adds."""
    modular = sn.load_model("tiny-modular", device="cpu")
    neurons = neuron_transcoders(modular)
    return attribution_graph(modular, neurons, "3 + 5 =", target="8", drop_first=False)


@cache
def found() -> Decomposition:
    return graph().decompose(n_random=2)


def test_what_is_kept_keeps_the_answer() -> None:
    """As `faithfulness` measures it, one set at a time by other code."""
    kept = found()
    assert 0.9 <= kept.recovered <= 1.1
    assert kept.recovered == pytest.approx(kept.graph.faithfulness(n_random=0).recovered, abs=1e-4)
    assert len(kept.kept) == len(kept.table) < kept.n_atoms / 5
    assert kept.levels.recovered.iloc[-1] == pytest.approx(kept.recovered, abs=1e-4)
    assert kept.levels.atoms.iloc[-1] == len(kept.kept)


def test_it_is_found_where_the_answer_is_made() -> None:
    """In one block, at the last position alone: the other places go in the first level."""
    last = len(graph().tokens) - 1
    assert set(found().table.position) == {last}
    first = found().groups[found().groups.level == 0]
    assert first.n_atoms.sum() == found().n_atoms
    assert (first.kept == (first.position == last)).all()
    assert first.lost[~first.kept].abs().max() < 1e-4


def test_every_run_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the model, copies of the input among them; the two ends and the comparison are not searched."""
    made, run = [], decomposing.measured_copies

    def counted(model: Any, batch: Any, n: int, *others: Any) -> Any:
        made.append(n)
        return run(model, batch, n, *others)

    monkeypatch.setattr(decomposing, "measured_copies", counted)
    again = graph().decompose(n_random=2)
    assert sum(made) == again.n_runs + 2 + (2 + 2 * 2)
    assert again.n_runs == found().n_runs < found().n_atoms / 2
    assert (again.kept == found().kept).all()


def test_groups_are_parts_of_groups_that_stayed() -> None:
    """No atom is in two; what went does not come back."""
    of = found().groups.groupby("level")
    stayed = of.apply(lambda rows: int(rows.n_atoms[rows.kept].sum()))
    tried = of.n_atoms.sum()
    assert (tried.to_numpy()[1:] <= found().levels.atoms.to_numpy()[:-1]).all()
    assert stayed.iloc[-1] == len(found().kept)
    assert tried.iloc[-1] == found().levels.groups.iloc[-1]  # atoms, one by one


def test_one_by_one_takes_a_run_each() -> None:
    """And the greedy search one for every atom that is left, again and again."""
    small = graph().prune(nodes=0.9, edges=1.0)
    some = small.faithfulness(n_random=0)
    share = min(0.9, 1 - 2 * abs(1 - some.recovered))
    sweep = small.decompose(share=share, method="sweep", n_random=0)
    assert sweep.n_runs == 1 + sweep.n_atoms
    greedy = small.decompose(share=share, method="greedy", n_random=0)
    n, kept = greedy.n_atoms, len(greedy.kept)
    assert greedy.n_runs == 1 + sum(range(kept, n + 1))
    assert abs(1 - greedy.recovered) <= 1 - share
    single = [greedy.graph.decompose(share=share, method="sweep", n_random=0)]
    assert all(len(one.kept) == kept for one in single)  # no single atom can be missed any more


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


def test_what_cannot_be_divided_is_named() -> None:
    """Before the search."""
    whole = graph()
    refused("must hold atoms to be divided", whole.prune(nodes=0.2).decompose)
    refused("must keep a share of 0.99 by itself", whole.prune(nodes=0.6).decompose, share=0.99)
    refused("must know its live model", replace(whole, passes=None).decompose)
    atom = whole.nodes[whole.nodes.kind == "atom"].iloc[-1]
    modular = sn.load_model("tiny-modular", device="cpu")
    of_atom = attribution_graph(
        modular,
        neuron_transcoders(modular),
        "3 + 5 =",
        target=AtomTarget(atom.place, int(atom.position), int(atom.atom)),
        drop_first=False,
    )
    refused("must explain an answer", of_atom.decompose)
    idle = attribution_graph(
        modular, neuron_transcoders(modular), "3 + 5 =", target=lambda z: 0 * z[0] + 1, max_nodes=0
    )
    refused("must move the target", idle.decompose)
