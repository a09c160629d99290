"""Patched atoms: against an edit by hand, against the whole place, and which ones are found."""

from __future__ import annotations

from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sae_nb as sn
from sae_nb.circuits import Patching, patch_atoms
from tests.left_out import numbers_left_out
from tests.models.small_models import PlainSae
from tests.refusing import refused

PLACE = "resid_post.6"


@cache
def vit() -> Any:
    return sn.load_model("tiny-vit")


@cache
def images(digit: int) -> Any:
    scenes = sn.data.scenes(80, seed=3)
    return scenes.images[(np.asarray(scenes.digit) == digit).nonzero()[0][:2]]


@cache
def found() -> Patching:
    return patch_atoms(
        vit(), sn.load_sae(f"tiny-vit/{PLACE}"), images(3), images(8), target=("3", "8"), n=4
    )


@pytest.mark.slow
def test_one_atom_is_what_an_edit_by_hand_does() -> None:
    """Dense codes of both inputs, one column put into the other run; the mean over pairs by its span."""
    sae, model, atom = sn.load_sae(f"tiny-vit/{PLACE}"), vit(), int(found().chosen[0])
    brought, spans = [], []
    for clean, corrupted in zip(images(3), images(8), strict=True):
        x, y = (
            sn.capture(model, image[None], PLACE, progress=False, drop_first=False).x
            for image in (clean, corrupted)
        )
        z, other = (sae.encode(rows.float()).to_dense()[:, atom] for rows in (x, y))
        moved = ((z - other)[:, None] * sae.dictionary[atom]).detach()

        def answer(image: Any) -> float:
            logits = model(image[None])[0]
            return float(logits[3] - logits[8])

        with sn.splice(model, PLACE, lambda x, by=moved: x + by):
            patched = answer(corrupted)
        brought.append(patched - answer(corrupted))
        spans.append(answer(clean) - answer(corrupted))
    expected = np.mean(brought) / np.mean(spans)
    assert found().measured[atom] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_the_whole_stream_brings_everything_back() -> None:
    """At a place that all of the answer passes; the SAE's atoms bring less, what it misses stays."""
    assert found().everything == pytest.approx(1, abs=1e-4)
    assert 0.3 < found().all_atoms < 1.3
    assert found().corrupted < 0 < found().clean
    assert found().n_pairs == 2


def test_estimates_choose_atoms_that_do_more_than_random_ones() -> None:
    table = found().table
    assert table.chosen.tolist() == [True] * 4 + [False] * 10
    assert table[table.chosen].estimated.abs().is_monotonic_decreasing
    strong = table[table.chosen].measured.abs().mean()
    assert strong > 3 * table[~table.chosen].measured.abs().mean()
    assert found().agreement > 0.5
    assert found().wrong_signs <= 0.25
    assert np.isnan(found().measured).sum() == 512 - 14


@pytest.mark.slow
def test_language_takes_pairs_of_equally_many_tokens() -> None:
    gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    words = "One day she went to", "One day he went to"
    got = patch_atoms(gpt, sae, *words, target=(" her", " his"), n=2, n_random=0)
    assert got.everything == pytest.approx(1, abs=1e-4)
    assert got.table.estimated.to_numpy() == pytest.approx(got.table.measured, rel=0.1)
    assert repr(got).startswith("Patching(“ her” − “ his” at resid_post.3")
    refused("equally many tokens", patch_atoms, gpt, sae, "One day Mia went", "One day he went")
    refused("equally many inputs", patch_atoms, gpt, sae, list(words), words[0])
    refused("answered differently", patch_atoms, gpt, sae, words[0], words[0], target=" her")
    refused("answer to both is “.*[a-z].*”", patch_atoms, gpt, sae, words[0], words[0])


def test_estimates_are_exact_where_the_model_is_linear() -> None:
    """Σ (z − z') ⟨d, w⟩ by the whole difference, w the target's row less the other's; over two pairs."""
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(4, 3)
    model = sn.wrap(nn.Sequential(nn.Identity(), head), class_names=["a", "b", "c"])
    sae: Any = PlainSae(4, 6)
    sae.hook_point = "0"
    x, y = torch.randn(2, 2, 4, generator=generator)
    got = patch_atoms(model, sae, x, y, target=(2, 0), n=4, n_random=2)
    w = (head.weight[2] - head.weight[0]).detach()
    z, other = (sae.encode(rows).to_dense() for rows in (x, y))
    span = float(((x - y) @ w).mean())
    expected = ((z - other).mean(dim=0) * (sae.dictionary @ w) / span).numpy()
    np.testing.assert_allclose(got.estimated, expected, atol=1e-5)
    np.testing.assert_allclose(got.measured, expected, atol=1e-5)
    assert got.all_atoms == pytest.approx(expected.sum(), abs=1e-5)
    assert got.clean == pytest.approx(float((x @ w).mean() + head.bias[2] - head.bias[0]), abs=1e-5)
    assert got.clean - got.corrupted == pytest.approx(span, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("AttributionGraph.decompose", {'share': 0.9, 'parts': 4, 'n_random': 5, 'seed': 0}),
        ("AttributionGraph.faithfulness", {'n_random': 5, 'seed': 0}),
        ("AttributionGraph.groups", {'least': 0.8}),
        ("AttributionGraph.intervene", {'factor': 0.0, 'n_random': 5, 'seed': 0}),
        ("head_scores", {'n_texts': 4, 'seed': 0}),
        ("patch_atoms", {'n': 10, 'n_random': 10, 'seed': 0}),
        ("qk", {'n_random': 10, 'seed': 0}),
    ],
)  # fmt: skip
def test_numbers_that_are_left_out_are_those_that_its_page_states(
    name: str, numbers: dict[str, float]
) -> None:
    assert numbers_left_out(attrgetter(name)(sn.circuits)) == numbers
