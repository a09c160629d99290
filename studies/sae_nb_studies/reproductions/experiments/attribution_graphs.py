"""Attribution graphs of tiny-gpt: do they describe the model's behaviour?

A transcoder of each MLP is trained here; stories are cut in the middle, and the likeliest next token is
the target. First: the atoms of a pruned graph alone, and everything without them, compared with as many
random atoms and with the strongest ones, matched by MLP, or by MLP and position. Second: single atoms
removed from the running model, or weakened by a tenth; the effect is compared with the graph's
prediction, with random directions of the same size, and with how strongly the atom fires. To explain the
difference, the effect is measured again with norms held, and with norms and attention held, as the graph
assumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.stats import pearsonr, rankdata
from torch import Tensor

import sae_nb as sn
from sae_nb.circuits import AttributionGraph, Faithfulness, attribution_graph
from sae_nb.models import Frozen, Intervention, intervening
from sae_nb_studies.reproductions._answer import answer_of

SHORT = {"steps": 12, "n_texts": 2, "n_stories": 30, "n_cuts": 2}
N_ATOMS, K, BATCH = 512, 16, 1024
MOST = 24
"""Number of a story's tokens that the model reads."""

NODES, EDGES = 0.8, 0.98
SHARES = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Fractions of the firing atoms that are kept, in the order of a ranking."""

CURVE = (0.1, 0.2, 0.4, 0.8, 1.0)
"""Fractions of the training steps; the learning rate falls after 0.8."""

GONE, WEAKER = 0.0, 0.9


def run(
    seed: int, *, steps: int = 1000, n_texts: int = 10, n_stories: int = 600, n_cuts: int = 6
) -> dict[str, float]:
    """Train the transcoders, and test the graphs of `n_texts` stories that they were not trained on.

    `steps` of 1024 rows; in each graph, the `n_cuts` most influential atoms and as many random ones are
    changed.
    """
    model = sn.load_model("tiny-gpt")
    transcoders, numbers = trained(model, sn.data.stories(n_stories, seed=seed).texts, steps, seed)
    unseen = sn.data.stories(n_texts, seed=1000 + seed).texts
    numbers |= kept(model, transcoders, unseen)
    rng = np.random.default_rng(seed)
    graphs = [graph_of(model, transcoders, text) for text in unseen]
    numbers |= enough(graphs, seed)
    changed = [one for graph in graphs for one in changes(graph, transcoders, n_cuts, rng, seed)]
    return numbers | foreseen(changed)


# -------------------------------------------------------------------------------------------------
# Transcoders and graphs.


def trained(
    model: Any, texts: Sequence[str], steps: int, seed: int
) -> tuple[list[Any], dict[str, float]]:
    """Train a transcoder of each MLP; return them and 1 − R² along the training, mean over MLPs."""
    layers = range(model.n_layers)
    points = [f"mlp_{side}.{layer}" for layer in layers for side in ("in", "out")]
    acts = sn.capture(model, texts, points, progress=False)
    found, curves = [], []
    for layer in layers:
        read, write = acts[f"mlp_in.{layer}"], acts[f"mlp_out.{layer}"]
        drawn = torch.Generator().manual_seed(seed)
        t = sn.Transcoder(read.d_in, write.d_in, N_ATOMS, K, generator=drawn)
        done = sn.train(
            t, (read, write), steps=steps, batch_size=BATCH, seed=seed, log_every=5, progress=False
        )
        found.append(t.eval())
        curves.append(curve(done.history, steps))
    means = np.mean(curves, axis=0)
    missed = {f"missed at {at:g}": float(m) for at, m in zip(CURVE, means, strict=True)}
    return found, missed | {"missed, last fall": float(means[2] - means[3])}


def curve(history: Any, steps: int) -> list[float]:
    """Return 1 − R² of the batches up to each share of the steps, mean over a twentieth of them."""
    at = np.array([record.step for record in history]) / steps
    missed = 1 - np.array([record.r2 for record in history])
    return [float(missed[(at <= end) & (at > end - max(0.05, 5 / steps))].mean()) for end in CURVE]


def kept(model: Any, transcoders: list[Any], texts: Sequence[str]) -> dict[str, float]:
    """Return R² and the share of cross-entropy that transcoders keep alone: the means, and the least share."""
    scores = []
    for layer, t in enumerate(transcoders):
        acts = sn.capture(model, texts, [f"mlp_in.{layer}", f"mlp_out.{layer}"], progress=False)
        pair = (acts[f"mlp_in.{layer}"], acts[f"mlp_out.{layer}"])
        report = sn.evaluate(t, pair, model=model, inputs=texts, n_bootstrap=0)
        scores.append((report["r2"].value, report["ce_recovered_mean"].value))
    (r2, ce), least = np.mean(scores, axis=0), np.min(scores, axis=0)
    return {"R²": float(r2), "cross-entropy kept": float(ce), "least kept": float(least[1])}


def graph_of(model: Any, transcoders: list[Any], text: str) -> AttributionGraph:
    """Trace the graph of a story's first tokens, for the likeliest next one."""
    ids = model.tokenizer(text)["input_ids"][:MOST]
    start = str(model.tokenizer.decode(ids, skip_special_tokens=True))
    return attribution_graph(model, transcoders, start, target=int(model([start])[0, -1].argmax()))


