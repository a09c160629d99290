"""Catalogues whose codes are written down, of vectors, of a text, and of a text with images."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from sae_nb.activations import Activations, Context, PlacedImages, Ragged
from sae_nb.atoms import AtomCatalogue
from sae_nb.codes import SparseCodes


def catalogue_of(z: Any, *, dictionary: Any = None, acts: Any = None, **more: Any) -> AtomCatalogue:
    """Atoms with these strengths."""
    z = torch.as_tensor(z, dtype=torch.float32)
    if acts is None:
        acts = Activations.from_tensor(torch.ones(len(z), 2), **more)
    directions = torch.ones(z.shape[1], acts.d_in) if dictionary is None else dictionary
    sae = SimpleNamespace(
        d_in=acts.d_in, n_atoms=z.shape[1], dictionary=torch.as_tensor(directions), encode=None
    )
    return AtomCatalogue(sae, acts, codes=SparseCodes.from_dense(z))


def mixed() -> AtomCatalogue:
    """One text: a word, an image of 2 × 3 patches, a word, an image of one patch; two rows left out."""
    at = torch.tensor([[0, 1, 2, 3, 0], [0, 8, 1, 1, 1]])
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (2, 3, 4, 6), dtype=torch.uint8, generator=generator)
    ids = torch.tensor([0, *[2] * 6, 1, 2])
    context = Context(
        kind="language", n_samples=1, token_ids=Ragged(ids, torch.tensor([0, 9])),
        vocabulary={0: " one", 1: " two", 2: "<image>"}, images=PlacedImages(pictures, at),
        placeholders={2: "image"},
    )  # fmt: skip
    position = torch.tensor([0, 1, 2, 4, 6, 7, 8])
    z = torch.zeros(7, 2)
    z[[2, 4], 0] = torch.tensor([1.0, 3.0])
    z[5, 1] = 2
    acts = Activations.from_tensor(
        torch.ones(7, 2),
        sample=torch.zeros(7, dtype=torch.long),
        position=position,
        context=context,
    )
    return catalogue_of(z, acts=acts)


def text_of(words: list[str], *, position: list[int] | None = None) -> AtomCatalogue:
    """One text of other words each; an atom of its own fires with 1 on each captured one."""
    context = Context(
        kind="language", n_samples=1, vocabulary=dict(enumerate(words)),
        token_ids=Ragged(torch.arange(len(words)), torch.tensor([0, len(words)])),
    )  # fmt: skip
    places = torch.arange(len(words)) if position is None else torch.tensor(position)
    acts = Activations.from_tensor(
        torch.ones(len(places), 2),
        sample=torch.zeros_like(places),
        position=places,
        context=context,
    )
    return catalogue_of(torch.eye(len(places)), acts=acts)
