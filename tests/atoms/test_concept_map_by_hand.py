"""Numbers of a concept map on a few atoms, samples and words that can be counted by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from sae_nb.activations import Activations, Context, Ragged
from sae_nb.atoms import AtomCatalogue, ConceptAtlas
from sae_nb.atoms.concept_map import _concept_map as record, _many, _names, _selection
from sae_nb.atoms.concept_map._concept_map import Cluster, Column, ConceptMatch
from sae_nb.atoms.concept_map._dimension import _dimensions
from sae_nb.figures.theme import format_number
from sae_nb.geometry import LayoutSettings, nearest_by_cosine
from tests.small_catalogues import catalogue_of


def atlas_of(z: Any, **more: Any) -> ConceptAtlas:
    catalogue = catalogue_of(z, **more)
    return ConceptAtlas(catalogue.sae, catalogue=catalogue)


# -------------------------------------------------------------------------------------------------
# Points.


def test_what_a_column_says_of_a_point() -> None:
    words = Column("label", "", np.array([1, 0, -1]), ("a", "b"))
    assert [words.text(i) for i in range(3)] == ["b", "a", ""]
    share = Column("f", "", np.array([0.25, np.nan]), share=True)
    assert (share.text(0).replace("\u2009", " "), share.text(1)) == ("25.0 %", "")
    assert Column("f", "", np.array([0.25])).text(0) == "0.250"


def test_atoms_are_the_same_from_a_cosine_of_seven_tenths_on() -> None:
    match = ConceptMatch(
        atoms=np.array([0, 2, 3]), others=np.array([1, 0, 4]), cosines=np.array([0.7, 0.71, 0.9]),
        n_atoms=4, n_others=5, floor=0.0, exact=True,
    )  # fmt: skip
    assert match.same.tolist() == [False, True, True]
    np.testing.assert_array_equal(match.cosine_of_atom, [0.7, np.nan, 0.71, 0.9])
    assert (match.unmatched.tolist(), match.unmatched_others.tolist()) == ([0, 1], [1, 2, 3])
    assert match.found == 1


def test_at_most_4000_samples_are_points() -> None:
    ids = np.arange(4001) * 2
    assert record.spread(ids[:4000], 0).tolist() == ids[:4000].tolist()
    drawn = record.spread(ids, 0)
    assert len(drawn) == 4000
    assert (np.diff(drawn) > 0).all()
    assert set(drawn.tolist()) < set(ids.tolist())


@pytest.mark.parametrize(("n", "width"), [(64, 70), (65, 64)])
def test_mean_codes_have_64_directions_where_there_are_more(n: int, width: int) -> None:
    """Of 64 samples all numbers are kept; of 65 the leading directions, largest first."""
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(2 * n, 70, generator=generator)
    z = z * (z > 0.5)
    catalogue = catalogue_of(z, sample=torch.arange(n).repeat_interleave(2))
    found = record.mean_codes(catalogue, np.arange(n))
    mean = z.reshape(n, 2, 70).mean(dim=1)
    assert found.shape == (n, width)
    size = torch.linalg.svdvals(mean.double())
    if width == 64:
        np.testing.assert_allclose(found.norm(dim=0), size[:64], rtol=1e-4)
    else:
        np.testing.assert_allclose(found, mean, atol=1e-6)


def test_a_large_group_is_one_that_holds_more_than_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then its peaks are the groups, where there are more of them."""
    fewer, more = np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])
    peaks, asked = np.array([0, 1, 2, -1]), []

    def cluster(xy: Any, *, min_cluster_size: Any, finest: bool = False) -> Any:
        asked.append((min_cluster_size, finest))
        return peaks if finest else groups

    monkeypatch.setattr(_many, "cluster_points", cluster)
    for case, expected in ((fewer, fewer), (more, peaks)):
        groups = case
        assert _many._groups_or_peaks(np.zeros((4, 2)), 6, 9) is expected
    assert asked == [(6, False), (6, False), (9, True)]
    peaks = np.array([0, 0, 1, 1])
    assert _many._groups_or_peaks(np.zeros((4, 2)), 6, 9) is more


