"""The definition of every kernel in plain torch: dense, differentiable to any order, any dtype.

Slow and hungry on purpose; the other backends are tested against it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.codes import SparseCodes
from sae_nb.support import index_dtype, offsets_of


def topk_encode(
    x: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " n_atoms"] | None,
    k: int,
    centre: Float[Tensor, " d_in"] | None,
) -> SparseCodes:
    """The k largest positive entries of u = (x − centre) weightᵀ + bias in each row.

    Of equal pre-codes the lower atom is chosen.
    """
    pre_codes = (x if centre is None else x - centre) @ weight.T
    return topk(pre_codes if bias is None else pre_codes + bias, k)


def topk(pre_codes: Float[Tensor, "rows n_atoms"], k: int) -> SparseCodes:
    """The proximal step [TopK_k(u)]₊ on dense pre-codes, entries in the order of their atoms."""
    order = torch.argsort(pre_codes.detach(), dim=1, descending=True, stable=True)
    chosen = order[:, :k].sort(dim=1).values
    positive = pre_codes.detach().gather(1, chosen) > 0
    row, place = positive.nonzero(as_tuple=True)
    atoms = chosen[row, place]
    offsets = offsets_of(positive.sum(dim=1))
    n_atoms = pre_codes.shape[1]
    return SparseCodes(pre_codes[row, atoms], atoms.to(index_dtype(n_atoms)), offsets, n_atoms)


def decode(
    codes: SparseCodes,
    dictionary: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " d_in"] | None,
) -> Float[Tensor, "rows d_in"]:
    """x̂ = zD + b with a dense z."""
    dense = codes.values.new_zeros(len(codes), codes.n_atoms)
    z = dense.index_put((codes.support.rows, codes.atoms.long()), codes.values)
    return z @ dictionary if bias is None else z @ dictionary + bias


def squared_error(
    codes: SparseCodes,
    dictionary: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " d_in"] | None,
    target: Float[Tensor, "rows d_in"],
) -> tuple[Float[Tensor, ""], Float[Tensor, "rows d_in"], Float[Tensor, "rows d_in"]]:
    """Σ‖target − x̂‖², x̂ and target − x̂, the last two as constants."""
    x_hat = decode(codes, dictionary, bias)
    residual = target - x_hat
    return residual.square().sum(), x_hat.detach(), residual.detach()
