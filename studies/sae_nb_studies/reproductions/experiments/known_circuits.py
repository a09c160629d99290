"""Tracers of heads on a model whose circuit is known: do they find it, and how long does it take?

tiny-induction: one head attends to the previous token, four heads of the second block copy the token that
came after an earlier copy. The circuit is defined by what heads attend to, and checked by ablation; no
tracer defines it. Seeds draw other sequences.
"""

from __future__ import annotations

import time
from typing import Literal

import numpy as np
import torch

import sae_nb as sn
from sae_nb.circuits import head_contributions
from sae_nb.models import run as run_once
from sae_nb_studies.circuits import KnownCircuit, known_circuit

SHORT = {"n_texts": 3, "n_rows": 20}
METHODS: tuple[Literal["contextual", "held", "ablation", "gradient"], ...] = (
    "contextual",
    "held",
    "ablation",
    "gradient",
)


def run(seed: int, *, n_texts: int = 40, n_rows: int = 200) -> dict[str, float]:
    """Score every head with every tracer, on `n_texts` sequences; the circuit is measured on `n_rows`."""
    model = sn.load_model("tiny-induction")
    circuit = known_circuit(model, n=n_rows, seed=seed)
    texts = list(circuit.inputs)[:n_texts]
    inside = circuit.components.in_circuit.to_numpy()
    first = (circuit.components.layer == 0).to_numpy()
    numbers = {
        "accuracy": circuit.accuracy,
        "accuracy without": circuit.without,
        "accuracy alone": circuit.alone,
        "heads in the circuit": float(inside.sum()),
    }
    for method in METHODS:
        began = time.perf_counter()
        found = head_contributions(model, texts, method=method)
        numbers[f"{method}, seconds"] = time.perf_counter() - began
        sizes = np.abs(found.values).ravel()
        numbers[f"{method}, AUC"] = circuit.auc(sizes)
        outside = sizes[~inside].max()
        numbers[f"{method}, first block"] = float(sizes[first & inside].min() / outside)
        numbers[f"{method}, second block"] = float(sizes[~first & inside].min() / outside)
    written = output_sizes(model, texts)
    numbers["size of the output, first block"] = float(
        written[first & inside].min() / written[~inside].max()
    )
    return numbers | chance(circuit, written, seed)


def output_sizes(model: sn.models.LiveModel, texts: list[str]) -> np.ndarray:
    """Measure the size of each head's output.

    The root mean square over positions, after the mean is removed; this uses no answer.
    """
    names = [f"head_out.{layer}" for layer in range(model.n_layers or 0)]
    runs = [run_once(model, batch, read=names) for batch in model.batches(texts, batch_size=1)]
    found = []
    for name in names:
        x = torch.cat([one.states[name].flatten(0, 1) for one in runs]).double()
        by_head = (x - x.mean(dim=0)).reshape(len(x), model.n_heads or 1, -1)
        found.append(by_head.square().sum(dim=2).mean(dim=0).sqrt())
    return torch.cat(found).numpy()


def chance(circuit: KnownCircuit, sizes: np.ndarray, seed: int) -> dict[str, float]:
    """Return the AUC of a score that does not use the answer, and of random scores."""
    drawn = np.random.default_rng(seed).random((1000, len(circuit)))
    return {
        "size of the output, AUC": circuit.auc(sizes),
        "drawn, AUC": float(np.mean([circuit.auc(scores) for scores in drawn])),
    }