def test_the_smallest_group_is_the_root_of_the_points_or_a_third_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 3600 points 1800 are drawn: a third of 60, halved; five at least."""
    asked = []

    def note(xy: Any, fewest: Any, of_peak: Any) -> Any:
        asked.append((len(xy), fewest, of_peak))
        return np.arange(len(xy))

    monkeypatch.setattr(_many, "_groups_or_peaks", note)
    monkeypatch.setattr(_many, "CLUSTERED", 1800)
    for n in (16, 100, 2500):
        _many.dense_groups(np.zeros((n, 2)), 0)
    monkeypatch.setattr(_many, "MOST_AT_ONCE", 2500)
    _many.dense_groups(np.zeros((2500, 2)), 0)
    xy = np.stack([np.arange(3600.0), np.zeros(3600)], axis=1)
    groups = _many.dense_groups(xy, 0)
    assert asked == [
        (16, None, 5),
        (100, None, 10),
        (2500, None, 50),
        (2500, None, 50),
        (1800, 10, 30),
    ]
    assert len(np.unique(groups)) == 1800
    _many.dense_groups(np.zeros((90_000, 2)), 0)
    assert asked[-1] == (1800, 5, 15)


def test_labels_are_categories_the_commonest_first() -> None:
    labels = {0: "b", 2: "a", 3: "a", 4: "c", 5: "x", -1: "y", 1: ""}
    column = _many.label_column(labels, 5)
    assert column is not None
    assert (column.names, column.values.tolist()) == (("a", "b", "c"), [1, -1, 0, 0, 2])
    assert _many.label_column({5: "x"}, 5) is None


def test_a_zero_row_has_length_one_and_is_near_nothing() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.6, 0.8], [-4.0, 3.0]])
    lengths = _many.lengths_of(x)
    assert lengths.tolist() == pytest.approx([5, 1, 1, 5])
    rows, away = _many.nearest_to(x, lengths, 0, 9)
    assert rows.tolist()[0] == 2
    assert (sorted(rows.tolist()), away.tolist()) == ([1, 2, 3], pytest.approx([0, 1, 1], abs=1e-6))
    assert _many.nearest_to(x, lengths, 0, 1)[0].tolist() == [2]
    # A cosine that comes out above 1 is no distance below 0.
    assert _many.nearest_to(x, lengths / 2, 0, 1)[1].tolist() == [0]


def test_the_dimension_around_points_stands_beside_that_of_random_ones() -> None:
    atlas = ConceptAtlas(torch.randn(40, 3, generator=torch.Generator().manual_seed(0)))
    column = atlas.dimension("atoms")
    _, near = nearest_by_cosine(atlas.dictionary, 15)
    np.testing.assert_allclose(column.values, _dimensions(near))
    here = format_number(float(np.median(column.values)), digits=2)
    assert f"(median {here}; random atoms " in column.meaning
    assert len(column.meaning.split("random atoms ")[1].rstrip(")")) == len("2.0")


def test_points_that_coincide_have_no_dimension() -> None:
    near = np.array([[9e-7, 0.1, 0.2], [2e-6, 0.1, 0.2], [0.05, 0.1, 0.2]])
    assert np.isnan(_dimensions(near)).tolist() == [True, False, False]


# -------------------------------------------------------------------------------------------------
# An atlas.


def fan(n: int) -> torch.Tensor:
    """Unit vectors whose angles grow: of the first the nearest are the next ones, in order."""
    angle = 0.01 * torch.arange(n).double() ** 2
    return torch.stack([angle.cos(), angle.sin()], dim=1).float()


def test_an_atom_is_joined_to_five_neighbours_of_fifteen() -> None:
    atlas = ConceptAtlas(fan(17))
    rows, distances = atlas.neighbours("atoms")
    assert rows.shape == (17, 15)
    assert rows[0].tolist() == [*range(1, 16)]
    assert distances[0, 1] == pytest.approx(1 - math.cos(0.04), abs=1e-6)
    assert atlas.edges("atoms", [0], "nearest").tolist() == [[0, i] for i in range(1, 6)]
    assert ConceptAtlas(fan(2)).neighbours("atoms")[0].tolist() == [[1], [0]]
    assert ConceptAtlas(fan(1)).neighbours("atoms")[0].shape == (1, 0)
    assert "distance" in ConceptAtlas(fan(2)).columns("atoms")
    assert "distance" not in ConceptAtlas(fan(1)).columns("atoms")


def test_six_points_have_a_dimension_and_five_have_none() -> None:
    assert [ConceptAtlas(fan(n)).has_dimension("atoms") for n in (5, 6)] == [False, True]
    assert [ConceptAtlas(fan(n)).further("atoms") for n in (5, 6)] == [(), ("local dimension",)]


def test_eight_points_wait_for_their_umap_and_seven_are_laid_out_at_once() -> None:
    assert ConceptAtlas(fan(8)).kept("atoms") is None
    few = ConceptAtlas(fan(7))
    np.testing.assert_array_equal(few.kept("atoms"), few.pca("atoms"))


def test_of_six_points_at_once_all_have_neighbours_and_of_seven_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sae_nb.atoms.concept_map._atlas.MOST_AT_ONCE", 6)
    few, many = ConceptAtlas(fan(6)), ConceptAtlas(fan(7))
    assert (few.neighbours("atoms")[0].shape, many.neighbours("atoms")[0].shape) == ((6, 5), (7, 0))
    assert few.nearest("atoms", 0)[0].tolist() == [1, 2, 3, 4, 5]
    assert many.nearest("atoms", 0)[0].tolist() == [1, 2, 3, 4, 5, 6]
    assert many.nearest("atoms", 6)[0].tolist() == [5, 4, 3, 2, 1, 0]
    assert (few.further("atoms"), many.further("atoms")) == (
        ("local dimension",),
        ("distance", "local dimension"),
    )
    assert ("distance" in few.columns("atoms"), "distance" in many.columns("atoms")) == (
        True,
        False,
    )
    assert few._near("atoms").found == 1
    np.testing.assert_allclose(
        few.columns("atoms")["distance"].values,
        1 - np.cos(0.01 * np.array([1, 1, 3, 5, 7, 9])),
        atol=1e-6,
    )


def test_archetypes_lie_on_a_triangle() -> None:
    sae = SimpleNamespace(
        mixture=torch.tensor([[0.5, 0.3, 0.2], [0, 0, 0], [1, 0, 0]]), dictionary=fan(3)
    )
    places = record.archetype_places(sae)
    root = math.sqrt(0.75)
    np.testing.assert_allclose(places.corners, [[0, 1], [root, -0.5], [-root, -0.5]], atol=1e-6)
    np.testing.assert_allclose(places.xy, [[0.1 * root, 0.25], [0, 0], [0, 1]], atol=1e-6)
    assert places.held.tolist() == [1, 0, 1]
    assert not record.has_archetypes(SimpleNamespace(mixture=torch.ones(4, 2)))
    assert record.has_archetypes(SimpleNamespace(mixture=torch.ones(2, 3)))


def test_an_atom_is_joined_to_three_that_fire_with_it() -> None:
    """All of four others fire with atom 0; the more often elsewhere, the smaller the lift."""
    z = np.zeros((100, 5))
    z[:10] = 1
    for atom in range(1, 5):
        z[10 : 10 + 10 * atom, atom] = 1
    atlas = atlas_of(z)
    assert atlas.edges("atoms", [0], "co-active").tolist() == [[0, 1], [0, 2], [0, 3]]
    assert atlas.edges("atoms", [0], "none").shape == (0, 2)
    with pytest.raises(ValueError, match="need activations"):
        ConceptAtlas(fan(5)).edges("atoms", [0], "co-active")


def test_two_dictionaries_lie_end_to_end() -> None:
    """Four atoms and three others: coordinates of seven, of which the last three are the others'."""
    xy = np.arange(14.0).reshape(7, 2)
    atlas = ConceptAtlas(fan(4), other=fan(4)[[3, 0, 1]], xy=xy)
    assert (atlas.n_others, len(atlas.vectors("atoms"))) == (3, 7)
    bare = atlas.bare("atoms", xy, "saved")
    assert (bare.xy.tolist(), bare.other_xy.tolist()) == (xy[:4].tolist(), xy[4:].tolist())
    match = atlas.match
    assert dict(zip(match.atoms.tolist(), match.others.tolist())) == {0: 1, 1: 2, 3: 0}
    stability = atlas.columns("atoms")["stability"].values
    np.testing.assert_allclose(stability, [1, 1, np.nan, 1], atol=1e-6)
    assert (atlas.views, ConceptAtlas(fan(4)).bare("atoms", xy[:4], "pca").other_xy) == (
        ("atoms",),
        None,
    )
    with pytest.raises(ValueError, match="3 of `other`"):
        ConceptAtlas(fan(4), other=fan(3), xy=xy[:4])


