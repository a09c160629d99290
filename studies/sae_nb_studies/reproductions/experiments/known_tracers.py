"""Three tracers on three models whose circuits are known: which find the heads and neurons, and how fast?

tiny-induction has only attention, tiny-modular one block with neurons, tiny-brackets two. Each tracer
scores every component in logits of the model's own answer: contextual decomposition; attribution graphs
whose atoms are the neurons (the flow through a neuron at all positions, or through a head, which is part
of the edges); replacing it by its mean (patching), and the gradient's estimate of that. Circuits are
defined without any of them. Seeds draw other inputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

import sae_nb as sn
from sae_nb.circuits import attribution_graph
from sae_nb_studies.circuits import KnownCircuit, known_circuit, neuron_transcoders
from sae_nb_studies.reproductions._recorded_order import head_contributions, neuron_contributions

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

SHORT = {"n_texts": 2, "n_rows": 20}
MODELS = ("tiny-induction", "tiny-modular", "tiny-brackets")
METHODS = ("contextual", "graph", "ablation", "gradient")
PLACES = {"head": "head_out", "neuron": "mlp_post"}

Scores = Float[np.ndarray, " components"]


def run(seed: int, *, n_texts: int = 20, n_rows: int = 200) -> dict[str, float]:
    """Score every component with every tracer, on `n_texts` inputs; circuits are measured on `n_rows`."""
    numbers = {}  # type: ignore[var-annotated]
    for name in MODELS:
        model = sn.load_model(name)
        circuit = known_circuit(model, n=n_rows, seed=seed)
        texts = list(circuit.inputs)[:n_texts]
        inside = circuit.components.in_circuit.to_numpy()
        numbers |= {
            f"{name}, accuracy": circuit.accuracy,
            f"{name}, accuracy without": circuit.without,
            f"{name}, accuracy alone": circuit.alone,
            f"{name}, in the circuit": float(inside.mean()),
        }
        for method in METHODS:
            began = time.perf_counter()
            scores = tracer(method)(model, texts, circuit)
            numbers[f"{name}, {method}, seconds"] = time.perf_counter() - began
            numbers[f"{name}, {method}, AUC"] = circuit.auc(scores)
        numbers[f"{name}, size, AUC"] = circuit.auc(sizes(model, texts, circuit))
        drawn = np.random.default_rng(seed).random((200, len(circuit)))
        numbers[f"{name}, drawn, AUC"] = float(np.mean([circuit.auc(scores) for scores in drawn]))
    for what in ("size", "drawn"):
        numbers[f"{what}, AUC"] = float(np.mean([numbers[f"{n}, {what}, AUC"] for n in MODELS]))
    return numbers


def tracer(method: str) -> Callable[[Any, list[str], KnownCircuit], Scores]:
    """Return the function that scores components by a method."""
    return by_graphs if method == "graph" else partial(by_parts, method)


def by_parts(method: Any, model: LiveModel, texts: list[str], circuit: KnownCircuit) -> Scores:
    """Score heads, and neurons if the circuit has some, by the absolute contribution to the answers."""
    of = {"head": head_contributions, "neuron": neuron_contributions}
    kinds = circuit.components.kind.unique()
    values = {kind: np.abs(of[kind](model, texts, method=method).values) for kind in kinds}
    rows = circuit.components
    places = zip(rows.kind, rows.layer, rows["index"], strict=True)
    return np.array([values[kind][layer, index] for kind, layer, index in places])


def by_graphs(model: LiveModel, texts: list[str], circuit: KnownCircuit) -> Scores:
    """Score neurons and heads by the absolute flow through them, mean over a graph of each text."""
    neurons, rows = neuron_transcoders(model), circuit.components
    found = np.zeros(len(rows))
    for text in texts:
        top = int(model([text])[0, -1].argmax())
        graph = attribution_graph(model, neurons, text, target=top, drop_first=False)
        heads = graph.heads().set_index(["layer", "head"]).flow
        atoms = graph.nodes.assign(flow=graph.flow)[graph.nodes.kind == "atom"]
        through = {"head": heads, "neuron": atoms.groupby(["layer", "atom"]).flow.sum()}
        places = zip(rows.kind, rows.layer, rows["index"], strict=True)
        found += [abs(through[kind].get((layer, index), 0.0)) for kind, layer, index in places]
    return found / len(texts)


def sizes(model: LiveModel, texts: list[str], circuit: KnownCircuit) -> Scores:
    """Measure the size of each component's output.

    The root mean square over positions, after the mean is removed; this uses no answer.
    """
    found = []
    for name, rows in circuit.components.groupby("hook_point", sort=False):
        x = sn.capture(model, texts, str(name), progress=False).x.double()
        n = len(rows)
        parts = (x - x.mean(dim=0)).reshape(len(x), n, -1)
        found.append(parts.square().sum(dim=2).mean(dim=0).sqrt().numpy())
    return np.concatenate(found)
