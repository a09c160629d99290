"""Attention over codes: what a window leaves out, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.temporal._decomposition import CodeAttention, predict, shifted

N_ATOMS = 40


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_window_is_all_of_the_past_or_the_last_of_it() -> None:
    """Chunks of a long sequence give what a mask over the whole would; what is too old is not seen."""
    attention = sn.Temporal(12, N_ATOMS, 4, generator=seeded(0)).eval().attn_layers[0]
    codes = torch.rand(2, 23, N_ATOMS, generator=seeded(2))
    past = shifted(codes)
    whole = attention(past, codes)
    assert torch.allclose(attention(past, codes, window=23), whole, atol=1e-5)
    near = attention(past, codes, window=5)
    assert torch.allclose(near[:, :5], whole[:, :5], atol=1e-5)
    weights = attention.weights(past, codes, window=5)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 4, 23), atol=1e-5)
    values = attention.v_ctx(past).reshape(2, 23, 4, -1).transpose(1, 2)
    by_hand = attention.c_proj((weights @ values).transpose(1, 2).flatten(2))
    assert torch.allclose(near, by_hand, atol=1e-5)
    older = codes.clone()
    older[:, :10] = 0
    assert torch.allclose(
        attention(shifted(older), older, window=5)[:, 16:],
        near[:, 16:],
        atol=1e-5,
    )


@pytest.mark.parametrize("window", [None, 2, 4, 6, 9])
def test_a_prediction_is_the_weighted_past_projected(window: int | None) -> None:
    """Six times, heads of two numbers: softmax of the scores of what a time sees, times the values."""
    layer = CodeAttention(8, 2, 2, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    past, present = (torch.randn(3, 6, 8, generator=generator) for _ in range(2))
    with torch.no_grad():
        weights = layer.weights(past, present, window=window)
        values = layer.v_ctx(past).reshape(3, 6, 2, 4).transpose(1, 2)
        wanted = layer.c_proj((weights @ values).transpose(1, 2).flatten(2))
        found = layer(past, present, window=window)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    seen = (weights > 0)[0, 0].long()
    n = 6 if window is None else window
    assert seen.sum(dim=1).tolist() == [min(t + 1, n + (t >= n)) for t in range(6)]


def test_rows_of_its_layers_have_one_length() -> None:
    """1 / √d of a head's width d; and the atoms must be shared out evenly."""
    layer = CodeAttention(8, 2, 2, generator=torch.Generator().manual_seed(0))
    for one, head in ((layer.k_ctx, 2), (layer.q_target, 2), (layer.v_ctx, 4), (layer.c_proj, 8)):
        torch.testing.assert_close(
            one.weight.detach().norm(dim=1), torch.full((one.weight.shape[0],), head**-0.5)
        )
        assert not bool(one.bias.any())
    with pytest.raises(ValueError, match="n_heads·bottleneck_factor=8, got 12"):
        CodeAttention(12, 2, 4)


@pytest.mark.parametrize("strict", [False, True])
def test_what_the_past_suggests_is_taken_off_layer_by_layer(strict: bool) -> None:
    """u = [attention(v; past)]₊; strict z_p += u / λ, else a u with a = ⟨p, r⟩ / ‖p‖², p = u D; in both
    the gradients too."""
    generator = torch.Generator().manual_seed(0)
    layers = [CodeAttention(8, 2, 2, generator=generator).double() for _ in range(2)]
    sizes = ((2, 5, 3), (8, 3), (8, 3), (3,))
    given = [torch.randn(*size, generator=generator).double().requires_grad_() for size in sizes]
    x, encoder, dictionary, centre = given
    gain = 0.4
    how: dict[str, Any] = {"centre": centre, "gain": gain, "strict": strict, "attention": True}
    found = predict(x, encoder, dictionary, layers, **how)
    rest, total = x - centre, torch.zeros(2, 5, 8)
    for layer in layers:
        v = (gain * rest @ encoder.T).relu()
        before = torch.cat([torch.zeros(2, 1, 8), v[:, :-1]], dim=1)
        u = layer(before, before if strict else v).relu()
        p = u @ dictionary
        a = (p * rest).sum(-1, keepdim=True) / (p.norm(dim=-1, keepdim=True) + 1e-6) ** 2
        u = u / gain if strict else a * u
        total, rest = total + u, rest - u @ dictionary
    torch.testing.assert_close(found.codes, total)
    torch.testing.assert_close(found.residual, rest)
    torch.testing.assert_close(found.predicted, x - centre - rest)
    assert len(found.attention) == 2
    learned = [*given, *(p for layer in layers for p in layer.parameters())]
    losses = (
        (codes * rest.sum(dim=-1, keepdim=True)).square().sum()
        for codes, rest in ((found.codes, found.residual), (total, rest))
    )
    slopes = (torch.autograd.grad(loss, learned) for loss in losses)
    for slope, by_hand in zip(*slopes, strict=True):
        torch.testing.assert_close(slope, by_hand, rtol=1e-9, atol=1e-12)
