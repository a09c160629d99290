"""The concept map's record: neighbours exact, planted groups named, matches exact, bad input refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sae_nb.activations import Activations, Context, Ragged
from sae_nb.atoms import ConceptAtlas
from sae_nb.atoms.concept_map._concept_map import match_dictionaries
from sae_nb.atoms.concept_map._names import PIECES, names_of_atoms
from sae_nb.codes import SparseCodes

HOSTILE = "<img src=x onerror=alert(1)>"
N_GROUPS, PER_GROUP, D_IN = 4, 15, 32
WORDS = {0: " cat", 1: " dog", 2: " sea", 3: HOSTILE}


class Planted:
    """Four groups of atoms around four directions; each row fires atoms of its token's group."""

    model_name, hook_point = "planted", "resid_post.0"

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        centres = torch.eye(N_GROUPS, D_IN)
        noise = 0.05 * torch.randn(N_GROUPS, PER_GROUP, D_IN, generator=generator)
        rows = (centres[:, None] + noise).reshape(-1, D_IN)
        self.dictionary = torch.nn.functional.normalize(rows, dim=1)
        self.dictionary[-1] = 0  # a dead atom without a direction
        self.n_atoms, self.d_in = len(rows), D_IN

    def encode(self, x: Tensor, k: int | None = None) -> SparseCodes:
        u = (x @ self.dictionary.T).relu()
        best = u.topk(k or 3, dim=1)
        return SparseCodes.from_dense(torch.zeros_like(u).scatter(1, best.indices, best.values))


def texts(n: int = 20, length: int = 12, words: dict[int, str] = WORDS) -> Activations:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, N_GROUPS, (n * length,), generator=generator)
    x = torch.eye(N_GROUPS, D_IN)[ids] + 0.05 * torch.randn(len(ids), D_IN, generator=generator)
    offsets = torch.arange(n + 1) * length
    context = Context(
        kind="language", n_samples=n, token_ids=Ragged(ids, offsets), vocabulary=words
    )
    sample = torch.arange(n).repeat_interleave(length)
    position = torch.arange(length).repeat(n)
    return Activations.from_tensor(x, sample=sample, position=position, context=context)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAE_NB_CACHE", str(tmp_path))


@pytest.fixture(scope="module")
def atlas() -> ConceptAtlas:
    """Planted atoms on planted texts; one label that would like to be markup."""
    return ConceptAtlas(Planted(), texts(), labels={2: HOSTILE, 3: "cats"})


def group_layout() -> np.ndarray:
    generator = np.random.default_rng(0)
    group = np.arange(N_GROUPS * PER_GROUP) // PER_GROUP
    centres = 10 * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    return (centres[group] + generator.normal(0, 0.1, (len(group), 2))).astype(np.float32)


def test_neighbours_are_those_of_brute_force(atlas: ConceptAtlas) -> None:
    """Every pair compared: the same atoms, the same distances, the atom itself left out."""
    rows, distances = atlas.neighbours("atoms")
    unit = torch.nn.functional.normalize(atlas.dictionary.double(), dim=1).numpy()
    all_distances = 1 - unit @ unit.T
    np.fill_diagonal(all_distances, np.inf)
    expected = np.sort(all_distances, axis=1)[:, : rows.shape[1]]
    assert np.allclose(distances, expected, atol=1e-5)
    assert np.allclose(np.take_along_axis(all_distances, rows, axis=1), expected, atol=1e-5)


def test_groups_are_named_by_words_of_content() -> None:
    """A word that says what a text is about stands bare; little words and pieces are said to be such."""
    words = {0: " wedding", 1: " therefore", 2: "ing", 3: " doctor"}
    atlas = ConceptAtlas(Planted(), texts(words=words))
    groups = np.arange(N_GROUPS * PER_GROUP) // PER_GROUP
    names = names_of_atoms(groups, {}, atlas.catalogue)
    assert names == ["wedding", "“therefore”", PIECES, "doctor"]


