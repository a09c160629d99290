"""Kinds of input: which one a module reads; kinds of your own."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from sae_nb.activations._modality import (
    AUDIO,
    LANGUAGE,
    MULTIMODAL,
    OTHER,
    VIDEO,
    VISION,
    Modality,
    kinds,
)
from sae_nb.models import _facts as facts

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
    known = kinds()
    if record.is_text and record.batches is None:
        record = replace(record, batches=known[LANGUAGE.name].batches)
    known.pop(record.name, None)
    known[record.name] = record


def kind_of(module: nn.Module, tokenizer: object, pictures: bool) -> str:
    """Return the kind of input of a module: as it declares, as its arguments imply, or as it is recognised."""
    stated = getattr(module, "modality", None)
    if isinstance(stated, str) and stated in kinds():
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
    known = (one for one in reversed(kinds().values()) if one.recognises is not None)
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
    for one in reversed(kinds().values()):
        if known <= set(one.letters) and 3 * len(known) >= 2 * len(one.letters) > 0:
            return one.name
    return LANGUAGE.name
