"""Promises of Momentum: a causal filter along time, and one layer that does induction by it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from sae_nb_studies.lab import Momentum, MomentumModel


@pytest.fixture(scope="module")
def model() -> MomentumModel:
    return Momentum(gamma=1).fit(steps=120)


@pytest.mark.parametrize("turns", [0, 3, 10, 20])
def test_the_change_is_the_filter_that_is_drawn(turns: int) -> None:
    """A wave that is applied comes out multiplied by H(ω), but for its first position."""
    omega = 2 * math.pi * turns / 40
    wave = torch.exp(1j * omega * torch.arange(40))
    momentum = Momentum(gamma=0.7)
    real, imaginary = (momentum.apply(part[:, None])[1:, 0] for part in (wave.real, wave.imag))
    expected = momentum.response(torch.tensor([omega])) * wave[1:]
    assert torch.allclose(torch.complex(real, imaginary), expected, atol=1e-5)


def test_without_gamma_nothing_changes() -> None:
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Momentum(gamma=0).apply(x), x)


def test_a_position_knows_its_predecessor() -> None:
    """q̂_t·k̂_t' holds −γ(1 + γ) q_t·k_{t'−1}: what one layer needs for induction."""
    letters = torch.eye(4)[[0, 1, 2, 3]]
    after = Momentum(gamma=2).apply(letters)
    assert float(after[2] @ letters[1]) == -2
    assert float(after[3] @ after[2]) == pytest.approx(-2 * 3)


@pytest.mark.slow
def test_one_layer_with_momentum_does_induction(model: MomentumModel) -> None:
    plain = Momentum(gamma=0).fit(steps=120)
    assert model.accuracy(300) > 0.8
    assert plain.accuracy(300) < 0.35
    assert float(model.scores().max()) > float(plain.scores().max()) + 0.15


@pytest.mark.slow
def test_patterns_are_what_the_layer_mixes_by(model: MomentumModel) -> None:
    ids, _ = model.rows(3)
    patterns = model.patterns(ids)
    assert torch.allclose(patterns.sum(dim=-1), torch.ones(1, 3, 4, ids.shape[1]), atol=1e-5)
    assert float(patterns.triu(1).abs().max()) == 0
    network: Any = model.network
    with torch.no_grad():
        x = network.letters[ids] + network.positions
        layer = network.blocks[0]
        v = layer.qkv(layer.norm(x))[..., 128:].unflatten(-1, (4, 16)).transpose(1, 2)
        mixed = (patterns[0] @ v).transpose(1, 2).flatten(2)
        assert torch.allclose(layer(x), x + layer.out(mixed), atol=1e-4)


@pytest.mark.slow
def test_the_future_is_not_seen(model: MomentumModel) -> None:
    ids, _ = model.rows(2)
    other = ids.clone()
    other[:, 15:] = 2
    assert torch.allclose(model.logits(ids)[:, :15], model.logits(other)[:, :15], atol=1e-4)