def test_atoms_answer_to_their_number_and_label() -> None:
    atlas = ConceptAtlas(fan(4), labels={0: "Cat 3", 2: "dog", 3: "cat"})
    found = {query: atlas.search(query).tolist() for query in ("cat", "3", "#3", "4", " ", "DOG")}
    assert found == {"cat": [0, 3], "3": [3, 0], "#3": [3], "4": [], " ": [], "DOG": [2]}
    assert atlas.point_names("atoms") == ["atom 0 Cat 3", "atom 1", "atom 2 dog", "atom 3 cat"]
    assert atlas.atom_column("atoms", 1).values[3] == pytest.approx(math.cos(0.08))


def test_another_seed_draws_other_points_and_forgets_given_places() -> None:
    catalogue = catalogue_of(np.ones((4100, 1)))
    atlas = ConceptAtlas(catalogue.sae, catalogue=catalogue, xy=np.zeros((1, 2)))
    first = atlas.ids("tokens")
    atlas.reseed(0)
    assert atlas.ids("tokens") is first
    assert atlas.coordinates("atoms", "umap")[1] == "saved"
    atlas.reseed(1)
    assert atlas.saved("atoms") is None
    assert atlas.settings() == LayoutSettings(seed=1)
    assert atlas.ids("tokens").tolist() != first.tolist()


