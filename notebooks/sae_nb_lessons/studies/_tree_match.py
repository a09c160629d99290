"""The part of a tree of concepts that an SAE learned: its atoms in true order, and which atom holds each parent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures import SparseAutoencoder
from sae_nb.evaluation import explained_variance, match_atoms
from sae_nb_studies.data import ConceptTree


@dataclass(frozen=True)
class TreeMatch:
    """Atoms matched with the concepts of a tree, and the numbers of a lesson."""

    atoms: Float[Tensor, "concepts d_in"]
    """The matched atom of each concept, at length 1."""

    numbers: dict[str, float]
    """By name: the least matched cosine, PC, PP, R² and L0."""


@torch.no_grad()
def match_tree(tree: ConceptTree, sae: SparseAutoencoder, unseen: Tensor) -> TreeMatch:
    """Match an SAE's atoms with a tree's concepts, and measure it on rows that it was not trained on.

    PC is the mean cosine of a child's atom with its parent's, PP that of two atoms of the top level. The
    numbers are those of "From Flat to Hierarchical", arXiv 2506.03093, section 5.
    """
    _, matched, cosines = match_atoms(tree.dictionary, sae.dictionary)
    atoms = torch.nn.functional.normalize(sae.dictionary[torch.as_tensor(matched)], dim=1)
    alike, children = atoms @ atoms.T, (tree.parent >= 0).nonzero().flatten()
    top = alike[tree.parent < 0][:, tree.parent < 0]
    codes = sae.encode(unseen)
    numbers = {
        "least cosine": float(cosines.min()),
        "PC": float(alike[children, tree.parent[children]].mean()),
        "PP": float((top.sum() - top.trace()) / (len(top) * (len(top) - 1))),
        "R²": explained_variance(unseen, sae.decode(codes)),
        "L0": float((codes.values != 0).sum()) / len(unseen),
    }
    return TreeMatch(atoms, numbers)
