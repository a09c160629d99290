"""ADMM: solve the data term exactly, the penalty exactly, and make the two agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures.links import GaussianLink
from sae_nb.architectures.operators import Operator
from sae_nb.architectures.proxes import Penalty
from sae_nb.architectures.solvers.inference import Inference
from sae_nb.architectures.solvers.running import Options, Solved, run_solver

RHO_SHARE = 0.1
"""Default ρ as a share of ‖A‖². Ours: of 0.01, 0.02, 0.05, 0.1 and 0.2, the only one with an objective
within 1e-9 of its minimum after 200 steps on all of four lassos (d_in 32 … 256, 2 to 8 times as many
atoms)."""


def admm(
    operator: Operator,
    x: Float[Tensor, "rows d_in"],
    prox: Penalty,
    *,
    rho: float | None = None,
    **options: Unpack[Options],
) -> Solved:
    """W ← (AᵀA + ρ)⁻¹(Aᵀ(x − b) + ρ(z − u)), z ← prox_{g/ρ}(w + u), u ← u + w − z; the code is z.

    One factorisation of the smaller Gram matrix serves all steps and rows (Woodbury). It needs few
    steps, each of them dearer than FISTA's by a triangular solve.

    Parameters
    ----------
    operator, x, prox, options
        As in `ista`; the link must be Gaussian.
    rho
        ρ > 0, how hard the two are pulled together. None: a tenth of ‖A‖². It changes the
        number of steps, not what they converge to.

    Returns
    -------
    SparseCodes or tuple
        As in `ista`.

    Raises
    ------
    ValueError
        If the link is not Gaussian or ρ not positive, or as in `ista`.
    MemoryError
        As in `ista`.

    Source
    ------
    Boyd et al., "Distributed optimization and statistical learning via the alternating direction
    method of multipliers", 2011, section 6.4.

    Example
    -------
    >>> from sae_nb.architectures.operators import FixedOperator
    >>> from sae_nb.architectures.proxes import SoftProx
    >>> x = torch.tensor([[3.0, 0.5]])
    >>> codes = admm(FixedOperator(torch.eye(2)), x, SoftProx(1.0), n_steps=300)
    >>> [[round(z, 4) for z in row] for row in codes.to_dense().tolist()]
    [[2.0, 0.0]]
    """
    check_gaussian(options, "admm")
    if rho is not None and not rho > 0:
        raise ValueError(f"`rho` must be positive, got {rho}. Leave it out for the default.")

    def iterates(inference: Inference) -> Iterator[Tensor]:
        return _admm(inference, rho)

    return run_solver(iterates, operator, x, prox, options)


def check_gaussian(options: Options, solver: str) -> None:
    """Refuse links whose data term is not quadratic.

    Parameters
    ----------
    options
        What the caller asked for.
    solver
        Its name, for the message.

    Raises
    ------
    ValueError
        If there is such a link.
    """
    link = options.get("link", GaussianLink())
    if not isinstance(link, GaussianLink):
        raise ValueError(
            f"`link` must be Gaussian for {solver}, which solves a linear system, got "
            f"{type(link).__name__}. Use solver='fista' or 'ista'."
        )


def _admm(inference: Inference, rho: float | None) -> Iterator[Tensor]:
    x = inference.x if inference.bias is None else inference.x - inference.bias
    rho = RHO_SHARE * max(inference.steepness, 1e-30) if rho is None else rho
    # The factor is made in the first step, but steps with a gradient need it in their graph.
    with torch.set_grad_enabled(inference.differentiable):
        data = inference.operator.adjoint(x)
        solve = _Ridge(inference.operator.atoms(), rho)
    z = inference.start
    u = torch.zeros_like(z)
    while True:
        w = solve(data + rho * (z - u))
        z = inference.prox.dense(w + u, 1 / rho)
        u = u + w - z
        yield z


class _Ridge:
    """q ↦ (DDᵀ + ρ)⁻¹ q for rows q, through the smaller of the two Gram matrices."""

    def __init__(self, atoms: Float[Tensor, "n_atoms d_in"], rho: float) -> None:
        self.atoms, self.rho = atoms, rho
        self.wide = atoms.shape[0] > atoms.shape[1]
        gram = atoms.T @ atoms if self.wide else atoms @ atoms.T
        eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        self.factor = torch.linalg.cholesky(gram + rho * eye)

    def __call__(self, q: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, "rows n_atoms"]:
        if not self.wide:
            return torch.cholesky_solve(q.T, self.factor).T
        inner = torch.cholesky_solve((q @ self.atoms).T, self.factor).T
        return (q - inner @ self.atoms.T) / self.rho
