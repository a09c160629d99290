"""The gradient that learns a dictionary by likelihood, through conjugate gradients that stop early."""

from __future__ import annotations

from itertools import islice
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures import FixedOperator
from sae_nb.architectures.parts import conjugate_gradients
from sae_nb.checks import Count, Seed, check_memory, check_real, checked, same_length
from sae_nb_studies.lab._posterior import checked_noise

HELD = 8
"""Batches of solutions that the graph of a step keeps: directions, residuals, products."""


@checked
def likelihood_gradient(
    x: Float[Tensor, "rows d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"],
    *,
    noise: float,
    precision: float | Float[Tensor, " n_atoms"] = 1.0,
    how: Literal["network", "output", "exact"] = "network",
    n_steps: Count = 20,
    n_samples: Count = 10,
    seed: Seed = 0,
) -> Float[Tensor, "n_atoms d_in"]:
    """Return gradient of −log p(x) with respect to the dictionary, codes integrated out; mean over rows.

    x = z D + ε with z_j ~ N(0, 1/α_j), ε ~ N(0, σ²). The likelihood needs the inverse of Λ = DDᵀ/σ² + diag α.
    Instead conjugate gradients make `n_steps` steps towards the posterior mean, Λμ = Dx/σ², and towards
    posterior samples less their mean, Λs = b with b = De/σ + √α ξ for standard normal e and ξ. Each solution
    u minimises J(u) = ½ uᵀΛu − bᵀu, and the gradient wanted is that of the sum of minima on average, b of the
    samples held fixed. "output" holds the solutions fixed, as EM does: off by as much as they are. "network"
    differentiates through the steps as well, which makes its error the square of theirs.

    Parameters
    ----------
    x
        Inputs.
    dictionary
        D, atoms as rows.
    noise
        σ > 0, the standard deviation of ε.
    precision
        α > 0, of all coefficients or of each.
    how
        "network", "output", or "exact": by the covariance of x, without steps or samples.
    n_steps
        Of conjugate gradients, from zero.
    n_samples
        Posterior samples per row.
    seed
        Draws e and ξ.

    Returns
    -------
    Tensor
        One row per atom, in float64.

    Raises
    ------
    ValueError: If inputs do not fit together.
    MemoryError: If the graph of all steps does not fit.

    Source
    ------
    After "Probabilistic Unrolling", arXiv 2306.03249, of which we had the abstract and the caption of a figure:
    steps, samples and the two gradients are its; J, whose total derivative is the gradient, is ours.

    Example
    -------
    >>> generator = torch.Generator().manual_seed(0)
    >>> x, dictionary = (torch.randn(n, 6, generator=generator) for n in (40, 4))
    >>> exact = likelihood_gradient(x, dictionary, noise=0.5, how="exact")
    >>> found = likelihood_gradient(x, dictionary, noise=0.5, n_steps=4, n_samples=50)
    >>> bool(torch.cosine_similarity(exact.flatten(), found.flatten(), dim=0) > 0.95)
    True
    """
    noise = checked_noise(noise)
    alpha = _precisions(precision, dictionary)
    with torch.enable_grad():
        atoms = dictionary.detach().double().requires_grad_()
        rows = x.detach().to(atoms)
        if how == "exact":
            loss = _negative_log_likelihood(rows, atoms, alpha, noise)
        else:
            held = HELD * n_steps if how == "network" else HELD
            check_memory(
                8 * held * len(rows) * (1 + n_samples) * len(atoms),
                f"The graph of {n_steps} steps on {len(rows)} rows with {n_samples} samples each",
                "Use fewer rows, samples or steps.",
            )
            b = _right_hand_sides(rows, atoms, alpha, noise, n_samples, seed)
            loss = _value(b, atoms, alpha * noise**2, n_steps, through=how == "network")
            loss = loss / noise**2 / len(rows)
        (found,) = torch.autograd.grad(loss, atoms)
    return found


def _precisions(precision: float | Tensor, dictionary: Tensor) -> Float[Tensor, " n_atoms"]:
    n = len(dictionary)
    if isinstance(precision, Tensor):
        same_length(precision, n, name="precision", per="atom")
        alpha = precision.detach().to(dictionary.device, torch.float64)
    else:
        value = check_real(precision, name="precision")
        alpha = torch.full((n,), value, dtype=torch.float64, device=dictionary.device)
    if not bool((alpha > 0).all()):
        raise ValueError(f"`precision` must be above 0, got {float(alpha.min()):g}.")
    return alpha


def _negative_log_likelihood(x: Tensor, atoms: Tensor, alpha: Tensor, noise: float) -> Tensor:
    """−log N(x; 0, Dᵀ diag(1/α) D + σ²), mean over rows."""
    eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    covariance = atoms.T @ (atoms / alpha[:, None]) + noise**2 * eye
    normal = torch.distributions.MultivariateNormal(torch.zeros_like(x[0]), covariance)
    likelihood: Tensor = normal.log_prob(x).mean()  # type: ignore[no-untyped-call]
    return -likelihood


def _right_hand_sides(
    x: Tensor, atoms: Tensor, alpha: Tensor, noise: float, n_samples: int, seed: int
) -> tuple[Float[Tensor, "rows n_atoms"], Float[Tensor, "samples n_atoms"]]:
    """σ²b of means, which follows the dictionary, and of samples, which does not."""
    generator = torch.Generator().manual_seed(seed)
    n = len(x) * n_samples
    e, xi = (
        torch.randn(n, width, generator=generator, dtype=torch.float64).to(x.device)
        for width in (x.shape[1], len(atoms))
    )
    return x @ atoms.T, (noise * e @ atoms.T + noise**2 * alpha.sqrt() * xi).detach()


def _value(
    b: tuple[Tensor, Tensor], atoms: Tensor, ridge: Tensor, n_steps: int, *, through: bool
) -> Tensor:
    """Σ J of means, and of samples on average: J(u) = ½ uᵀHu − bᵀu at the last step, H = DDᵀ + ασ²."""
    operator = FixedOperator(atoms)

    def matrix(u: Tensor) -> Tensor:
        return operator.adjoint(operator.forward(u)) + ridge * u

    both = torch.cat(b)
    with torch.set_grad_enabled(through):
        diagonal = operator.energy() + ridge
        steps = conjugate_gradients(matrix, both, diagonal, torch.zeros_like(both))
        *_, last = islice(steps, n_steps)
    value = (0.5 * last.z * matrix(last.z) - both * last.z).sum(dim=1)
    n = len(b[0])
    return value[:n].sum() + value[n:].sum() * n / (len(value) - n)
