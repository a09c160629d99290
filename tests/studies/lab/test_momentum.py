"""Promises of Momentum: a causal filter along time, and one layer that does induction by it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb_studies.lab import Momentum, MomentumModel
from tests.refusing import refused


@pytest.fixture(scope="module")
def model() -> MomentumModel:
    """One layer with momentum, trained for a few seconds."""
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


def test_what_alternates_grows_and_what_stays_stays() -> None:
    """Gain 1 at rest, 1 + 2γ at half a cycle per position, and rising between."""
    gain = Momentum(gamma=0.7).response(torch.linspace(0, math.pi, 50)).abs()
    assert float(gain[0]) == pytest.approx(1)
    assert float(gain[-1]) == pytest.approx(2.4)
    assert float(gain.diff().min()) > 0


def test_without_gamma_nothing_changes() -> None:
    """γ = 0 is plain attention."""
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Momentum(gamma=0).apply(x), x)


def test_a_position_knows_its_predecessor() -> None:
    """q̂_t·k̂_t' holds −γ(1 + γ) q_t·k_{t'−1}: what one layer needs for induction."""
    letters = torch.eye(4)[[0, 1, 2, 3]]
    after = Momentum(gamma=2).apply(letters)
    assert float(after[2] @ letters[1]) == -2
    assert float(after[3] @ after[2]) == pytest.approx(-2 * 3)


def test_one_layer_with_momentum_does_induction(model: MomentumModel) -> None:
    """Where one without does not, at the same steps."""
    plain = Momentum(gamma=0).fit(steps=120)
    assert model.accuracy(300) > 0.8
    assert plain.accuracy(300) < 0.35
    assert float(model.scores().max()) > float(plain.scores().max()) + 0.15


def test_nothing_but_the_letter_says_a_pair() -> None:
    """Six pairs a row, no letter in two of them; asked for is the second of each that came before."""
    ids, targets = Momentum(d_model=8).fit("pairs", steps=1, batch_size=2).rows(50)
    for row, asked in zip(ids.tolist(), targets.tolist(), strict=True):
        pairs = list(zip(row[1::2], row[2::2], strict=True))
        assert len({letter for pair in pairs for letter in pair}) == 2 * len(set(pairs)) <= 12
        expected = [b if (a, b) in pairs[:i] else -100 for i, (a, b) in enumerate(pairs)]
        assert asked[1::2] == expected
        assert set(asked[::2]) == {-100}


def test_patterns_are_what_the_layer_mixes_by(model: MomentumModel) -> None:
    """Shares of the past; mixing values by them gives the layer's output."""
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


def test_the_future_is_not_seen(model: MomentumModel) -> None:
    """Other letters later leave what is expected before them as it is."""
    ids, _ = model.rows(2)
    other = ids.clone()
    other[:, 15:] = 2
    assert torch.allclose(model.logits(ids)[:, :15], model.logits(other)[:, :15], atol=1e-4)


def test_figures_show_filter_and_heads(model: MomentumModel) -> None:
    """The gain beside that of plain attention; a map per head, with the answers on it."""
    gain, flat = Momentum(gamma=2).figure().data
    assert gain.y[-1] == pytest.approx(5)
    assert list(flat.y) == [1, 1]
    shown = model.figure(3)
    assert [trace.name for trace in shown.data if trace.type == "heatmap"] == [
        f"head {i}" for i in range(4)
    ]
    ids, targets = model.rows(4)
    ring = next(trace for trace in shown.data if trace.name == "answer")
    for now, there in zip(ring.y, ring.x, strict=True):
        assert ids[3, there] == targets[3, now]
        assert ids[3, there - 1] == ids[3, now]
    refused("`block`", model.figure, 0, block=1, error=IndexError)


def test_nothing_is_computed_on_meta() -> None:
    """The change and its response keep the device of what they are given."""
    x = torch.empty(2, 5, 3, device="meta")
    assert Momentum().apply(x).device.type == "meta"
    with torch.device("meta"):
        assert Momentum().response(torch.ones(3)).device.type == "meta"


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (torch.zeros(5), "must hold integers"),
        (torch.full((1, 4), 28), "between 0 and 27"),
        (torch.zeros(1, 28, dtype=torch.int64), "at most 27"),
    ],
)
def test_what_are_no_letters_is_refused(model: MomentumModel, ids: Tensor, words: str) -> None:
    """No row, an id that no letter has, a row that is too long."""
    refused(words, model.logits, ids, error=(TypeError, ValueError))


def test_settings_out_of_range_are_refused() -> None:
    """A width that heads do not divide."""
    refused("multiple of", Momentum, d_model=20)
