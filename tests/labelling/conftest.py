"""Texts of ten words, and four atoms of which one knows everything."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sae_nb.activations import Activations, Context, Ragged
from sae_nb.codes import SparseCodes

WORDS = (" the", " cat", " dog", " sat", " undone", " untied", " ran", " Paris", ".", " blue")
LENGTH, N_TEXTS, N_ATOMS = 12, 120, 5


def made() -> tuple[Activations, SparseCodes]:
    """Random words; atoms for animals, for “un…”, after “the”, of chance, and one that is dead."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(len(WORDS), (N_TEXTS, LENGTH), generator=generator)
    context = Context(
        kind="language",
        n_samples=N_TEXTS,
        token_ids=Ragged(ids.flatten(), torch.arange(0, N_TEXTS * LENGTH + 1, LENGTH)),
        vocabulary=dict(enumerate(WORDS)),
    )
    n = N_TEXTS * LENGTH
    acts = Activations.from_tensor(
        torch.randn(n, 6, generator=generator),
        sample=torch.arange(N_TEXTS).repeat_interleave(LENGTH),
        position=torch.arange(LENGTH).repeat(N_TEXTS),
        context=context,
    )
    before = torch.cat([torch.full((N_TEXTS, 1), -1), ids[:, :-1]], dim=1)
    on = torch.stack(
        [
            torch.isin(ids, torch.tensor([1, 2])).flatten(),
            torch.isin(ids, torch.tensor([4, 5])).flatten(),
            (before == 0).flatten(),
            torch.rand(n, generator=generator) < 0.05,
            torch.zeros(n, dtype=torch.bool),
        ],
        dim=1,
    )
    strength = 0.5 + torch.rand(n, N_ATOMS, generator=generator)
    return acts, SparseCodes.from_dense(on * strength)


def an_sae() -> Any:
    """Something with atoms; its codes are those of `rows`."""
    return SimpleNamespace(d_in=6, n_atoms=N_ATOMS, dictionary=torch.eye(6)[:N_ATOMS], encode=None)


@pytest.fixture(scope="session")
def rows() -> tuple[Activations, SparseCodes]:
    """Rows of texts and their codes."""
    return made()


@pytest.fixture
def sae() -> Any:
    """Whose atoms these are."""
    return an_sae()
