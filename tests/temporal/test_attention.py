"""Attention over codes: what a window leaves out, and nothing else."""

from __future__ import annotations

import torch

import sae_nb as sn
from sae_nb.temporal._decomposition import shifted

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