# -------------------------------------------------------------------------------------------------
# Are the atoms of a pruned graph enough, and are they needed?


def enough(graphs: list[AttributionGraph], seed: int) -> dict[str, float]:
    """Measure the effect that the atoms of pruned graphs recover alone, and the effect lost without them.

    The same for random atoms, and for the first atoms of each ranking.
    """
    pools: dict[str, list[tuple[float, float]]] = {}
    scores = []

    def note(name: str, share: float, of: Faithfulness) -> None:
        pools.setdefault(name, []).append((share, of.everything - of.nothing))

    for graph in graphs:
        small = graph.prune(nodes=NODES, edges=EDGES)
        circuit = atom_rows(graph)[chosen(graph, small)]
        alone = only(graph, circuit).faithfulness(seed=seed)
        gone = only(graph, np.setdiff1d(atom_rows(graph), circuit)).faithfulness(seed=seed)
        note("recovered", alone.recovered, alone)
        note("random", float(alone.random.mean()), alone)
        for name, rows in others(graph, circuit, np.random.default_rng(seed)).items():
            of = only(graph, rows).faithfulness(n_random=0)
            note(name, of.recovered, of)
        note("lost", 1 - gone.recovered, gone)
        note("lost, random", 1 - float(gone.random.mean()), gone)
        scores.append((alone.n_kept / alone.n_atoms, graph.replacement, graph.completeness))
        for name, order in rankings(graph, seed).items():
            for share in SHARES:
                n = max(1, round(share * len(order)))
                of = only(graph, order[:n]).faithfulness(n_random=0)
                note(f"{name}, {share:g}", of.recovered, of)
    names = ("share of nodes", "replacement", "completeness")
    numbers = dict(zip(names, map(float, np.mean(scores, axis=0)), strict=True))
    return (
        numbers
        | {name: pooled(pairs) for name, pairs in pools.items()}
        | {
            "recovered, median": float(np.median([share for share, _ in pools["recovered"]])),
            "ahead of strongest": pooled(pools["recovered"])
            - pooled(pools["strongest, same positions"]),
        }
    )


def pooled(pairs: list[tuple[float, float]]) -> float:
    """Average shares over several answers, weighted by the total effect of atoms on each.

    A share of an effect near zero is mostly noise.
    """
    shares, spans = np.array(pairs).T
    return float((shares * np.abs(spans)).sum() / np.abs(spans).sum())


def atom_rows(graph: AttributionGraph) -> np.ndarray:
    """Return the indices of the nodes that are atoms."""
    return np.flatnonzero((graph.nodes.kind == "atom").to_numpy())


def chosen(graph: AttributionGraph, small: AttributionGraph) -> np.ndarray:
    """Mark the atoms of a graph that a smaller graph also contains."""
    atoms = graph.nodes.iloc[atom_rows(graph)]
    return atoms["name"].isin(small.nodes["name"]).to_numpy()


def only(graph: AttributionGraph, atoms: np.ndarray) -> AttributionGraph:
    """Keep only these atoms of a graph; nodes that are not atoms remain."""
    others = np.flatnonzero((graph.nodes.kind != "atom").to_numpy())
    rows = np.sort(np.concatenate([others, atoms]))
    nodes = graph.nodes.iloc[rows].reset_index(drop=True)
    return replace(graph, nodes=nodes, matrix=graph.matrix[rows][:, rows])


