"""Numbers of every atom that need no model, and the rule that makes a verdict of them.

Return r_js: the largest cosine of atom j with any atom of sister s. Origin o_j: the
cosine of atom j with itself after the SAE's bias is shared out among the atoms that fire, d_j + α b with
α = E[Σ z] / E[(Σ z)²], the multiple of a row's code sum that is nearest to 1. If rows have about the same
code sum, Σ z d + b and Σ z (d + α b) are nearly the same reconstruction: an atom with a small o_j points
elsewhere if the bias is placed elsewhere, and the data hardly say which of the two it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.evaluation import codes_of_rows
from sae_nb.geometry import largest_cosines

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

REAL, UNCLEAR, CHANCE = "real", "unclear", "chance"

RETURNS, EXACT = 0.9, 0.98
"""Least and largest return from which an atom may be called real. Ours, as are the next four: chosen on planted
data of seeds that no card is judged on (docs/howto/certify-an-sae.md)."""

MAY_MISS = 5
"""Of so many sisters one may miss a real atom."""

TIMES = 5.0
"""A real atom's 1 − return is at most so many times that of the usual atom that returns."""

KEEPS = 0.9
"""Origin from which an atom may be called real."""

LUCK = 0.99
"""Quantile of the random twin's returns up to which an atom's is chance. Ours."""

DENSE = 0.1
"""Share of rows from which an atom is called dense, as in the reports."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomNumbers:
    """Numbers of every atom of one dictionary; None where they were not measured."""

    seeds: Float[np.ndarray, "n_seeds n_atoms"]
    """Return in each sister of another seed."""

    halves: Float[np.ndarray, "n_halves n_atoms"] | None
    """Return in each sister trained on half of the samples."""

    origin: Float[np.ndarray, " n_atoms"] | None
    """Cosine with itself after the bias is shared out."""

    density: Float[np.ndarray, " n_atoms"] | None
    """Share of rows in which it fires."""

    def verdicts(self, luck: float, *, weak: bool = False) -> np.ndarray:
        """Return "real", "unclear" or "chance" for each atom; `luck` is what chance reaches.

        `weak` sisters explain less than the SAE: what they do not find is unclear, unless it never fires.
        """
        real = self.again >= self.bar
        if self.origin is not None:
            real &= self.origin >= KEEPS
        chance = (self.again <= luck) & (not weak)
        if self.density is not None:
            real &= self.density > 0
            chance |= self.density == 0
        return np.where(chance, CHANCE, np.where(real, REAL, UNCLEAR))

    @property
    def over_seeds(self) -> Float[np.ndarray, " n_atoms"]:
        """Mean return over sisters of other seeds."""
        return self.seeds.mean(axis=0)

    @property
    def over_halves(self) -> Float[np.ndarray, " n_atoms"] | None:
        """Mean return over sisters of halves."""
        return None if self.halves is None else self.halves.mean(axis=0)

    @property
    def again(self) -> Float[np.ndarray, " n_atoms"]:
        """Return that four of five sisters reach, of seeds and halves alike; that all reach of fewer.

        One training may miss an atom that all others find at .99: a mean over sisters then falls below
        any strict bar, and of small data, where that is common, too few atoms were called real.
        """
        every = self.seeds if self.halves is None else np.concatenate([self.seeds, self.halves])
        return np.sort(every, axis=0)[len(every) // MAY_MISS]

    @property
    def bar(self) -> float:
        """Value of `again` from which an atom may be called real, between 0.9 and 0.98.

        1 − cosine is about half the squared angle by which trainings place an atom apart. Its median over the
        atoms that return at 0.9 is what chance leaves of an atom in these trainings; one that moves five times
        as much is not held in its place by the data. Atoms between two concepts are such: every training has
        them, each with another mixture of the two. Where data are few, or trainings have not settled, the
        usual atom moves too, and the bar is lower.
        """
        usual = self.again[self.again >= RETURNS]
        if not len(usual):
            return RETURNS
        return float(np.clip(1 - TIMES * (1 - np.median(usual)), RETURNS, EXACT))

    @property
    def sure(self) -> Float[np.ndarray, " n_atoms"]:
        """The least of the mean returns and the origin of each atom, by which atoms are ranked."""
        parts = (self.over_seeds, self.over_halves, self.origin)
        return np.minimum.reduce([part for part in parts if part is not None])


def returns(
    atoms: Tensor, sisters: Sequence[Any], *, signed: bool
) -> Float[np.ndarray, "n_sisters n_atoms"]:
    """Return each atom's largest cosine with an atom of each sister."""
    rows = torch.nn.functional.normalize(atoms.detach().float().cpu(), dim=1)
    found = []
    for sister in sisters:
        theirs = getattr(sister, "dictionary", sister).detach().float().cpu()
        theirs = torch.nn.functional.normalize(theirs, dim=1)
        found.append(largest_cosines(rows, theirs, signed=signed).double().numpy())
    return np.stack(found)


@dataclass(frozen=True, kw_only=True, eq=False)
class Firing:
    """Sums over the codes of all rows."""

    density: Float[np.ndarray, " n_atoms"]
    share: float
    """α: how much of the bias one unit of code takes."""

    signed: bool
    l0: float


def firing(sae: SparseAutoencoder, acts: Activations) -> Firing:
    """Read the codes of all rows once."""
    counts, total, square, negative, n = np.zeros(sae.n_atoms), 0.0, 0.0, False, 0
    for _, _, codes in codes_of_rows(sae, acts):
        z = codes.to("cpu").to_scipy()
        counts += np.bincount(z.indices[z.data != 0], minlength=sae.n_atoms)
        sums = np.asarray(z.sum(axis=1), dtype=np.float64).ravel()
        total, square, n = total + sums.sum(), square + np.square(sums).sum(), n + len(sums)
        negative = negative or bool((z.data < 0).any())
    return Firing(
        density=counts / n,
        share=total / square if square > 0 else 0.0,
        signed=negative,
        l0=float(counts.sum()) / n,
    )


def origins(sae: SparseAutoencoder, share: float) -> Float[np.ndarray, " n_atoms"] | None:
    """Return each atom's cosine with itself after the bias is shared out; None for an SAE without one."""
    bias = getattr(sae, "bias", None)
    if not isinstance(bias, Tensor) or bias.shape != sae.dictionary.shape[1:]:
        return None
    atoms, bias = sae.dictionary.detach().double().cpu(), bias.detach().double().cpu()
    moved = atoms + share * bias
    return torch.nn.functional.cosine_similarity(atoms, moved, dim=1).numpy()
