"""Two dictionaries side by side: which atom of one is which atom of the other, and what chance gives."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.evaluation.matching import HUNGARIAN_UP_TO, match_atoms
from sae_nb.summaries.concept_map import ConceptMatch


def match_dictionaries(
    dictionary: Float[Tensor, "n_atoms d_in"],
    other: Float[Tensor, "n_others d_in"],
    *,
    seed: int = 0,
) -> ConceptMatch:
    """Match every atom of the smaller dictionary with one of the other, the sum of cosines largest.

    Parameters
    ----------
    dictionary, other
        Of one width; only directions count.
    seed
        Of the random directions that are matched for comparison.

    Returns
    -------
    ConceptMatch
        Pairs, their cosines, and the mean cosine of random directions matched in the same way.

    Raises
    ------
    ValueError
        If their widths differ.

    Example
    -------
    >>> match = match_dictionaries(torch.eye(4), torch.eye(4).roll(1, dims=0))
    >>> match.others.tolist(), match.same.all().item(), match.unmatched.tolist()
    ([1, 2, 3, 0], True, [])
    """
    if other.ndim != 2 or other.shape[1] != dictionary.shape[1]:
        raise ValueError(
            f"`other` must have width d_in={dictionary.shape[1]} to be compared, got shape "
            f"{tuple(other.shape)}. Compare SAEs of one hook point."
        )
    atoms, others, cosines = match_atoms(dictionary, other)
    found = others >= 0  # the auction may leave atoms without a partner
    generator = torch.Generator().manual_seed(seed)
    random = [torch.randn(d.shape, generator=generator) for d in (dictionary, other)]
    return ConceptMatch(
        atoms=atoms[found],
        others=others[found],
        cosines=cosines[found],
        n_atoms=len(dictionary),
        n_others=len(other),
        floor=float(match_atoms(random[0], random[1])[2].mean()),
        exact=max(len(dictionary), len(other)) <= HUNGARIAN_UP_TO,
    )
