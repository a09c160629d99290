"""The definition of every kernel in plain torch: dense, differentiable to any order, any dtype.

Slow and hungry on purpose; the other backends are tested against it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.codes import SparseCodes
from sae_nb.codes._support import index_dtype, offsets_of
from sae_nb.kernels._backends import Atoms, Row, Rows


def topk(pre_codes: Float[Tensor, "rows n_atoms"], k: int, *, signed: bool = False) -> SparseCodes:
    """Apply the proximal step [TopK_k(u)]₊ to dense pre-codes, entries in the order of their atoms.

    With `signed` magnitudes compete and signs are kept. Of equals the lower atom is chosen.
    """
    strength = pre_codes.detach().abs() if signed else pre_codes.detach()
    order = torch.argsort(strength, dim=1, descending=True, stable=True)
    chosen = torch.zeros_like(strength, dtype=torch.bool).scatter_(1, order[:, :k], value=True)
    return masked(pre_codes, chosen & (strength > 0))


def batch_topk(pre_codes: Float[Tensor, "rows n_atoms"], n_kept: int) -> SparseCodes:
    """Return the `n_kept` largest positive entries of the whole matrix.

    Of equals the one in the earlier row, then at the lower atom, is chosen.
    """
    strength = pre_codes.detach().flatten()
    order = torch.argsort(strength, descending=True, stable=True)
    chosen = torch.zeros_like(strength, dtype=torch.bool)
    chosen[order[:n_kept]] = True
    return masked(pre_codes, (chosen & (strength > 0)).view_as(pre_codes))


def above(
    pre_codes: Float[Tensor, "rows n_atoms"], thresholds: Float[Tensor, " n_atoms"]
) -> SparseCodes:
    """Return the entries above the threshold of their column, whatever their sign."""
    return masked(pre_codes, pre_codes.detach() > thresholds.detach())


def masked(
    pre_codes: Float[Tensor, "rows n_atoms"], chosen: Bool[Tensor, "rows n_atoms"]
) -> SparseCodes:
    """Return the chosen entries as codes, in the order of their atoms, with their gradient."""
    row, atoms = chosen.nonzero(as_tuple=True)
    n_atoms = pre_codes.shape[1]
    offsets = offsets_of(chosen.sum(dim=1))
    return SparseCodes(pre_codes[row, atoms], atoms.to(index_dtype(n_atoms)), offsets, n_atoms)


def decode(codes: SparseCodes, dictionary: Atoms, bias: Row | None) -> Rows:
    """Compute x̂ = zD + b with a dense z."""
    dense = codes.values.new_zeros(codes.n_rows, codes.n_atoms)
    z = dense.index_put((codes.support.rows, codes.atoms.long()), codes.values)
    return z @ dictionary if bias is None else z @ dictionary + bias


def squared_error(
    codes: SparseCodes, dictionary: Atoms, bias: Row | None, target: Rows
) -> tuple[Float[Tensor, ""], Rows, Rows]:
    """Σ‖target − x̂‖², x̂ and target − x̂, the last two as constants."""
    x_hat = decode(codes, dictionary, bias)
    residual = target - x_hat
    return residual.square().sum(), x_hat.detach(), residual.detach()


def tails_squared_error(
    codes: Sequence[SparseCodes], dictionaries: Sequence[Atoms], bias: Row | None, target: Rows
) -> tuple[Float[Tensor, ""], Rows, Rows]:
    """Σ‖target − ŷ‖² with every dictionary writing to the last columns; ŷ and target − ŷ as constants."""
    y_hat = target.new_zeros(target.shape) if bias is None else bias.expand_as(target)
    for one, dictionary in zip(codes, dictionaries, strict=True):
        written = decode(one, dictionary, None)
        y_hat = y_hat + F.pad(written, (target.shape[1] - written.shape[1], 0))
    residual = target - y_hat
    return residual.square().sum(), y_hat.detach(), residual.detach()


def nested_squared_error(
    codes: SparseCodes, dictionary: Atoms, bias: Row | None, target: Rows, widths: tuple[int, ...]
) -> tuple[Float[Tensor, " groups"], Rows, Rows]:
    """Σ‖target − x̂_g‖² with the first m_g atoms alone, for every g; the full x̂ and its residual."""
    dense = codes.values.new_zeros(codes.n_rows, codes.n_atoms)
    z = dense.index_put((codes.support.rows, codes.atoms.long()), codes.values)
    left = target if bias is None else target - bias
    residuals = [left - z[:, :width] @ dictionary[:width] for width in widths]
    errors = torch.stack([residual.square().sum() for residual in residuals])
    full = residuals[-1].detach()
    return errors, target.detach() - full, full
