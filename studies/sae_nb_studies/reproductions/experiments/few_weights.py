"""Circuits of a model with few weights: are they smaller, do they hold on held-out rows, and on nonsense?

Two small transformers answer whether brackets are balanced, open or broken: one with most weights held at zero, one
of the same size without. Each is pruned to .15 nats. Then the first is pruned for two tasks that it does not do:
the three answers exchanged in a circle, and answers by lot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from sae_nb_studies.circuits import PrunedCircuit, prune_circuit
from sae_nb_studies.circuits._pruning import NOT_ASKED
from sae_nb_studies.models import task_rows, train_sparse_transformer

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

SHORT = {"steps": 30, "n": 16, "pruning_steps": 5}
TASK: Literal["brackets"] = "brackets"
LOSS = 0.15
BY_LOT = 16
"""Rows with answers by lot: few, so that they could be learned by heart."""


def run(seed: int, *, steps: int = 600, n: int = 192, pruning_steps: int = 200) -> dict[str, float]:
    """Train both models, prune them, and measure the circuits on `n` rows that neither saw."""
    rows, held = (task_rows(TASK, n, held_out=out, seed=seed) for out in (False, True))
    sparse = train_sparse_transformer(TASK, steps=steps, seed=seed)
    dense = train_sparse_transformer(TASK, density=1.0, steps=steps, seed=seed)

    def pruned(model: LiveModel, ids: Tensor, targets: Tensor, **more: Any) -> PrunedCircuit:
        settings = {"means_of": rows.ids, "steps": pruning_steps, "seed": seed, **more}
        return prune_circuit(model, ids, targets, loss=LOSS, **settings)

    numbers: dict[str, float] = {}
    found = {
        "sparse": pruned(sparse, rows.ids, rows.targets),
        "dense": pruned(dense, rows.ids, rows.targets),
        "dense again": pruned(dense, rows.ids, rows.targets, seed=seed + 1000),
    }
    for name, circuit in found.items():
        measured = circuit.faithfulness(held.ids, held.targets, seed=seed)
        numbers |= {
            f"nodes: {name}": float(circuit.n_nodes),
            f"edges: {name}": float(circuit.n_edges),
            f"loss: {name}": circuit.loss,
            f"whole: {name}": measured.whole,
            f"alone: {name}": measured.alone,
            f"without: {name}": measured.without,
            f"random alone: {name}": float(measured.random.mean()),
            f"random without: {name}": float(measured.random_without.mean()),
        }
    order = pruned(sparse, rows.ids, rows.targets, penalties=[0.0], steps=1, learning_rate=1e-9)
    edges = {name: circuit.n_edges for name, circuit in found.items()}
    edges["by lot"] = order.n_edges if order.met else order.n_all_edges
    numbers |= {
        "times as many edges": edges["dense"] / edges["sparse"],
        "times as many nodes": found["dense"].n_nodes / found["sparse"].n_nodes,
        "times as many edges: two prunings": edges["dense again"] / edges["dense"],
        "times as many edges: nodes by lot": edges["dense"] / edges["by lot"],
    }
    lots = torch.Generator().manual_seed(seed)
    tasks = {
        "exchanged": (n, exchanged(rows.targets), exchanged(held.targets)),
        "by lot": (BY_LOT, by_lot(rows.targets, lots), by_lot(held.targets, lots)),
    }
    for name, (m, targets, asked) in tasks.items():
        circuit = pruned(sparse, rows.ids[:m], targets[:m])
        measured = circuit.faithfulness(held.ids, asked, n_random=0)
        numbers |= {
            f"{name}: nodes": float(circuit.n_nodes),
            f"{name}: edges": float(circuit.n_edges),
            f"{name}: loss": circuit.loss,
            f"{name}: held out": measured.alone,
            f"{name}: model": measured.whole,
        }
    return numbers


def exchanged(targets: Tensor) -> Tensor:
    """Return the same answers in a circle: balanced → open → broken → balanced."""
    words = torch.unique(targets[targets != NOT_ASKED])
    there = targets != NOT_ASKED
    return torch.where(there, words[(torch.searchsorted(words, targets) + 1) % len(words)], targets)


def by_lot(targets: Tensor, generator: torch.Generator) -> Tensor:
    """Return one of the same answers by lot wherever one is asked."""
    words = torch.unique(targets[targets != NOT_ASKED])
    drawn = words[torch.randint(len(words), targets.shape, generator=generator)]
    return torch.where(targets != NOT_ASKED, drawn, targets)
