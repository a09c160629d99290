"""Probing: what is planted is found, what is not is not, and test labels are read once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb_studies.evaluation import probe
from sae_nb_studies.evaluation.concepts._probe_fits import CHANNELS, SAE
from sae_nb_studies.evaluation.concepts._probing import divided, noisy, tasks_of, units_of

D_IN = 12


class _Turned:
    """An SAE whose latents are the positive parts of x in a turned frame: label 0 is a latent."""

    d_in, n_atoms = D_IN, D_IN

    def __init__(self) -> None:
        square = torch.randn(D_IN, D_IN, generator=torch.Generator().manual_seed(4))
        self.dictionary = torch.linalg.qr(square).Q

    def encode(self, x: torch.Tensor) -> SparseCodes:
        return SparseCodes.from_dense((x @ self.dictionary.T).relu())


def _x(n: int = 600, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def turned():
    sae, x = _Turned(), _x()
    return probe(sae, x, (x @ sae.dictionary[3]) > 0.5, ks=(1, 2), n_bootstrap=100), sae, x


@pytest.mark.slow
def test_a_label_that_is_one_latent_is_told_by_it(turned) -> None:
    """AUROC 1 with one latent, atom 3; one raw channel tells less; the gain says so."""
    study, _, _ = turned
    assert study.scores[SAE, 1].value == pytest.approx(1)
    assert study.scores[CHANNELS, 1].value < 0.9
    assert study.latents == {"1": study.latents["1"]}
    assert study.latents["1"][0] == 3
    assert study.gains[1].interval[0] > 0.05


def test_a_label_that_is_linear_leaves_all_latents_no_gain(turned) -> None:
    study, _, _ = turned
    assert study.scores[CHANNELS, "all"].value > 0.98
    assert abs(study.gains["all"].value) < 0.02
    assert "AUROC" in study.answer


def test_labels_of_chance_are_told_by_nobody() -> None:
    """Every arm's interval has one half inside or nearly so; the gain has 0 inside."""
    labels = torch.rand(900, generator=torch.Generator().manual_seed(1)) > 0.5
    study = probe(_Turned(), _x(900), labels, ks=(1,), n_bootstrap=100)
    for score in study.scores.values():
        assert abs(score.value - 0.5) < 0.09
    assert study.useful is None


@pytest.mark.slow
def test_copied_and_collapsed_saes_are_not_called_useful() -> None:
    """A code that is x itself tells as much as x; one atom n times tells what one atom tells."""
    x = _x(500)
    label = x[:, 0] + 0.5 * x[:, 1] > 0
    copied, collapsed = _Turned(), _Turned()
    copied.dictionary = torch.eye(D_IN)
    copied.encode = SparseCodes.from_dense  # type: ignore[method-assign]
    study = probe(copied, x, label, ks=(1, 2), n_bootstrap=100)
    assert not study.useful
    assert study.value == pytest.approx(0, abs=0.02)
    collapsed.dictionary = torch.eye(D_IN)[:1].repeat(D_IN, 1)
    study = probe(collapsed, x, label, ks=(1, 2), n_bootstrap=100)
    assert not study.useful
    assert study.scores[SAE, "all"].value <= study.scores[SAE, 1].value + 0.02


@pytest.mark.slow
def test_test_labels_are_never_read_for_choosing(monkeypatch) -> None:
    sae, x = _Turned(), _x()
    labels = (x @ sae.dictionary[3]) > 0.5
    units, truth = units_of(sn.Activations.from_tensor(x), labels, max_units=4000, seed=0)
    split, _ = divided(units, tasks_of(truth, None), n_labels=None, shifted=None, seed=0)
    other = labels.clone()
    other[torch.from_numpy(units.rows[split.test])] ^= True
    first = probe(sae, x, labels, ks=(1, 2), n_bootstrap=0)
    second = probe(sae, x, other, ks=(1, 2), n_bootstrap=0)
    assert first.chosen == second.chosen
    assert first.latents == second.latents
    for key, score in first.scores.items():
        assert second.scores[key].value == pytest.approx(1 - score.value)


def test_parts_of_a_split_share_no_sample() -> None:
    acts = sn.Activations.from_tensor(_x(300), sample=torch.arange(100).repeat_interleave(3))
    labels = torch.arange(300) % 2 == 0
    units, truth = units_of(acts, labels, max_units=4000, seed=0)
    split, rest = divided(units, tasks_of(truth, None), n_labels=None, shifted=None, seed=0)
    parts = [set(units.sample[p]) for p in (split.train, split.validation, split.test)]
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
    assert len(rest) + len(split.test) == 300


def test_samples_are_pooled_over_their_rows() -> None:
    """By hand: rows (1, 0), (3, 2) have mean (2, 1) and largest (3, 2)."""
    from sae_nb_studies.evaluation.concepts._probe_fits import Units, _pool_codes, _pool_dense

    x = np.array([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0]])
    units = Units(np.arange(3), np.array([0, 0, 1]), 2, np.arange(2))
    codes = SparseCodes.from_dense(torch.from_numpy(x))
    for pool, expected in (("mean", [[2.0, 1.0], [5.0, 5.0]]), ("max", [[3.0, 2.0], [5.0, 5.0]])):
        np.testing.assert_allclose(_pool_dense(x, units, pool), expected)
        np.testing.assert_allclose(_pool_codes(codes, units, pool).toarray(), expected)


def test_few_labels_and_noise_and_shift_are_what_they_say() -> None:
    x, truth = _x(400), torch.arange(400) % 4
    acts = sn.Activations.from_tensor(x)
    units, labels = units_of(acts, truth, max_units=4000, seed=0)
    tasks = tasks_of(labels, ["a", "b", "c", "d"])
    few, _ = divided(units, tasks, n_labels=24, shifted=None, seed=0)
    assert len(few.train) + len(few.validation) == 24
    assert all(
        task[np.concatenate([few.train, few.validation])].sum() == 6 for task in tasks.values()
    )
    split, _ = divided(units, tasks, n_labels=None, shifted=np.arange(400) >= 300, seed=0)
    assert split.test.tolist() == list(range(300, 400))
    heard = {n: noisy(t, 0.25, tasks, split, seed=0) for n, t in tasks.items()}
    assert (np.stack(list(heard.values())).sum(axis=0) == 1).all()
    wrong = np.any([heard[n] != t for n, t in tasks.items()], axis=0)
    assert wrong[split.test].sum() == 0
    assert wrong.sum() == round(0.25 * 300)
