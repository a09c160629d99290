"""Semi-NMF and convex NMF: codes ≥ 0, signed data, by multiplicative steps that never get worse.

Semi-NMF: X ≈ Z D with Z ≥ 0. Convex NMF: the same with D = W X, W ≥ 0, so every atom is a
non-negative mixture of data points. Both alternate a step in D (or W) with
Z ← Z ⊙ √((A⁺ + Z B⁻) / (A⁻ + Z B⁺)),  A = X Dᵀ, B = D Dᵀ, M⁺ and M⁻ the parts of M = M⁺ − M⁻.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

GUARD = 1e-9
"""Added to denominators (and, times the mean diagonal, to ZᵀZ before inverting)."""

FLOOR = 0.2
"""Added to cluster memberships at the start, so that no code begins at an absorbing zero (Ding et al.)."""


@torch.no_grad()
def semi_nmf(
    x: Float[Tensor, "n d_in"], start: Float[Tensor, "n n_atoms"], n_steps: int
) -> tuple[Float[Tensor, "n_atoms d_in"], list[float]]:
    """Find a signed dictionary with non-negative codes.

    Parameters
    ----------
    x
        Rows.
    start
        First codes, ≥ 0; memberships of k-means.
    n_steps
        Alternations.

    Returns
    -------
    tuple
        The dictionary, and ‖X − Z D‖² after every alternation, which never rises.

    Source
    ------
    Ding, Li and Jordan, "Convex and semi-nonnegative matrix factorizations", IEEE TPAMI 2010, eqs.
    9–10.
    """
    z = start + FLOOR
    errors = []
    dictionary = _least_squares(x, z)
    for _ in range(n_steps):
        z = _step(z, x @ dictionary.T, dictionary @ dictionary.T)
        dictionary = _least_squares(x, z)
        errors.append(float((x - z @ dictionary).square().sum()))
    return dictionary, errors


@torch.no_grad()
def convex_nmf(
    x: Float[Tensor, "n d_in"], start: Float[Tensor, "n n_atoms"], n_steps: int
) -> tuple[Float[Tensor, "n_atoms n"], list[float]]:
    """Find atoms that are non-negative mixtures of the rows.

    Parameters
    ----------
    x
        Rows; n × n numbers are kept.
    start
        First codes, ≥ 0; memberships of k-means.
    n_steps
        Alternations.

    Returns
    -------
    tuple
        W (the dictionary is W X), and ‖X − Z W X‖² after every alternation, which never rises.

    Source
    ------
    Ding, Li and Jordan 2010, eqs. 24 and 28, with the roles of rows and columns exchanged.
    """
    gram = x @ x.T
    positive, negative = _parts(gram)
    z = start + FLOOR
    w = (z / z.sum(dim=0)).T.contiguous()
    errors = []
    for _ in range(n_steps):
        up = z.T @ positive + z.T @ z @ w @ negative
        down = z.T @ negative + z.T @ z @ w @ positive
        w = w * (up / (down + GUARD)).sqrt()
        z = _step(z, gram @ w.T, w @ gram @ w.T)
        errors.append(float((x - z @ (w @ x)).square().sum()))
    return w, errors


def _step(z: Tensor, a: Tensor, b: Tensor) -> Tensor:
    a_up, a_down = _parts(a)
    b_up, b_down = _parts(b)
    return z * ((a_up + z @ b_down) / (a_down + z @ b_up + GUARD)).sqrt()


def _parts(matrix: Tensor) -> tuple[Tensor, Tensor]:
    return matrix.clamp_min(0), (-matrix).clamp_min(0)


def _least_squares(x: Tensor, z: Tensor) -> Tensor:
    gram = z.T @ z
    guard = GUARD * gram.diagonal().mean() * torch.eye(len(gram), dtype=z.dtype, device=z.device)
    return torch.linalg.solve(gram + guard, z.T @ x)
