"""Known factors lie on the rows where they are true."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.activations import Activations, Context
from sae_nb_studies.recipes.saes._material import scene_factors, sound_factors, story_factors


@pytest.fixture(scope="module")
def told() -> sn.data.Stories:
    return sn.data.stories(40, seed=9)


def _letters(texts: list[str]) -> tuple[Activations, list[np.ndarray]]:
    sample = torch.cat([torch.full((len(text),), i) for i, text in enumerate(texts)])
    position = torch.cat([torch.arange(len(text)) for text in texts])
    acts = Activations(torch.zeros(len(sample), 2), sample=sample, position=position)
    return acts, [np.arange(len(text)) for text in texts]


def _stretches(truth: np.ndarray, texts: list[str]) -> list[str]:
    pieces, start = [], 0
    for text in texts:
        mine = truth[start : start + len(text)]
        start += len(text)
        edges = np.flatnonzero(np.diff(np.concatenate(([0], mine.astype(int), [0]))))
        pieces += [text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return pieces


def test_story_factors_cover_exactly_their_words(told: sn.data.Stories) -> None:
    """Names, openings and clauses, letter by letter; a token with the space before belongs."""
    texts = [*told.texts, "Prose about an object."]
    acts, starts = _letters(texts)
    factors = {f.name: f for f in story_factors(told, len(told), acts, starts)}
    assert len(factors) == 7 + 4 + 50 + 2
    dogs = _stretches(factors["animal dog"].truth, texts)
    assert dogs
    assert set(dogs) == {"g"}  # where it is known who is meant
    assert {p[:5] for p in _stretches(factors["new event"].truth, texts)} <= {
        " The ",
        " A we",
        " In t",
        " Afte",
        " That",
        " Some",
    }
    assert factors["prose"].truth.sum() == len(texts[-1])
    good = "".join(_stretches(factors["good clause"].truth, texts))
    assert "very happy" in good
    assert "very sad" not in good
    bad = "".join(_stretches(factors["bad clause"].truth, texts))
    assert "very happy" not in bad


def test_a_story_has_turned_after_its_first_charged_clause(told: sn.data.Stories) -> None:
    acts, starts = _letters(list(told.texts))
    factors = {f.name: f for f in story_factors(told, len(told), acts, starts)}
    good, bad = factors["story turned good"].truth, factors["story turned bad"].truth
    assert not (good & bad).any()
    sentiment = told.sentiment[acts.sample].numpy().astype(bool)
    assert (sentiment[good]).all()
    assert not sentiment[bad].any()
    first = acts.position == 0
    assert not (good | bad)[first.numpy()].any()
    whole = factors["good story"]
    assert whole.per == "sample"
    assert np.array_equal(whole.truth, told.sentiment.numpy().astype(bool))


@pytest.mark.slow
def test_scene_factors_say_what_the_pictures_say() -> None:
    """One digit, texture and position a picture; ink exactly on the patches that have it."""
    pictures = sn.data.scenes(30, seed=4)
    grid = torch.cartesian_prod(torch.arange(30), torch.arange(2 + 64))
    context = Context(kind="vision", n_samples=30, patch_grid=(8, 8), prefix_tokens=2)
    acts = Activations(
        torch.zeros(len(grid), 2), sample=grid[:, 0], position=grid[:, 1], context=context
    )
    factors = scene_factors(pictures, acts)
    for kind in ("digit", "texture", "position"):
        mine = np.stack([f.truth for f in factors if f.name.startswith(f"{kind} ")])
        assert np.array_equal(mine.sum(axis=0), np.ones(30))
    ink = next(f for f in factors if f.name == "ink on a patch").truth.reshape(30, 66)
    assert not ink[:, :2].any()
    assert np.array_equal(ink[:, 2:], pictures.patch_mask.numpy())
    coloured = np.stack([f.truth for f in factors if f.name.endswith("ink on a patch")][1:])
    assert np.array_equal(coloured.sum(axis=0), ink.ravel())


def test_sound_factors_lie_on_the_patches_of_their_time() -> None:
    """A tone at a patch: in every band of the stretches that sound, never at cls; one value of a kind each."""
    heard = sn.data.sounds(6, seed=9)
    context = Context(kind="audio", n_samples=6, patch_grid=(4, 20), prefix_tokens=1)
    sample, position = torch.arange(6).repeat_interleave(81), torch.arange(81).repeat(6)
    acts = Activations(torch.zeros(486, 2), sample=sample, position=position, context=context)
    factors = {factor.name: factor for factor in sound_factors(heard, acts)}
    assert len(factors) == 12 + 6 + 4 + 4 + 4 + 1 + 1 + 12 + 6
    tone = factors["tone at a patch"].truth.reshape(6, 81)
    assert not tone[:, 0].any()
    for band in tone[:, 1:].reshape(6, 4, 20).swapaxes(0, 1):
        np.testing.assert_array_equal(band, heard.sounding.numpy())
    pitches = [factors[f"pitch {name} at a patch"].truth for name in heard.pitch_names]
    np.testing.assert_array_equal(np.sum(pitches, axis=0), tone.ravel())
    for i, pitch in enumerate(heard.pitch.tolist()):
        assert factors[f"pitch {heard.pitch_names[pitch]}"].truth[i]
