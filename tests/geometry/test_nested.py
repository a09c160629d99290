"""Concepts that come only on top of others are found, and nothing else is taken for them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sae_nb.codes import SparseCodes
from sae_nb.data import planted_dictionary
from sae_nb.geometry import nested_directions, nested_fraction
from sae_nb_studies.data import concept_tree


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("correlation", [0.1, 0.3])
def test_tree_is_found_down_to_its_children(correlation: float, seed: int) -> None:
    """All 20 atoms of the tree, the nine that never come alone included."""
    tree = concept_tree(3000, correlation, seed=seed)
    found = nested_directions(tree.x, 64, drawn())
    assert len(found) == 20
    assert (tree.dictionary @ found.T).max(dim=1).values.min() > 0.97


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_single_atoms_are_found(seed: int) -> None:
    """Rows of one atom each give these atoms and no more; those less than 60° apart a bit askew."""
    data = planted_dictionary(40, 32, n=2000, k=1, noise=0.02, seed=seed)
    found = nested_directions(data.x, 64, drawn())
    recovered = (data.dictionary @ found.T).max(dim=1).values
    cosines = data.dictionary @ data.dictionary.T - torch.eye(40)
    apart = cosines.max(dim=1).values < 0.5
    assert len(found) == 40
    assert int(apart.sum()) >= 36
    assert recovered[apart].min() > 0.97
    assert recovered.min() > 0.8


def test_what_only_leans_is_found_below_what_it_leans_on() -> None:
    """At a cosine of 0.8 rows lie outside the cone of the fuller one, whose direction is taken out of them."""
    x = torch.tensor([[3.0, 0.0]] * 40 + [[0.8, 0.6]] * 25)
    torch.testing.assert_close(nested_directions(x, 8, drawn()), torch.eye(2))


def test_rows_without_cones_give_nothing() -> None:
    assert nested_directions(torch.randn(1000, 32, generator=drawn()), 8).shape == (0, 32)
    axes = torch.eye(6).repeat_interleave(50, dim=0)
    assert nested_directions(axes, 4, drawn()).shape == (4, 6)


def coded(*columns: torch.Tensor) -> SparseCodes:
    return SparseCodes.from_dense(torch.stack(columns, dim=1))


def test_only_a_one_sided_implication_counts() -> None:
    strength = torch.rand(2, 1000, generator=drawn()) + 0.5
    general = (torch.arange(1000) < 400).float()
    special = (torch.arange(1000) < 100).float()
    other = (torch.rand(1000, generator=drawn(1)) < 0.1).float()
    assert nested_fraction(coded(general * strength[0], special * strength[1])) == 0.5
    assert nested_fraction(coded(general * strength[0], general * strength[1])) == 0
    assert nested_fraction(coded(general * strength[0], other * strength[1])) == 0
    assert nested_fraction(coded(general * strength[0], special * strength[0])) == 0
    assert nested_fraction(coded(general * strength[0], special[:] * 0)) == 0


@pytest.mark.parametrize(
    ("n_general", "n_special", "n_both", "share"),
    [
        (400, 20, 20, 0.5), (400, 19, 19, 0),  # 20 rows at least
        (400, 20, 18, 0.5), (400, 20, 17, 0),  # P(general | special) ≥ 0.9
        (400, 240, 240, 0.5), (400, 241, 241, 0),  # P(special | general) ≤ 0.6
        (499, 20, 20, 0.5), (500, 20, 20, 0),  # what fires in half of all rows says nothing
    ],
)  # fmt: skip
def test_bounds_of_an_implication(
    n_general: int, n_special: int, n_both: int, share: float
) -> None:
    general, special = torch.rand(2, 1000, generator=drawn()) + 0.5
    general[n_general:] = 0
    special[: n_general - n_both] = special[n_general - n_both + n_special :] = 0
    assert nested_fraction(coded(general, special)) == share


def test_overlapping_atoms_are_no_hierarchy() -> None:
    """An atom at cosine 0.6 to another is a ray, whichever two directions its codes use."""
    first = F.one_hot(torch.tensor(0), 2).float()
    second = torch.tensor([0.6, 0.8])
    strength = torch.rand(600, 1, generator=drawn()) + 0.5
    x = torch.cat([strength[:400] * first, strength[400:] * second])
    assert nested_fraction(SparseCodes.from_dense(x)) == 0
