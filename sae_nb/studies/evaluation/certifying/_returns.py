"""Numbers of every atom that need no model, and the rule that makes a verdict of them.

Return r_j: the largest cosine of atom j with any atom of a sister, mean over the sisters. Origin o_j: the
cosine of atom j with itself after the SAE's bias is shared out among the atoms that fire, d_j + α b with
α = E[Σ z] / E[(Σ z)²], the multiple of a row's code sum that is nearest to 1. If rows have about the same
code sum, Σ z d + b and Σ z (d + α b) are nearly the same reconstruction: an atom with a small o_j points
elsewhere if the bias is placed elsewhere, and the data hardly say which of the two it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.evaluation import codes_of_rows
from sae_nb.geometry import largest_cosines

REAL, UNCLEAR, CHANCE = "real", "unclear", "chance"

RETURNS, EXACT = 0.9, 0.98
"""Least and largest return, over seeds and over halves, from which an atom may be called real. Ours, as are the
next three: chosen on planted data of seeds that no card is judged on (docs/howto/certify-an-sae.md)."""

TIMES, SUREST = 10.0, 0.9
"""A real atom's 1 − cosine is at most `TIMES` that of the atom at this quantile."""

KEEPS = 0.9
"""Origin from which an atom may be called real."""

LUCK = 0.99
"""Quantile of the random twin's returns up to which an atom's is chance. Ours."""

DENSE = 0.1
"""Share of rows from which an atom is called dense, as in the reports."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomNumbers:
    """Numbers of every atom of one dictionary; None where they were not measured."""

    seeds: Float[np.ndarray, " n_atoms"]
    """Return over sisters of other seeds."""

    halves: Float[np.ndarray, " n_atoms"] | None
    """Return over sisters trained on halves of the samples."""

    origin: Float[np.ndarray, " n_atoms"] | None
    """Cosine with itself after the bias is shared out."""

    density: Float[np.ndarray, " n_atoms"] | None
    """Share of rows in which it fires."""

    def verdicts(self, luck: float, *, weak: bool = False) -> np.ndarray:
        """Return "real", "unclear" or "chance" for each atom; `luck` is what chance returns.

        `weak` sisters explain less than the SAE: what they do not find is unclear, unless it never fires.
        """
        least = self.seeds if self.halves is None else np.minimum(self.seeds, self.halves)
        real = least >= self.bar
        if self.origin is not None:
            real &= self.origin >= KEEPS
        chance = (self.seeds <= luck) & (not weak)
        if self.density is not None:
            real &= self.density > 0
            chance |= self.density == 0
        return np.where(chance, CHANCE, np.where(real, REAL, UNCLEAR))

    @property
    def bar(self) -> float:
        """Return over seeds from which an atom may be called real, between 0.9 and 0.98.

        1 − cosine is about half the squared angle by which trainings place an atom apart. That of the surest
        tenth is what is left of chance in these trainings; an atom that moves ten times as much is not held
        in its place by the data. Atoms between two concepts are such: every training has them, each with
        another mixture of the two. Where less than a tenth of the atoms return, 0.9 stays.
        """
        noise = 1 - float(np.quantile(self.seeds, SUREST))
        return float(np.clip(1 - TIMES * noise, RETURNS, EXACT))

    @property
    def sure(self) -> Float[np.ndarray, " n_atoms"]:
        """The least of the cosines of each atom, by which atoms are ranked."""
        parts = [part for part in (self.seeds, self.halves, self.origin) if part is not None]
        return np.minimum.reduce(parts)


def returns(
    atoms: Tensor, sisters: Sequence[Any], *, signed: bool
) -> Float[np.ndarray, " n_atoms"]:
    """Return the mean over sisters of each atom's largest cosine with one of theirs."""
    rows = torch.nn.functional.normalize(atoms.detach().float().cpu(), dim=1)
    found = []
    for sister in sisters:
        theirs = getattr(sister, "dictionary", sister).detach().float().cpu()
        theirs = torch.nn.functional.normalize(theirs, dim=1)
        found.append(largest_cosines(rows, theirs, signed=signed).double().numpy())
    return np.mean(found, axis=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Firing:
    """Sums over the codes of all rows."""

    density: Float[np.ndarray, " n_atoms"]
    share: float
    """α: how much of the bias one unit of code takes."""

    signed: bool
    l0: float


def firing(sae: Any, acts: Activations) -> Firing:
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


def origins(sae: Any, share: float) -> Float[np.ndarray, " n_atoms"] | None:
    """Return each atom's cosine with itself after the bias is shared out; None for an SAE without one."""
    bias = getattr(sae, "bias", None)
    if not isinstance(bias, Tensor) or bias.shape != sae.dictionary.shape[1:]:
        return None
    atoms, bias = sae.dictionary.detach().double().cpu(), bias.detach().double().cpu()
    moved = atoms + share * bias
    return torch.nn.functional.cosine_similarity(atoms, moved, dim=1).numpy()
