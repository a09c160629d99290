"""OrthogonalMatchingPursuit: greedy choices, and after each the best coefficients of all chosen atoms."""

from __future__ import annotations

from sae_nb.architectures._pursuing import PursuitAutoencoder
from sae_nb.pursuit import orthogonal_matching_pursuit
from sae_nb.pursuit._checking import Gradient
from sae_nb.pursuit._problem import PursuitName, Reselect


class OrthogonalMatchingPursuit(PursuitAutoencoder):
    """Greedy encoder that refits: k times, take the best atom left and solve for all coefficients.

    Γ ← Γ ∪ {argmax_{j ∉ Γ} ⟨r, d_j⟩},  z_Γ = argmin_{z ≥ 0} ‖x − b − z D_Γ‖²,  r = x − b − z_Γ D_Γ,
    x̂ = zD + b. No atom is chosen twice; for equal k the residual is usually shorter than matching
    pursuit's, at k times the cost of a step.

    The coefficients minimise the loss, so its gradient through them is zero and training treats codes
    as constants, exactly. `encode` carries the gradient of the least-squares solution all the same.

    Parameters
    ----------
    k
        Most atoms per input, 1 ≤ k ≤ n_atoms. May differ at inference: `encode(x, k=…)`.
    nonnegative
        Coefficients ≥ 0 (atoms whose best coefficient is 0 leave the code); otherwise of any sign.
    d_in, n_atoms, tolerance, relative_tolerance, dropout, revive, bias, generator
        As in `MatchingPursuit`.

    Source
    ------
    overcomplete sae/omp_sae.py refits with at most ten iterations of non-negative least squares and
    no gradient; ours solves exactly (Rubinstein et al., Batch-OMP, 2008; Lawson and Hanson, ch. 23).

    Example
    -------
    >>> import torch
    >>> sae = OrthogonalMatchingPursuit(4, 8, k=2, generator=torch.Generator().manual_seed(0))
    >>> codes = sae.encode(torch.ones(3, 5, 4))
    >>> codes.shape, bool((codes.l0 <= 2).all())
    ((3, 5, 8), True)
    """

    _training_gradient: Gradient = "dictionary"
    algorithm: PursuitName = "orthogonal_matching_pursuit"
    reselect: Reselect = False
    _pursue = staticmethod(orthogonal_matching_pursuit)
