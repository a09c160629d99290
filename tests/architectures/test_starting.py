"""Promises of `sae.initialise(x, method=…)`: dictionaries read off the data, before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import ARCHITECTURES
from sae_nb.architectures._initialisation import rows_wanted

SEEDED = torch.Generator().manual_seed


def least_cosine(tree: Any, sae: Any) -> float:
    return float(sn.evaluation.match_atoms(tree.dictionary, sae.dictionary)[2].min())


def pursuing(n_atoms: int = 20, k: int = 4, **options: Any) -> Any:
    options = {"tolerance": 0.05, "bias": False} | options
    return sn.MatchingPursuit(20, n_atoms, k, generator=SEEDED(0), **options)


@pytest.mark.slow
@pytest.mark.parametrize(("correlation", "seed"), [(0.5, 101), (0.8, 102)])
def test_levels_find_every_concept_of_a_tree(correlation: float, seed: int) -> None:
    """Parents, children and leaves, also where those of a level are much alike; on seeds not tuned on."""
    tree = sn.data.concept_tree(8192, correlation, seed)
    sae = pursuing()
    sae.initialise(tree.x, SEEDED(seed), method="levels")
    assert least_cosine(tree, sae) > 0.999
    sn.train(sae, tree.x, steps=50, batch_size=200, learning_rate=0.0033, progress=False)
    assert least_cosine(tree, sae) > 0.999  # training keeps what the start found


@pytest.mark.slow
def test_a_spread_of_lines_misses_children_but_no_leaf() -> None:
    """One step identifies what occurs alone: parents and leaves; children come with a parent only."""
    tree = sn.data.concept_tree(8192, 0.5, 3)
    sae = pursuing()
    sae.initialise(tree.x, SEEDED(3), method="spread")
    _, _, cosines = sn.evaluation.match_atoms(tree.dictionary, sae.dictionary)
    is_top = tree.parent < 0
    assert float(cosines[is_top].min()) > 0.99
    assert float(cosines[~is_top].max()) < 0.99


@pytest.mark.slow
def test_noise_below_the_tolerance_is_no_concept() -> None:
    """σ 0.05 per coordinate, tolerance 1.3 σ √d_in: every concept is still found."""
    tree = sn.data.concept_tree(8192, 0.8, 104)
    noise = 0.05 * torch.randn(tree.x.shape, generator=SEEDED(1))
    sae = pursuing(tolerance=1.3 * 0.05 * 20**0.5)
    sae.initialise(tree.x + noise, SEEDED(0), method="levels")
    assert least_cosine(tree, sae) > 0.999


@pytest.fixture(scope="module")
def x() -> Tensor:
    return 3 + torch.randn(300, 8, generator=SEEDED(1))


def made(name: str) -> Any:
    without_k = ("Gated", "GroupBiasAdaptation", "ReLU", "JumpReLU", "SpaDE", "TopAFA")
    sizes = {} if name in without_k else {"k": 2}
    return ARCHITECTURES[name](8, 12, generator=SEEDED(0), **sizes)


ELSEWHERE = (
    "SpaDE",
    "Archetypal",
    "Crosscoder",
    "CrossLayerTranscoder",
    "GroupSparse",
    "Lorsa",
    "Transcoder",
    "SkipTranscoder",
    "UniversalSAE",
)
STARTING = [name for name in ARCHITECTURES if name not in ELSEWHERE]


@pytest.mark.parametrize("name", STARTING)
def test_every_dictionary_can_start_at_the_data(name: str, x: Tensor) -> None:
    first, again = made(name), made(name)
    before = first.dictionary.clone()
    first.initialise(x, SEEDED(5), method="spread")
    again.initialise(x, SEEDED(5), method="spread")
    assert torch.equal(first.dictionary, again.dictionary)
    assert not torch.isclose(first.dictionary, before).any(dim=1).all()
    assert float((first.dictionary.norm(dim=1) - 1).abs().max()) < 1e-5
    start = first.dictionary.clone()
    data = sn.Activations.from_tensor(x, gradient=x.flip(0)) if first.reads_gradient else x
    sn.train(first, data, steps=1, learning_rate=1e-6, progress=False)
    assert torch.allclose(first.dictionary, start, atol=1e-4)


@pytest.mark.slow
def test_what_is_on_disk_is_sampled(x: Tensor, tmp_path: Path) -> None:
    acts = sn.Activations.from_tensor(torch.randn(9000, 8, generator=SEEDED(2)))
    acts.save(tmp_path / "acts")
    stored = sn.load_activations(tmp_path / "acts")
    sae = made("TopK")
    sae.initialise(stored, SEEDED(0), method="spread")
    assert stored.on_disk
    assert rows_wanted(12) == 8192
    assert bool(sae.initialised)


@pytest.mark.slow
def test_fewer_directions_than_atoms_leave_the_others_to_chance() -> None:
    rays = torch.eye(8)[:2].repeat(50, 1) * torch.rand(100, 1, generator=SEEDED(0)).add(0.5)
    sae = sn.MatchingPursuit(8, 12, 2, bias=False, generator=SEEDED(0))
    sae.initialise(rays, SEEDED(0), method="levels")
    assert float((sae.dictionary.norm(dim=1) - 1).abs().max()) < 1e-5
    assert float((sae.dictionary @ torch.eye(8)[:2].T).max(dim=0).values.min()) > 0.999
