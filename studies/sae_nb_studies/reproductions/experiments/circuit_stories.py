"""Three worked stories: what a graph predicts about an answer, and what the running model then does.

tiny-gpt: “They broke the lamp and cut”, “their” rather than “his”. tiny-vit: why this digit, rather than
the second likeliest one? Both with the transcoders that are bundled with them. SmolLM2-135M: a capital
rather than another, with transcoders of six of its thirty MLPs, trained here for every seed. A seed draws
names and things, images, or countries. The most influential atoms are removed one by one, and together.
The atoms of the pruned graph are also tested for whether they suffice, compared with random atoms of the
same MLPs, and of the same MLPs and positions.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import sae_nb as sn
from sae_nb.circuits import AttributionGraph, attribution_graph
from sae_nb_studies.reproductions.experiments.attribution_graphs import (
    atom_rows,
    chosen,
    corr,
    only,
    others,
    pooled,
)

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

SHORT = {"model": "", "n_prompts": 2, "n_images": 1, "n_cuts": 3}
LAYERS = (4, 9, 14, 19, 24, 29)
"""Layers of SmolLM2: those of the documentation page on circuits."""

N_ATOMS, K, BATCH, STEPS = 1024, 16, 256, 120
N_TEXTS, N_CHARACTERS = 40, 600
NODES, EDGES = 0.8, 0.98
TRACED = {"tiny-gpt": 512, "tiny-vit": 400, "smollm2": 200}

CAPITALS = {
    "France": " Paris",
    "Italy": " Rome",
    "Spain": " Madrid",
    "Germany": " Berlin",
    "Russia": " Moscow",
    "Japan": " Tokyo",
    "Egypt": " Cairo",
    "England": " London",
}


def run(
    seed: int,
    *,
    model: str = "smollm2",
    n_prompts: int = 6,
    n_images: int = 4,
    n_capitals: int = 3,
    n_cuts: int = 8,
) -> dict[str, float]:
    """Trace and test the three stories, removing the `n_cuts` most influential atoms of each graph.

    `n_prompts`, `n_images`, `n_capitals`: number of graphs in each story; `model` is SmolLM2's folder, ""
    leaves it out.
    """
    makers: dict[str, Callable[[], list[AttributionGraph]]] = {
        "tiny-gpt": lambda: plurals(n_prompts, seed),
        "tiny-vit": lambda: digits(n_images, seed),
    }
    if model:
        makers["smollm2"] = lambda: capitals(model, n_capitals, seed)
    numbers = {}  # type: ignore[var-annotated]
    for name, make in makers.items():
        graphs = make()
        found = enough(graphs, seed) | foreseen(graphs, n_cuts, seed)
        numbers |= {f"{name}, {key}": value for key, value in found.items()}
    for key in ("random", "correlation, random directions"):
        numbers[key] = float(np.mean([numbers[f"{name}, {key}"] for name in makers]))
    return numbers


# -------------------------------------------------------------------------------------------------
# The stories.


def plurals(n: int, seed: int) -> list[AttributionGraph]:
    """Trace “their” rather than “his” after two characters broke something."""
    model = sn.load_model("tiny-gpt")
    transcoders = [sn.load_sae(f"tiny-gpt/mlp.{layer}") for layer in range(model.n_layers or 0)]
    drawn, rng = sn.data.stories(1, seed=0), np.random.default_rng(seed)
    graphs = []
    for _ in range(n):
        one, other = rng.choice(16, 2, replace=False)
        people = f"{drawn.person_names[one]} and {drawn.person_names[other]}"
        place, thing = rng.choice(drawn.place_names), rng.choice(drawn.thing_names)
        text = f"One day {people} went to the {place}. They broke the {thing} and cut"
        graphs.append(
            attribution_graph(
                model,
                transcoders,
                text,
                target=(" their", " his"),
                max_nodes=TRACED["tiny-gpt"],
            )
        )
    return graphs


def digits(n: int, seed: int) -> list[AttributionGraph]:
    """Trace the likeliest digit rather than the second likeliest, on images of the test set."""
    model = sn.load_model("tiny-vit")
    transcoders = [sn.load_sae(f"tiny-vit/mlp.{layer}") for layer in range(model.n_layers or 0)]
    images = sn.data.scenes(n, seed=4000 + seed, split="test").images
    graphs = []
    for i in range(n):
        best, second = model(images[i : i + 1])[0].topk(2).indices.tolist()
        graphs.append(
            attribution_graph(
                model,
                transcoders,
                images[i : i + 1],
                target=(best, second),
                max_nodes=TRACED["tiny-vit"],
            )
        )
    return graphs


def capitals(folder: str, n: int, seed: int) -> list[AttributionGraph]:
    """Trace a country's capital rather than the capital of another country that the text named before."""
    model = sn.load_model(folder)
    transcoders = trained(model, seed)
    rng, graphs = np.random.default_rng(seed), []
    for _ in range(n):
        first, then = rng.choice(list(CAPITALS), 2, replace=False)
        text = f"The capital of {first} is{CAPITALS[first]}. The capital of {then} is"
        graphs.append(
            attribution_graph(
                model,
                transcoders,
                text,
                target=(CAPITALS[then], CAPITALS[first]),
                max_nodes=TRACED["smollm2"],
            )
        )
    return graphs


