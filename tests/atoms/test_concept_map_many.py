"""A map of many atoms answers as one of few: nearest of one, groups of a sample, what many share."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from sae_nb.atoms import ConceptAtlas
from sae_nb.atoms.concept_map import _atlas, _concept_map, _many
from sae_nb.geometry import cluster_points, nearest_by_cosine


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert "distance" not in atlas.columns("atoms")
    cosines = torch.nn.functional.cosine_similarity(x, x[17], dim=1)
    assert np.allclose(atlas.atom_column("atoms", 17).values, cosines, atol=1e-6)


@pytest.mark.usefixtures("few_are_many")
def test_columns_of_many_atoms_are_those_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distance and dimension are measured when asked for, equal to those that a small map has unasked."""
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    many = ConceptAtlas(x)
    assert many.further("atoms") == ("distance", "local dimension")
    found = {name: many.measured("atoms", name) for name in many.further("atoms")}
    monkeypatch.setattr(_atlas, "MOST_AT_ONCE", 30_000)
    few = ConceptAtlas(x)
    assert few.further("atoms") == ("local dimension",)
    assert np.array_equal(found["distance"].values, few.columns("atoms")["distance"].values)
    assert np.array_equal(found["local dimension"].values, few.dimension("atoms").values)
    assert found["local dimension"].meaning == few.dimension("atoms").meaning
    with pytest.raises(ValueError, match="`name` must be"):
        many.measured("atoms", "length")


@pytest.mark.slow
@pytest.mark.usefixtures("few_are_many")
def test_a_search_of_some_lists_says_what_it_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the exact search the column names the share of the nearest that was found."""
    search = partial(_atlas.near_distances, whole_up_to=100)
    monkeypatch.setattr(_atlas, "near_distances", search)
    x = torch.randn(3000, 4, generator=torch.Generator().manual_seed(0))
    atlas = ConceptAtlas(x)
    distance, dimension = (atlas.measured("atoms", name) for name in atlas.further("atoms"))
    exact = nearest_by_cosine(x, 1)[1][:, 0]
    assert (distance.values >= exact - 1e-6).all()
    assert np.isclose(distance.values, exact, atol=1e-6).mean() > 0.95
    # The directions of four dimensions lie on a sphere of three.
    assert np.nanmedian(dimension.values) == pytest.approx(3, abs=0.5)
    assert "random atoms" in dimension.meaning


@pytest.mark.slow
def test_a_second_dictionary_of_very_many_atoms_is_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shuffled copy with noise, and strangers: 98 of 100 pairs are those of the exact matching."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 16, generator=generator)
    order = torch.randperm(600, generator=generator)
    near = (x + 0.05 * torch.randn(600, 16, generator=generator))[order]
    other = torch.cat([near, torch.randn(100, 16, generator=generator)])
    whole = ConceptAtlas(x, other=other).match
    monkeypatch.setattr(_concept_map, "MATCHED_WHOLE", 100)
    for one, two in ((x, other), (other, x)):
        match = ConceptAtlas(one, other=two).match
        assert match is not None
        assert whole is not None
        here, there = (match.atoms, match.others) if one is x else (match.others, match.atoms)
        exactly = dict(zip(whole.atoms.tolist(), whole.others.tolist()))
        same = [exactly[i] == j for i, j in zip(here.tolist(), there.tolist()) if i in exactly]
        assert sum(same) > 0.98 * 600
        assert match.cosines.sum() == pytest.approx(whole.cosines.sum(), rel=0.01)
        assert len(set(match.others.tolist())) == len(match.others)
        assert match.found >= 0.9
        # The best of all is at least what a matching of random directions has.
        assert match.floor >= whole.floor


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


def test_one_large_cloud_is_told_apart_by_its_peaks() -> None:
    """In a large dictionary's map dense places touch, and one group would hold nearly every point."""
    draw = np.random.default_rng(0)
    centres = np.array([[x, y] for x in range(4) for y in range(4)]) * 2.0
    peaks = np.concatenate([centre + draw.normal(0, 0.5, (120, 2)) for centre in centres])
    apart = draw.normal(60, 0.1, (60, 2))
    xy = np.concatenate([peaks, draw.uniform(-1, 7, (2000, 2)), apart])
    assert (cluster_points(xy) == 0).mean() > _many.CLOUD  # measured: .985 in one of two groups
    found = _many.dense_groups(xy, seed=0)
    assert found.max() + 1 >= 12  # measured: 18, the largest with 6 % of all points
    assert (found == 0).mean() < 0.15
    own = found[: len(peaks)].reshape(16, 120)
    known = [row[row >= 0] for row in own]
    # Measured: of the points in a group .87 are in that of their peak; by chance 1 of 18.
    assert sum(np.bincount(row).max() for row in known if len(row)) > 0.7 * sum(map(len, known))
