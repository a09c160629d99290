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
)
from sae_nb.models import _facts as facts
from sae_nb.models._image_inputs import fit_for_text, fit_picture, picture_batches
from sae_nb.models._mixed_inputs import mixed_batches
from sae_nb.models._series_inputs import series_batches, trace_of
from sae_nb.models._sound_inputs import face_of, fit_sound, sound_batches
from sae_nb.models._two_streams import text_batches
from sae_nb.models._video_inputs import fit_video, strip, video_batches

LARGEST_ALPHABET = 256
"""Tokens of a tokenizer that may be one of letters, markers included."""


def register_modality(record: Modality) -> None:
    """Make a kind of input known, so that models read it and panels show it.

    A module reads it if its attribute `modality` is the record's name, or if the record recognises it. A
    record of a known name replaces that one, for models made from then on.

    Parameters
    ----------
    record
        Without `batches` a model reads texts as those of language; otherwise tensors whose first axis counts
        samples, each shown by its `face`.

    Raises
    ------
    TypeError, ValueError: If it is not a record, has no name, or has letters without being of texts.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> sn.models.register_modality(sn.models.Modality(name="pulse", sample="beat"))
    >>> module = torch.nn.Linear(8, 4)
    >>> module.modality = "pulse"
    >>> sn.wrap(module).modality == "pulse"
    True
    """
    if not isinstance(record, Modality):
        raise TypeError(
            f"`record` must be a Modality, got {type(record).__name__}. Make one: "
            'sn.models.Modality(name="sound", …).'
        )
    if not record.name:
        raise ValueError("`record.name` must not be empty. Name the kind of input.")
    if record.letters and not record.is_text:
        raise ValueError(
            f"`record.letters` must be of texts, got {record.letters!r} of {record.name!r}. Set is_text=True."
        )
    if record.is_text and record.batches is None:
        record = replace(record, batches=text_batches)
    MODALITIES.pop(record.name, None)
    MODALITIES[record.name] = record


def kind_of(module: nn.Module, tokenizer: object, pictures: bool) -> str:
    """Return the kind of input of a module: as it declares, as its arguments imply, or as it is recognised."""
    stated = getattr(module, "modality", None)
    if isinstance(stated, str) and stated in MODALITIES:
        return stated
    if facts.reads_mixture(module):
        return MULTIMODAL.name
    if facts.reads_video(module):
        return VIDEO.name
    if facts.reads_sound(module):  # its tokenizer is that of what it writes
        return AUDIO.name
    if tokenizer is not None:
        return kind_of_texts(tokenizer)
    if pictures:
        return VISION.name
    known = (one for one in reversed(MODALITIES.values()) if one.recognises is not None)
    return next((one.name for one in known if one.recognises(module)), OTHER.name)  # type: ignore[misc]


def kind_of_texts(tokenizer: object) -> str:
    """Return the kind of text of a tokenizer: of letters that a record has, or language."""
    if not (hasattr(tokenizer, "get_vocab") and hasattr(tokenizer, "__len__")):
        return LANGUAGE.name
    if not 0 < len(tokenizer) <= LARGEST_ALPHABET:
        return LANGUAGE.name
    tokens = {token.strip("▁# ") for token in tokenizer.get_vocab()}
    known = {token for token in tokens if len(token) == 1}
    if any(token.isalpha() and len(token) > 1 for token in tokens):
        return LANGUAGE.name
    for one in reversed(MODALITIES.values()):
        if known <= set(one.letters) and 3 * len(known) >= 2 * len(one.letters) > 0:
            return one.name
    return LANGUAGE.name


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


# The newest is asked first.
register_modality(OTHER)
register_modality(replace(LANGUAGE, recognises=_reads_tokens, examples=_texts))
register_modality(PROTEIN)
register_modality(DNA)
register_modality(
    replace(
        VISION,
        recognises=lambda module: not facts.reads_mixture(module) and facts.reads_pictures(module),
        batches=picture_batches,
        fit=fit_picture,
        examples=lambda n, seed: data.scenes(n, seed=seed, split="test").images,
    )
)
register_modality(
    replace(
        AUDIO,
        recognises=facts.reads_sound,
        batches=sound_batches,
        face=face_of,
        fit=fit_sound,
        examples=lambda n, seed: data.sounds(n, seed=seed).waveforms,
    )
)
register_modality(
    replace(
        VIDEO,
        recognises=facts.reads_video,
        batches=video_batches,
        face=strip,
        fit=fit_video,
        examples=_films,
    )
)
register_modality(
    replace(
        SERIES,
        recognises=facts.reads_series,
        batches=series_batches,
        face=trace_of,
        examples=_sensors,
    )
)
register_modality(
    replace(
        MULTIMODAL,
        recognises=facts.reads_mixture,
        batches=mixed_batches,
        fit=fit_for_text,
        examples=_texts,
    )
)


def _accept_face(name: str, face: object) -> None:
    """Show samples of a known kind of input by another package's function."""
    if name not in MODALITIES:
        raise ValueError(f"its name must be a kind of input, one of {', '.join(MODALITIES)}")
    if not callable(face):
        raise TypeError(f"it must be a function from a sample to its image, got {face!r}")
    MODALITIES[name] = replace(MODALITIES[name], face=face)  # asked in its turn, as before


plugins.take("modalities", lambda _, record: register_modality(record))
plugins.take("faces", _accept_face)
