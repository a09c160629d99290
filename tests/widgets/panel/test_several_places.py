"""Dictionaries of several places in the panels: shown where that is meant, refused by name where it is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sae_nb_widgets import AtomBrowser, ConceptMap, InputLens
from torch import Tensor

import sae_nb as sn
from sae_nb.atoms import AtomCatalogue

N, D, D_OUT, ATOMS, K = 300, 6, 5, 16, 3
NAMES = (
    "Transcoder",
    "SkipTranscoder",
    "Crosscoder",
    "UniversalSAE",
    "GroupSparse",
    "CrossLayerTranscoder",
)


def pair() -> tuple[Tensor, Tensor]:
    """What is read, and a relu of it somewhere else."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, D, generator=generator)
    return x, torch.relu(x @ torch.randn(D, D_OUT, generator=generator)) + 3


@pytest.fixture(scope="module", params=NAMES)
def trained(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A dictionary of the name after a few steps, and what it is asked with."""
    (x, y), kind = pair(), getattr(sn, request.param)
    if request.param == "CrossLayerTranscoder":
        sae, data = kind([D, D], ATOMS, K), ([x, x.flip(1)], [x.relu(), x.abs()])
    elif request.param in ("Crosscoder", "UniversalSAE"):
        sae, data = kind([D, D_OUT], ATOMS, K), [x, y]
    else:
        sae, data = kind(D, D_OUT, ATOMS, K), (x, y)
    sn.train(sae, data, steps=10, batch_size=50, progress=False)
    return sae, data


def test_the_browser_says_the_r2_that_evaluate_measures(trained: tuple[Any, Any]) -> None:
    """Of what is written, also with a linear map beside the atoms; all sites of a crosscoder together."""
    sae, data = trained
    r2 = AtomCatalogue(sae, data).r2
    assert r2 == pytest.approx(sn.evaluate(sae, data, n_bootstrap=0)["r2"].value, abs=1e-4)
    browser = AtomBrowser(sae, data)
    assert browser.summary.frequency >= 0
    assert "R²" in browser.chips
    browser.close()


def test_the_map_takes_them(trained: tuple[Any, Any]) -> None:
    """With what they were trained on."""
    sae, data = trained
    panel = ConceptMap(sae, data)
    assert panel.n_atoms == sae.n_atoms
    panel.close()


def test_a_row_is_the_sum_of_its_atoms(trained: tuple[Any, Any]) -> None:
    """The target's row, and parts that add up to its reconstruction."""
    sae, data = trained
    found = sn.summaries.sum_of_atoms(sae, data, row=2)
    assert found.x.shape == (sae.d_out,)
    assert found.atoms.size > 0


def test_without_a_target_there_is_no_r2() -> None:
    """A transcoder's input says nothing of what it should write."""
    x, y = pair()
    t = sn.Transcoder(D, D_OUT, ATOMS, K)
    sn.train(t, (x, y), steps=5, batch_size=50, progress=False)
    assert AtomCatalogue(t, x).r2 is None
    with pytest.raises(ValueError, match=r"two things for Transcoder.*Pass \(x, y\)"):
        sn.summaries.sum_of_atoms(t, x)


def test_what_needs_one_place_names_it(trained: tuple[Any, Any]) -> None:
    """Before any work, and before the data are looked at."""
    sae, data = trained
    model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=["a"] * sae.d_in)
    batch = next(model.batches(torch.ones(1, sae.d_in)))
    for call in (
        lambda: sn.evaluation.split_error(sae, data),
        lambda: sn.evaluation.stitch(sae, sae, data),
        lambda: sn.evaluation.attribute(model, batch, "0", sae),
        lambda: sn.top_atoms(model, sae, torch.ones(1, sae.d_in)),
        lambda: InputLens(model, sae),
    ):
        with pytest.raises(ValueError, match="must read and reconstruct one place here, got "):
            call()