@pytest.mark.slow
def test_planted_groups_are_found(atlas: ConceptAtlas) -> None:
    """Four clusters, tight among the atoms; of four no word can have eight times its part of random atoms."""
    record = atlas.summary("atoms", group_layout(), "saved")
    assert len(record.clusters) == N_GROUPS
    names = set()
    for cluster in record.clusters:
        groups = np.unique(cluster.points // PER_GROUP)
        assert len(groups) == 1
        assert cluster.cosine > 0.7 > cluster.floor + 0.3
        names.add((int(groups[0]), cluster.name))
    assert {group for group, _ in names} == set(range(N_GROUPS))
    assert {name for _, name in names} == {f"group {i + 1}" for i in range(N_GROUPS)}
    column = record.columns["cluster"]
    assert column.is_category
    assert (0, column.text(0)) in names


def test_labels_name_a_cluster_before_tokens_do() -> None:
    """What several atoms of a group are called says more than what they fire on."""
    atlas = ConceptAtlas(Planted(), texts(), labels={0: "feline", 1: "feline", 20: "lonely"})
    named = [c.name for c in atlas.summary("atoms", group_layout(), "saved").clusters]
    assert "feline" in named
    assert "lonely" not in named


@pytest.mark.parametrize("n_others", [6, 8, 11])
def test_a_permuted_dictionary_is_matched_exactly(n_others: int) -> None:
    """Every atom finds itself; atoms that only one side has are named as unmatched."""
    generator = torch.Generator().manual_seed(2)
    atoms = torch.nn.functional.normalize(torch.randn(max(8, n_others), 24, generator=generator))
    first, second = atoms[:8], atoms[torch.randperm(n_others, generator=generator)]
    match = match_dictionaries(first, second)
    same = match.same
    pairs = zip(match.atoms[same].tolist(), match.others[same].tolist())
    assert all(torch.equal(first[a], second[b]) for a, b in pairs)
    assert same.sum() == min(8, n_others)
    assert len(match.unmatched) == 8 - min(8, n_others)
    assert len(match.unmatched_others) == n_others - min(8, n_others)
    assert match.floor < 0.7


def test_a_selection_lists_atoms_and_the_inputs_that_fire_them_all(atlas: ConceptAtlas) -> None:
    """Rows in which most fire come first; at most one per sample; the name is what they share."""
    assert atlas.catalogue is not None
    chosen = [0, 1, 2, 3, 4]
    selection = atlas.select(chosen)
    assert sorted(selection.atoms.tolist()) == chosen
    assert selection.labels[selection.atoms.tolist().index(2)] == HOSTILE
    assert (np.diff(np.nan_to_num(selection.columns["frequency"])) <= 0).all()
    fired = (atlas.catalogue.codes.to_dense()[:, chosen] != 0).sum(dim=1)
    assert selection.shared[0].n_atoms == int(fired.max())
    assert selection.n_rows == int((fired >= 3).sum())
    samples = [shared.sample for shared in selection.shared]
    assert len(set(samples)) == len(samples)
    here = selection.shared[0]
    assert here.tokens[int(np.nanargmax(here.token_strengths))] == " cat"
    assert selection.name == "“cat”"


@pytest.mark.parametrize("show", ["samples", "tokens"])
def test_samples_and_tokens_are_points_too(atlas: ConceptAtlas, show: str) -> None:
    """One point per sample by its mean code, or per row; columns of that many entries."""
    record = atlas.summary(show, *atlas.coordinates(show, "pca"))
    n = 20 if show == "samples" else 240
    assert record.xy.shape == (n, 2)
    assert all(len(column.values) == n for column in record.columns.values())
    assert len(record.table) == n
    column = atlas.atom_column(show, 0)
    dense = atlas.catalogue.codes.to_dense()[:, 0].numpy()
    expected = dense.reshape(20, 12).max(axis=1) if show == "samples" else dense
    assert np.allclose(column.values, expected)


def test_mean_codes_keep_the_angles_between_samples(atlas: ConceptAtlas) -> None:
    """The vectors that stand for samples have the cosines of their dense mean codes."""
    mean = atlas.catalogue.codes.to_dense().reshape(20, 12, -1).mean(dim=1)
    given = atlas.vectors("samples")
    expected, found = (torch.nn.functional.normalize(x, dim=1) for x in (mean, given))
    assert torch.allclose(expected @ expected.T, found @ found.T, atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_dictionary_of_one_to_three_atoms_is_a_map(n: int) -> None:
    atlas = ConceptAtlas(torch.eye(n, 5))
    record = atlas.summary("atoms", *atlas.coordinates("atoms", "umap"))
    assert record.xy.shape == (n, 2)
    assert record.neighbours.shape == (n, n - 1)
    assert record.clusters == ()
