"""Circuits by pruning: masks in the weights are mean ablation, circuits are small, hold on other rows, and are drawn."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sae_nb_widgets import CircuitPanel
from torch import Tensor

import sae_nb as sn
from sae_nb.models import run
from sae_nb_studies.circuits import PrunedCircuit, prune_circuit
from sae_nb_studies.circuits._pruning import _alone, _means, _Pruner
from sae_nb_studies.models import task_rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def circuit() -> PrunedCircuit:
    rows = task_rows("brackets", 128, held_out=False)
    model = sn.load_model("tiny-brackets")
    return prune_circuit(model, rows.ids, rows.targets, loss=0.3, penalties=[1e-3], steps=120)


def test_masks_in_the_weights_are_means_in_the_running_model() -> None:
    """Also in the model that is left, in which no weight joins a node that is not kept."""
    model, rows = sn.load_model("tiny-brackets"), task_rows("brackets", 16)
    means = _means(model, rows.ids)
    pruner = _Pruner(model, means)
    mask = torch.rand(len(means), generator=torch.Generator().manual_seed(0)) < 0.6
    parts = zip(mask.split(pruner.widths), means.split(pruner.widths), strict=True)

    def held(m: Tensor, mean: Tensor, x: Tensor) -> Tensor:
        return torch.where(m, x, mean)

    puts: list[tuple[str, Any]] = []
    nodes = list(parts)
    for layer in range(2):
        here = nodes[8 * layer : 8 * layer + 8]
        joined = [tuple(map(torch.cat, zip(*here[1:4], strict=True)))]
        for name, (m, mean) in zip(
            ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.act", "mlp.c_proj"),
            [here[0], *joined, *here[4:]],
            strict=True,
        ):
            puts.append((f"transformer.h.{layer}.{name}", partial(held, m, mean)))
    batch = next(iter(model.batches(rows.ids, batch_size=16)))
    wanted = run(model, batch, put=puts).answer.tensor
    torch.testing.assert_close(pruner.logits(mask, rows.ids), wanted, atol=1e-4, rtol=0)
    alone = _alone(pruner, mask).module(input_ids=rows.ids).logits
    torch.testing.assert_close(alone, wanted, atol=1e-4, rtol=0)


def test_a_circuit_is_small_and_holds_on_other_rows(circuit: PrunedCircuit) -> None:
    assert circuit.met
    assert circuit.n_nodes == len(circuit.nodes) < circuit.n_all_nodes / 3
    assert circuit.n_edges < circuit.n_all_edges / 8
    held = task_rows("brackets", 128)
    measured = circuit.faithfulness(held.ids, held.targets, n_random=3)
    assert measured.whole < measured.alone < 0.45
    assert measured.without > 1
    assert measured.random.min() > 1
    assert 0.8 < measured.recovered < 1
    assert np.all(np.diff(circuit.losses) <= 0)
    assert "asked for 0.3" in str(circuit)


def test_its_graph_has_no_other_neurons_and_is_drawn(circuit: PrunedCircuit) -> None:
    graph = circuit.graph("( ( )")
    atoms = graph.nodes[graph.nodes.kind == "atom"]
    kept = circuit.nodes[circuit.nodes.place == "neuron"]
    for layer, here in atoms.groupby("layer"):
        assert set(here.atom) <= set(kept[kept.layer == layer].channel)
    assert len(atoms)
    panel = CircuitPanel(graph)
    assert panel.summary.reaches
    panel.close()
