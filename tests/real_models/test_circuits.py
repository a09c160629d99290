"""An attribution graph of a language model that nobody planted: what it adds up to, and what it is said to take."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn

LAYERS = (9, 19, 29)
PROMPT = "The capital of France is"


@pytest.mark.timeout(600)
def test_a_graph_of_smollm2_adds_up(
    open_real: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Transcoders of three of thirty MLPs, hardly trained: the other MLPs are errors, and nothing is lost."""
    model = open_real("smollm2")
    transcoders = _trained(model)
    with caplog.at_level(logging.INFO, logger="sae_nb.circuits"):
        graph = sn.circuits.attribution_graph(model, transcoders, PROMPT, target=" Paris")
    said = [record.getMessage() for record in caplog.records]
    assert any("backward passes: about" in line and "MiB" in line for line in said)
    nodes, made = graph.nodes, np.asarray(graph.matrix.sum(axis=1)).ravel()
    read = nodes.read.to_numpy(bool)
    wanted = nodes.value.to_numpy(float)[read]
    np.testing.assert_allclose(
        made[read] + nodes.bias[read], wanted, atol=1e-3 * np.abs(wanted).max()
    )
    assert graph.exact
    errors = nodes[nodes.kind == "error"]
    assert errors.place.nunique() == model.n_layers  # of those that have a transcoder, too
    assert 0 < graph.completeness < 0.5
    small = graph.prune(0.5)
    assert len(small) < len(graph)
    atom = int(np.where(nodes.kind == "atom", graph.influence, -1.0).argmax())
    flow = graph.intervene(atom, 0.0, n_random=2)
    assert np.isfinite([flow.effect, flow.predicted, *flow.controls]).all()
    assert flow.effect != 0


def _trained(model: Any) -> list[Any]:
    texts = [f"The capital of {land} is" for land in ("Spain", "Italy", "Greece", "Norway")]
    points = [f"mlp_{side}.{layer}" for layer in LAYERS for side in ("in", "out")]
    acts = sn.capture(model, texts, points, progress=False)
    found = []
    for layer in LAYERS:
        read, write = acts[f"mlp_in.{layer}"], acts[f"mlp_out.{layer}"]
        drawn = torch.Generator().manual_seed(0)
        t = sn.Transcoder(read.d_in, write.d_in, n_atoms=64, k=4, generator=drawn)
        sn.train(t, (read, write), steps=5, batch_size=16, progress=False)
        found.append(t.eval())
    return found


@pytest.mark.timeout(600)
def test_twenty_neurons_of_smollm2_turn_its_verb(open_real: Callable[[str], Any]) -> None:
    """One prompt of the plan: kept and lost, the strongest by its name, what is foreseen of it."""
    model = open_real("smollm2")
    graph = sn.circuits.attribution_graph(
        model,
        "neurons",
        "The keys to the cabinet",
        contrast="The key to the cabinet",
        target=(" are", " is"),
        max_nodes=30,
    )
    assert graph.n_units == 230_400
    curve = graph.faithfulness(k=[20, 50, 100], n_random=2)
    assert curve.kept == pytest.approx([0.22, 0.73, 1.04], abs=0.02)
    assert curve.lost == pytest.approx([1.08, 1.14, 1.16], abs=0.02)
    assert np.abs([curve.random, curve.random_lost]).max() < 0.05
    atoms = graph.nodes[graph.nodes.kind == "atom"].assign(flow=graph.flow[5:-1])
    first = atoms.iloc[int(np.argmax(np.abs(atoms.flow)))]
    assert (first.layer, first.position, first.atom) == (28, 4, 907)
    assert "has" in first.says
    assert (atoms.says[atoms.layer == 25] == "are · were").any()
    flow = graph.intervene(int(first.name), 0.0, n_random=2)
    assert flow.effect == pytest.approx(flow.predicted, rel=0.2)
    assert flow.predicted == pytest.approx(-first.flow)
    assert np.abs(flow.controls).max() < flow.effect / 3
