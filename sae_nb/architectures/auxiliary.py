"""Losses that bring dead atoms back: AuxK, by what the living leave over, and a push on pre-codes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures.encoders import LearnedAdjoint
from sae_nb.architectures.operators import MatrixOperator
from sae_nb.architectures.proxes import TopKProx
from sae_nb.kernels import squared_error


def auxk_loss(
    x: Float[Tensor, "rows d_in"],
    residual: Float[Tensor, "rows d_in"],
    adjoint: LearnedAdjoint,
    operator: MatrixOperator,
    *,
    dead: Int[Tensor, " n_dead"],
    aux_k: int,
    centre: Float[Tensor, " d_in"],
    scale: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """‖e − ê‖² / Var(e) · min(n_dead / k_aux, 1), with ê = TopK_{k_aux}(u of dead atoms) D, no bias.

    Only pre-codes of dead atoms are computed. Gradients reach dead atoms (and the centre) alone: the
    residual e is a constant. Codes are positive even where the SAE's own have signs (see `AbsTopK`).

    Parameters
    ----------
    x
        Activations.
    residual
        e = x − x̂ of the main codes.
    adjoint, operator
        Encoder and dictionary.
    dead
        Atoms that have not fired for long; at least one.
    aux_k
        Most dead atoms per row.
    centre, scale
        As for the main codes.

    Source
    ------
    Gao et al., "Scaling and evaluating sparse autoencoders", arXiv 2406.04093; the factor
    min(n_dead / k_aux, 1) is EleutherAI/sparsify's and SAELens's.
    """
    weight = adjoint.weight.index_select(0, dead)
    bias = adjoint.bias.index_select(0, dead) / scale
    codes = TopKProx(min(aux_k, len(dead))).of_affine(x, weight, bias, centre)
    atoms = operator.atoms().index_select(0, dead)
    error, *_ = squared_error(codes, atoms, None, residual)
    spread = (residual - residual.mean(dim=0)).square().sum()
    # A residual without spread has nothing to teach; the division would give NaN.
    share = torch.where(spread > 0, error / spread.clamp_min(torch.finfo(x.dtype).tiny), 0 * error)
    return share * min(len(dead) / aux_k, 1.0)


def push_up_loss(
    x: Float[Tensor, "rows d_in"],
    adjoint: LearnedAdjoint,
    *,
    dead: Int[Tensor, " n_dead"],
    centre: Float[Tensor, " d_in"],
    scale: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """−mean u over rows and dead atoms, in scaled units: lifts their pre-codes until they fire.

    The mean over rows is the pre-code of the mean row, so no pre-codes are computed. All dead atoms
    are pushed along the same mean row, which can make them collinear: let it fade out.

    Parameters
    ----------
    x
        Activations.
    adjoint
        Encoder; its dead rows and their biases get the gradient, the centre does not.
    dead
        Atoms that have not fired for long; at least one.
    centre, scale
        As for the main codes.

    Source
    ------
    KempnerInstitute/overcomplete, docs/saes/dead_codes.md.

    Example
    -------
    >>> from sae_nb.architectures.operators import DenseOperator
    >>> adjoint = LearnedAdjoint(DenseOperator(3, 5))
    >>> x, one = torch.randn(20, 3), torch.ones(())
    >>> loss = push_up_loss(x, adjoint, dead=torch.tensor([1, 4]), centre=torch.zeros(3), scale=one)
    >>> torch.allclose(loss, -adjoint(x)[:, [1, 4]].mean(), atol=1e-6)
    True
    """
    weight, bias = adjoint.weight.index_select(0, dead), adjoint.bias.index_select(0, dead)
    mean_row = (x.mean(dim=0) - centre.detach()) * scale
    return -(weight @ mean_row + bias).mean()
