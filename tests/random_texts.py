"""Texts of ten words drawn at random, and what of them an atom may be about."""

from __future__ import annotations

import torch
from torch import Tensor

from sae_nb.activations import Activations, Context, Ragged

WORDS = (" the", " cat", " dog", " sat", " undone", " untied", " ran", " Paris", ".", " blue")
LENGTH, N_TEXTS = 12, 120


def random_texts() -> tuple[Activations, Tensor, torch.Generator]:
    """Activations of the texts, three columns of rows (animals; “un…”; after “the”), and what drew them."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(len(WORDS), (N_TEXTS, LENGTH), generator=generator)
    context = Context(
        kind="language",
        n_samples=N_TEXTS,
        token_ids=Ragged(ids.flatten(), torch.arange(0, N_TEXTS * LENGTH + 1, LENGTH)),
        vocabulary=dict(enumerate(WORDS)),
    )
    acts = Activations.from_tensor(
        torch.randn(N_TEXTS * LENGTH, 6, generator=generator),
        sample=torch.arange(N_TEXTS).repeat_interleave(LENGTH),
        position=torch.arange(LENGTH).repeat(N_TEXTS),
        context=context,
    )
    before = torch.cat([torch.full((N_TEXTS, 1), -1), ids[:, :-1]], dim=1)
    planted = (
        torch.isin(ids, torch.tensor([1, 2])),
        torch.isin(ids, torch.tensor([4, 5])),
        before == 0,
    )
    return acts, torch.stack([on.flatten() for on in planted], dim=1), generator
