"""ISTA and FISTA: a gradient step on the data, a proximal step on the penalty, with and without momentum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures.operators import Operator
from sae_nb.architectures.proxes import Penalty
from sae_nb.architectures.solvers.inference import Inference
from sae_nb.architectures.solvers.running import Options, Solved, run_solver


def ista(
    operator: Operator,
    x: Float[Tensor, "rows d_in"],
    prox: Penalty,
    **options: Unpack[Options],
) -> Solved:
    """Z ← prox_{t g}(z + t Aᵀ(x − μ(A z + b))), t = 1 / (‖A‖² · curvature).

    The objective never grows. For a convex penalty it comes within ‖A‖²‖z*‖² / 2n of its minimum
    after n steps.

    Parameters
    ----------
    operator
        A.
    x
        Data, trusted.
    prox
        g.
    options
        `Options`.

    Returns
    -------
    SparseCodes or tuple
        The codes; with `trace` also a `SolverTrace`.

    Raises
    ------
    ValueError, MemoryError
        If options contradict each other or the memory cap is too small.

    Source
    ------
    Daubechies, Defrise and De Mol, "An iterative thresholding algorithm for linear inverse
    problems", 2004.

    Example
    -------
    >>> from sae_nb.architectures.operators import FixedOperator
    >>> from sae_nb.architectures.proxes import SoftProx
    >>> codes = ista(FixedOperator(torch.eye(2)), torch.tensor([[3.0, 0.5]]), SoftProx(1.0), n_steps=1)
    >>> codes.to_dense().tolist()
    [[2.0, 0.0]]
    """
    return run_solver(_ista, operator, x, prox, options)


def fista(
    operator: Operator,
    x: Float[Tensor, "rows d_in"],
    prox: Penalty,
    *,
    restart: bool = True,
    **options: Unpack[Options],
) -> Solved:
    """ISTA from a point extrapolated along the last move: y = z + (t_n − 1) / t_{n+1} (z − z_last).

    t_{n+1} = (1 + √(1 + 4 t_n²)) / 2. For a convex penalty the objective comes within
    2‖A‖²‖z*‖² / (n + 1)² of its minimum; it need not fall in every step.

    Parameters
    ----------
    operator, x, prox, options
        As in `ista`.
    restart
        Forget a row's momentum when it points uphill, ⟨y − z, z − z_last⟩ > 0. Faster once the
        support is found; without it, it is the algorithm as first published.

    Returns
    -------
    SparseCodes or tuple
        As in `ista`.

    Raises
    ------
    ValueError, MemoryError
        As in `ista`.

    Source
    ------
    Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse
    problems", 2009; restarts: O'Donoghue and Candès, "Adaptive restart for accelerated gradient
    schemes", 2015.

    Example
    -------
    >>> from sae_nb.architectures.operators import FixedOperator
    >>> from sae_nb.architectures.proxes import SoftProx
    >>> codes = fista(FixedOperator(torch.eye(2)), torch.tensor([[3.0, 0.5]]), SoftProx(1.0), n_steps=1)
    >>> codes.to_dense().tolist()
    [[2.0, 0.0]]
    """

    def iterates(inference: Inference) -> Iterator[Tensor]:
        return _fista(inference, restart=restart)

    return run_solver(iterates, operator, x, prox, options)


def _ista(inference: Inference) -> Iterator[Tensor]:
    z = inference.start
    while True:
        z = inference.proximal_step(z)
        yield z


def _fista(inference: Inference, *, restart: bool) -> Iterator[Tensor]:
    z = y = inference.start
    t = z.new_ones(len(z), 1)
    while True:
        new = inference.proximal_step(y)
        with torch.no_grad():
            t_next = (1 + (1 + 4 * t.square()).sqrt()) / 2
            momentum = (t - 1) / t_next
            if restart:
                uphill = ((y - new) * (new - z)).sum(dim=1, keepdim=True) > 0
                momentum = momentum.masked_fill(uphill, 0.0)
                t_next = t_next.masked_fill(uphill, 1.0)
        y = new + momentum * (new - z)
        z, t = new, t_next
        yield z
