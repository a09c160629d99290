"""Sparse arithmetic behind one door: TopK encoding and decoding with sparse gradients.

Three backends compute the same thing: `reference` (dense torch, differentiable to any order, the
definition), `cpu` (torch products in tiles and compiled loops) and `cuda` (gathers or dense bf16,
whichever is faster there). `auto` takes `cuda` on a GPU, `cpu` on the CPU in fp32 and fp64, and
`reference` elsewhere. fp16 and bf16 have no compiled loops: cast them to fp32 first, as SAEs do.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_k
from sae_nb.codes import SparseCodes
from sae_nb.kernels import reference
from sae_nb.kernels.paths import Path, paths_taken
from sae_nb.kernels.primitives import Primitives
from sae_nb.kernels.threads import numba_lock

__all__ = [
    "Backend",
    "Path",
    "decode",
    "numba_lock",
    "paths_taken",
    "squared_error",
    "topk_encode",
    "warm_up",
]

Backend = Literal["auto", "reference", "cpu", "cuda"]


def topk_encode(
    x: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " n_atoms"] | None = None,
    *,
    k: int,
    centre: Float[Tensor, " d_in"] | None = None,
    backend: Backend = "auto",
) -> SparseCodes:
    """Keep, in each row, the k largest positive entries of u = (x − centre) weightᵀ + bias.

    z = [TopK_k(u)]₊. Pre-codes exist in tiles only. Gradients flow through the values, to every
    tensor that requires one; the choice of atoms is constant.

    Parameters
    ----------
    x
        Inputs.
    weight
        Encoder rows, one per atom.
    bias
        Added to the pre-codes.
    k
        Most entries per row.
    centre
        Subtracted from every input first.
    backend
        Who computes it.

    Returns
    -------
    SparseCodes
        At most k entries per row, fewer where fewer pre-codes are positive. Of equal pre-codes the
        lower atom is chosen (on a GPU: either).

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit, k is out of range, or the backend cannot run here.

    Source
    ------
    Gao et al., "Scaling and evaluating sparse autoencoders", arXiv 2406.04093.

    Example
    -------
    >>> x = torch.tensor([[3.0, 1.0, -2.0], [-1.0, -1.0, 0.5]])
    >>> topk_encode(x, torch.eye(3), k=2).to_dense().tolist()
    [[3.0, 1.0, 0.0], [0.0, 0.0, 0.5]]
    """
    k = check_k(k, len(weight))
    _check_fit(x, weight, {"bias": (bias, len(weight)), "centre": (centre, x.shape[-1])})
    chosen = _pick(backend, x)
    if chosen == "reference":
        return reference.topk_encode(x, weight, bias, k, centre)
    from sae_nb.kernels import autograd

    wanted = (x, weight, bias, centre)
    trains = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in wanted)
    primitives = _encoder(chosen, x, weight, k, trains=trains)
    return autograd.topk_encode(primitives, x.contiguous(), weight, bias, k, centre)


def decode(
    codes: SparseCodes,
    dictionary: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " d_in"] | None = None,
    *,
    backend: Backend = "auto",
) -> Float[Tensor, "rows d_in"]:
    """Add up each row's atoms: x̂ = zD + b.

    Parameters
    ----------
    codes
        Strengths and atoms.
    dictionary
        Atoms.
    bias
        Added to every row.
    backend
        Who computes it.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit, or the backend cannot run here.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0], [1.0, 1.0]]))
    >>> decode(codes, torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])).tolist()
    [[0.0, 2.0, 2.0], [1.0, 1.0, 1.0]]
    """
    _check_dictionary(codes, dictionary)
    _check_fit(codes.values, dictionary, {"bias": (bias, dictionary.shape[1])})
    chosen = _pick(backend, codes.values)
    if chosen == "reference":
        return reference.decode(codes, dictionary, bias)
    from sae_nb.kernels import autograd

    return autograd.decode(_decoder(chosen, codes), codes, dictionary, bias)


def squared_error(
    codes: SparseCodes,
    dictionary: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " d_in"] | None,
    target: Float[Tensor, "rows d_in"],
    *,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, ""], Float[Tensor, "rows d_in"], Float[Tensor, "rows d_in"]]:
    """Decode and compare with a target: Σ‖target − x̂‖² with x̂ = zD + b.

    The residual is both the loss and, up to a factor, its own gradient, so one pass serves both.

    Parameters
    ----------
    codes
        Strengths and atoms.
    dictionary
        Atoms.
    bias
        Added to every row.
    target
        What the rows should be.
    backend
        Who computes it.

    Returns
    -------
    tuple
        The squared error, with gradients; x̂ and target − x̂, both constants.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit, or the backend cannot run here.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0], [1.0, 1.0]]))
    >>> error, x_hat, residual = squared_error(codes, torch.eye(2), None, torch.ones(2, 2))
    >>> error.item(), residual.tolist()
    (2.0, [[1.0, -1.0], [0.0, 0.0]])
    """
    _check_dictionary(codes, dictionary)
    _check_fit(target, dictionary, {"bias": (bias, dictionary.shape[1])})
    chosen = _pick(backend, codes.values)
    if chosen == "reference":
        return reference.squared_error(codes, dictionary, bias, target)
    from sae_nb.kernels import autograd

    primitives = _decoder(chosen, codes)
    return autograd.squared_error(primitives, codes, dictionary, bias, target.contiguous())


def warm_up(dtype: torch.dtype = torch.float32) -> None:
    """Compile (or load from disk) every CPU loop now, on a toy, instead of at the first batch.

    Parameters
    ----------
    dtype
        Precision the loops will be used in.
    """
    x = torch.ones(2, 2, dtype=dtype)
    weight = torch.eye(2, dtype=dtype, requires_grad=True)
    codes = topk_encode(x, weight, k=1, backend="cpu")
    error, *_ = squared_error(codes, weight, None, x, backend="cpu")
    torch.autograd.backward(error + decode(codes, weight, backend="cpu").sum())


def _pick(backend: Backend, x: Tensor) -> Backend:
    if backend not in get_args(Backend):
        raise ValueError(f"`backend` must be one of {get_args(Backend)}, got {backend!r}.")
    loops = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    if backend == "auto":
        return "cuda" if x.is_cuda else "cpu" if loops else "reference"
    if backend == "cuda" and not x.is_cuda:
        raise ValueError(
            f"The CUDA path needs tensors on an NVIDIA GPU, got {x.device}. Use backend='cpu' (same "
            "codes, slower) or backend='auto'."
        )
    if backend == "cpu" and not loops:
        raise ValueError(
            f"The CPU path needs fp32 or fp64 tensors on the CPU, got {x.dtype} on {x.device}. Use "
            "x.float().cpu(), or backend='auto'."
        )
    return backend


def _check_dictionary(codes: SparseCodes, dictionary: Tensor) -> None:
    if codes.n_atoms != len(dictionary):
        raise ValueError(
            f"`codes` must be codes of this dictionary with n_atoms={len(dictionary)}, got codes of "
            f"{codes.n_atoms} atoms. Decode with the SAE that encoded."
        )


def _check_fit(x: Tensor, weight: Tensor, vectors: dict[str, tuple[Tensor | None, int]]) -> None:
    if x.ndim == 2 and x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"`x` must have last dimension d_in={weight.shape[1]} to match the dictionary, got shape "
            f"{tuple(x.shape)}. Capture it at the hook point the dictionary was trained on."
        )
    for name, (vector, length) in vectors.items():
        if vector is not None and vector.shape != (length,):
            raise ValueError(
                f"`{name}` must have shape ({length},), got {tuple(vector.shape)}. Flatten it."
            )
    for other in (weight, *(vector for vector, _ in vectors.values() if vector is not None)):
        if (other.dtype, other.device) != (x.dtype, x.device):
            raise ValueError(
                f"Everything must have one dtype and device, got {x.dtype} on {x.device} and "
                f"{other.dtype} on {other.device}. Use .to(…) first."
            )


def _encoder(backend: Backend, x: Tensor, weight: Tensor, k: int, *, trains: bool) -> Primitives:
    if backend == "cpu":
        from sae_nb.kernels.cpu import Cpu

        return Cpu()
    from sae_nb.kernels import cuda

    return cuda.primitives(x, weight, k, trains=trains)


def _decoder(backend: Backend, codes: SparseCodes) -> Primitives:
    if backend == "cpu":
        from sae_nb.kernels.cpu import Cpu

        return Cpu()
    from sae_nb.kernels import cuda

    return codes.support.path or cuda.Sparse()
