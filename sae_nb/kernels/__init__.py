"""Sparse arithmetic behind one set of functions: encoding and decoding with sparse gradients.

Three backends compute the same thing: `reference` (dense torch, differentiable to any order, the
definition), `cpu` (torch products in tiles and compiled loops) and `cuda` (Triton's kernels, or torch's
gathers where Triton is not). `auto` takes `cuda` on a GPU, `cpu` on the CPU in fp32 and fp64, and
`reference` elsewhere. fp16 and bf16 have no compiled loops: cast them to fp32 first, as SAEs do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.kernels._backends import Backend as Backend
    from sae_nb.kernels._coding import (
        batch_topk_encode as batch_topk_encode,
        decode as decode,
        entries_encode as entries_encode,
        nested_squared_error as nested_squared_error,
        per_entry as per_entry,
        squared_error as squared_error,
        threshold_encode as threshold_encode,
        topk_encode as topk_encode,
        warm_up as warm_up,
    )
    from sae_nb.kernels._dense import Path as Path, paths_taken as paths_taken
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
