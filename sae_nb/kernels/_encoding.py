"""Encoding: choose entries of u = (x − centre) weightᵀ + bias, by row, by batch or by threshold.

Pre-codes exist in tiles only. Gradients flow through the chosen values, to every tensor that
requires one; the choice is constant.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import between, check_k, check_real
from sae_nb.codes import SparseCodes
from sae_nb.kernels import _reference as reference
from sae_nb.kernels._backends import Backend, check_fit, pick
from sae_nb.kernels._primitives import Entries, PreCodes, Primitives


def topk_encode(
    x: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " n_atoms"] | None = None,
    *,
    k: int,
    centre: Float[Tensor, " d_in"] | None = None,
    signed: bool = False,
    backend: Backend = "auto",
) -> SparseCodes:
    """Keep, in each row, the k largest positive pre-codes, or the k of largest magnitude.

    z = [TopK_k(u)]₊; with `signed`, z keeps the k entries of largest |u| with their sign.

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
    signed
        Whether magnitudes compete and signs are kept.
    backend
        Who computes it.

    Returns
    -------
    SparseCodes
        At most k entries per row, fewer where fewer pre-codes are positive (or not zero). Of equal
        ones the lower atom is chosen (on a GPU: either).

    Raises
    ------
    ValueError: If shapes or dtypes do not fit, k is out of range, or the backend cannot run here.

    Source
    ------
    Gao et al., "Scaling and evaluating sparse autoencoders", arXiv 2406.04093; signed: "AbsTopK",
    arXiv 2510.00404.

    Example
    -------
    >>> x = torch.tensor([[3.0, 1.0, -2.0], [-1.0, -1.0, 0.5]])
    >>> topk_encode(x, torch.eye(3), k=2).to_dense().tolist()
    [[3.0, 1.0, 0.0], [0.0, 0.0, 0.5]]
    >>> topk_encode(x, torch.eye(3), k=2, signed=True).to_dense().tolist()
    [[3.0, 0.0, -2.0], [-1.0, -1.0, 0.0]]
    """
    k = check_k(k, len(weight))
    pre_codes = _checked(x, weight, bias, centre)
    if pick(backend, x) == "reference":
        return reference.topk(pre_codes.dense(), k, signed=signed)
    kept = pre_codes.detach()
    name = f"{'abs-topk' if signed else 'topk'} k {k}"
    return _encoded(backend, pre_codes, lambda p: p.topk(kept, k, signed=signed), name)


def batch_topk_encode(
    x: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " n_atoms"] | None = None,
    *,
    k: float,
    centre: Float[Tensor, " d_in"] | None = None,
    backend: Backend = "auto",
) -> SparseCodes:
    """Keep the rows · k largest positive pre-codes of the whole batch: k per row on average.

    Parameters
    ----------
    x, weight, bias, centre, backend
        As in `topk_encode`.
    k
        Entries per row on average, above 0; need not be whole.

    Returns
    -------
    SparseCodes
        Exactly rows · k entries (rounded), fewer where fewer pre-codes are positive. Of equal ones those in
        earlier rows, then at lower atoms, are chosen.

    Raises
    ------
    ValueError: If shapes or dtypes do not fit, k is out of range, or the backend cannot run here.

    Source
    ------
    Bussmann et al., "BatchTopK sparse autoencoders", arXiv 2412.06410.

    Example
    -------
    >>> x = torch.tensor([[3.0, 2.0, 1.0], [-1.0, -1.0, 0.5]])
    >>> batch_topk_encode(x, torch.eye(3), k=1).to_dense().tolist()
    [[3.0, 2.0, 0.0], [0.0, 0.0, 0.0]]
    """
    n_kept = max(1, round(check_average_k(k, len(weight)) * len(x)))
    pre_codes = _checked(x, weight, bias, centre)
    if pick(backend, x) == "reference":
        return reference.batch_topk(pre_codes.dense(), n_kept)
    kept = pre_codes.detach()
    return _encoded(backend, pre_codes, lambda p: p.batch_topk(kept, n_kept), f"batch-topk k {k}")


def threshold_encode(
    x: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " n_atoms"] | None = None,
    *,
    thresholds: Float[Tensor, " n_atoms"] | float,
    centre: Float[Tensor, " d_in"] | None = None,
    backend: Backend = "auto",
) -> SparseCodes:
    """Keep the pre-codes above the threshold of their atom: z_j = u_j where u_j > θ_j.

    Parameters
    ----------
    x, weight, bias, centre, backend
        As in `topk_encode`.
    thresholds
        θ, one number or one per atom; constants. Where one is negative, negative entries pass.

    Raises
    ------
    ValueError: If shapes or dtypes do not fit, or the backend cannot run here.

    Source
    ------
    Rajamanoharan et al., "Jumping ahead: improving reconstruction fidelity with JumpReLU sparse
    autoencoders", arXiv 2407.14435.

    Example
    -------
    >>> x = torch.tensor([[3.0, 1.0, -2.0], [-1.0, -1.0, 0.5]])
    >>> threshold_encode(x, torch.eye(3), thresholds=torch.tensor([2.0, 1.0, 0.0])).to_dense().tolist()
    [[3.0, 0.0, 0.0], [0.0, 0.0, 0.5]]
    """
    limits = torch.as_tensor(thresholds, dtype=x.dtype, device=x.device).detach()
    limits = limits.expand(len(weight)) if limits.ndim == 0 else limits
    pre_codes = _checked(x, weight, bias, centre, thresholds=limits)
    if pick(backend, x) == "reference":
        return reference.above(pre_codes.dense(), limits)
    kept = pre_codes.detach()
    return _encoded(backend, pre_codes, lambda p: p.above(kept, limits), "threshold")


def check_average_k(k: float, n_atoms: int, name: str = "k") -> float:
    """Refuse a number of entries per row that no batch can have."""
    do = "It counts entries per row on average."
    check_real(k, name=name)
    return between(k, 0, n_atoms, name=name, ends="(]", high_name="n_atoms", do=do)


def _checked(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    centre: Tensor | None,
    thresholds: Tensor | None = None,
) -> PreCodes:
    n_atoms = len(weight)
    vectors = {"bias": (bias, n_atoms), "centre": (centre, x.shape[-1])}
    check_fit(x, weight, vectors | {"thresholds": (thresholds, n_atoms)})
    return PreCodes(x.contiguous(), weight, bias, centre)


def _encoded(
    backend: Backend, pre_codes: PreCodes, choose: Callable[[Primitives], Entries], name: str
) -> SparseCodes:
    from sae_nb.kernels import _autograd as autograd

    if pick(backend, pre_codes.x) == "cpu":
        from sae_nb.kernels._cpu import Cpu

        primitives: Primitives = Cpu()
    else:
        from sae_nb.kernels import _cuda as cuda

        primitives = cuda.primitives(pre_codes, choose, name)
    with torch.no_grad():
        entries = choose(primitives)
    return autograd.chosen(primitives, pre_codes, entries)
