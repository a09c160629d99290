"""Neurons or atoms: which single unit detects best whether something known is there?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.checks import Seed, check_matrix, check_memory, checked, same_length
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.concepts._factors import Factor, FactorEvidence, FactorMatch, match_factors
from sae_nb.findings import Finding

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures import SparseAutoencoder


BYTES_PER_ENTRY = 40
"""A dense unit passes through a matrix, a sparse code and its sorted copy. Measured, rounded up."""


class SelectivitySummary(Finding):
    """F1 of the best single detector of each factor: among atoms, neurons, random directions.

    Detector and threshold are chosen on one set and judged on another. Atoms outnumber neurons, so
    the control is the same number of random directions as atoms; they have both signs too.
    """

    HEADLINE = (
        "{factors.len} factors, mean F1 on fresh samples: atoms {atoms.mean:.3f}, neurons "
        "{neurons.mean:.3f}, random directions {random.mean:.3f}, always yes {floor.mean:.3f}"
    )

    factors: tuple[str, ...]
    """Names of the factors to detect."""

    atoms: Float[np.ndarray, " factors"]
    neurons: Float[np.ndarray, " factors"]
    """F1 of the best neuron, above or below a threshold."""

    random: Float[np.ndarray, " factors"]
    """F1 of the best random direction, above or below a threshold."""

    floor: Float[np.ndarray, " factors"]
    """F1 of always answering yes."""

    best_atoms: tuple[FactorMatch, ...]
    """The atom for each factor, its threshold, precision and recall."""

    best_neurons: tuple[tuple[int, int], ...]
    """The neuron for each factor, and the sign with which it detects it."""

    @property
    def table(self) -> pd.DataFrame:
        """One row per factor, and the mean of all."""
        import pandas as pd

        columns = ("atoms", "neurons", "random", "floor")
        table = pd.DataFrame({c: getattr(self, c) for c in columns}, index=list(self.factors))
        table.loc["mean"] = table.mean()
        return table.round(3)

    def match(self, factor: str) -> FactorMatch:
        """Return the atom that detects a factor best."""
        if factor not in self.factors:
            raise KeyError(f"`factor` must be one of {list(self.factors)}, got {factor!r}.")
        return self.best_atoms[self.factors.index(factor)]


@checked(leave=("fresh_acts",))
def summarise_selectivity(
    sae: SparseAutoencoder,
    acts: Activations | Float[Tensor, "n d_in"],
    factors: Sequence[Factor],
    fresh_acts: Activations | Float[Tensor, "m d_in"],
    fresh_factors: Sequence[Factor],
    *,
    seed: Seed = 0,
) -> SelectivitySummary:
    """Return how well single atoms, neurons and random directions detect known factors.

    F1 = 2TP / (2TP + FP + FN) of "this unit is above θ"; unit and θ are chosen on `acts`, judged on
    `fresh_acts`. A sample is as strong as its strongest row.

    Parameters
    ----------
    sae
        Whose atoms compete.
    acts, factors
        To choose on, and what is true of it; rows of a plain tensor are samples of their own.
    fresh_acts, fresh_factors
        To judge on; other samples, factors in the same order.

    Raises
    ------
    TypeError, ValueError: If activations are of the wrong width, or the factors are not the same ones.
    MemoryError: If one dense random direction per atom would not fit. Capture fewer rows.

    Example
    -------
    >>> from sae_nb.architectures import TopK
    >>> x = torch.rand(64, 4, generator=torch.Generator().manual_seed(0))
    >>> truth = row_factors(x > 0.5)
    >>> sae = TopK(4, 8, 2, generator=torch.Generator().manual_seed(0))
    >>> summarise_selectivity(sae, x, truth, x, truth).neurons.tolist()  # each neuron is a factor
    [1.0, 1.0, 1.0, 1.0]
    """
    names = [factor.name for factor in factors]
    fresh_names = [factor.name for factor in fresh_factors]
    if not names or names != fresh_names:
        raise ValueError(
            "`factors` and `fresh_factors` must name the same things in the same order, got "
            f"{names} and {fresh_names}."
        )
    sides = [_Side.of(given, sae) for given in (acts, fresh_acts)]
    what = (factors, fresh_factors)
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(sae.n_atoms, sae.d_in, generator=generator)
    codes = {
        "atoms": [sae.encode(side.x).detach().to("cpu") for side in sides],
        "neurons": _directed(sides, torch.eye(sae.d_in)),
        "random": _directed(sides, random),
    }
    best: dict[str, list[FactorMatch]] = {}
    for name, both in codes.items():
        chosen_on, judged_on = (
            FactorEvidence(codes=code, sample=side.sample, factors=truth)
            for code, side, truth in zip(both, sides, what, strict=True)
        )
        best[name] = match_factors(chosen_on, judged_on).by_factor
    neurons = [match.atom for match in best["neurons"]]
    return SelectivitySummary(
        factors=tuple(names),
        **{name: np.array([match.f1 for match in found]) for name, found in best.items()},
        floor=np.array([match.floor for match in best["atoms"]]),
        best_atoms=tuple(best["atoms"]),
        best_neurons=tuple((unit % sae.d_in, 1 if unit < sae.d_in else -1) for unit in neurons),
    )


@checked
def row_factors(
    present: Bool[Tensor, "n n_features"], names: Sequence[str] | None = None
) -> list[Factor]:
    """Return factors that are known of every row; without names, "feature 0", "feature 1", ….

    Example
    -------
    >>> [factor.name for factor in row_factors(torch.ones(3, 2, dtype=torch.bool))]
    ['feature 0', 'feature 1']
    """
    called = [f"feature {i}" for i in range(present.shape[1])] if names is None else list(names)
    same_length(called, present.shape[1], name="names", per="factor")
    columns = present.cpu().numpy().T
    return [
        Factor(name=name, per="row", truth=truth)
        for name, truth in zip(called, columns, strict=True)
    ]


@dataclass(frozen=True)
class _Side:
    """Rows, and which sample each belongs to."""

    x: Tensor
    sample: np.ndarray

    @classmethod
    def of(cls, given: Activations | Tensor, sae: SparseAutoencoder) -> _Side:
        x = given.x if isinstance(given, Activations) else given
        x = check_matrix(x, name="acts", d_in=sae.d_in).detach().float()
        size = len(x) * 2 * sae.n_atoms * BYTES_PER_ENTRY
        check_memory(size, f"{sae.n_atoms} random directions on {len(x)} rows", "Take fewer rows.")
        if isinstance(given, Activations):
            return cls(x, given.sample.numpy())
        return cls(x, np.arange(len(x)))


def _directed(sides: Sequence[_Side], directions: Tensor) -> list[SparseCodes]:
    """Each direction and its opposite as a unit that is positive on everything it was chosen on.

    Then every threshold can be reached, which is the most that can be granted to a dense unit.
    """
    along = [side.x.cpu() @ directions.T for side in sides]
    both = [torch.cat((one, -one), dim=1) for one in along]
    lowest = both[0].amin(dim=0) - 1e-3
    return [SparseCodes.from_dense(one - lowest) for one in both]
