"""Promises of the concept tree: cosines within and between levels, chances, and the equation itself."""

from __future__ import annotations

import pytest
import torch

from sae_nb_studies.data import concept_tree


@pytest.mark.parametrize("correlation", [0.0, 0.1, 0.5, 0.8, 0.99])
def test_cosines_are_the_correlation_within_a_level_and_zero_between(correlation):
    """Exactly: among the top level, among the children of one parent, and nowhere else."""
    tree = concept_tree(10, correlation, seed=3)
    atoms = tree.dictionary.double()
    level = tree.parent[:, None] == tree.parent[None, :]
    truth = torch.where(level, correlation, 0.0).fill_diagonal_(1.0).double()
    assert torch.allclose(atoms @ atoms.T, truth, atol=1e-6)


def test_the_tree_has_three_families_and_eight_leaves():
    parent = concept_tree(1).parent
    assert parent.tolist() == [-1, 0, 0, 0, -1, 4, 4, 4, -1, 8, 8, 8, *[-1] * 8]


def test_one_concept_of_the_top_level_and_a_child_only_with_its_parent():
    tree = concept_tree(5_000, seed=2)
    on = tree.codes.to_dense() != 0
    top = tree.parent < 0
    assert bool((on[:, top].sum(dim=1) == 1).all())
    for child in (~top).nonzero().flatten().tolist():
        assert bool((on[:, tree.parent[child]] | ~on[:, child]).all())
    assert bool((on[:, ~top].sum(dim=1) <= 1).all())


def test_chances_and_strengths_are_as_published():
    """0.2 for a parent, 0.2 for each child given its parent, 0.05 for a leaf; N(1.5, 0.25²)."""
    tree = concept_tree(40_000, seed=4)
    share = tree.codes.frequency
    chance = torch.full((20,), 0.04)
    chance[[0, 4, 8]], chance[12:] = 0.2, 0.05
    spread = (chance * (1 - chance) / 40_000).sqrt()
    assert float(((share - chance).abs() / spread).max()) < 4
    assert float(tree.codes.l0.float().mean()) == pytest.approx(1.36, abs=0.02)
    assert float(tree.codes.values.mean()) == pytest.approx(1.5, abs=0.01)
    assert float(tree.codes.values.std()) == pytest.approx(0.25, abs=0.01)
