"""The atom that identifies a known factor: "sign · z is above θ", atom and θ chosen on other samples.

Judged by balanced accuracy, Acc_f = ½ P(z_i > θ | f) + ½ P(z_i ≤ θ | not f), or by F1. Choosing among c
atoms on the samples they are judged on, as published, rewards size; the plain accuracy rewards
answering no to what is rare.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.activations._sites import acts_for
from sae_nb.checks import Resamples, Seed, checked, same_length
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.report._measurement import Measurement, Resampling
from sae_nb.evaluation.report._row_pass import codes_of_rows, random_like
from sae_nb.statistics import Interval

if TYPE_CHECKING:
    from scipy.sparse import csc_matrix

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.evaluation.report._measurement import RandomDictionary


# -------------------------------------------------------------------------------------------------
# How well single atoms identify known factors, on average: balanced accuracy on samples held out.


LEAST = 5
"""Samples with and without a factor, in each half. Ours: with fewer a single one moves the score by 0.1."""


@dataclass(frozen=True, kw_only=True)
class FactorTold:
    """The atom that identifies one factor best."""

    name: str
    atom: int
    """Of the factor; the atom chosen on one half, −1 where none is ever active."""

    sign: int
    threshold: float
    """It answers yes where sign · z is above the threshold; sign −1: its negative identifies the factor."""

    accuracy: float
    """Balanced, on the other half; 0.5 is chance."""

    share: float
    """Of samples with the factor."""


class Identifiability(Measurement):
    """Mean balanced accuracy over factors, with the atom of each."""

    factors: tuple[FactorTold, ...]
    """In the order of `truth`."""


@checked
def identifiability(
    sae: Any,
    acts: Activations | Float[Tensor, "n d_in"],
    truth: Bool[np.ndarray, "units factors"] | Bool[Tensor, "units factors"],
    *,
    names: Sequence[str] | None = None,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> Identifiability:
    """Measure how well single atoms identify known factors of rows or of samples, judged on held-out
    samples.

    The floor is 0.5; the control a random dictionary of the same size and L0, chosen and judged alike.

    Parameters
    ----------
    truth
        One line per row of `acts`, or one per sample (0, 1, …), which is then as strong as its
        strongest row.
    names
        Of the factors.

    Raises
    ------
    ValueError: If `truth` does not fit, or a factor has fewer than 5 samples with or without it in a half.

    Source
    ------
    Soft identifiability, "Archetypal SAE", arXiv 2502.12892; the held-out half, the balance, the floor
    and the control are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> planted = sn.data.planted_dictionary(n_atoms=6, d_in=6, n=400, k=1)
    >>> class Known:
    ...     n_atoms, d_in, dictionary = 6, 6, planted.dictionary
    ...     def encode(self, x):
    ...         return sn.matching_pursuit(x, self.dictionary, 1)
    >>> round(identifiability(Known(), planted.x, planted.codes.to_dense() > 0).value, 2)
    1.0
    """
    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    source = acts_for(sae, acts)
    known = np.asarray(truth, dtype=bool)
    unit = _unit_of(known, source)
    named = list(names or (f"factor {i}" for i in range(known.shape[1])))
    same_length(named, known.shape[1], name="names", per="factor")
    sample = np.zeros(len(known), dtype=np.int64)
    sample[unit] = source.sample.numpy()
    # One half of the samples: rows of one stay together.
    unique, index = np.unique(sample, return_inverse=True)
    fit = (np.random.default_rng(seed).permutation(len(unique)) < len(unique) // 2)[index]
    _check_both(known, fit, named)
    (factors, predicted), (at_random, _) = (
        _best_atoms(_strengths(one, source, unit, len(known)), known, fit, named)
        for one in (sae, random_like(sae, source, seed=seed))
    )
    return Identifiability.measured(
        "identifiability",
        np.mean([factor.accuracy for factor in factors]),
        floor=0.5,
        control=np.mean([factor.accuracy for factor in at_random]),
        interval=_interval(predicted[~fit], known[~fit], sample[~fit], resampling),
        n=int((~fit).sum()),
        unit="rows" if len(known) == len(source) else "samples",
        seconds=time.perf_counter() - start,
        factors=tuple(factors),
    )


def _unit_of(known: np.ndarray, acts: Activations) -> Int[np.ndarray, " n"]:
    """Return the line of the truth that each row belongs to."""
    if known.ndim != 2:
        raise ValueError(f"`truth` must have one column per factor, got shape {known.shape}.")
    if len(known) == len(acts):
        return np.arange(len(acts))
    sample = acts.sample.numpy()
    if int(sample.max()) >= len(known):
        raise ValueError(
            f"`truth` must have one line per row ({len(acts)}) or per sample "
            f"({int(sample.max()) + 1}), got {len(known)}."
        )
    return sample


def _check_both(known: np.ndarray, fit: np.ndarray, names: list[str]) -> None:
    for half in (fit, ~fit):
        yes, n = known[half].sum(axis=0), int(half.sum())
        least = np.minimum(yes, n - yes)
        if (least < LEAST).any():
            worst = int(least.argmin())
            raise ValueError(
                f"`truth` must have {LEAST} samples with every factor and {LEAST} without, in each half; "
                f"{names[worst]!r} has {int(yes[worst])} with and {n - int(yes[worst])} without in one. "
                "Give more samples, or leave it out."
            )


@torch.no_grad()
def _strengths(
    sae: SparseAutoencoder | RandomDictionary, acts: Activations, unit: np.ndarray, n: int
) -> csc_matrix:
    """Strongest entry of each unit, by atom: positive where no entry is larger in size."""
    from scipy.sparse import csc_matrix

    rows, atoms, values = [], [], []
    for chosen, _, codes in codes_of_rows(sae, acts):
        rows.append(np.repeat(unit[chosen], codes.l0.cpu().numpy()))
        atoms.append(codes.atoms.cpu().numpy())
        values.append(codes.values.detach().float().cpu().numpy())
    row, atom, value = (np.concatenate(part) for part in (rows, atoms, values))
    best = largest_of_each(row * sae.n_atoms + atom.astype(np.int64), np.abs(value))
    best = best[value[best] != 0]
    return csc_matrix((value[best], (row[best], atom[best])), shape=(n, sae.n_atoms))


def largest_of_each(
    group: Int[np.ndarray, " n"], value: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " groups"]:
    """Return where the largest value of each group is, groups ascending; the last of equal ones."""
    order = np.lexsort((value, group))
    return order[np.diff(group[order], append=-1) != 0]  # groups are numbered from 0


def _best_atoms(
    strengths: csc_matrix, known: np.ndarray, fit: np.ndarray, names: list[str]
) -> tuple[list[FactorTold], Bool[np.ndarray, "units factors"]]:
    """Return for each factor the atom chosen on one half, and its answer for every unit."""
    n_factors = known.shape[1]
    best = np.full(n_factors, 0.5)
    atom, sign = np.full(n_factors, -1), np.ones(n_factors, dtype=int)
    threshold = np.full(n_factors, np.inf)
    yes = known[fit].sum(axis=0)
    # What a yes adds to the balanced accuracy, right or wrong.
    shares = np.where(known, 1 / (2 * yes), -1 / (2 * (fit.sum() - yes)))
    for j in range(strengths.shape[1]):
        begin, end = strengths.indptr[j], strengths.indptr[j + 1]
        rows, values = strengths.indices[begin:end], strengths.data[begin:end]
        for way in (1, -1):
            strength = way * values
            active = fit[rows] & (strength > 0)
            if not active.any():
                continue
            gains, cuts = _best_cuts(strength[active], shares[rows[active]])
            better = 0.5 + gains > best
            best[better], threshold[better] = 0.5 + gains[better], cuts[better]
            atom[better], sign[better] = j, way
    predicted = np.zeros_like(known)
    factors = []
    for f in range(n_factors):
        column = strengths[:, atom[f]]  # of no atom nothing is above the threshold
        predicted[column.indices[sign[f] * column.data > threshold[f]], f] = True
        answers, truth = predicted[~fit, f], known[~fit, f]
        factors.append(
            FactorTold(
                name=names[f],
                atom=int(atom[f]),
                sign=int(sign[f]),
                threshold=float(threshold[f]),
                accuracy=float((answers[truth].mean() + (~answers[~truth]).mean()) / 2),
                share=float(known[:, f].mean()),
            )
        )
    return factors, predicted


def _best_cuts(
    values: Float[np.ndarray, " m"], shares: Float[np.ndarray, "m factors"]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gain of an atom's best cut for every factor, and its threshold."""
    order = np.argsort(-values, kind="stable")
    ordered, gains = values[order], np.cumsum(shares[order], axis=0)
    ends = np.append(ordered[1:] < ordered[:-1], True)  # equal strengths are cut together
    below = np.append(ordered[1:], 0.0)[ends]
    gains = gains[ends]
    place = gains.argmax(axis=0)
    cuts = (ordered[ends][place] + below[place]) / 2
    return gains[place, np.arange(gains.shape[1])], cuts


