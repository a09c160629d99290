"""Sparse arithmetic behind one door: encoding and decoding with sparse gradients.

Three backends compute the same thing: `reference` (dense torch, differentiable to any order, the
definition), `cpu` (torch products in tiles and compiled loops) and `cuda` (gathers or dense bf16,
whichever is faster there). `auto` takes `cuda` on a GPU, `cpu` on the CPU in fp32 and fp64, and
`reference` elsewhere. fp16 and bf16 have no compiled loops: cast them to fp32 first, as SAEs do.
"""

from __future__ import annotations

import torch

from sae_nb.kernels._decoding import decode, squared_error
from sae_nb.kernels._encoding import threshold_encode, topk_encode


def warm_up(dtype: torch.dtype = torch.float32) -> None:
    """Compile (or load from disk) every CPU loop now, on a toy, instead of at the first batch."""
    x = torch.ones(2, 2, dtype=dtype)
    weight = torch.eye(2, dtype=dtype, requires_grad=True)
    codes = topk_encode(x, weight, k=1, backend="cpu")
    threshold_encode(x, weight, thresholds=0.0, backend="cpu")
    error, *_ = squared_error(codes, weight, None, x, backend="cpu")
    torch.autograd.backward(error + decode(codes, weight, backend="cpu").sum())
