"""Coherence of patches: 1 where they agree, 1/√P where they are independent, patches only."""

from __future__ import annotations

import pytest
import torch

from sae_nb.dynamics.paths._trajectory import patch_coherence


def test_parallel_patches_are_coherent_and_opposite_ones_are_not() -> None:
    layers = torch.tensor([[[1.0, 0.0], [5.0, 0.0]], [[1.0, 0.0], [-2.0, 0.0]]])
    assert patch_coherence(layers[None]).tolist() == [[1.0, 0.0]]


def test_only_patches_count() -> None:
    states = torch.zeros(1, 2, 4, 3)
    states[:, :, 0, 1], states[:, :, 1, 2], states[:, :, 2:, 0] = 1.0, 1.0, 1.0
    kinds = ["cls", "register", "patch", "patch"]
    assert patch_coherence(states, token_kinds=kinds).tolist() == [[1.0, 1.0]]
    assert float(patch_coherence(states)[0, 0]) < 0.7


def test_independent_directions_are_at_the_floor() -> None:
    states = torch.randn(400, 2, 25, 64, generator=torch.Generator().manual_seed(0))
    rms = patch_coherence(states).square().mean().sqrt()
    assert float(rms) == pytest.approx(25**-0.5, rel=0.05)
