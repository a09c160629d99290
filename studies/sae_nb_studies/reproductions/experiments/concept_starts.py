"""Can concepts that are very similar be recovered, and by what: the start, the norms, or a growing k?

The tree of `hierarchy` (`sn.data.concept_tree`), here for matching pursuit only. Three ways to a
dictionary:

- "published": free norms, no bias, up to 20 steps until the residual is small, random atoms. The authors'
  script also stops when a step selects an atom again, which this does not;
- "growing": free norms, a bias, k grows 1 → 2 → 4, random atoms;
- "levels": no bias, `sae.initialise(x, method="levels")`, then a short training at a tenth of the rate.

All see the same vectors. The residual of each dictionary at k is compared with that of the true one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import MatchingPursuit
from sae_nb_studies.data import ConceptTree
from sae_nb_studies.data.planted._trees import N_CONCEPTS

SHORT = {"correlations": [0.8], "random": [0.8], "noises": [], "steps": 300, "fine": 200, "n": 8192}
BATCH, TEST = 200, 5000
TOLERANCE, MOST = 0.05, 4
SLOW = 0.1
"""Share of the usual learning rate used after a start by levels: at the full rate atoms drift."""


def run(
    seed: int,
    *,
    correlations: Sequence[float] = (0.1, 0.5, 0.8, 0.9),
    random: Sequence[float] = (0.5, 0.8),
    noises: Sequence[float] = (0.1,),
    steps: int = 3000,
    fine: int = 1000,
    n: int = 30_000,
) -> dict[str, float]:
    """Train after a start by levels at every correlation, also with noise, and from random atoms at some.

    `correlations`: values of ρ; `random`: those at which training also begins at random atoms; `noises`:
    σ per coordinate, at ρ = 0.8; `steps` of 200 rows from random atoms; `fine`: steps after a start; `n`:
    vectors to train on.
    """
    numbers: dict[str, float] = {}
    for rho in correlations:
        tree = sn.studies.data.concept_tree(n + TEST, rho, seed)
        for name, sae in _ways(seed).items():
            if name != "levels" and rho not in random:
                continue
            _train(
                sae, tree.x[:n], steps, fine, seed, levels=name == "levels", grow=name == "growing"
            )
            numbers |= {f"{name} {what} at {rho}": v for what, v in _measured(sae, tree).items()}
        numbers |= {f"truth {what} at {rho}": v for what, v in _left(tree.dictionary, tree).items()}
    for noise in noises:
        tree = sn.studies.data.concept_tree(n + TEST, 0.8, seed)
        tree.x.add_(noise * torch.randn(tree.x.shape, generator=_generator(seed)))
        sae = _pursuit(seed, bias=False, tolerance=1.3 * noise * N_CONCEPTS**0.5)
        _train(sae, tree.x[:n], steps, fine, seed, levels=True)
        numbers |= {f"levels {what}, noise {noise}": v for what, v in _measured(sae, tree).items()}
    return numbers


def look(
    seed: int = 0, *, correlation: float = 0.8, steps: int = 600
) -> dict[str, dict[str, float]]:
    """Compare the residuals of three dictionaries at each k, as a share of Σ‖x‖².

    The true one, one with sums in place of children, and one learned from random atoms in `steps` of 200
    rows.
    """
    tree = sn.studies.data.concept_tree(8192, correlation, seed)
    sums, child = tree.dictionary.clone(), tree.parent >= 0
    sums[child] += sums[tree.parent[child]]
    sae = _pursuit(seed, bias=False)
    _train(sae, tree.x, steps, 0, seed)
    atoms = {
        "the truth": tree.dictionary,
        "parent + child for every child": torch.nn.functional.normalize(sums, dim=1),
        "learned with k = 4 from random atoms": sae.dictionary,
    }
    return {name: _left(one, tree) for name, one in atoms.items()}


def _ways(seed: int) -> dict[str, MatchingPursuit]:
    return {
        "published": _pursuit(seed, k=N_CONCEPTS, norms="free", bias=False),
        "growing": _pursuit(seed, norms="free"),
        "levels": _pursuit(seed, bias=False),
    }


def _pursuit(seed: int, **options: Any) -> MatchingPursuit:
    settings: dict[str, Any] = {
        "k": MOST,
        "tolerance": TOLERANCE,
        "generator": _generator(seed),
    } | options
    return sn.MatchingPursuit(N_CONCEPTS, N_CONCEPTS, **settings)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _train(
    sae: MatchingPursuit,
    x: Tensor,
    steps: int,
    fine: int,
    seed: int,
    *,
    levels: bool = False,
    grow: bool = False,
) -> None:
    """Train from random atoms, or slowly after a start by levels."""
    settings: dict[str, Any] = {"steps": steps, "grow_k": grow}
    if levels:
        sae.initialise(x, _generator(seed), method="levels")
        settings = {"steps": fine, "learning_rate": SLOW * sae.recipe().learning_rate}
    sn.train(sae, x, batch_size=BATCH, seed=seed, progress=False, **settings)


@torch.no_grad()
def _measured(sae: MatchingPursuit, tree: ConceptTree) -> dict[str, float]:
    test = tree.x[-TEST:]
    codes = sae.encode(test)
    _, matched, cosines = sn.evaluation.match_atoms(tree.dictionary, sae.dictionary)
    atoms = sae.dictionary[torch.as_tensor(matched)]
    likeness = atoms @ atoms.T
    top, child = tree.parent < 0, (tree.parent >= 0).nonzero().flatten()
    among = likeness[top][:, top]
    pp = float((among.sum() - among.trace()) / (len(among) * (len(among) - 1)))
    return {
        "R²": sn.evaluation.explained_variance(test, sae.decode(codes)),
        "L0": float((codes.values != 0).sum()) / len(test),
        "least cosine": float(cosines.min()),
        "mean cosine": float(cosines.mean()),
        "|PC|": abs(float(likeness[child, tree.parent[child]].mean())),
        "PP": pp,
        "|PP − ρ|": abs(pp - tree.correlation),
    } | _left(sae.dictionary, tree)


def _left(atoms: Tensor, tree: ConceptTree) -> dict[str, float]:
    """Return the share of Σ‖x‖² that k steps leave unexplained, without a bias."""
    x, left = tree.x[-TEST:], {}
    for k in (1, 2, 4):
        codes = sn.matching_pursuit(x, atoms, k)
        left[f"left by k {k}"] = float((x - codes @ atoms).square().sum() / x.square().sum())
    return left
