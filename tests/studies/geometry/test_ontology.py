"""Broader and narrower: the planted tree from its own codes, nothing among independent atoms or copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sae_nb.codes import SparseCodes
from sae_nb.data import concept_tree
from sae_nb_studies.geometry import Ontology, ontology


def codes_of(fires: np.ndarray) -> SparseCodes:
    return SparseCodes.from_dense(torch.from_numpy(fires.astype(float)))


def test_a_planted_tree_comes_back_and_its_leaves_stay_alone(tmp_path) -> None:
    tree = concept_tree(4000, seed=1)
    found = ontology(tree.codes)
    wanted = ["" if p < 0 else str(p) for p in tree.parent.tolist()]
    assert list(found.parent) == wanted
    assert found.n_shuffled == 0
    assert np.nanmin(found.inside) == 1.0
    found.save(tmp_path / "tree")
    assert Ontology.load(tmp_path / "tree").parent == found.parent
    (drawn,) = found.figure().data
    assert sum(parent != "" for parent in drawn.parents) == 9
    assert set(drawn.parents) <= {"", *drawn.labels}


def test_the_parent_is_the_narrowest_and_depth_counts_steps() -> None:
    u = np.random.default_rng(0).random(2000)
    nested = np.stack([u < 0.6, u < 0.3, u < 0.1], axis=1)
    found = ontology(codes_of(nested))
    assert found.parent == ("", "0", "1")
    assert found.depth.tolist() == [0, 1, 2]


def test_independent_atoms_copies_and_one_that_always_fires_have_no_relation() -> None:
    rng = np.random.default_rng(0)
    fires = rng.random((3000, 12)) < rng.uniform(0.05, 0.5, 12)
    copies = fires[:, :1] & (rng.random((3000, 2)) < 0.95)
    always = np.ones((3000, 1), dtype=bool)
    assert ontology(codes_of(np.concatenate([fires, copies, always], axis=1))).n_relations == 0


def test_known_concepts_take_part() -> None:
    rng = np.random.default_rng(0)
    red = rng.random(2000) < 0.4
    narrower = (red & (rng.random(2000) < 0.3))[:, None]
    found = ontology(codes_of(narrower), {"red": red})
    assert found.parent == ("red", "")
    mixed = ontology(codes_of(narrower), {"red": rng.permutation(red)})
    assert mixed.n_relations == 0
    with pytest.raises(ValueError, match="truth value for each of 2000 rows"):
        ontology(codes_of(narrower), {"red": red[:5]})