def _interval(
    predicted: np.ndarray,
    known: np.ndarray,
    sample: Int[np.ndarray, " units"],
    resampling: Resampling,
) -> Interval:
    f, columns = known.shape[1], (predicted & known, known, ~predicted & ~known, ~known)
    table = np.concatenate(columns, axis=1).astype(np.float64)

    def accuracy(s: np.ndarray) -> np.ndarray:
        right, yes, denied, no = (s[:, i * f : (i + 1) * f] for i in range(4))
        return np.asarray(np.nanmean((right / yes + denied / no) / 2, axis=1))

    return resampling.interval(resampling.grouped(table, sample), accuracy)


# -------------------------------------------------------------------------------------------------
# Which atom identifies which factor best: F1 of "the atom is stronger than θ" against the truth.
#
# F1 = 2TP / (2TP + FP + FN). Always saying yes reaches a floor of 2p / (1 + p), p the factor's share, so
# what counts is the gain (F1 − floor) / (1 − floor).


FOUND_FROM = 0.5
"""Gain on fresh samples from which a factor counts as found. Ours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Factor:
    """Something that is true of some rows, or of some samples, and is known to be."""

    name: str  # what people call it: "digit 7", "bad clause"
    per: Literal["row", "sample"]  # a sample is as strong as its strongest row
    truth: Bool[np.ndarray, " units"]  # one entry per row or per sample


@dataclass(frozen=True, kw_only=True)
class FactorMatch:
    """The atom that identifies a factor best, judged on fresh samples."""

    atom: int
    factor: str
    """Row of the dictionary, and what it represents."""

    f1: float
    precision: float
    recall: float
    """Harmonic mean of precision, the share of what the atom points at that is right, and recall, the
    share of the factor's occurrences that it points at."""

    per: Literal["row", "sample"]
    """Whether rows are judged, or samples by their strongest row."""

    threshold: float
    """The atom answers yes above this strength."""

    floor: float
    """F1 of always answering yes."""

    @property
    def gain(self) -> float:
        """Position of F1 between its floor (0) and 1."""
        return (self.f1 - self.floor) / (1 - self.floor) if self.floor < 1 else 0.0

    @property
    def found(self) -> bool:
        """Whether the atom identifies the factor."""
        return self.gain >= FOUND_FROM


