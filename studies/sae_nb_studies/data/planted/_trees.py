"""Concepts in a tree: atoms correlate within a level and are orthogonal between levels.

D = G^½ Q with a random rotation Q, so that the cosines of the atoms are G exactly: 1 on the diagonal,
ρ among the 11 at the top and among the three children of one parent, 0 elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Between, Count, Seed, check_memory, checked
from sae_nb.data import Record

if TYPE_CHECKING:
    from sae_nb.codes import SparseCodes


N_PARENTS, N_CHILDREN, N_LEAVES = 3, 3, 8
N_CONCEPTS = N_PARENTS * (1 + N_CHILDREN) + N_LEAVES
PARENT_CHANCE, CHILD_CHANCE, LEAF_CHANCE = 0.2, 0.2, 0.05
STRENGTH, SPREAD = 1.5, 0.25


@dataclass(frozen=True, repr=False)
class ConceptTree(Record):
    """Vectors made of one concept or of a parent and its child, with the concepts they were made of.

    Parameters
    ----------
    dictionary
        The 20 atoms to be found, unit norm: parents 0, 4 and 8, each followed by its three children,
        then 8 leaves without children. `parent` is −1 at the top level.
    codes
        The true codes; ``codes.to_dense() @ dictionary`` is `x`. On average 1.36 concepts a vector.
    correlation
        Cosine of two atoms of one level.

    Example
    -------
    >>> tree = concept_tree(500)
    >>> tree.parent.tolist()[:6], int((tree.parent < 0).sum())
    ([-1, 0, 0, 0, -1, 4], 11)
    """

    x: Float[Tensor, "n d_in"]
    dictionary: Float[Tensor, "n_atoms d_in"]
    codes: SparseCodes
    parent: Int[Tensor, " n_atoms"]
    correlation: float

    shared = ("dictionary", "parent", "correlation")


@checked
def concept_tree(
    n: Count,
    correlation: Annotated[
        float, Between(0, 1, "[)", do="At 1 the atoms of a level are one.")
    ] = 0.1,
    seed: Seed = 0,
) -> ConceptTree:
    """Draw vectors of width 20 from a small world with a hierarchy, which encoders may or may not see.

    Each vector has exactly one concept of the top level: one of 3 parents (chance 0.2 each) or of 8
    leaves (0.05 each). A parent comes with one of its three children (0.2 each) or alone (0.4). Every
    strength is drawn from N(1.5, 0.25²).

    Parameters
    ----------
    correlation
        Cosine ρ of any two atoms of one level, in [0, 1). Atoms of different levels, and children
        of different parents, are orthogonal.
    seed
        ≥ 0. The same seed gives the same atoms whatever `n` is.

    Source
    ------
    "From Flat to Hierarchical", arXiv 2506.03093: mpsae/MP-SAE toy_model.py and tree.json, which mixes
    the vectors of a level by hand-tuned amounts; ours takes the root of the Gram matrix, which has the
    same form and meets any correlation exactly.

    Example
    -------
    >>> tree = concept_tree(1000, correlation=0.3)
    >>> cosine = tree.dictionary @ tree.dictionary.T
    >>> [round(float(cosine[0, j]), 4) + 0 for j in (0, 4, 1)]  # itself, a parent, its child
    [1.0, 0.3, 0.0]
    """
    check_memory(8 * n * N_CONCEPTS, f"`concept_tree(n={n})`", "Ask for fewer vectors.")
    generator = torch.Generator().manual_seed(seed)
    parent = torch.full((N_CONCEPTS,), -1)
    for first in range(0, N_PARENTS * (1 + N_CHILDREN), 1 + N_CHILDREN):
        parent[first + 1 : first + 1 + N_CHILDREN] = first
    dictionary = _atoms(parent, correlation, generator)
    codes = _codes(n, generator)
    x = codes.to_dense() @ dictionary
    return ConceptTree(x, dictionary, codes, parent, correlation)


def _atoms(parent: Tensor, correlation: float, generator: torch.Generator) -> Tensor:
    # In float64, so that the promised cosines hold to rounding.
    level = (parent[:, None] == parent[None, :]).double()
    gram = correlation * level + (1 - correlation) * torch.eye(N_CONCEPTS, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(gram)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    draw = torch.randn(N_CONCEPTS, N_CONCEPTS, generator=generator, dtype=torch.float64)
    rotation, triangle = torch.linalg.qr(draw)
    # With the signs of the triangle the rotation is uniform (Haar), and the same on every machine.
    return (root @ (rotation * triangle.diagonal().sign())).float()


def _codes(n: int, generator: torch.Generator) -> SparseCodes:
    from sae_nb.codes import SparseCodes

    tops = [(1 + N_CHILDREN) * i for i in range(N_PARENTS)]
    tops += list(range(N_CONCEPTS - N_LEAVES, N_CONCEPTS))
    chances = torch.tensor([PARENT_CHANCE] * N_PARENTS + [LEAF_CHANCE] * N_LEAVES)
    top = torch.tensor(tops)[torch.multinomial(chances, n, replacement=True, generator=generator)]
    child = (torch.rand(n, generator=generator) / CHILD_CHANCE).long()
    has_child = (top < N_CONCEPTS - N_LEAVES) & (child < N_CHILDREN)
    strengths = STRENGTH + SPREAD * torch.randn(n, 2, generator=generator)
    atoms = torch.stack([top, top + 1 + child], dim=1)
    used = torch.stack([torch.ones(n, dtype=torch.bool), has_child], dim=1)
    offsets = torch.nn.functional.pad(used.sum(dim=1).cumsum(0), (1, 0))
    return SparseCodes(strengths[used], atoms[used], offsets, N_CONCEPTS, (n,))
