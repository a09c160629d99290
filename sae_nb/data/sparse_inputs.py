"""Inputs of the toy model of superposition: features that are mostly off, each on its own."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_count


def sparse_features(
    n: int, n_features: int, sparsity: float, *, seed: int = 0
) -> Float[Tensor, "n n_features"]:
    """Draw independent features that are 0 with chance S and else uniform in [0, 1].

    Parameters
    ----------
    n
        How many inputs.
    n_features
        Features of each.
    sparsity
        S, the chance that a feature is off, in [0, 1).
    seed
        ≥ 0.

    Returns
    -------
    Tensor
        Non-negative, with a share of about S zeros.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Source
    ------
    Elhage et al., "Toy models of superposition", 2022, arXiv 2209.10652, section 2.

    Example
    -------
    >>> x = sparse_features(1000, 5, 0.9)
    >>> x.shape, 0.08 < float((x > 0).float().mean()) < 0.12
    (torch.Size([1000, 5]), True)
    """
    check_count(n, name="n")
    check_count(n_features, name="n_features")
    check_count(seed, name="seed", at_least=0)
    density = 1 - check_sparsity(sparsity)
    generator = torch.Generator().manual_seed(seed)
    on = torch.rand(n, n_features, generator=generator) < density
    return torch.rand(n, n_features, generator=generator) * on


def check_sparsity(sparsity: object) -> float:
    """Return a chance of being off that is a number in [0, 1).

    Raises
    ------
    TypeError, ValueError
        If it is not.
    """
    if isinstance(sparsity, bool) or not isinstance(sparsity, int | float):
        raise TypeError(f"`sparsity` must be a number, got {sparsity!r}.")
    if not 0 <= sparsity < 1:
        raise ValueError(
            f"`sparsity` must be in [0, 1), got {sparsity}. At 1 no feature would ever be on."
        )
    return float(sparsity)
