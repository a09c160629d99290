"""Attribution graphs of tiny-gpt: do they say what the model does when it is asked?

A transcoder of each MLP, trained here; stories cut in their middle, the likeliest next token as target. Atoms of
pruned graphs alone, or gone, beside random atoms and those that fire strongest, the same number of each MLP, or of
each MLP and position; single atoms taken out of the running model, or weakened by a tenth, against what the graph
foresees, against random directions of the same size, and against how strongly the atom fires. Where the two
differ: the same with norms held, and with norms and attention held, as the graph has them.
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
from torch.nn.functional import scaled_dot_product_attention

import sae_nb as sn
from sae_nb.studies.circuits import AttributionGraph, Faithfulness, attribution_graph
from sae_nb_lessons.reproductions._answer import answer_of
from sae_nb.models import Frozen, Intervention, intervening

SHORT = {"steps": 12, "n_texts": 2, "n_stories": 30, "n_cuts": 2}
N_ATOMS, K, BATCH = 512, 16, 1024
MOST = 24
"""Tokens of a story that the model reads."""

NODES, EDGES = 0.8, 0.98
SHARES = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Of the atoms that fire, kept in the order of a ranking."""

CURVE = (0.1, 0.2, 0.4, 0.8, 1.0)
"""Of the steps; the learning rate falls after 0.8."""

GONE, WEAKER = 0.0, 0.9


def run(
    seed: int, *, steps: int = 1000, n_texts: int = 10, n_stories: int = 600, n_cuts: int = 6
) -> dict[str, float]:
    """Train the transcoders, and ask the graphs of `n_texts` stories that they have not seen.

    `steps` of 1024 rows; of each graph, `n_cuts` atoms of most influence and as many random ones are changed.
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
    """One of each MLP, and what they miss of their rows along the training, mean over MLPs."""
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
    """1 − R² of the batches up to each share of the steps, mean over a twentieth of them."""
    at = np.array([record.step for record in history]) / steps
    missed = 1 - np.array([record.r2 for record in history])
    return [float(missed[(at <= end) & (at > end - max(0.05, 5 / steps))].mean()) for end in CURVE]


def kept(model: Any, transcoders: list[Any], texts: Sequence[str]) -> dict[str, float]:
    """Share of cross-entropy that each transcoder keeps alone, and R²: the mean, and the least."""
    scores = []
    for layer, t in enumerate(transcoders):
        acts = sn.capture(model, texts, [f"mlp_in.{layer}", f"mlp_out.{layer}"], progress=False)
        pair = (acts[f"mlp_in.{layer}"], acts[f"mlp_out.{layer}"])
        report = sn.evaluate(t, pair, model=model, inputs=texts, n_bootstrap=0)
        scores.append((report["r2"].value, report["ce_recovered_mean"].value))
    (r2, ce), least = np.mean(scores, axis=0), np.min(scores, axis=0)
    return {"R²": float(r2), "cross-entropy kept": float(ce), "least kept": float(least[1])}


def graph_of(model: Any, transcoders: list[Any], text: str) -> AttributionGraph:
    """The graph of the first tokens of a story, for the likeliest next one."""
    ids = model.tokenizer(text)["input_ids"][:MOST]
    start = str(model.tokenizer.decode(ids, skip_special_tokens=True))
    return attribution_graph(model, transcoders, start, target=int(model([start])[0, -1].argmax()))


# -------------------------------------------------------------------------------------------------
# Are the atoms of a pruned graph enough, and are they needed?


def enough(graphs: list[AttributionGraph], seed: int) -> dict[str, float]:
    """What the atoms of pruned graphs bring back, alone and gone; and the strongest of a ranking."""
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
    """Shares of several answers, each as heavy as what atoms do there: those of next to nothing say nothing."""
    shares, spans = np.array(pairs).T
    return float((shares * np.abs(spans)).sum() / np.abs(spans).sum())


def atom_rows(graph: AttributionGraph) -> np.ndarray:
    """Which nodes are atoms."""
    return np.flatnonzero((graph.nodes.kind == "atom").to_numpy())


def chosen(graph: AttributionGraph, small: AttributionGraph) -> np.ndarray:
    """Which atoms of a graph a smaller one has."""
    atoms = graph.nodes.iloc[atom_rows(graph)]
    return atoms["name"].isin(small.nodes["name"]).to_numpy()


def only(graph: AttributionGraph, atoms: np.ndarray) -> AttributionGraph:
    """The graph with these atoms, and all that is none."""
    others = np.flatnonzero((graph.nodes.kind != "atom").to_numpy())
    rows = np.sort(np.concatenate([others, atoms]))
    nodes = graph.nodes.iloc[rows].reset_index(drop=True)
    return replace(graph, nodes=nodes, matrix=graph.matrix[rows][:, rows])


def others(
    graph: AttributionGraph, circuit: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """As many atoms of each MLP that fire strongest; of each MLP and position, these and random ones."""
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
    """Atoms by influence, by how strongly they fire, and by nothing."""
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
    """Atoms of most influence and random ones, taken out and weakened."""
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
                "norms held": effect(graph, out, NormsHeld),
                "both held": effect(graph, out, Frozen),
                "weaker": weaker.effect / (1 - WEAKER),
                "strength": float(row.value),
                "influential": float(i < n_cuts),
                "last": float(row.place == last),
            }
        )
    return found


class NormsHeld(Frozen):
    """Norms' scales as they were; attention as it comes."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)


def minus(position: int, by: Tensor, y: Tensor, _: Any) -> Tensor:
    """What a place writes, less something at one position."""
    y = y.clone()
    y[0, position] -= by.to(y)
    return y


def effect(graph: Any, out: Intervention, held: type[Frozen]) -> float:
    """What an intervention does to the target where some things stay as they were; the MLPs are the model's."""
    model, batch, (measure,) = graph.passes.model, graph.passes.batch, graph.passes.measures
    before = held()

    def asked(edits: list[Intervention], frozen: Frozen) -> float:
        with intervening(model, edits), frozen, torch.no_grad():
            return float(measure(answer_of(model, batch, model.forward(batch))[0]))

    clean = asked([], before)
    return asked([out], held(before.constants)) - clean


def foreseen(changed: list[dict[str, float]]) -> dict[str, float]:
    """How well the graph foresaw: correlations, slopes, signs."""
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
    """Pearson; 0 of fewer than three, or where one does not change."""
    tells = len(a) > 2 and np.ptp(a) > 0 and np.ptp(b) > 0
    return float(pearsonr(a, b).statistic) if tells else 0.0


def ordered(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation of sizes."""
    return corr(rankdata(np.abs(a)), rankdata(np.abs(b)))


def slope(said: np.ndarray, did: np.ndarray) -> float:
    """Least squares through nothing: what happens, of what is said."""
    return float(said @ did / (said @ said).clip(1e-12))
