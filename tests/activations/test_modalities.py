"""Kinds of input: what holds of every record, also of one that a contributor adds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sae_nb as sn
from sae_nb.activations._modality import (
    AUDIO,
    LANGUAGE,
    MODALITIES,
    MULTIMODAL,
    OTHER,
    VISION,
    kinds,
)
from sae_nb.models import LiveModel, Modality, register_modality

BUNDLED = {
    LANGUAGE.name: ("tiny-gpt", "resid_post.3"),
    VISION.name: ("tiny-vit", "resid_post.6"),
    AUDIO.name: ("tiny-audio", "resid_post.3"),
}
# Texts with images, and of letters, need models of their own: test_mixed_models.py, test_letters.py.
KINDS = [name for name, one in kinds().items() if name != MULTIMODAL and not one.letters]


def read(name: str) -> tuple[LiveModel, Any, str]:
    """A model of a kind, three samples, and where it is read."""
    examples = kinds()[name].examples
    samples = torch.rand(3, 8) if examples is None else examples(3, 0)
    if name in BUNDLED:
        model, point = BUNDLED[name]
        return sn.load_model(model), samples, point
    first = nn.Linear(samples[0].numel(), 6)
    module = nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(6, 4))
    module.modality = name  # type: ignore[assignment]
    return sn.wrap(module), samples, "1"


def captured(name: str) -> sn.Activations:
    model, samples, point = read(name)
    return sn.capture(model, samples, point, progress=False)


def test_positions_are_called_by_what_they_are() -> None:
    assert LANGUAGE.positions == "tokens"
    assert VISION.positions == "patches and other tokens"
    assert AUDIO.positions == OTHER.positions == "positions"


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_model_knows_what_it_reads(name: str) -> None:
    """As a record, which is its name; the first axis of what it answers counts samples."""
    model, samples, _ = read(name)
    assert model.modality == name == model.kind
    assert name == model.modality
    assert str(model.modality) == name
    assert {model.modality: 1}[name] == 1
    assert len(model(samples)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_samples_with_a_face_bring_it_along(name: str) -> None:
    """An image for each, of the size of all; others bring none."""
    pictures, modality = captured(name).context.pictures, MODALITIES[name]
    assert (pictures is not None) == (modality.is_image or modality.face is not None)
    if pictures is not None:
        assert pictures.dtype == torch.uint8
        assert pictures.shape[:2] == (3, 3)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_saved_opens_as_what_it_was(name: str, tmp_path: Path) -> None:
    """Kind and faces are kept."""
    acts = captured(name)
    acts.save(tmp_path / "acts")
    again = sn.load_activations(tmp_path / "acts")
    assert again.context.modality is MODALITIES[name]
    if acts.context.pictures is not None:
        assert torch.equal(again.context.pictures, acts.context.pictures)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_stream_has_the_rows_of_the_capture(name: str) -> None:
    """In another order."""
    model, samples, point = read(name)
    acts = sn.capture(model, samples, point, progress=False)
    batch = next(sn.stream(model, samples, point).batches(len(acts)))
    assert torch.allclose(batch.sum(dim=0), acts.x.sum(dim=0), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", KINDS)
def test_steering_moves_the_answer(name: str) -> None:
    """At every place of a sample."""
    model, samples, point = read(name)
    clean = model(samples)
    direction = torch.ones(captured(name).d_in)
    with sn.steer(model, point, direction=direction, by=5.0):
        assert not torch.equal(model(samples).nan_to_num(), clean.nan_to_num())


def test_a_kind_that_is_not_known_has_plain_samples(tmp_path: Path) -> None:
    """Activations of a package that is not loaded open all the same."""
    register_modality(Modality(name="scent", sample="whiff"))
    try:
        captured("scent").save(tmp_path / "acts")
    finally:
        del MODALITIES["scent"]
    found = sn.load_activations(tmp_path / "acts").context
    assert found.kind == "scent"
    assert found.modality.sample == OTHER.sample


def test_a_record_can_recognise_modules() -> None:
    """Whatever else recognises them, the newest record is asked first."""

    class Nose(nn.Linear):
        """Reads scents."""

    register_modality(Modality(name="scent", recognises=lambda module: isinstance(module, Nose)))
    try:
        assert sn.wrap(Nose(3, 2)).modality == "scent"
        assert sn.wrap(nn.Linear(3, 2)).modality == OTHER
    finally:
        del MODALITIES["scent"]
