"""Reading a model's inputs, by kind: the part of `Modality` that knows live models."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from sae_nb import data, plugins
from sae_nb.activations._modality import (
    AUDIO,
    DNA,
    LANGUAGE,
    MODALITIES,
    MULTIMODAL,
    OTHER,
    PROTEIN,
    SERIES,
    VIDEO,
    VISION,
    Modality,
    kinds,
)
from sae_nb.models import _facts as facts
from sae_nb.models._image_inputs import fit_for_text, fit_picture, picture_batches
from sae_nb.models._kinds import register_modality
from sae_nb.models._mixed_inputs import mixed_batches
from sae_nb.models._series_inputs import series_batches, trace_of
from sae_nb.models._sound_inputs import face_of, fit_sound, sound_batches
from sae_nb.models._two_streams import text_batches
from sae_nb.models._video_inputs import fit_video, strip, video_batches


def _texts(n: int, _seed: int) -> list[str]:
    return list(data.prose("test").texts[:n])


def _films(n: int, seed: int) -> Tensor:
    """Scenes that move to the right, two pixels a frame."""
    images = data.scenes(n, seed=seed, split="test").images
    return torch.stack([images.roll(2 * step, dims=-1) for step in range(4)], dim=1)


def _sensors(n: int, seed: int) -> Tensor:
    """Two sensors for 64 steps: a decaying oscillation after a blow, and a slow drift with noise."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(64.0)
    blow, rate = torch.rand(2, n, 1, generator=generator)
    since = (time - 40 * blow).clamp_min(0)
    swing = (since > 0) * torch.exp(-since / 12) * torch.sin(since * (0.5 + rate))
    drift = (torch.randn(n, 64, generator=generator) / 8).cumsum(dim=1)
    return torch.stack([swing, drift], dim=2)


def _reads_tokens(module: nn.Module) -> bool:
    by_ids = getattr(type(module), "main_input_name", "input_ids") == "input_ids"
    known = bool(facts.model_type(module)) and facts.vocabulary_size(module) is not None
    return by_ids and known


def _register(record: Modality) -> None:
    MODALITIES.pop(record.name, None)
    MODALITIES[record.name] = record


# The newest is asked first.
_register(OTHER)
_register(replace(LANGUAGE, recognises=_reads_tokens, batches=text_batches, examples=_texts))
_register(replace(PROTEIN, batches=text_batches))
_register(replace(DNA, batches=text_batches))
_register(
    replace(
        VISION,
        recognises=lambda module: not facts.reads_mixture(module) and facts.reads_pictures(module),
        batches=picture_batches,
        fit=fit_picture,
        examples=lambda n, seed: data.scenes(n, seed=seed, split="test").images,
    )
)
_register(
    replace(
        AUDIO,
        recognises=facts.reads_sound,
        batches=sound_batches,
        face=face_of,
        fit=fit_sound,
        examples=lambda n, seed: data.sounds(n, seed=seed).waveforms,
    )
)
_register(
    replace(
        VIDEO,
        recognises=facts.reads_video,
        batches=video_batches,
        face=strip,
        fit=fit_video,
        examples=_films,
    )
)
_register(
    replace(
        SERIES,
        recognises=facts.reads_series,
        batches=series_batches,
        face=trace_of,
        examples=_sensors,
    )
)
_register(
    replace(
        MULTIMODAL,
        recognises=facts.reads_mixture,
        batches=mixed_batches,
        fit=fit_for_text,
        examples=_texts,
    )
)


@kinds.answer
def _kinds() -> dict[str, Modality]:
    return MODALITIES


def _accept_face(name: str, face: object) -> None:
    """Show samples of a known kind of input by another package's function."""
    if name not in MODALITIES:
        raise ValueError(f"its name must be a kind of input, one of {', '.join(MODALITIES)}")
    if not callable(face):
        raise TypeError(f"it must be a function from a sample to its image, got {face!r}")
    MODALITIES[name] = replace(MODALITIES[name], face=face)  # asked in its turn, as before


plugins.take("modalities", lambda _, record: register_modality(record))
plugins.take("faces", _accept_face)
