"""Graphs decomposed from groups to atoms: how few carry the answer, in how many runs, and are they the circuit?

Three models whose circuits are known, trained again for every seed. Atoms are neurons; tiny-induction has
none, so there they are directions of single heads' outputs (principal components of each head, both
signs), and every atom belongs to a head. The search sees the logit of the model's own answer. It does not
see the lead of the answer over the runner-up, nor the circuit, which is defined by what heads attend to
and which functions neurons compute. It is compared with random atoms, the first atoms by the graph's
influence, groups drawn at random, and the greedy search (of one atom at a time, on inputs of few atoms,
since it takes n² / 2 runs).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sae_nb as sn
from sae_nb.circuits import AttributionGraph, Decomposition, attribution_graph
from sae_nb_studies.circuits import KnownCircuit, known_circuit, neuron_transcoders
from sae_nb_studies.recipes import CIRCUIT_RECIPES as RECIPES, train_circuit as train_one
from sae_nb_studies.reproductions.experiments.attribution_graphs import atom_rows, only

SHORT = {"trained": False, "n_inputs": 2, "n_greedy": 1, "n_rows": 20}
MODELS = ("tiny-induction", "tiny-modular", "tiny-brackets")
SHARE = 0.9
FIRST_SEED = 10
"""First seed of the trainings: the bundled models and those of a pilot have smaller ones."""


def run(
    seed: int,
    *,
    trained: bool = True,
    n_inputs: int = 8,
    n_greedy: int = 2,
    n_rows: int = 200,
) -> dict[str, float]:
    """Decompose graphs of `n_inputs` inputs of each model; the `n_greedy` smallest also by the greedy search.

    Without `trained`, the bundled models.
    """
    numbers = {}  # type: ignore[var-annotated]
    for name in MODELS:
        model = retrained(name, seed) if trained else sn.load_model(name)
        circuit = known_circuit(model, n=n_rows, seed=seed)
        if name == "tiny-induction":
            dictionaries, inside = head_directions(model, list(circuit.inputs)), of_heads(circuit)
        else:
            dictionaries, inside = neuron_transcoders(model), of_neurons(circuit)
        judged, graphs = [], []
        for text in list(circuit.inputs)[:n_inputs]:
            graph, lead = graphs_of(model, dictionaries, text)
            judged.append(taken_apart(graph, lead, inside, seed))
            graphs.append(graph)
        if name != "tiny-induction":  # it has about 3000 atoms, which would take millions of runs
            small = sorted(graphs, key=len)[:n_greedy]
            numbers |= {f"{name}, {key}": x for key, x in greedily(small).items()}
        numbers |= {f"{name}, {key}": mean(judged, key) for key in judged[0]}
        numbers[f"{name}, accuracy"] = circuit.accuracy
    for key in ("random", "same places", "shuffled groups, share of nodes"):
        numbers[key] = float(np.mean([numbers[f"{name}, {key}"] for name in MODELS]))
    return numbers


def mean(judged: list[dict[str, float]], key: str) -> float:
    """Average a number over inputs."""
    return float(np.mean([one[key] for one in judged]))


# -------------------------------------------------------------------------------------------------
# Models, graphs and circuits.


def retrained(name: str, seed: int) -> Any:
    """Train the model of the recipe from another seed."""
    recipe = RECIPES[name]
    recipe = replace(recipe, seed=FIRST_SEED + seed, log_every=recipe.steps)
    with tempfile.TemporaryDirectory() as folder:
        train_one(recipe, Path(folder))
        return sn.load_model(str(Path(folder) / name))


def head_directions(model: Any, texts: list[str]) -> list[Any]:
    """Build dictionaries of heads' outputs: both signs of each head's principal components.

    So nothing of an output is missed.
    """
    found = []
    for layer in range(model.n_layers):
        name = f"head_out.{layer}"
        x = sn.capture(model, texts, name, progress=False).x.double()
        width = x.shape[1] // model.n_heads
        parts = (x - x.mean(dim=0)).split(width, dim=1)  # type: ignore[no-untyped-call]
        turns = [torch.linalg.svd(part, full_matrices=False)[2] for part in parts]
        atoms = torch.block_diag(*[torch.cat([turn, -turn]) for turn in turns])  # type: ignore[no-untyped-call]
        sae = sn.ReLU(x.shape[1], len(atoms), generator=torch.Generator())
        with torch.no_grad():
            sae.encoder.weight.copy_(atoms)
            sae.encoder.bias.zero_()
            sae.atom_parameters()[0].copy_(atoms)
            sae.pre_bias.copy_(x.mean(dim=0))
        sae.hook_point = name
        found.append(sae.eval())
    return found


def graphs_of(model: Any, dictionaries: Any, text: str) -> tuple[AttributionGraph, Any]:
    """Trace the graph of the model's own answer, and of its lead over the runner-up."""
    best, second = model([text])[0, -1].topk(2).indices.tolist()
    return (
        attribution_graph(model, dictionaries, text, target=best, drop_first=False),
        attribution_graph(
            model, dictionaries, text, target=(best, second), drop_first=False, max_nodes=0
        ),
    )


Inside = Callable[[AttributionGraph], np.ndarray]


