"""Do two trainings find the same atoms? Mean cosine after matching each atom with one of the other.

Stability(D, D') = max over permutations Π of (1/c) Σ_i ⟨d_i, d'_Π(i)⟩, unit atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Resamples, Seed, checked
from sae_nb.evaluation.report._measurement import Measurement, Resampling, chance_generator
from sae_nb.geometry._cosines import largest_cosines
from sae_nb.geometry._matching import match_atoms, match_rows, matched_exactly, unit_dictionaries


class Stability(Measurement):
    """Agreement of several dictionaries, with what random ones of the same shape reach.

    `value` is the mean matched cosine over all pairs; at d_in = 64 chance alone gives 0.35, so a value
    means nothing without its `floor`.
    """

    cosines: Float[np.ndarray, "pairs matched"]
    """Matched cosines of every pair, in the order of the smaller dictionary's atoms."""

    pairs: tuple[tuple[int, int], ...]
    """Indices of the two that were compared."""

    mean_max: float
    """Mean over atoms of the largest cosine, both directions: never below `value`."""

    shared_fraction: float
    """Share of matched atoms with a cosine above 0.7."""

    signed: bool
    """Whether an atom may match another's negative."""

    error: float = 0.0
    """Upper bound on what the best matching could add to `value`; 0 if it was found exactly."""

    @property
    def headline(self) -> str:
        """The mean matched cosine with floor and control; how many atoms are shared."""
        rivals = {"floor": self.floor, "control": self.control}
        known = "".join(f", {name} {x:.3f}" for name, x in rivals.items() if x is not None)
        low, high = self.interval
        return (
            f"{self.value:.3f} [{low:.3f}, {high:.3f}] over {self.n} {self.unit}{known}; "
            f"{self.shared_fraction:.0%} of matched atoms above .7"
        )


@checked
def stability(
    saes: Sequence[Any],
    *,
    signed: bool = False,
    seed: Seed = 0,
    n_bootstrap: Resamples = 1000,
) -> Stability:
    """Return how well the dictionaries of several trainings agree.

    Mean over all pairs of the mean cosine between matched atoms. Up to 4096 atoms the matching is
    optimal (Hungarian); above, it is an auction, named in `definition`, and `error` bounds the loss.
    The `control` pairs the same atoms at random: a common direction raises it, and where all atoms are
    one it is as high as the value.

    Parameters
    ----------
    saes
        Two or more SAEs, or (n_atoms, d_in) dictionaries, of one width. Different initialisations
        are the caller's part: runs that share one agree before training starts.
    signed
        Match an atom with another's negative too: for signed codes only.

    Raises
    ------
    ValueError: If there are fewer than two, or their widths differ.

    Source
    ------
    "Archetypal SAE", arXiv 2502.12892, eq. 2. We divide by the number of atoms.

    Example
    -------
    >>> import torch
    >>> atoms = torch.eye(8)
    >>> stability([atoms, atoms.flip(0)]).value
    1.0
    """
    dictionaries = unit_dictionaries(saes)
    resampling = Resampling(n_bootstrap, seed)
    pairs = tuple(combinations(range(len(dictionaries)), 2))
    matches = [match_rows(dictionaries[i], dictionaries[j], signed=signed) for i, j in pairs]
    matched = [cosines for _, _, cosines, _ in matches]
    n = min(len(cosines) for cosines in matched)
    both_ways = [*pairs, *((j, i) for i, j in pairs)]
    best = (largest_cosines(dictionaries[i], dictionaries[j], signed=signed) for i, j in both_ways)
    largest = [float(cosines.double().mean()) for cosines in best]
    every = np.concatenate(matched)
    exact = matched_exactly(*dictionaries)
    generator = chance_generator(seed)
    random = [torch.randn(d.shape, generator=generator, dtype=d.dtype) for d in dictionaries[:2]]
    return Stability.measured(
        "stability_hungarian" if exact else "stability_auction",
        np.mean([cosines.mean() for cosines in matched]),
        floor=match_atoms(*random, signed=signed)[2].mean(),
        control=_at_random(dictionaries, pairs, signed=signed, seed=seed),
        interval=resampling.spread(every),
        n=len(pairs),
        unit="pairs",
        cosines=np.stack([cosines[:n] for cosines in matched]),
        pairs=pairs,
        mean_max=float(np.mean(largest)),
        shared_fraction=float((every > 0.7).mean()),
        signed=signed,
        error=float(np.mean([error for *_, error in matches])),
    )


@checked
def atom_stability(
    sae: Any, others: Sequence[Any], *, signed: bool = False
) -> Float[np.ndarray, " n_atoms"]:
    """Measure how well each atom is found again by other trainings: a column for the concept map.

    Mean over the others (SAEs or dictionaries, of other seeds or data) of the cosine with the matched
    atom, with `signed` or its negative; NaN for atoms that no other training has a partner for, as
    where the others are smaller. For ``sw.ConceptMap(…, columns={"stability": …})``.

    Example
    -------
    >>> import torch
    >>> atoms = torch.eye(3)
    >>> atom_stability(atoms, [atoms.flip(0), torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]])])
    array([1. , 1. , 0.5])
    """
    first, *rest = unit_dictionaries([sae, *others])
    total, count = np.zeros(len(first)), np.zeros(len(first))
    for other in rest:
        rows, _, cosines, _ = match_rows(first, other, signed=signed)
        total[rows] += cosines
        count[rows] += 1
    return np.divide(total, count, out=np.full(len(first), np.nan), where=count > 0)


def _at_random(
    dictionaries: list[Tensor], pairs: tuple[tuple[int, int], ...], *, signed: bool, seed: int
) -> float:
    """Mean cosine of the same atoms paired at random."""
    generator = torch.Generator().manual_seed(seed)
    means = []
    for i, j in pairs:
        first, second = dictionaries[i], dictionaries[j]
        chosen = [torch.randint(len(d), (8192,), generator=generator) for d in (first, second)]
        cosines = (first[chosen[0]] * second[chosen[1]]).sum(dim=1).double()
        means.append(float((cosines.abs() if signed else cosines).mean()))
    return float(np.mean(means))
