"""Circuits of neurons: how few of them turn an answer, and do the same few make it?

SmolLM2-135M on pairs of prompts that differ in one word: a verb's number, and a capital. Neurons are ranked by
one backward pass (RelP) from the difference of the two answers' logits, with the other prompt's activations as
baseline. The k that speak most for the answer take the other prompt's values ("lost"), or they alone answer freely
("kept"); random neurons that differ between the prompts for comparison. Single neurons are changed, too, and
compared with what the graph foresaw. tiny-vit: the same for two images of different digits. A seed draws pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

import sae_nb as sn
from sae_nb.circuits import AttributionGraph, attribution_graph

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

SHORT = {"model": "", "n_images": 3, "n_cuts": 6}
NUMBERS = (20, 50, 100, 200, 500)
KINDS = ("agreement", "capitals")
N_NODES = 20


def run(
    seed: int, *, model: str = "smollm2", n_pairs: int = 4, n_images: int = 8, n_cuts: int = 10
) -> dict[str, float]:
    """Rank and test the neurons of every pair, changing the `n_cuts` strongest one by one.

    `n_pairs` of each kind, `n_images` pairs of images; `model` is SmolLM2's folder, "" leaves it out.
    """
    numbers = {}
    made: dict[str, list[AttributionGraph]] = {"digits": list(_digits(n_images, seed))}
    if model:
        language = sn.load_model(model)
        made |= {kind: list(_pairs(language, kind, n_pairs, seed)) for kind in KINDS}
    for name, graphs in made.items():
        curves = [graph.faithfulness(NUMBERS, n_random=3, seed=seed) for graph in graphs]
        for i, k in enumerate(NUMBERS):
            for key in ("kept", "lost", "random", "random_lost"):
                values = [float(getattr(curve, key)[i]) for curve in curves]
                numbers[f"{name}, {key.replace('_', ' ')} {k}"] = float(np.mean(values))
        numbers[f"{name}, share of neurons"] = float(
            np.mean([100 / curve.n_units for curve in curves])
        )
        numbers |= {f"{name}, {key}": value for key, value in _cuts(graphs, n_cuts, seed).items()}
    return numbers


def _pairs(model: LiveModel, kind: Any, n: int, seed: int) -> Iterator[AttributionGraph]:
    pairs = sn.data.prompt_pairs(kind, n, seed, model=model)
    for clean, corrupted, answer in zip(pairs.clean, pairs.corrupted, pairs.answers, strict=True):
        yield attribution_graph(
            model, "neurons", clean, contrast=corrupted, target=answer, max_nodes=N_NODES
        )


def _digits(n: int, seed: int) -> Iterator[AttributionGraph]:
    """Pairs of images that tiny-vit answers differently."""
    vit, scenes = sn.load_model("tiny-vit"), sn.data.scenes(4 * n, seed=seed)
    tops = vit(scenes.images).argmax(dim=1).tolist()
    pairs = [(i, i + 1) for i in range(0, 4 * n - 1, 2) if tops[i] != tops[i + 1]]
    for one, other in pairs[:n]:
        yield attribution_graph(
            vit,
            "neurons",
            scenes.images[one : one + 1],
            contrast=scenes.images[other : other + 1],
            max_nodes=N_NODES,
        )


def _cuts(graphs: list[AttributionGraph], n: int, seed: int) -> dict[str, float]:
    """Foreseen and measured changes by single neurons, and by random directions of the same size."""
    foreseen, measured, random = [], [], []
    for graph in graphs:
        nodes = np.argsort(-np.where(graph.nodes.kind == "atom", np.abs(graph.flow), -1))[:n]
        for node in nodes.tolist():
            flow = graph.intervene(node, 0.0, n_random=1, seed=seed)
            foreseen.append(flow.predicted)
            measured.append(flow.effect)
            random.append(float(flow.controls[0]))
    x, y = np.array(foreseen), np.array(measured)
    return {
        "correlation": float(np.corrcoef(x, y)[0, 1]),
        "correlation, random directions": float(np.corrcoef(x, random)[0, 1]),
        "slope": float((x @ y) / (x @ x)),
        "sign errors": float(np.mean(np.sign(x) != np.sign(y))),
    }
