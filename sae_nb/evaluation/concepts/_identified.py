"""Does one atom tell a known factor? Balanced accuracy of z_i > λ, atom and λ chosen on other samples.

Acc_f = ½ P(z_i > λ | f) + ½ P(z_i ≤ λ | not f). Choosing among c atoms on the samples that are judged,
as published, rewards size; the plain accuracy rewards saying no of what is rare.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations import Activations, acts_for
from sae_nb.checks import same_length
from sae_nb.evaluation.report._measurement import (
    Interval,
    Measurement,
    Resampling,
    measured,
    random_like,
)
from sae_nb.evaluation.report._row_pass import codes_of_rows

if TYPE_CHECKING:
    from scipy.sparse import csc_matrix


LEAST = 5
"""Samples with and without a factor, in each half. Ours: with fewer a single one moves the score by 0.1."""

_BATCH = 4096


@dataclass(frozen=True, kw_only=True)
class FactorTold:
    """The atom that tells one factor best."""

    name: str
    """Of the factor."""

    atom: int
    """Chosen on one half; −1 where none is ever active."""

    sign: int
    """1, or −1 where the atom's negative tells."""

    threshold: float
    """It says yes where sign · z is above."""

    accuracy: float
    """Balanced, on the other half; 0.5 is chance."""

    share: float
    """Of samples with the factor."""


@dataclass(frozen=True, kw_only=True)
class Identifiability(Measurement):
    """Mean balanced accuracy over factors, with the atom of each."""

    factors: tuple[FactorTold, ...]
    """In the order of `truth`."""


