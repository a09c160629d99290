"""A map of many atoms answers as one of few: nearest of one, groups of a sample, what many share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sae_nb.activations import Activations
from sae_nb.atoms import AtomCatalogue
from sae_nb.geometry import nearest_by_cosine
from sae_nb.summaries import ConceptAtlas
from sae_nb.summaries.concept_map import _atlas, _many, _selection


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty points are very many."""
    for module in (_atlas, _many):
        monkeypatch.setattr(module, "MOST_AT_ONCE", 50)


@pytest.mark.usefixtures("few_are_many")
def test_the_nearest_of_one_atom_are_those_of_all() -> None:
    """One pass over the dictionary gives what all cosines give, for lengths that differ too."""
    x = torch.randn(200, 6) * torch.linspace(0.1, 5, 200)[:, None]
    rows, distances = nearest_by_cosine(x, 15)
    atlas = ConceptAtlas(x)
    assert atlas.neighbours("atoms")[0].shape == (200, 0)
    for atom in (0, 17, 199, 17):
        found, away = atlas.nearest("atoms", atom)
        assert np.array_equal(found, rows[atom])
        assert np.allclose(away, distances[atom], atol=1e-6)
    assert atlas.edges("atoms", [3], "nearest").shape == (5, 2)
    assert not atlas.has_dimension("atoms")
    assert "distance" not in atlas.columns("atoms")
    cosines = torch.nn.functional.cosine_similarity(x, x[17], dim=1)
    assert np.allclose(atlas.atom_column("atoms", 17).values, cosines, atol=1e-6)


def test_groups_of_a_sample_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve groups far apart: every point is in the group of its own, none is lost."""
    generator = np.random.default_rng(0)
    own = np.repeat(np.arange(12), 400)
    xy = 10 * generator.permuted(np.arange(24).reshape(12, 2), axis=0)[own]
    xy = (xy + generator.normal(0, 0.5, xy.shape)).astype(np.float32)
    monkeypatch.setattr(_many, "MOST_AT_ONCE", 1000)
    monkeypatch.setattr(_many, "CLUSTERED", 900)
    found = _many.dense_groups(xy, seed=0)
    assert len(found) == len(xy)
    sizes = [np.bincount(found[own == i] + 1).max() for i in range(12)]
    assert min(sizes) > 0.9 * 400
    assert len({int(np.bincount(found[own == i] + 1).argmax()) for i in range(12)}) == 12
    assert np.array_equal(found, _many.dense_groups(xy, seed=0))


def test_labels_are_categories_of_all_atoms() -> None:
    """The commonest comes first, an atom without one has none; no label, no column."""
    column = _many.label_column({5: "cat", 7: "dog", 9: "dog", 11: "", 999: "far"}, 20)
    assert column is not None
    assert column.names == ("dog", "cat")
    assert [column.text(i) for i in (5, 7, 8, 9, 11)] == ["cat", "dog", "", "dog", ""]
    assert _many.label_column({3: ""}, 20) is None


def test_what_many_atoms_share_is_what_each_of_them_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass over all entries gives the counts and strengths of atom after atom."""
    from sae_nb.architectures import TopK

    sae = TopK(8, 60, 4, generator=torch.Generator().manual_seed(0))
    catalogue = AtomCatalogue(sae, Activations.from_tensor(torch.randn(300, 8)))
    atoms = np.arange(0, 60, 2)
    count, strength = _selection.joint_strength(catalogue, atoms)
    monkeypatch.setattr(_selection, "MOST_ONE_BY_ONE", 10)
    again = _selection.joint_strength(catalogue, atoms)
    assert count.sum() > 100
    assert np.array_equal(count, again[0])
    assert np.allclose(strength, again[1], rtol=1e-6)