def of_neurons(circuit: KnownCircuit) -> Inside:
    """Return a function that marks a graph's atoms that are neurons of the circuit.

    For sums, only at the last position.
    """
    rows = circuit.components
    neurons = rows[(rows.kind == "neuron") & rows.in_circuit]
    known = set(zip(neurons.layer, neurons["index"], strict=True))
    last = circuit.model_name == "tiny-modular"

    def inside(graph: AttributionGraph) -> np.ndarray:
        atoms = graph.nodes[graph.nodes.kind == "atom"]
        found = [pair in known for pair in zip(atoms.layer, atoms.atom, strict=True)]
        there = (atoms.position == len(graph.tokens) - 1).to_numpy() | (not last)
        return np.array(found) & there

    return inside


def of_heads(circuit: KnownCircuit) -> Inside:
    """Return a function that marks a graph's atoms that belong to heads of the circuit.

    Heads of the first block count at the token after an earlier copy of the last, the others at the last
    token.
    """
    rows = circuit.components
    heads = rows[rows.in_circuit]
    known = set(zip(heads.layer, heads["index"], strict=True))
    n_heads = int((rows.layer == 0).sum())

    def inside(graph: AttributionGraph) -> np.ndarray:
        atoms = graph.nodes[graph.nodes.kind == "atom"]
        last = len(graph.tokens) - 1
        after = 1 + graph.tokens[:last].index(graph.tokens[last])
        # A place lists both signs of one head, then of the next.
        per_head = graph.passes.written[0].atoms.shape[1] * 2 // n_heads  # type: ignore[union-attr]
        places = zip(atoms.layer, atoms.atom // per_head, atoms.position, strict=True)
        return np.array(
            [(at, head) in known and where == (last if at else after) for at, head, where in places]
        )

    return inside


# -------------------------------------------------------------------------------------------------
# Searches.


def taken_apart(
    graph: AttributionGraph, lead: AttributionGraph, inside: Inside, seed: int
) -> dict[str, float]:
    """Decompose one graph; return how much is recovered, by how many atoms, found in how many runs."""
    found = graph.decompose(share=SHARE, n_random=20, seed=seed)
    drawn = shuffled(graph, seed).decompose(share=SHARE, n_random=0)
    known = inside(graph)
    chosen = np.isin(atom_rows(graph), found.kept)
    ahead = matching(lead, found).faithfulness(n_random=0)
    return {
        "recovered": found.recovered,
        "atoms": float(found.n_atoms),
        "atoms kept": float(len(found.kept)),
        "share of nodes": len(found.kept) / found.n_atoms,
        "runs": float(found.n_runs),
        "runs per node": found.n_runs / found.n_atoms,
        "random": float(found.random.mean()),
        "same places": float(found.alike.mean()),
        "by influence, the same number": found.influence,
        "by influence, share of nodes": by_influence(graph),
        "shuffled groups, share of nodes": len(drawn.kept) / drawn.n_atoms,
        "shuffled groups, runs": float(drawn.n_runs),
        "in the circuit": float(known[chosen].mean()),
        "in the circuit, all": float(known.mean()),
        "still ahead": float(ahead.nothing + ahead.recovered * ahead.effect > 0),
        "ahead without atoms": float(ahead.nothing > 0),
    }


def greedily(graphs: list[AttributionGraph]) -> dict[str, float]:
    """Run both searches on the same graphs, at the same share."""
    runs, nodes = [], []
    for graph in graphs:
        ours = graph.decompose(share=SHARE, n_random=0)
        greedy = graph.decompose(share=SHARE, method="greedy", n_random=0)
        runs.append((ours.n_runs, greedy.n_runs))
        nodes.append((len(ours.kept), len(greedy.kept)))
    (run, most), (kept, fewest) = np.mean(runs, axis=0), np.mean(nodes, axis=0)
    return {
        "greedy runs": float(most),
        "runs over greedy": float(run / most),
        "nodes over greedy": float(kept / fewest),
    }


def shuffled(graph: AttributionGraph, seed: int) -> AttributionGraph:
    """Exchange outgoing edges among the atoms of each place and position, so that groups are random."""
    rng, order = np.random.default_rng(seed), np.arange(len(graph))
    atoms = graph.nodes[graph.nodes.kind == "atom"]
    for rows in atoms.groupby(["place", "position"]).groups.values():
        order[rows] = rng.permutation(order[rows])
    return replace(graph, matrix=graph.matrix[:, order].tocsr())


def by_influence(graph: AttributionGraph) -> float:
    """Return the smallest share of atoms, the most influential first, that recovers as much.

    Sizes rise by √2.
    """
    atoms = atom_rows(graph)
    ranked = atoms[np.argsort(-graph.influence[atoms], kind="stable")]
    n = len(atoms)
    sizes = np.unique(np.r_[np.round(2 ** np.arange(0, np.log2(n), 0.5)), n].astype(int))
    for size in sizes:
        of = only(graph, ranked[:size]).faithfulness(n_random=0)
        if abs(1 - of.recovered) <= 1 - SHARE:
            return float(size / n)
    return 1.0


def matching(graph: AttributionGraph, found: Decomposition) -> AttributionGraph:
    """Keep the chosen atoms in another graph of the same input."""
    keys = ["place", "position", "atom"]
    kept = set(found.table[keys].itertuples(index=False, name=None))
    rows = atom_rows(graph)
    names = graph.nodes.iloc[rows][keys].itertuples(index=False, name=None)
    return only(graph, rows[[name in kept for name in names]])
