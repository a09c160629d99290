"""Solvers: how codes are found from an operator, a prox and a number of steps.

Encoding is inference, min_z ½‖x − b − A z‖² + g(z). Proximal gradient descent repeats
z ← prox_g(z + t Aᵀ(x − b − A z)). A one-layer SAE encoder is its first step from z = 0, with a
learned map in place of t Aᵀ.
"""

from __future__ import annotations

from sae_nb.architectures.solvers.one_step import ista_step

__all__ = ["ista_step"]