def others(
    graph: AttributionGraph, circuit: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Choose as many atoms as the circuit has in each MLP, or in each MLP and position.

    The strongest ones in both cases; for MLP and position also random ones.
    """
    atoms = graph.nodes.iloc[atom_rows(graph)]

    def drawn(by: list[str], strongest: bool) -> np.ndarray:
        found = []
        for wanted, here in graph.nodes.iloc[circuit].groupby(by):
            pool = atoms[(atoms[by] == list(wanted)).all(axis=1)]
            order = pool.value.nlargest(len(here)).index if strongest else pool.index
            found.append(rng.permutation(order.to_numpy())[: len(here)])
        return np.concatenate(found)

    return {
        "strongest": drawn(["place"], True),
        "strongest, same positions": drawn(["place", "position"], True),
        "random, same positions": drawn(["place", "position"], False),
    }


def rankings(graph: AttributionGraph, seed: int) -> dict[str, np.ndarray]:
    """Rank atoms by influence, by how strongly they fire, and at random."""
    atoms, strength = atom_rows(graph), graph.nodes.value.to_numpy()
    return {
        "by influence": atoms[np.argsort(-graph.influence[atoms], kind="stable")],
        "by strength": atoms[np.argsort(-strength[atoms], kind="stable")],
        "by nothing": np.random.default_rng(seed).permutation(atoms),
    }


# -------------------------------------------------------------------------------------------------
# What happens when one atom is changed?


def changes(
    graph: Any, transcoders: list[Any], n_cuts: int, rng: np.random.Generator, seed: int
) -> list[dict[str, float]]:
    """Remove and weaken the most influential atoms and random ones."""
    ranked = rankings(graph, seed)["by influence"]
    ranked = ranked[graph.influence[ranked] > 0]
    more = rng.choice(ranked[n_cuts:], min(n_cuts, len(ranked) - n_cuts), replace=False)
    last = graph.places[-1]
    found = []
    for i, node in enumerate([*ranked[:n_cuts], *more]):
        gone = graph.intervene(int(node), GONE, n_random=5, seed=seed + i)
        weaker = graph.intervene(int(node), WEAKER, n_random=0)
        row = graph.nodes.iloc[int(node)]
        direction = transcoders[graph.places.index(row.place)].dictionary[int(row.atom)]
        out = Intervention(
            graph.passes.model.hook_point(row.place),
            partial(minus, int(row.position), float(row.value) * direction.detach()),
        )
        found.append(
            {
                "foreseen": gone.predicted,
                "direct": gone.direct,
                "effect": gone.effect,
                "random": float(gone.controls[0]),
                "random, largest": float(np.abs(gone.controls).max()),
                "norms held": effect(graph, out, attention=False),
                "both held": effect(graph, out, attention=True),
                "weaker": weaker.effect / (1 - WEAKER),
                "strength": float(row.value),
                "influential": float(i < n_cuts),
                "last": float(row.place == last),
            }
        )
    return found


def minus(position: int, by: Tensor, y: Tensor, _: Any) -> Tensor:
    """Subtract a vector from a module's output at one position."""
    y = y.clone()
    y[0, position] -= by.to(y)
    return y


def effect(graph: Any, out: Intervention, *, attention: bool) -> float:
    """Measure the effect of an intervention on the target in the model itself, norms and perhaps patterns held."""
    model, batch, (measure,) = graph.passes.model, graph.passes.batch, graph.passes.measures
    before = Frozen(model, attention=attention)

    def asked(edits: list[Intervention], frozen: Frozen) -> float:
        with intervening(model, edits), frozen, torch.no_grad():
            return float(measure(answer_of(model, batch, model.forward(batch))[0]))

    clean = asked([], before)
    return asked([out], Frozen(model, before.constants, attention=attention)) - clean


def foreseen(changed: list[dict[str, float]]) -> dict[str, float]:
    """Measure how well the graph predicted the effects: correlations, slopes, signs."""
    of = {name: np.array([one[name] for one in changed]) for name in changed[0]}
    said, did = of["foreseen"], of["effect"]
    clear, top, last = np.abs(did) > of["random, largest"], of["influential"] > 0, of["last"] > 0
    signs = np.sign(said) != np.sign(did)
    by_graph, by_strength = ordered(said, did), ordered(of["strength"], did)
    return {
        "correlation": corr(said, did),
        "slope": slope(said, did),
        "sign errors": float(signs.mean()),
        "correlation, random directions": corr(said, of["random"]),
        "slope, random directions": slope(said, of["random"]),
        "sign errors, random directions": float((np.sign(said) != np.sign(of["random"])).mean()),
        "order": by_graph,
        "order by strength": by_strength,
        "ahead of strength": by_graph - by_strength,
        "above random": float(clear.mean()),
        "correlation, direct edges": corr(of["direct"], did),
        "correlation, most influence": corr(said[top], did[top]),
        "slope, most influence": slope(said[top], did[top]),
        "correlation, random atoms": corr(said[~top], did[~top]),
        "correlation, last block": corr(said[last], did[last]),
        "slope, last block": slope(said[last], did[last]),
        "correlation, earlier blocks": corr(said[~last], did[~last]),
        "slope, earlier blocks": slope(said[~last], did[~last]),
        "correlation, norms held": corr(said, of["norms held"]),
        "slope, norms held": slope(said, of["norms held"]),
        "correlation, both held": corr(said, of["both held"]),
        "slope, both held": slope(said, of["both held"]),
        "correlation, both held, last block": corr(said[last], of["both held"][last]),
        "slope, both held, last block": slope(said[last], of["both held"][last]),
        "correlation, both held, earlier blocks": corr(said[~last], of["both held"][~last]),
        "slope, both held, earlier blocks": slope(said[~last], of["both held"][~last]),
        "correlation, weakened": corr(said, of["weaker"]),
        "slope, weakened": slope(said, of["weaker"]),
        "correlation, weakened, earlier blocks": corr(said[~last], of["weaker"][~last]),
    }


def corr(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation; 0 for fewer than three values, or where one is constant."""
    tells = len(a) > 2 and np.ptp(a) > 0 and np.ptp(b) > 0
    return float(pearsonr(a, b).statistic) if tells else 0.0


def ordered(a: np.ndarray, b: np.ndarray) -> float:
    """Return the rank correlation of absolute values."""
    return corr(rankdata(np.abs(a)), rankdata(np.abs(b)))


def slope(said: np.ndarray, did: np.ndarray) -> float:
    """Fit the measured effects to the predicted ones by least squares, through the origin; return the slope."""
    return float(said @ did / (said @ said).clip(1e-12))
