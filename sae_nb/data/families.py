"""Sparse data whose atoms come in families: similar within one, unrelated between two."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_count, check_k
from sae_nb.data.planted import PlantedDictionary, planted_dictionary


def planted_families(
    n_families: int,
    family_size: int,
    d_in: int,
    n: int,
    k: int,
    within: float = 0.5,
    noise: float = 0.0,
    seed: int = 0,
) -> PlantedDictionary:
    """Sparse combinations of atoms that come in families of siblings, answers included.

    d_j = √within · m_f + √(1 − within) · g_j with one random direction m_f per family f and random
    directions g_j ⟂ m_f, so two siblings have cosine `within` in the mean. Codes are those of
    `planted_dictionary`: k of all atoms, every set as likely, strengths uniform in [½, 1½].

    Parameters
    ----------
    n_families, family_size
        Their product is the number of atoms.
    d_in
        Width of a vector, ≥ 2.
    n
        How many vectors.
    k
        Atoms per vector.
    within
        Mean cosine of two siblings, in [0, 1). A one-step encoder takes siblings of an atom for
        atoms of their own; a pursuit subtracts them with it.
    noise
        Standard deviation of the noise in every coordinate.
    seed
        ≥ 0.

    Returns
    -------
    PlantedDictionary
        ``.x``, ``.dictionary`` (families one after the other), ``.codes``.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Example
    -------
    >>> data = planted_families(n_families=4, family_size=8, d_in=64, n=10, k=3, within=0.6)
    >>> cosine = data.dictionary @ data.dictionary.T
    >>> siblings = cosine[:8, :8][~torch.eye(8, dtype=torch.bool)]
    >>> bool(abs(siblings.mean() - 0.6) < 0.05), bool(cosine[:8, 8:].abs().mean() < 0.2)
    (True, True)
    """
    check_count(n_families, name="n_families")
    check_count(family_size, name="family_size")
    check_k(k, n_families * family_size)
    if not 0 <= within < 1:
        raise ValueError(f"`within` must be in [0, 1), got {within}. Unit atoms allow no more.")
    n_atoms = n_families * family_size
    # Which also checks the numbers that both have.
    codes = planted_dictionary(n_atoms, d_in, n, k, noise=noise, seed=seed).codes
    generator = torch.Generator().manual_seed(seed + 1)
    dictionary = _families(n_families, family_size, d_in, within, generator)
    x = F.embedding_bag(
        codes.atoms.long(),
        dictionary,
        codes.offsets[:-1],
        per_sample_weights=codes.values,
        mode="sum",
    )
    if noise > 0:
        x = x + noise * torch.randn(n, d_in, generator=generator)
    return PlantedDictionary(x=x, dictionary=dictionary, codes=codes)


def _families(
    n_families: int, size: int, d_in: int, within: float, generator: torch.Generator
) -> Float[Tensor, "n_atoms d_in"]:
    drawn = torch.randn(n_families, size + 1, d_in, generator=generator, dtype=torch.float64)
    shared, own = F.normalize(drawn[:, :1], dim=2), drawn[:, 1:]
    own = F.normalize(own - (own * shared).sum(dim=2, keepdim=True) * shared, dim=2)
    atoms = within**0.5 * shared + (1 - within) ** 0.5 * own
    return F.normalize(atoms.reshape(-1, d_in), dim=1).float()
