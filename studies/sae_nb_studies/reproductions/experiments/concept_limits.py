"""The limits of the start by levels: noise, three levels, and parents that are rarely alone.

Trees like that of `concept_starts`, at ρ = 0.8: with two levels, where the share of a parent's rows
without a child is varied, and with three levels (38 concepts) and noise. Only the start is measured:
`concept_starts` shows that training preserves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import sae_nb as sn

SHORT = {"alone": [0.4], "noises": [], "n": 4096}
CORRELATION, ALONE = 0.8, 0.4
PARENTS, CHILDREN, GRANDCHILDREN, LEAVES = 3, 3, 2, 8
STRENGTH, SPREAD = 1.5, 0.25
TOLERANCE, NOISE_TOLERANCE = 0.05, 1.3


def run(
    seed: int,
    *,
    alone: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4),
    noises: Sequence[float] = (0.05, 0.1),
    n: int = 8192,
) -> dict[str, float]:
    """Start by levels on every tree and match the atoms with the concepts.

    `alone`: shares of a parent's rows in which no child is on, two levels, no noise; `noises`: σ per
    coordinate, three levels; `n`: vectors.
    """
    numbers: dict[str, float] = {}
    for share in alone:
        found = _started(_tree(n, seed, alone=share), 2, TOLERANCE, seed)
        numbers |= {f"{what}, alone in {share}": value for what, value in found.items()}
    for noise in noises:
        tree = _tree(n, seed, grandchildren=GRANDCHILDREN)
        tree.x.add_(noise * torch.randn(tree.x.shape, generator=_generator(seed)))
        tolerance = NOISE_TOLERANCE * noise * tree.x.shape[1] ** 0.5
        found = _started(tree, 3, tolerance, seed)
        numbers |= {f"{what}, three levels, noise {noise}": v for what, v in found.items()}
    return numbers


@dataclass(frozen=True)
class _Tree:
    x: Tensor
    atoms: Tensor


def _tree(n: int, seed: int, *, alone: float = ALONE, grandchildren: int = 0) -> _Tree:
    """Draw vectors of one leaf, or of a parent and, unless it is alone, a child and, likewise, a grandchild."""
    branch = 1 + grandchildren
    family = 1 + CHILDREN * branch
    parents = family * torch.arange(PARENTS)
    leaves = PARENTS * family + torch.arange(LEAVES)
    children = [parents[i] + 1 + branch * torch.arange(CHILDREN) for i in range(PARENTS)]
    grand = [child + 1 + torch.arange(grandchildren) for part in children for child in part]
    atoms = _atoms([torch.cat([parents, leaves]), *children, *grand], seed)
    generator = _generator(seed)

    def draw(count: int) -> Tensor:
        return torch.randint(count, (n,), generator=generator)

    def chance(p: float) -> Tensor:
        return torch.rand(n, generator=generator) < p

    is_leaf = chance(0.4)
    parent = parents[draw(PARENTS)]
    child = parent + 1 + branch * draw(CHILDREN)
    with_child = ~is_leaf & ~chance(alone)
    chosen = [
        (torch.where(is_leaf, leaves[draw(LEAVES)], parent), torch.ones(n)),
        (child, with_child),
    ]
    if grandchildren:
        chosen.append((child + 1 + draw(grandchildren), with_child & ~chance(ALONE)))
    x = torch.zeros(n, len(atoms))
    for index, on in chosen:
        strength = STRENGTH + SPREAD * torch.randn(n, generator=generator)
        x += (strength * on)[:, None] * atoms[index]
    return _Tree(x, atoms)


def _atoms(groups: Sequence[Tensor], seed: int) -> Tensor:
    """Build unit atoms with cosine ρ inside a group and 0 between groups, randomly rotated."""
    n = sum(len(group) for group in groups)
    gram = torch.eye(n, dtype=torch.float64)
    for group in groups:
        gram[group[:, None], group] = CORRELATION
    gram.fill_diagonal_(1.0)
    root = torch.linalg.cholesky(gram)
    turn = torch.linalg.qr(torch.randn(n, n, generator=_generator(seed), dtype=torch.float64)).Q
    return (root @ turn).float()


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _started(tree: _Tree, levels: int, tolerance: float, seed: int) -> dict[str, float]:
    n, d_in = tree.atoms.shape
    sae = sn.MatchingPursuit(d_in, n, levels, tolerance=tolerance, bias=False)
    sae.initialise(tree.x, _generator(seed), method="levels", levels=levels)
    cosines = sn.evaluation.match_atoms(tree.atoms, sae.dictionary)[2]
    return {"least cosine": float(cosines.min()), "mean cosine": float(cosines.mean())}