def trained(model: LiveModel, seed: int) -> list[Any]:
    """Train transcoders of six MLPs, a minute in all."""
    texts = [text[:N_CHARACTERS] for text in list(sn.data.prose("train").texts)[:N_TEXTS]]
    points = list(chain(*((f"mlp_in.{layer}", f"mlp_out.{layer}") for layer in LAYERS)))
    acts = sn.capture(model, texts, points, progress=False)
    found = []
    for layer in LAYERS:
        read, write = acts[f"mlp_in.{layer}"], acts[f"mlp_out.{layer}"]
        drawn = torch.Generator().manual_seed(seed)
        t = sn.Transcoder(read.d_in, write.d_in, n_atoms=N_ATOMS, k=K, generator=drawn)
        sn.train(t, (read, write), steps=STEPS, batch_size=BATCH, seed=seed, progress=False)
        found.append(t.eval())
    return found


# -------------------------------------------------------------------------------------------------
# The measurements.


def enough(graphs: list[AttributionGraph], seed: int) -> dict[str, float]:
    """Measure the effect that the atoms of pruned graphs recover alone, compared with random ones.

    Answers are weighted by the atoms' effect on them.
    """
    pools: dict[str, list[tuple[float, float]]] = {"recovered": [], "random": [], "same": []}
    shares = []
    for graph in graphs:
        small = graph.prune(nodes=NODES, edges=EDGES)
        circuit = atom_rows(graph)[chosen(graph, small)]
        alone = only(graph, circuit).faithfulness(seed=seed)
        there = others(graph, circuit, np.random.default_rng(seed))["random, same positions"]
        same = only(graph, there).faithfulness(n_random=0)
        brought = (alone.recovered, float(alone.random.mean()), same.recovered)
        for pool, share in zip(pools.values(), brought, strict=True):
            pool.append((share, alone.effect))
        shares.append(
            (
                alone.n_kept / alone.n_atoms,
                alone.effect,
                alone.everything,
                graph.replacement,
                graph.completeness,
            )
        )
    names = ("share of nodes", "effect of atoms", "lead", "replacement", "completeness")
    return {
        "recovered": pooled(pools["recovered"]),
        "random": pooled(pools["random"]),
        "random, same positions": pooled(pools["same"]),
    } | dict(zip(names, map(float, np.mean(shares, axis=0)), strict=True))


def foreseen(graphs: list[AttributionGraph], n_cuts: int, seed: int) -> dict[str, float]:
    """Remove the most influential atoms, one by one and together, and compare the effects with predictions."""
    cuts, together = [], []
    for graph in graphs:
        atoms = atom_rows(graph)
        first = atoms[np.argsort(-graph.influence[atoms], kind="stable")][:n_cuts]
        for i, node in enumerate(first):
            flow = graph.intervene(int(node), 0.0, n_random=1, seed=seed + i)
            cuts.append((flow.predicted, flow.effect, float(flow.controls[0])))
        all_of_them = graph.intervene(list(map(int, first)), 0.0, n_random=5, seed=seed)
        random = float(np.abs(all_of_them.controls).mean())
        together.append((all_of_them.predicted, all_of_them.effect, random))
    said, did, random = np.array(cuts).T
    names = ("together, foreseen", "together, measured", "together, random directions")
    return {
        "correlation": corr(said, did),
        "slope": float(said @ did / (said @ said)),
        "sign errors": float((np.sign(said) != np.sign(did)).mean()),
        "correlation, random directions": corr(said, random),
        "sign errors, random directions": float((np.sign(said) != np.sign(random)).mean()),
    } | dict(zip(names, map(float, np.mean(together, axis=0)), strict=True))
