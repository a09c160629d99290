"""Do the firings of atoms show what is broader than what? On a planted tree, and on the factors of scenes.

The tree of `concept_tree`: three parents with three children each, eight leaves, ρ = 0.1. An atom stands for the concept
with the nearest direction. Matching pursuit, BatchTopK and ReLU are trained at the L0 of the truth. tiny-vit, block 6:
images of scenes in which atoms fire, with digit, colour, texture, place and disc as known concepts.
"""

from __future__ import annotations

import numpy as np
import torch

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb_studies.data import concept_tree
from sae_nb_studies.geometry import Ontology, ontology
from sae_nb_studies.reproductions.experiments.absorbed_parents import BATCH, MAKERS

SHORT = {"steps": 200, "n": 5000, "images": 150}
TEST = 5000


def run(seed: int, *, steps: int = 1200, n: int = 20_000, images: int = 600) -> dict[str, float]:
    """Train three SAEs on a tree and compare the relations of their atoms; then those of tiny-vit's."""
    tree = concept_tree(n + TEST, seed=seed)
    true = {(int(p), i) for i, p in enumerate(tree.parent.tolist()) if p >= 0}
    codes = tree.codes.rows(slice(n, None))
    numbers = _scored("true codes", ontology(codes, seed=seed), np.arange(codes.n_atoms), true)
    for name, make in MAKERS.items():
        sae = make(torch.Generator().manual_seed(1000 + seed))
        config = sn.TrainConfig(steps=steps, batch_size=BATCH, seed=seed)
        sn.train(sae, tree.x[:n], config, progress=False)
        unit = torch.nn.functional.normalize(sae.eval().dictionary.detach(), dim=1)
        nearest = (unit @ tree.dictionary.T).argmax(dim=1).numpy()
        found = ontology(sae.encode(tree.x[n:]).detach(), seed=seed)
        numbers |= _scored(name, found, nearest, true)
    return numbers | _scenes(seed, images)


def _scored(
    name: str, found: Ontology, concept: np.ndarray, true: set[tuple[int, int]]
) -> dict[str, float]:
    pairs = [
        (int(concept[int(p)]), int(concept[int(a)]))
        for a, p in zip(found.names, found.parent, strict=True)
        if p
    ]
    right = set(pairs) & true
    other = np.random.default_rng(0).permutation(len(concept)).tolist()
    mixed = {(other[p], other[a]) for p, a in pairs}
    return {
        f"{name}: recall": len(right) / len(true),
        f"{name}: recall, concepts shuffled": len(mixed & true) / len(true),
        f"{name}: wrong": float(sum(pair not in true for pair in pairs)),
        f"{name}: rows shuffled": float(found.n_shuffled),
    }


def _scenes(seed: int, images: int) -> dict[str, float]:
    """Shares of tiny-vit's atoms below a known factor value, on images and where their labels are shuffled."""
    model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    scenes = sn.data.scenes(images, seed=seed)
    acts = sn.capture(model, scenes, "resid_post.6", progress=False)
    z = sae.encode(acts.x).detach().to_scipy()
    sample = np.asarray(acts.sample)
    rows = np.stack([z[sample == i].max(axis=0).toarray()[0] for i in range(images)])
    strong = np.array([np.quantile(r[r > 0], 0.5) if (r > 0).any() else np.inf for r in rows.T])
    codes = SparseCodes.from_dense(torch.from_numpy(rows * (rows >= strong)))
    labels = {
        f"{factor} {value}": (getattr(scenes, factor) == value).numpy()
        for factor in ("digit", "colour", "texture", "position", "distractor")
        for value in getattr(scenes, factor).unique().tolist()
    }
    order = np.random.default_rng(seed).permutation(images)
    found = ontology(codes, labels, seed=seed)
    mixed = ontology(codes, {name: true[order] for name, true in labels.items()}, seed=seed)
    half = np.arange(images) < images // 2
    kept = _again(
        ontology(codes.rows(half.nonzero()[0].tolist()), seed=seed), rows[~half] >= strong
    )
    return {
        "scenes: atoms below a factor": _below(found, labels),
        "scenes: atoms below a factor, labels shuffled": _below(mixed, labels),
        "scenes: relations": float(found.n_relations),
        "scenes: relations, rows shuffled": float(found.n_shuffled),
        **kept,
    }


def _below(found: Ontology, labels: dict[str, np.ndarray]) -> float:
    """Share of atoms that stand below a known concept, at any distance."""
    up = dict(zip(found.names, found.parent, strict=True))
    atoms, below = [name for name in found.names if name not in labels], 0
    for name in atoms:
        while name and name not in labels:
            name = up[name]
        below += bool(name)
    return below / max(len(atoms), 1)


def _again(found: Ontology, fires: np.ndarray) -> dict[str, float]:
    """How far the firings of narrower atoms lie in broader ones on other images, beside other broader ones."""
    pairs = [(int(p), int(a)) for a, p in zip(found.names, found.parent, strict=True) if p]
    turned = np.roll([p for p, _ in pairs], 1).tolist()
    shares = {
        name: [fires[fires[:, a], p].mean() for p, (_, a) in zip(broad, pairs, strict=True) if fires[:, a].any()]
        for name, broad in (("", [p for p, _ in pairs]), (", other broader atom", turned))
    }  # fmt: skip
    return {
        f"scenes: inside on other images{name}": float(np.mean(each)) if each else 0.0
        for name, each in shares.items()
    }
