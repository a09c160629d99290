"""Attention over codes: what a window leaves out, and nothing else."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn
from sae_nb.temporal._decomposition import CodeAttention, shifted

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