class Matches(NamedTuple):
    """The relation between atoms and factors, judged on fresh samples; poor matches too."""

    by_factor: list[FactorMatch]  # for every factor, in order, the atom that identifies it best
    by_atom: list[FactorMatch]  # for every atom that fires, the factor that it identifies best


@dataclass(frozen=True, kw_only=True, eq=False)
class FactorEvidence:
    """Codes, and what is true of their rows and samples: what `match_factors` chooses or judges on."""

    codes: SparseCodes  # of every row
    sample: Int[np.ndarray, " rows"]  # sample of every row, counted from 0
    factors: Sequence[Factor]  # what is true


def match_factors(chosen_on: FactorEvidence, judged_on: FactorEvidence) -> Matches:
    """Match atoms with factors on one set of samples, and judge the matches on a fresh one.

    Both must hold the same factors in the same order. Atom and threshold are those of the largest F1 on the
    first set.

    Example
    -------
    >>> fires = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 1.0]])
    >>> left = Factor(name="left", per="row", truth=np.array([True, True, False, False]))
    >>> known = FactorEvidence(
    ...     codes=SparseCodes.from_dense(fires), sample=np.arange(4), factors=[left]
    ... )
    >>> found = match_factors(known, known).by_factor[0]
    >>> found.atom, found.f1
    (0, 1.0)
    """
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
    """Return how well one atom, above one strength, identifies a factor."""
    rows, strength = (part.numpy() for part in codes.strengths(atom))
    named = rows[strength > threshold]
    hits, real = int(factor.truth[named].sum()), int(factor.truth.sum())
    return FactorMatch(
        atom=atom,
        factor=factor.name,
        f1=2 * hits / max(len(named) + real, 1),
        precision=hits / max(len(named), 1),
        recall=hits / max(real, 1),
        per=factor.per,
        threshold=threshold,
        floor=_floor(factor.truth),
    )


def _floor(truth: Bool[np.ndarray, " units"]) -> float:
    return float(2 * truth.sum() / (len(truth) + truth.sum()))


def strongest_rows(codes: SparseCodes, sample: Int[np.ndarray, " rows"]) -> SparseCodes:
    """Return codes of whole samples: every atom as strong as in the sample's strongest row."""
    from scipy.sparse import csr_matrix

    of, atoms = sample[codes.support.rows.numpy()], codes.atoms.numpy().astype(np.int64)
    strength = codes.values.detach().float().numpy()
    best = largest_of_each(of * codes.n_atoms + atoms, strength)
    table = csr_matrix(
        (strength[best], (of[best], atoms[best])), shape=(int(sample.max()) + 1, codes.n_atoms)
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
        """Return every atom's largest F1 and the threshold that reaches it; −∞ for one that never fires."""
        hits = np.cumsum(truth[self.rows])
        before = np.append(0, hits)[self.first[self.atom]]
        named = np.arange(len(self.atom)) - self.first[self.atom] + 1
        f1: Float[np.ndarray, " entries"] = 2 * (hits - before) / (named + truth.sum())
        # A threshold lies between two strengths: equal ones are said yes to together.
        same_atom = np.append(self.atom[1:] == self.atom[:-1], False)
        following = np.where(same_atom, np.append(self.strength[1:], 0.0), 0.0)
        f1[following == self.strength] = -np.inf
        top = largest_of_each(self.atom, f1)
        best, threshold = np.full(len(self.first), -np.inf), np.zeros(len(self.first))
        best[self.atom[top]] = f1[top]
        threshold[self.atom[top]] = (self.strength[top] + following[top]) / 2
        return best, threshold
