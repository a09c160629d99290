"""Which atom stands for which known factor: F1 of "the atom is stronger than θ" against the truth.

F1 = 2TP / (2TP + FP + FN). Always saying yes reaches a floor of 2p / (1 + p), p the factor's share, so
what counts is the gain (F1 − floor) / (1 − floor). Atom and θ are chosen on one set of samples and
judged on another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sae_nb.codes import SparseCodes

FOUND_FROM = 0.5
"""Gain on fresh samples from which a factor counts as found. Ours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Factor:
    """Something that is true of some rows, or of some samples, and is known to be."""

    name: str
    """What people call it: "digit 7", "bad clause"."""

    per: Literal["row", "sample"]
    """What `truth` is about. A sample is as strong as its strongest row."""

    truth: Bool[np.ndarray, " units"]
    """One entry per row or per sample."""


@dataclass(frozen=True, kw_only=True)
class FactorMatch:
    """The atom that tells best whether a factor is there, judged on fresh samples."""

    atom: int
    """Row of the dictionary."""

    factor: str
    """What it stands for."""

    f1: float
    """Harmonic mean of precision and recall."""

    precision: float
    """Share of what the atom points at that is right."""

    recall: float
    """Share of the factor's occurrences that the atom points at."""

    per: Literal["row", "sample"]
    """Whether rows are judged, or samples by their strongest row."""

    threshold: float
    """The atom says yes above this strength."""

    floor: float
    """F1 of always saying yes."""

    @property
    def gain(self) -> float:
        """How far F1 is on the way from its floor to 1."""
        return (self.f1 - self.floor) / (1 - self.floor) if self.floor < 1 else 0.0

    @property
    def found(self) -> bool:
        """Whether the atom tells the factor."""
        return self.gain >= FOUND_FROM


class Matches(NamedTuple):
    """What atoms and factors have to do with each other, judged on fresh samples."""

    by_factor: list[FactorMatch]
    """For every factor, in order, the atom that tells it best; poor matches too."""

    by_atom: list[FactorMatch]
    """For every atom that fires, the factor that it tells best; poor matches too."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Codes, and what is true of their rows and samples."""

    codes: SparseCodes
    """Of every row."""

    sample: Int[np.ndarray, " rows"]
    """Sample of every row, counted from 0."""

    factors: Sequence[Factor]
    """What is true."""


def match_factors(chosen_on: Evidence, judged_on: Evidence) -> Matches:
    """Match atoms with factors on one set of samples, and judge the matches on a fresh one."""
    units = {"row": chosen_on.codes, "sample": strongest_rows(chosen_on.codes, chosen_on.sample)}
    rankings = {per: _Ranking(codes) for per, codes in units.items()}
    fresh = {"row": judged_on.codes, "sample": strongest_rows(judged_on.codes, judged_on.sample)}
    tables = [rankings[factor.per].best(factor.truth) for factor in chosen_on.factors]
    f1 = np.stack([table[0] for table in tables])
    threshold = np.stack([table[1] for table in tables])

    def judged(number: int, atom: int) -> FactorMatch:
        factor = judged_on.factors[number]
        return judge(fresh[factor.per], factor, atom, float(threshold[number, atom]))

    floors = np.array([_floor(factor.truth) for factor in chosen_on.factors])
    gain = (f1 - floors[:, None]) / np.maximum(1 - floors, 1e-9)[:, None]
    fires = np.flatnonzero(np.isfinite(f1).any(axis=0))
    return Matches(
        by_factor=[judged(n, int(atom)) for n, atom in enumerate(np.argmax(f1, axis=1))],
        by_atom=[judged(int(np.argmax(gain[:, atom])), int(atom)) for atom in fires],
    )


def judge(codes: SparseCodes, factor: Factor, atom: int, threshold: float) -> FactorMatch:
    """Return how well one atom, above one strength, tells a factor."""
    rows, strength = (part.numpy() for part in codes.strengths(atom))
    says = rows[strength > threshold]
    hits, real = int(factor.truth[says].sum()), int(factor.truth.sum())
    return FactorMatch(
        atom=atom,
        factor=factor.name,
        f1=2 * hits / max(len(says) + real, 1),
        precision=hits / max(len(says), 1),
        recall=hits / max(real, 1),
        per=factor.per,
        threshold=threshold,
        floor=_floor(factor.truth),
    )


def _floor(truth: Bool[np.ndarray, " units"]) -> float:
    return float(2 * truth.sum() / (len(truth) + truth.sum()))


def strongest_rows(codes: SparseCodes, sample: Int[np.ndarray, " rows"]) -> SparseCodes:
    """Return codes of whole samples: every atom as strong as in the sample's strongest row."""
    import torch
    from scipy.sparse import csr_matrix

    rows = np.repeat(np.arange(len(codes)), codes.l0.numpy())
    place = sample[rows] * codes.n_atoms + codes.atoms.numpy().astype(np.int64)
    strength = codes.values.detach().float().numpy()
    order = np.lexsort((strength, place))
    last = np.append(place[order][1:] != place[order][:-1], True)
    kept = order[last]
    table = csr_matrix(
        (strength[kept], (place[kept] // codes.n_atoms, place[kept] % codes.n_atoms)),
        shape=(int(sample.max()) + 1, codes.n_atoms),
    )
    return SparseCodes(
        torch.from_numpy(table.data),
        torch.from_numpy(table.indices.astype(np.int32)),
        torch.from_numpy(table.indptr.astype(np.int64)),
        codes.n_atoms,
    )


class _Ranking:
    """Entries of codes, atom by atom, strongest first: every threshold of every atom in one pass."""

    def __init__(self, codes: SparseCodes) -> None:
        index = codes.by_atom()
        atom = np.repeat(np.arange(codes.n_atoms), np.diff(index.offsets.numpy()))
        strength = index.values.detach().float().numpy()
        order = np.lexsort((-strength, atom))
        self.atom, self.strength = atom[order], strength[order]
        self.rows = index.rows.numpy()[order]
        self.first = index.offsets.numpy()[:-1]

    def best(
        self, truth: Bool[np.ndarray, " units"]
    ) -> tuple[Float[np.ndarray, " n_atoms"], Float[np.ndarray, " n_atoms"]]:
        """Return every atom's largest F1 and the threshold that reaches it; −∞ for a silent one."""
        hits = np.cumsum(truth[self.rows])
        before = np.append(0, hits)[self.first[self.atom]]
        says = np.arange(len(self.atom)) - self.first[self.atom] + 1
        f1: Float[np.ndarray, " entries"] = 2 * (hits - before) / (says + truth.sum())
        # A threshold lies between two strengths: equal ones are said yes to together.
        same_atom = np.append(self.atom[1:] == self.atom[:-1], False)
        following = np.where(same_atom, np.append(self.strength[1:], 0.0), 0.0)
        f1[following == self.strength] = -np.inf
        order = np.lexsort((f1, self.atom))
        last = order[np.append(self.atom[order][1:] != self.atom[order][:-1], True)]
        best, threshold = np.full(len(self.first), -np.inf), np.zeros(len(self.first))
        best[self.atom[last]] = f1[last]
        threshold[self.atom[last]] = (self.strength[last] + following[last]) / 2
        return best, threshold
