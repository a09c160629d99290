"""Every registered architecture, built small: the contract tests run over this list."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sae_nb.architectures import ARCHITECTURES, SparseAutoencoder

D_IN, N_ATOMS, K = 12, 40, 4
SETTINGS: dict[str, dict[str, Any]] = {
    "AbsTopK": {"d_in": D_IN, "n_atoms": N_ATOMS, "k": K},
    "Archetypal": {"d_in": D_IN, "n_atoms": N_ATOMS, "k": K},
    "BatchTopK": {"d_in": D_IN, "n_atoms": N_ATOMS, "k": K},
    "Gated": {"d_in": D_IN, "n_atoms": N_ATOMS},
    "JumpReLU": {"d_in": D_IN, "n_atoms": N_ATOMS, "l0": K},
    "MatchingPursuit": {"d_in": D_IN, "n_atoms": N_ATOMS, "k": K},
    "Matryoshka": {"d_in": D_IN, "n_atoms": N_ATOMS, "k": K},
    "OrthogonalMatchingPursuit": {"d_in": D_IN, "n_atoms": N_ATOMS, "k": K},
    "ReLU": {"d_in": D_IN, "n_atoms": N_ATOMS},
    "SpaDE": {"d_in": D_IN, "n_atoms": N_ATOMS},
    "Temporal": {"d_in": D_IN, "n_atoms": N_ATOMS, "k": K},
    "TopK": {"d_in": D_IN, "n_atoms": N_ATOMS, "k": K},
}
"""Constructor arguments of each; an architecture without a line here fails the contract."""


def build(name: str, seed: int = 0, **changes: Any) -> SparseAutoencoder:
    generator = torch.Generator().manual_seed(seed)
    return ARCHITECTURES[name](**(SETTINGS[name] | changes), generator=generator)


@pytest.fixture(params=list(ARCHITECTURES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def sae(name: str) -> SparseAutoencoder:
    return build(name)


@pytest.fixture
def make() -> Any:
    return build


@pytest.fixture
def x() -> torch.Tensor:
    """Activations with a mean and a scale that no SAE would start from."""
    return 30 + 7 * torch.randn(60, D_IN, generator=torch.Generator().manual_seed(1))
