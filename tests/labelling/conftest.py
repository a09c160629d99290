"""Texts of ten words, and four atoms of which one knows everything."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sae_nb.activations import Activations
from sae_nb.codes import SparseCodes
from tests.random_texts import random_texts

N_ATOMS = 5


def made() -> tuple[Activations, SparseCodes]:
    """Random words; atoms for animals, for “un…”, after “the”, of chance, and one that is dead."""
    acts, planted, generator = random_texts()
    n = len(acts)
    chance = torch.rand(n, 1, generator=generator) < 0.05
    on = torch.cat([planted, chance, torch.zeros(n, 1, dtype=torch.bool)], dim=1)
    strength = 0.5 + torch.rand(n, N_ATOMS, generator=generator)
    return acts, SparseCodes.from_dense(on * strength)


def an_sae() -> Any:
    return SimpleNamespace(d_in=6, n_atoms=N_ATOMS, dictionary=torch.eye(6)[:N_ATOMS], encode=None)


@pytest.fixture(scope="session")
def rows() -> tuple[Activations, SparseCodes]:
    return made()


@pytest.fixture
def sae() -> Any:
    return an_sae()
