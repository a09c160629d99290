"""Solvers: how codes are found from an operator, a prox and a number of steps.

Encoding is inference, min_z nll(x, A z + b) + g(z). Proximal gradient descent repeats
z ← prox_{t g}(z + t Aᵀ(x − μ(A z + b))). A one-layer SAE encoder is its first step from z = 0, with a
learned map in place of t Aᵀ. A solver never knows the model, and its step is always
1 / (operator.lipschitz() · link.curvature), never a constant somebody tuned.
"""

from __future__ import annotations

from sae_nb.architectures.solvers.conjugate_gradient import cg
from sae_nb.architectures.solvers.one_step import ista_step
from sae_nb.architectures.solvers.proximal_gradient import fista, ista
from sae_nb.architectures.solvers.running import Options
from sae_nb.architectures.solvers.splitting import admm
from sae_nb.architectures.solvers.tracing import SolverTrace

__all__ = ["SOLVERS", "Options", "SolverTrace", "admm", "cg", "fista", "ista", "ista_step"]

SOLVERS = {"ista": ista, "fista": fista, "admm": admm, "cg": cg}
"""Every solver by its name; each is called as solve(operator, x, prox, **options)."""
