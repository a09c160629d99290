"""E1 and E7, on a tree of concepts: which SAEs separate parents from children, and preserve their similarity?

Twenty atoms in twenty dimensions (`sn.data.concept_tree`): atoms of one level have cosine ρ, parents and
children are orthogonal, 1.36 concepts are active at a time. A learned dictionary of 20 atoms is matched
with the true one. PC is the mean cosine of a matched parent and its children (truth 0), PP the mean
cosine of two matched atoms of the top level (truth ρ).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import BatchTopK, Matryoshka, ReLU, SparseAutoencoder
from sae_nb_studies.data import ConceptTree
from sae_nb_studies.data.planted._trees import N_CONCEPTS

SHORT = {"correlations": [0.1], "limit": None, "steps": 1000, "n": 20_000}
TRUE_L0, FIRST_L0 = 1.36, 3.0
BATCH, TEST = 200, 5000
TOLERANCE, MOST = 0.05, 4


def run(
    seed: int,
    *,
    correlations: Sequence[float] = (0.1, 0.5),
    limit: float | None = 0.8,
    steps: int = 3000,
    n: int = 100_000,
) -> dict[str, float]:
    """Train every model on the tree at every correlation.

    `correlations`: values of ρ for all models; `limit`: ρ at which only matching pursuit is shown, where
    it fails; None leaves that out; `steps` of 200 rows; `n`: vectors to train on.
    """
    numbers: dict[str, float] = {}
    all_rho = (*correlations, *([] if limit is None else [limit]))
    trees = {rho: sn.studies.data.concept_tree(n + TEST, rho, seed) for rho in all_rho}
    for rho, tree in trees.items():
        for name, make in (MAKERS if rho in correlations else {"mp": MAKERS["mp"]}).items():
            sae = _trained(make(seed), tree.x[:n], steps, seed)
            found = _measured(sae, tree)
            numbers |= {f"{name} {what} at {rho}": value for what, value in found.items()}
    first = trees[correlations[0]]
    constant = _trained(_mp(seed, gradient="dictionary"), first.x[:n], steps, seed)
    numbers |= {f"constant codes {what}": v for what, v in _measured(constant, first).items()}
    random = MAKERS["mp"](seed)
    numbers |= {f"random {what}": value for what, value in _measured(random, first).items()}
    flat = _without_hierarchy(first, seed)
    sae = _trained(MAKERS["batch_topk"](seed), flat[:n], steps, seed)
    numbers["batch_topk PC, no hierarchy"] = _measured(sae, first)["PC"]
    return numbers


def look(
    seed: int = 0, *, correlation: float = 0.1, steps: int = 1000, n: int = 20_000
) -> tuple[ConceptTree, dict[str, Learned]]:
    """Train every kind once, for fewer steps, and keep its atoms in the order of the truth.

    `correlation`: ρ of the tree; `steps` of 200 rows; `n`: vectors to train on; returns the tree, and
    what each kind learned, by the names of `MAKERS`.
    """
    tree = sn.studies.data.concept_tree(n + TEST, correlation, seed)
    found = {}
    for name, make in MAKERS.items():
        sae = _trained(make(seed), tree.x[:n], steps, seed)
        matched = sn.evaluation.match_atoms(tree.dictionary, sae.dictionary)[1]
        atoms = sae.dictionary.detach()[torch.as_tensor(matched)]
        found[name] = Learned(atoms, _measured(sae, tree))
    return tree, found


@dataclass(frozen=True)
class Learned:
    """The dictionary that one SAE learned from the tree, and its numbers."""

    atoms: Float[Tensor, "n_atoms d_in"]
    """Its atoms, each in the row of the concept that it was matched with."""

    numbers: dict[str, float]
    """As measured in `run`."""


def _mp(seed: int, gradient: Literal["full", "dictionary"] = "full") -> SparseAutoencoder:
    return sn.MatchingPursuit(
        N_CONCEPTS,
        N_CONCEPTS,
        MOST,
        tolerance=TOLERANCE,
        gradient=gradient,
        generator=torch.Generator().manual_seed(seed),
    )


def _one_step(
    kind: Callable[..., SparseAutoencoder], **options: float
) -> Callable[[int], SparseAutoencoder]:
    def make(seed: int) -> SparseAutoencoder:
        generator = torch.Generator().manual_seed(seed)
        return kind(N_CONCEPTS, N_CONCEPTS, **options, generator=generator)

    return make


MAKERS: dict[str, Callable[[int], SparseAutoencoder]] = {
    "mp": _mp,
    "relu": _one_step(ReLU, l0=TRUE_L0),
    "batch_topk": _one_step(BatchTopK, k=FIRST_L0),
    "matryoshka": _one_step(Matryoshka, k=FIRST_L0, random_prefixes=5),
}


def _trained(sae: SparseAutoencoder, x: Tensor, steps: int, seed: int) -> SparseAutoencoder:
    """Train as published: SAEs with an average k start with 3 and get the true k after a third of the steps."""

    def lower(record: sn.training.TrainRecord) -> None:
        if isinstance(sae, BatchTopK) and record.step >= steps // 3:
            sae.k = TRUE_L0

    config = sn.TrainConfig(steps=steps, batch_size=BATCH, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # random prefixes are drawn from the global generator
        sn.train(sae, x, config, callbacks=[lower], progress=False)
    return sae


@torch.no_grad()
def _measured(sae: SparseAutoencoder, tree: ConceptTree) -> dict[str, float]:
    test = tree.x[-TEST:]
    codes = sae.eval().encode(test)
    _, matched, cosines = sn.evaluation.match_atoms(tree.dictionary, sae.dictionary)
    atoms = sae.dictionary[torch.as_tensor(matched)]
    likeness = atoms @ atoms.T
    top, child = tree.parent < 0, (tree.parent >= 0).nonzero().flatten()
    among = likeness[top][:, top]
    return {
        "R²": sn.evaluation.explained_variance(test, sae.decode(codes)),
        "L0": float((codes.values != 0).sum()) / len(test),
        "least cosine": float(cosines.min()),
        "parents": float(cosines[top.numpy()].mean()),
        "children": float(cosines[~top.numpy()].mean()),
        "PC": float(likeness[child, tree.parent[child]].mean()),
        "|PC|": abs(float(likeness[child, tree.parent[child]].mean())),
        "PP": float((among.sum() - among.trace()) / (len(among) * (len(among) - 1))),
    }


def _without_hierarchy(tree: ConceptTree, seed: int) -> Tensor:
    """Return rows with the same frequency of concepts, but children from other rows.

    So no concept implies another.
    """
    z = tree.codes.to_dense()
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))
    child = tree.parent >= 0
    z[:, child] = z[order][:, child]
    return z @ tree.dictionary
