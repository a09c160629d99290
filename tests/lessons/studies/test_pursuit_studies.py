"""Studies of encoders and promises of pursuits: measured against plain arithmetic."""

from __future__ import annotations

import pytest
import torch
from sae_nb_lessons.studies import measure_pursuits, study_encoders, study_supports
from sae_nb_lessons.studies._encoder_study import MP, OMP, OWN, TIED
from sae_nb_lessons.studies._support_study import FISTA, METHODS, ONE_STEP

import sae_nb as sn
from sae_nb.evaluation import explained_variance

DATA = sn.data.planted_dictionary(64, 32, 120, 4, coherence=0.2, noise=0.02, seed=0)


@pytest.fixture(scope="module")
def sae() -> sn.TopK:
    return sn.TopK(32, 64, k=4, generator=torch.Generator().manual_seed(0)).eval()


@pytest.mark.slow
def test_families_break_one_step_encoders_first() -> None:
    """With siblings of cosine 0.6 one step names few true atoms, pursuits nearly all."""
    study = study_supports("families", (0.0, 0.6), seeds=(0,), n_test=100)
    drop = {method: float(study.of(method)[0, 0] - study.of(method)[1, 0]) for method in METHODS}
    assert drop[ONE_STEP] > 0.15
    assert drop["matching pursuit"] < 0.1
    assert study.of(FISTA).min() > 0.98
    assert study.floor.max() < 0.06
    assert study.gap.min() > 0.15


@pytest.mark.slow
def test_a_common_direction_breaks_matching_pursuit_first() -> None:
    study = study_supports("common direction", (0.0, 0.5), seeds=(0,), n_test=100)
    one, mp = study.of(ONE_STEP)[:, 0], study.of("matching pursuit")[:, 0]
    assert abs(one[0] - one[1]) < 0.02
    assert mp[0] > 0.97
    assert mp[1] < one[1]


def test_encoders_share_dictionary_and_bias(sae: sn.TopK) -> None:
    """Each R² is that of the public call, with the SAE's atoms and bias."""
    with torch.no_grad():
        sae.pre_bias.copy_(torch.linspace(-0.2, 0.2, 32))
    study = study_encoders(sae, DATA.x, ks=(1, 4))
    bias = sae.bias.detach()
    codes = sn.matching_pursuit(DATA.x - bias, sae.dictionary, 4)
    expected = explained_variance(DATA.x, codes.to_dense() @ sae.dictionary + bias)
    assert study.of(MP)[1] == pytest.approx(expected, abs=1e-5)
    own = sae.decode(sae.encode(DATA.x, k=4)).detach()
    assert study.of(OWN)[1] == pytest.approx(explained_variance(DATA.x, own), abs=1e-5)
    # The first step of all three on the dictionary is the same.
    assert study.of(MP)[0] == pytest.approx(study.of(OMP)[0], abs=1e-6)
    assert study.of(MP)[0] == pytest.approx(study.of(TIED)[0], abs=1e-6)
    assert (study.gap > 0).all()
    assert study.trained_k == 4
    assert study.table.shape == (4, 2)


def test_promises_of_pursuits_hold() -> None:
    checks = measure_pursuits(DATA.x, DATA.dictionary, 6)
    assert checks.mp_growth <= 0
    assert checks.omp_growth <= 1e-6
    assert checks.last_atom < 1e-6
    assert checks.whole_support < 1e-5
    assert checks.omp_left <= checks.mp_left
    assert "120 inputs" in str(checks)


def test_checks_see_a_broken_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pursuit that takes only half of each amount leaves a product with its last atom."""
    from sae_nb_lessons.studies import _pursuit_checks as pursuit_checks

    run = pursuit_checks.matching_pursuit

    def halved(x: torch.Tensor, *given: object, **options: object) -> object:
        codes, trace = run(x / 2, *given, **options)  # type: ignore[arg-type]
        return codes, trace

    monkeypatch.setattr(pursuit_checks, "matching_pursuit", halved)
    assert measure_pursuits(DATA.x, DATA.dictionary, 6).last_atom > 0.1
