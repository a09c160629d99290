"""Greedy sparse coding against a fixed dictionary: k times, take the atom that best explains the rest.

Three pursuits share one search, argmax_j ⟨r, d_j⟩, and differ in the coefficients they give the atoms
chosen so far: `matching_pursuit` adds one, `orthogonal_matching_pursuit` refits all by least squares,
`gradient_pursuit` moves all along the gradient. Backends: `reference` (plain torch, the definition),
`cpu` (Numba) and `cuda` (Triton, and Numba-CUDA where Triton does not run); all return `SparseCodes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.pursuit._checking import as_tensors as as_tensors
    from sae_nb.pursuit._planning import Plan as Plan
    from sae_nb.pursuit._problem import Problem as Problem, PursuitTrace as PursuitTrace
    from sae_nb.pursuit._pursuits import (
        explain_plan as explain_plan,
        gradient_pursuit as gradient_pursuit,
        matching_pursuit as matching_pursuit,
        orthogonal_matching_pursuit as orthogonal_matching_pursuit,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