def identifiability(
    sae: Any,
    acts: Activations | Float[Tensor, "n d_in"],
    truth: Bool[np.ndarray, "units factors"] | Bool[Tensor, "units factors"],
    *,
    names: Sequence[str] | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Identifiability:
    """How well single atoms tell known factors of rows or of samples, judged on samples held out.

    Parameters
    ----------
    sae
        Any SAE.
    acts
        Activations whose factors are known.
    truth
        One line per row of `acts`, or one per sample (0, 1, …), which is then as strong as its
        strongest row.
    names
        Of the factors.
    n_bootstrap
        Resamples of samples.
    seed
        Of the halves, the random dictionary, and the bootstrap.

    Returns
    -------
    Identifiability
        The floor is 0.5; the control a random dictionary of the same size and L0, chosen and judged in
        the same way.

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
    fit = _half(source, unit, len(known), seed)
    _check_both(known, fit, named)
    strengths = _strengths(sae, source, unit, len(known))
    random = random_like(sae, source, seed=seed)
    chance = _best_atoms(_strengths(random, source, unit, len(known)), known, fit, named)[0]
    factors, yes = _best_atoms(strengths, known, fit, named)
    return Identifiability.of(
        measured(
            "identifiability",
            np.mean([factor.accuracy for factor in factors]),
            floor=0.5,
            control=np.mean([factor.accuracy for factor in chance]),
            interval=_interval(yes, known, fit, source, unit, resampling),
            n=int((~fit).sum()),
            unit="rows" if len(known) == len(source) else "samples",
        ),
        seconds=time.perf_counter() - start,
        factors=tuple(factors),
    )


def _unit_of(known: np.ndarray, acts: Activations) -> Int[np.ndarray, " n"]:
    """Which line of the truth each row belongs to."""
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


def _half(acts: Activations, unit: np.ndarray, n: int, seed: int) -> Bool[np.ndarray, " units"]:
    """Units of one half of the samples: rows of one sample stay together."""
    sample = np.zeros(n, dtype=np.int64)
    sample[unit] = acts.sample.numpy()
    unique, index = np.unique(sample, return_inverse=True)
    chosen = np.random.default_rng(seed).permutation(len(unique)) < len(unique) // 2
    half: np.ndarray = chosen[index]
    return half


def _check_both(known: np.ndarray, fit: np.ndarray, names: list[str]) -> None:
    for half in (fit, ~fit):
        yes, n = known[half].sum(axis=0), int(half.sum())
        least = np.minimum(yes, n - yes)
        if (least < LEAST).any():
            worst = int(least.argmin())
            raise ValueError(
                f"Every factor needs {LEAST} samples with it and {LEAST} without, in each half; "
                f"{names[worst]!r} has {int(yes[worst])} with and {n - int(yes[worst])} without in one. "
                "Give more samples, or leave it out."
            )


@torch.no_grad()
def _strengths(sae: Any, acts: Activations, unit: np.ndarray, n: int) -> csc_matrix:
    """Strongest entry of each unit, by atom: positive where no entry is larger in size."""
    from scipy.sparse import csc_matrix

    rows, atoms, values = [], [], []
    for chosen, _, codes in codes_of_rows(sae, acts, _BATCH):
        rows.append(np.repeat(unit[chosen], codes.l0.cpu().numpy()))
        atoms.append(codes.atoms.cpu().numpy())
        values.append(codes.values.detach().float().cpu().numpy())
    row, atom, value = (np.concatenate(part) for part in (rows, atoms, values))
    order = np.lexsort((np.abs(value), row, atom))
    row, atom, value = row[order], atom[order], value[order]
    # The last of equal places is the strongest.
    last = np.ones(len(row), dtype=bool)
    last[:-1] = (row[1:] != row[:-1]) | (atom[1:] != atom[:-1])
    kept = last & (value != 0)
    return csc_matrix((value[kept], (row[kept], atom[kept])), shape=(n, sae.n_atoms))


def _best_atoms(
    strengths: csc_matrix, known: np.ndarray, fit: np.ndarray, names: list[str]
) -> tuple[list[FactorTold], Bool[np.ndarray, "units factors"]]:
    """For each factor the atom chosen on one half, and what it says of every unit."""
    n_factors = known.shape[1]
    best = np.full(n_factors, 0.5)
    atom, sign = np.full(n_factors, -1), np.ones(n_factors, dtype=int)
    threshold = np.full(n_factors, np.inf)
    yes = known[fit].sum(axis=0)
    shares = np.where(
        known, 1 / (2 * yes), -1 / (2 * (fit.sum() - yes))
    )  # of a yes, right or wrong
    shares[~fit] = 0
    for j in range(strengths.shape[1]):
        begin, end = strengths.indptr[j], strengths.indptr[j + 1]
        rows, values = strengths.indices[begin:end], strengths.data[begin:end]
        for way in (1, -1):
            active = fit[rows] & (way * values > 0)
            if not active.any():
                continue
            gains, cuts = _best_cuts(way * values[active], shares[rows[active]])
            better = 0.5 + gains > best
            best[better], threshold[better] = 0.5 + gains[better], cuts[better]
            atom[better], sign[better] = j, way
    says = np.zeros_like(known)
    factors = []
    for f in range(n_factors):
        if atom[f] >= 0:
            column = strengths[:, atom[f]]
            says[column.indices[sign[f] * column.data > threshold[f]], f] = True
        said, truth = says[~fit, f], known[~fit, f]
        factors.append(
            FactorTold(
                name=names[f],
                atom=int(atom[f]),
                sign=int(sign[f]),
                threshold=float(threshold[f]),
                accuracy=float((said[truth].mean() + (~said[~truth]).mean()) / 2),
                share=float(known[:, f].mean()),
            )
        )
    return factors, says


def _best_cuts(
    values: Float[np.ndarray, " m"], shares: Float[np.ndarray, "m factors"]
) -> tuple[np.ndarray, np.ndarray]:
    """What the best cut of an atom gains for every factor, and where it lies."""
    order = np.argsort(-values, kind="stable")
    ordered, gains = values[order], np.cumsum(shares[order], axis=0)
    ends = np.append(ordered[1:] < ordered[:-1], True)  # equal strengths are cut together
    below = np.append(ordered[1:], 0.0)[ends]
    gains = gains[ends]
    place = gains.argmax(axis=0)
    cuts = (ordered[ends][place] + below[place]) / 2
    return gains[place, np.arange(gains.shape[1])], cuts


def _interval(
    says: np.ndarray,
    known: np.ndarray,
    fit: np.ndarray,
    acts: Activations,
    unit: np.ndarray,
    resampling: Resampling,
) -> Interval:
    judged, f = ~fit, known.shape[1]
    sample = np.zeros(len(known), dtype=np.int64)
    sample[unit] = acts.sample.numpy()
    columns = (says & known, known, ~says & ~known, ~known)
    table = np.concatenate([part[judged] for part in columns], axis=1).astype(np.float64)

    def accuracy(s: np.ndarray) -> np.ndarray:
        right, yes, denied, no = (s[:, i * f : (i + 1) * f] for i in range(4))
        return np.asarray(np.nanmean((right / yes + denied / no) / 2, axis=1))

    return resampling.interval(resampling.grouped(table, sample[judged]), accuracy)
