"""What costs trainings: stability trials, frozen decoders, meta-dictionaries, stitching."""

from __future__ import annotations

from operator import attrgetter

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb_studies.evaluation import frozen_decoder, meta_dictionary, stability_trial, stitch
from tests.left_out import numbers_left_out


@pytest.fixture(scope="module")
def planted():
    return sn.data.planted_dictionary(n_atoms=24, d_in=16, n=1500, k=2, seed=0)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def trial(planted):
    return stability_trial(
        lambda seed: sn.TopK(16, 24, 2, generator=generator(seed)),
        planted.x,
        sn.TrainConfig(steps=150, batch_size=256),
        seeds=(0, 1),
        n_bootstrap=100,
        progress=False,
    )


@pytest.mark.slow
def test_training_earns_stability_on_planted_atoms(trial):
    assert trial.initial.value == pytest.approx(trial.initial.floor, abs=0.06)
    assert trial.final.value > trial.initial.value + 0.2
    assert trial.gain.value == pytest.approx(trial.final.value - trial.initial.value)
    assert 0 < trial.gain.interval[0] <= trial.gain.value <= trial.gain.interval[1]


@pytest.mark.slow
def test_a_shared_start_is_stable_before_training(planted):
    found = stability_trial(
        lambda _seed: sn.TopK(16, 24, 2, generator=generator(7)),
        planted.x,
        sn.TrainConfig(steps=20, batch_size=256),
        seeds=(0, 1),
        subset=0.5,
        n_bootstrap=0,
        progress=False,
    )
    assert found.initial.value == pytest.approx(1, abs=1e-6)
    assert found.final.value > 0.8
    assert found.gain.value < 0


@pytest.mark.slow
def test_a_frozen_decoder_learns_to_use_atoms_that_stay(planted):
    """Atoms as drawn, an encoder that explains more than it did, and less than learned atoms do."""
    config = sn.TrainConfig(steps=150, batch_size=256)
    before = frozen_decoder(planted.x, 24, 2, sn.TrainConfig(steps=1), progress=False)
    control = frozen_decoder(planted.x, 24, 2, config, progress=False)
    assert torch.allclose(control.dictionary, before.dictionary, atol=1e-5)
    r2 = [sn.evaluation.explained_variance(planted.x, sae(planted.x)) for sae in (before, control)]
    learned = sn.TopK(16, 24, 2, generator=generator(0))
    sn.train(learned, planted.x, config, progress=False)
    assert r2[0] < r2[1] < sn.evaluation.explained_variance(planted.x, learned(planted.x)) - 0.1


@pytest.mark.slow
def test_composed_atoms_are_explained_by_meta_atoms_and_random_ones_less():
    parts = torch.nn.functional.normalize(torch.randn(10, 24, generator=generator(0)), dim=1)
    pairs = torch.combinations(torch.arange(10))
    atoms = parts[pairs[:, 0]] + parts[pairs[:, 1]]
    found = meta_dictionary(atoms, k=2, steps=100, progress=False, n_bootstrap=50)
    assert found.value > found.control + 0.15
    assert found.codes.leading_shape == (45,)
    assert found.interval[0] <= found.value <= found.interval[1]


class Known:
    """Matching pursuit against some of the true atoms."""

    def __init__(self, atoms: torch.Tensor, k: int = 2) -> None:
        self.dictionary, self.k = atoms, k
        self.n_atoms, self.d_in = atoms.shape

    def encode(self, x: torch.Tensor):
        return sn.matching_pursuit(x, self.dictionary, min(self.k, self.n_atoms))

    def decode(self, codes):
        return codes.to_dense() @ self.dictionary


def test_atoms_that_a_small_dictionary_lacks_are_novel_and_the_others_repeat():
    """Orthogonal atoms: the eight it has raise the error when added again, the eight it lacks lower it."""
    x = sn.data.planted_dictionary(n_atoms=16, d_in=16, n=600, k=2, seed=0)
    axes = torch.eye(16)
    x = x.codes.to_dense() @ axes
    found = stitch(Known(axes[:8]), Known(axes), x, n_bootstrap=50)
    assert found.novel.tolist() == [False] * 8 + [True] * 8
    assert found.value == 0.5
    assert found.nearest == pytest.approx([1] * 8 + [0] * 8)
    assert found.r2_large == pytest.approx(1)
    assert found.r2_stitched == pytest.approx(1)
    assert found.r2_small < 0.6


def test_the_change_of_an_atom_is_what_adding_it_changes():
    data = sn.data.planted_dictionary(n_atoms=12, d_in=8, n=200, k=2, noise=0.1, seed=1)
    small, large = Known(data.dictionary[:5]), Known(data.dictionary, 3)
    found = stitch(small, large, data.x, n_bootstrap=0)
    x = data.x.double()
    e = x - small.decode(small.encode(data.x)).double()
    z = large.encode(data.x).to_dense().double()
    variance = (x - x.mean(dim=0)).square().sum(dim=1).mean()
    for j in range(12):
        added = e - z[:, j : j + 1] * data.dictionary[j].double()
        change = float((added.square().sum(1) - e.square().sum(1)).mean() / variance)
        assert np.nan_to_num(found.change[j]) == pytest.approx(change, abs=1e-7)


def test_a_larger_sae_that_is_the_same_brings_nothing():
    """Its own atoms over again, on axes: none is novel. Widths that differ are refused."""
    x = torch.eye(6).repeat(20, 1)
    same = stitch(Known(torch.eye(6), 1), Known(torch.eye(6), 1), x, n_bootstrap=0)
    assert same.value == 0
    with pytest.raises(ValueError, match="width of `acts`, 6, got d_in=4"):
        stitch(Known(torch.eye(4)), Known(torch.eye(6)), x)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("Attribution.splice", {'n_controls': 8, 'seed': 0}),
        ("TokenCosts.worst", {'n': 10}),
        ("atom_geometry", {'m': 1}),
        ("chance_cosine", {'share': 0.95}),
        ("distances_kept", {'n_rows': 1024, 'n_bootstrap': 1000, 'seed': 0}),
        ("fit_atoms", {'steps': 200, 'n_starts': 3, 'seed': 0}),
        ("induce_rule", {'max_terms': 3}),
        ("score_explanations", {'n_atoms': 32, 'n_examples': 40, 'n_choices': 5, 'n_bootstrap': 1000, 'seed': 0}),
        ("which_sae", {'max_rows': 4096, 'seed': 0}),
    ],
)  # fmt: skip
def test_numbers_that_are_left_out_are_those_that_its_page_states(
    name: str, numbers: dict[str, float]
) -> None:
    assert numbers_left_out(attrgetter(name)(sn.evaluation)) == numbers
