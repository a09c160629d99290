"""What spread-out unit vectors look like: the Welch bound, random frames, and nearly Grassmannian ones."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_count

POWERS = (4.0, 64.0)
"""Exponent of the mean over cosines, first and last step: a soft maximum that grows hard (ours)."""


def welch_bound(n_atoms: int, d_in: int) -> float:
    """The least that the largest |cosine| of n unit vectors can be.

    μ ≥ √((n − d) / (d (n − 1))) for n > d; orthogonal vectors have 0.

    Parameters
    ----------
    n_atoms
        Vectors.
    d_in
        Width.

    Raises
    ------
    TypeError, ValueError
        If a size is no whole number ≥ 1.

    Source
    ------
    Welch, "Lower bounds on the maximum cross correlation of signals", 1974.

    Example
    -------
    >>> round(welch_bound(3, 2), 3), welch_bound(4, 8)
    (0.5, 0.0)
    """
    n_atoms, d_in = check_count(n_atoms, name="n_atoms"), check_count(d_in, name="d_in")
    if n_atoms <= d_in:
        return 0.0
    return math.sqrt((n_atoms - d_in) / (d_in * (n_atoms - 1)))


def random_frame(n_atoms: int, d_in: int, *, seed: int = 0) -> Float[Tensor, "n_atoms d_in"]:
    """Unit vectors in random directions; their cosines have standard deviation 1/√d.

    Parameters
    ----------
    n_atoms, d_in
        Sizes.
    seed
        Of the draw.

    Example
    -------
    >>> round(float(random_frame(500, 100)[0].norm()), 4)
    1.0
    """
    shape = check_count(n_atoms, name="n_atoms"), check_count(d_in, name="d_in")
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)


@torch.enable_grad()
def near_grassmannian_frame(
    n_atoms: int, d_in: int, *, n_steps: int = 300, seed: int = 0
) -> Float[Tensor, "n_atoms d_in"]:
    """Unit vectors moved apart until their largest |cosine| is small.

    min (mean_{i ≠ j} |⟨d_i, d_j⟩|^p)^(1/p) by Adam on the sphere, p rising from 4 to 64.

    Parameters
    ----------
    n_atoms, d_in
        Sizes; n × n numbers are held.
    n_steps
        Of Adam.
    seed
        Of the first vectors.

    Source
    ------
    arXiv 2510.08638 compares with such a frame and names TAAP; this optimiser is ours.

    Example
    -------
    >>> frame = near_grassmannian_frame(6, 3)
    >>> cosines = (frame @ frame.T - torch.eye(6)).abs()
    >>> bool(welch_bound(6, 3) - 1e-5 <= cosines.max() < 0.5)
    True
    """
    frame = random_frame(n_atoms, d_in, seed=seed)
    if n_atoms <= d_in:
        return torch.linalg.qr(frame.T).Q.T.contiguous()
    free = frame.clone().requires_grad_()
    optimiser = torch.optim.Adam([free], lr=0.05)
    own = torch.eye(n_atoms, dtype=torch.bool)
    for step in range(check_count(n_steps, name="n_steps")):
        done = step / n_steps
        power = POWERS[0] * (POWERS[1] / POWERS[0]) ** done
        for group in optimiser.param_groups:
            group["lr"] = 0.05 * (1 - done)
        unit = torch.nn.functional.normalize(free, dim=1)
        cosines = (unit @ unit.T).abs().masked_fill(own, 0.0)
        most = cosines.detach().max().clamp_min(1e-9)
        loss = most * (cosines / most).pow(power).mean().pow(1 / power)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    return torch.nn.functional.normalize(free.detach(), dim=1)
