"""Conjugate gradients: least squares and ridge regression without forming a matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures.operators import Operator
from sae_nb.architectures.proxes import Penalty, RidgeProx
from sae_nb.architectures.solvers.inference import Inference
from sae_nb.architectures.solvers.running import Options, Solved, run_solver
from sae_nb.architectures.solvers.splitting import check_gaussian


def cg(
    operator: Operator,
    x: Float[Tensor, "rows d_in"],
    prox: Penalty,
    **options: Unpack[Options],
) -> Solved:
    """Solve (AᵀA + diag α) z = Aᵀ(x − b) by conjugate gradients, all rows at once.

    The codes are dense. Preconditioned by the diagonal ‖a_j‖² + α_j, which is the whole matrix where
    atoms are orthogonal. Without a ridge and from zero it finds the smallest least-squares solution
    (for atoms of equal norm).

    Parameters
    ----------
    operator, x, options
        As in `ista`; the link must be Gaussian. At most n_atoms steps are of use, up to rounding.
    prox
        `IdentityProx` (α = 0) or `RidgeProx`.

    Returns
    -------
    SparseCodes or tuple
        As in `ista`.

    Raises
    ------
    ValueError
        If the penalty is not quadratic or the link not Gaussian, or as in `ista`.
    MemoryError
        As in `ista`.

    Source
    ------
    Hestenes and Stiefel, 1952.

    Example
    -------
    >>> from sae_nb.architectures.operators import FixedOperator
    >>> codes = cg(FixedOperator(torch.eye(2)), torch.tensor([[3.0, 1.0]]), RidgeProx(1.0), n_steps=2)
    >>> codes.to_dense().tolist()
    [[1.5, 0.5]]
    """
    check_gaussian(options, "cg")
    if not isinstance(prox, RidgeProx):
        raise ValueError(
            f"`prox` must be quadratic for cg ('identity' or 'ridge'), got {type(prox).__name__}. Use "
            "solver='fista' for sparse codes."
        )
    return run_solver(_cg, operator, x, prox, options)


def _cg(inference: Inference) -> Iterator[Tensor]:
    operator, alpha = inference.operator, inference.prox.precision  # type: ignore[attr-defined]
    with torch.set_grad_enabled(inference.differentiable):
        diagonal = operator.energy() + alpha
        z = inference.start
        r = operator.adjoint(inference.residual(z)) - alpha * z
    diagonal = torch.where(diagonal > 0, diagonal, torch.ones_like(diagonal))
    y = r / diagonal
    p, power = y, (r * y).sum(dim=1, keepdim=True)
    # At rounding, directions are noise; following them where AᵀA is singular would diverge.
    floor = power.detach() * (10 * torch.finfo(r.dtype).eps) ** 2
    while True:
        q = operator.adjoint(operator.forward(p)) + alpha * p
        step = _ratio(power, (p * q).sum(dim=1, keepdim=True)) * (power > floor)
        z, r = z + step * p, r - step * q
        y = r / diagonal
        last, power = power, (r * y).sum(dim=1, keepdim=True)
        p = y + _ratio(power, last) * p
        yield z


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """Above / below, and 0 where a row is solved to the last bit."""
    safe = torch.where(below > 0, below, torch.ones_like(below))
    return torch.where(below > 0, above / safe, torch.zeros_like(above))