def test_groups_are_as_alike_as_their_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Atoms 0 and 1 are one direction, 2 and 3 another at 60 degrees; the fifth is in no group."""
    half, root = 0.5, math.sqrt(0.75)
    atlas = ConceptAtlas(torch.tensor([[1, 0], [1, 0], [half, root], [half, root], [0, 1.0]]))
    groups = np.array([0, 0, 1, 1, -1])
    monkeypatch.setattr("sae_nb.atoms.concept_map._atlas.dense_groups", lambda *_: groups)
    found = atlas.with_clusters(atlas.bare("atoms", np.zeros((5, 2)), "pca"))
    assert [one.points.tolist() for one in found.clusters] == [[0, 1], [2, 3]]
    assert [one.cosine for one in found.clusters] == pytest.approx([1, 1])
    assert [one.name for one in found.clusters] == ["group 1", "group 2"]
    assert not any(one.is_named for one in found.clusters)
    column = found.columns["cluster"]
    assert (column.values.tolist(), column.names) == ([0, 0, 1, 1, -1], ("group 1", "group 2"))
    assert atlas.alikeness("atoms", np.array([0, 2]))[0] == pytest.approx(0.5)
    assert Cluster(name="cat", points=np.zeros(1), cosine=0.0, floor=0.0).is_named


# -------------------------------------------------------------------------------------------------
# Columns of points.


def test_a_map_of_examples_says_of_what_its_points_are() -> None:
    catalogue = catalogue_of(np.eye(3))
    examples = SimpleNamespace(
        name="some", labels={}, xy=np.zeros((3, 2)), catalogue=lambda sae: catalogue
    )
    atlas = ConceptAtlas(catalogue.sae, examples=examples)
    for show in ("atoms", "tokens"):
        said = atlas.bare(show, np.zeros((3, 2)), "pca").provenance
        assert (said["examples"], said["show"]) == ("some", show)
        assert ("vectors" in said) == (show == "tokens")


def test_columns_of_rows_and_samples_are_their_sums_and_means() -> None:
    """Two samples of two rows; strengths 1 and −3, nothing, 2, and 4."""
    z = [[1, -3, 0], [0, 0, 0], [0, 2, 0], [4, 0, 0]]
    catalogue = catalogue_of(z, sample=torch.tensor([0, 0, 1, 1]))
    labels = {0: "one", 1: "two", 7: "none"}
    rows = _selection.row_columns(catalogue, np.array([0, 2, 3, 1]), labels)
    assert rows["strength"].values.tolist() == [4, 2, 4, 0]
    assert rows["L0"].values.tolist() == [2, 1, 1, 0]
    # Of row 0 atom 1 is at its 99th percentile (2.99) and atom 0 at a quarter of its own.
    assert [rows["label"].text(i) for i in range(4)] == ["two", "two", "one", ""]
    samples = _selection.sample_columns(catalogue, np.array([0, 1]), labels)
    assert samples["strength"].values.tolist() == [2, 3]
    assert samples["L0"].values.tolist() == [1, 1]
    assert _selection.atom_in_rows(catalogue, 1, np.array([2, 0])).tolist() == [2, -3]
    assert _selection.atom_in_samples(catalogue, 1, np.array([0, 1])).tolist() == [3, 2]
    assert _selection.atom_in_samples(catalogue, 0, np.array([1])).tolist() == [4]
    assert "label" not in _selection.row_columns(catalogue, np.array([0]), {3: "beyond", 0: ""})


def test_given_columns_are_numbers_or_words() -> None:
    found = _selection.given_columns(
        {"a": [1, 2, 3], "b": ["x", None, "x"], "c": ["v", "u", ""]}, 3
    )
    assert found["a"].values.tolist() == [1, 2, 3]
    assert (found["b"].names, found["b"].values.tolist()) == (("x",), [0, -1, 0])
    assert (found["c"].names, found["c"].values.tolist()) == (("u", "v"), [1, 0, -1])
    for wrong in ({"atom": [1, 2, 3]}, {"a": [1, 2]}, {"a": [1j, 2, 3]}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            _selection.given_columns(wrong, 3)


def test_energy_is_the_mean_square_of_what_an_atom_writes() -> None:
    catalogue = catalogue_of([[1, 0], [-3, 0]], dictionary=[[0.0, 2.0], [1.0, 0.0]])
    columns = _selection.atom_columns(catalogue)
    np.testing.assert_allclose(columns["energy"].values, [(4 + 36) / 2, np.nan])
    np.testing.assert_allclose(columns["strength"].values, [2, np.nan])
    np.testing.assert_allclose(columns["frequency"].values, [1, np.nan])


# -------------------------------------------------------------------------------------------------
# Selections.


def test_rows_are_shared_where_half_of_the_atoms_fire() -> None:
    """Three atoms: two are at least half; six inputs of eight samples are shown, those of most atoms first."""
    z = np.zeros((8, 3))
    z[0], z[1, :2], z[2:, 2] = 1, 1, [6, 5, 4, 3, 2, 1]
    atlas = atlas_of(z, sample=torch.arange(8))
    found = atlas.select([0, 1, 2])
    assert found.n_rows == 2
    assert [one.row for one in found.shared] == [0, 1, 2, 3, 4, 5]
    assert [one.n_atoms for one in found.shared] == [3, 2, 1, 1, 1, 1]
    assert (found.n_together, found.most_together) == (2, 3)
    f = np.array([2, 2, 7]) / 8
    none, one = np.prod(1 - f), sum(f[i] * np.prod(np.delete(1 - f, i)) for i in range(3))
    assert found.together_by_chance == pytest.approx(1 - none - one)
    assert [atlas.select(atoms).n_rows for atoms in ([2], [0, 2])] == [7, 8]
    assert atlas.select([2]).shared[0].strength == 6
    assert atlas.select([0, 2]).shared[0].strength == pytest.approx(
        1 + 1 / np.quantile(z[z[:, 2] > 0, 2], 0.99)
    )
    none, one = atlas.select([]), atlas.select([2])
    assert (none.shared, none.n_rows, none.name) == ((), 0, "")
    assert (one.n_together, one.together_by_chance, one.most_together) == (0, 0, 0)
    assert (one.shared[0].position, one.shared[0].first_position) == (0, 0)


def test_twelve_atoms_at_most_are_lifted_in_some_rows() -> None:
    """Row 0 holds atoms 0 to 12 alone, atom 13 fires everywhere; lift and share are those of one row of four."""
    z = np.zeros((4, 15))
    z[0, :13], z[:, 13], z[1, 0], z[0, 1] = 1, 1, 1, -1
    atlas = atlas_of(z)
    found = atlas.select_points("tokens", [0])
    assert found.atoms.tolist() == [*range(1, 13)]
    assert found.columns["lift"].tolist() == [4] * 12
    assert found.n_rows == 1
    two = atlas.select_points("tokens", [0, 2, 0])
    assert two.atoms.tolist()[:2] == [1, 2]
    assert (two.columns["share"][0], two.columns["lift"][0], two.n_rows) == (0.5, 2, 2)
    assert 0 not in two.atoms.tolist()
    assert [one.row for one in two.shared] == [0]


def test_sums_of_very_many_atoms_leave_out_strengths_of_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = catalogue_of([[2.0, 1, 0], [9, 4, 8]])
    codes = plain.codes.with_values(plain.codes.values % 9)
    catalogue = AtomCatalogue(plain.sae, plain.acts, codes=codes)
    for _ in range(2):
        count, strength = _selection.joint_strength(catalogue, np.array([0, 1, 2]))
        assert count.tolist() == [2, 2]
        assert strength == pytest.approx([1 + 1 / 3.97, 4 / 3.97 + 1])
        assert _selection.joint_strength(catalogue, np.array([1, 2]))[0].tolist() == [1, 2]
        monkeypatch.setattr(_selection, "MOST_ONE_BY_ONE", 1)


def test_chosen_atoms_are_called_by_their_label_without_a_catalogue() -> None:
    labels = {3: "cat", 5: "cat", 0: "dog"}
    for atoms, words in (([], ()), ([0], ("dog",)), ([3, 5], ("cat",)), ([1], ())):
        assert _selection._words(None, np.array(atoms, np.int64), labels) == words


# -------------------------------------------------------------------------------------------------
# Names of groups.


def test_words_of_a_group_are_those_it_has_more_than_others() -> None:
    """Share times log lift; one and a half times as often, of two hundredths; or four times, of one."""
    words = [f"w{i}" for i in range(6)]
    #        lift  1.5,  1.49,  6,    6,     3.9,   2
    share = np.array([0.3, 0.1, 0.02, 0.01, 0.012, 0.558])
    base = share / np.array([1.5, 1.49, 6, 4.1, 3.9, 1])
    base[5] += 1 - base.sum()
    found = _names.lifted_words(csr_matrix(50 * share[None]), words, base, most=9)
    assert found == [("w0", "w2", "w3")]
    thin = _names.lifted_words(csr_matrix(0.1 * share[None]), words, 0.1 * base, most=9)
    assert thin == found
    assert _names.lifted_words(csr_matrix(share[None]), words, base, most=1) == [("w0",)]
    assert _names.lifted_words(csr_matrix(share[None]), words, base, most=9, least_lift=5.0) == [
        ("w2",)
    ]
    # Equal scores keep the order of the words; at most three are named.
    many = np.full(8, 0.125)
    even = np.array([*[0.05] * 8, 0.6])
    weights = csr_matrix(np.append(many, 0)[None])
    assert _names.lifted_words(weights, [f"w{i}" for i in range(9)], even) == [("w0", "w1", "w2")]


def test_a_label_names_a_group_that_has_it_twice_and_more_than_others() -> None:
    """Of ten atoms: three in group 0, four in group 1, three in none."""
    groups = np.array([0, 0, 0, 1, 1, 1, 1, -1, -1, -1])
    labels = {
        0: "cat",
        1: "cat",
        2: "dog",
        3: "cat",
        4: "sea",
        5: "sea",
        7: "sea",
        10: "sea",
        6: "",
    }
    assert _names.words_of_labels(groups, labels) == [("cat",), ("sea",)]
    # 2 of 4 in a group where the label is on 5 of all 10: a lift of 1.
    common = dict.fromkeys([3, 4, 0, 7, 8], "all")
    assert _names.words_of_labels(groups, common) == [(), ()]
    # 2 · 10 / (e · 4) is a lift of 5 / e: 1.67 for three, 1.25 for four.
    assert _names.words_of_labels(groups, dict.fromkeys([3, 4, 7, -1, 10], "a")) == [(), ("a",)]
    assert _names.words_of_labels(groups, dict.fromkeys([3, 4, 7, 8], "a")) == [(), ()]
    # The commonest first, two at most.
    six = np.zeros(8, np.int64)
    six[7] = -1
    names = dict(enumerate(["b", "b", "a", "a", "a", "c", "c"]))
    assert _names.words_of_labels(np.append(six, [-1] * 12), names) == [("a", "b")]
    # Of two as common the one that others have less.
    names[7] = "b"
    assert _names.words_of_labels(np.append(six, [-1] * 12), names) == [("a", "c")]


def words(texts: list[str], ids: list[int], z: Any) -> Any:
    """One text of these words, a row each, as a catalogue."""
    context = Context(
        kind="language", n_samples=1, vocabulary=dict(enumerate(texts)),
        token_ids=Ragged(torch.tensor(ids), torch.tensor([0, len(ids)])),
    )  # fmt: skip
    acts = Activations.from_tensor(
        torch.ones(len(ids), 2), context=context, sample=torch.zeros(len(ids), dtype=torch.long),
        position=torch.arange(len(ids)),
    )  # fmt: skip
    return catalogue_of(z, acts=acts)


def test_two_words_of_content_name_a_group_with_a_fifth_of_its_strength_there() -> None:
    """Atom 0 spends 0.2 on “wedding”, the rest on “the”; atom 1 all on “the”; every atom counts alike."""
    texts, ids = [" wedding", " the", " doctor"], [0, 1, 2, 1]
    for share, named in ((0.2, True), (0.19, False)):
        z = [[share, 0], [1 - share, 1], [0, 0], [0, 1]]
        catalogue = words(texts, ids, z)
        ((shared, pieces),) = _names.shared_words(np.array([0, -1]), catalogue)
        assert not pieces
        assert [word for word, _ in shared] == ["wedding"] * named
        if named:
            assert shared[0][1] == pytest.approx(2)
    # Three words of content: two name the group.
    catalogue = words(
        [" wedding", " doctor", " castle", " the"], [0, 1, 2, 3], [[3, 0], [2, 0], [1, 0], [0, 1]]
    )
    assert _names.words_of_content(np.array([0, -1]), catalogue) == [("wedding", "doctor")]
    assert [w for w, _ in _names.shared_words(np.array([0, -1]), catalogue, 3)[0][0]] == [
        "wedding", "doctor", "castle",
    ]  # fmt: skip
    assert _names.words_of_rows(np.array([0, -1]), catalogue) == [
        ("“wedding”", "“doctor”", "“castle”")
    ]


def test_where_nothing_fires_there_are_no_words() -> None:
    catalogue = words([" wedding", " the"], [0, 1], np.zeros((2, 2)))
    with np.errstate(all="raise"):
        assert _names.shared_words(np.array([0, -1]), catalogue) == [([], False)]
        assert _names.words_of_rows(np.array([0, -1]), catalogue) == [()]
        nothing = _names.lifted_words(csr_matrix(np.zeros((1, 2))), ["a", "b"], np.zeros(2))
        assert nothing == [()]


def test_no_two_groups_have_one_name() -> None:
    named = _names.distinct_names
    assert named([["a", "b"], ["b", "a"], ["a", "b"]], [["x"], ["b", "y"], []]) == [
        "a · b",
        "b · y",
        "a · 3",
    ]
    assert named([[], ["a"], []], [["x"], [], []]) == ["group 1", "a", "group 3"]


def test_a_group_without_a_name_says_what_it_fires_on() -> None:
    assert _names.unnamed(["a", "b"]) == ("no name yet", "a")
    assert _names.unnamed([]) == ()
    assert _names.names_of_points(np.array([0, 0, 1, -1, -1, -1]), ["x", "x", "x", "", "", ""]) == [
        "x",
        "group 2",
    ]
    assert _names.names_of_points(np.array([1, 0]), None) == ["group 1", "group 2"]
