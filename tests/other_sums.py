"""Products summed in another order, as another BLAS or processor sums them: `pytest --other-sums`.

What a product of torch on the CPU sums over (of matrices, vectors, attention's scores, a convolution's channels)
is shuffled: alike for the same shapes, otherwise for others. All above it, autograd too, is as it was. Numba's
loops are compiled for a plain processor, without wide vectors and fused products. What fails then hangs on this
machine's rounding. Not reached: numpy's products, and sums inside LAPACK and `sum`.
"""

from __future__ import annotations

import os
import warnings
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Of each operator, where its two factors are among its arguments, and along which of their axes it sums.
MATRICES, VECTORS = (-1, -2), (-1, -1)
PRODUCTS: dict[str, tuple[int, int, tuple[int, int]]] = {
    "mm": (0, 1, MATRICES),
    "mm.out": (0, 1, MATRICES),
    "addmm": (1, 2, MATRICES),
    "addmm.out": (1, 2, MATRICES),
    "addmm_": (1, 2, MATRICES),
    "_addmm_activation": (1, 2, MATRICES),
    "bmm": (0, 1, MATRICES),
    "bmm.out": (0, 1, MATRICES),
    "baddbmm": (1, 2, MATRICES),
    "baddbmm.out": (1, 2, MATRICES),
    "baddbmm_": (1, 2, MATRICES),
    "dot": (0, 1, VECTORS),
    "vdot": (0, 1, VECTORS),
    "addmv": (1, 2, VECTORS),
    "addmv.out": (1, 2, VECTORS),
    "addmv_": (1, 2, VECTORS),
    "_scaled_dot_product_flash_attention_for_cpu": (0, 1, VECTORS),
    "convolution": (0, 1, (1, 1)),
}

_LIBRARY = torch.library.Library("aten", "IMPL")


def shuffle_sums() -> None:
    """From now on, in all threads of this process and in those that `WarmPython` starts.

    Numba reads its variables when it is first imported.
    """
    os.environ |= {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "SAE_NB_OTHER_SUMS": "1"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a kernel is replaced is the purpose
        for name, (left, right, axes) in PRODUCTS.items():
            _shuffle(name, left, right, axes)


def _shuffle(name: str, left: int, right: int, axes: tuple[int, int]) -> None:
    kernel = torch.library.get_kernel(f"aten::{name}", "CPU")

    def shuffled(keys: Any, *args: Any, **kwargs: Any) -> Any:
        one, other = args[left], args[right]
        terms = one.shape[axes[0]]
        # A grouped or transposed convolution sums along other axes.
        if terms > 2 and terms == other.shape[axes[1]] and not (name == "convolution" and args[6]):
            order = _order(tuple(one.shape), tuple(other.shape), terms)
            given = list(args)
            given[left] = one.index_select(axes[0], order)
            given[right] = other.index_select(axes[1], order)
            args = tuple(given)
        return kernel.call_boxed(keys, *args, **kwargs)

    _LIBRARY.impl(name, shuffled, "CPU", with_keyset=True)


@cache
def _order(one: tuple[int, ...], other: tuple[int, ...], terms: int) -> Tensor:
    # By numpy, which knows no vmap; a hash of whole numbers is the same in every process.
    draws = np.random.default_rng(hash((one, other)) % 2**31)
    return torch.from_numpy(draws.permutation(terms))
