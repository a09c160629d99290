"""Absorption and splitting: where does an attribute go when its own latent does not fire?

Along the unit direction p̂ of a linear probe, P = ⟨x − b, p̂⟩ and π_i = z_i ⟨d_i, p̂⟩; m = Σ_{main} π_i.
Absorbed is α / (α + m), α = min(T, P − m), where T, the three strongest other latents, is ≥ 0.4 P.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations import Activations, acts_for, check_sae, uncoded, written_codes
from sae_nb.checks import Count, Resamples, Seed, check_data, check_matrix, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import (
    Measurement,
    RandomDictionary,
    Resampling,
    chance_cosine,
    codes_of_rows,
    match_atoms,
    random_like,
)
from sae_nb.statistics import UNKNOWN, logistic_probe

# -------------------------------------------------------------------------------------------------
# Does a child's latent absorb its parent's? P(parent's latent off | child's latent active, child true).


@checked
def swallowed(
    sae: Any,
    x: Float[Tensor, "n d_in"],
    truth: SparseCodes,
    dictionary: Float[Tensor, "n_concepts d_in"],
    parent: Int[Tensor, " n_concepts"],
    *,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> Measurement:
    """Measure, with the true concepts and their tree known, how often a parent is off under its child.

    Every concept is given an atom by matching its direction with the dictionary's. The value is the
    mean over the concepts that have a parent, NaN where no latent of theirs is ever active on them;
    the control is a random dictionary of the same size and L0, and the interval resamples rows.

    Parameters
    ----------
    x, truth, dictionary
        Vectors, as of `concept_tree`, their true codes, and the true directions.
    parent
        Parent of each concept; −1 at the top.

    Raises
    ------
    ValueError: If the truth is of other rows or concepts, atoms are too few, or no concept has a parent.

    Example
    -------
    >>> import sae_nb as sn
    >>> tree = sn.data.concept_tree(500)
    >>> class Known:
    ...     n_atoms, d_in, dictionary = 20, 20, tree.dictionary
    ...     def encode(self, x):
    ...         return tree.codes
    >>> swallowed(Known(), tree.x, tree.codes, tree.dictionary, tree.parent, n_bootstrap=10).value
    0.0
    """
    check_sae(sae)
    resampling = Resampling(n_bootstrap, seed)
    rows = check_matrix(x, d_in=sae.d_in)
    if parent.dtype == torch.bool:
        raise TypeError("`parent` must hold the number of each concept's parent, got truth values.")
    children, n_concepts = np.flatnonzero(parent.numpy() >= 0), len(dictionary)
    shape = (truth.n_rows, truth.n_atoms, len(parent))
    if shape != (len(rows), n_concepts, n_concepts):
        raise ValueError(
            f"`truth` must be of {len(rows)} rows and {n_concepts} concepts, as `x` and "
            f"`dictionary`, got {truth.n_rows} × {truth.n_atoms} and {len(parent)} parents."
        )
    if sae.n_atoms < n_concepts:
        raise ValueError(f"`sae` must have an atom per concept, {n_concepts}, got {sae.n_atoms}.")
    if not len(children):
        raise ValueError("`parent` must name a parent of some concept, got −1 for all.")
    codes = sae.encode(rows.to(sae.dictionary)).detach()
    random = random_like(sae, Activations.from_tensor(rows), seed=seed)
    own, chance = (
        _counts(z, atoms, truth, dictionary, parent.numpy())
        for z, atoms in ((codes, sae.dictionary), (random.encode(rows), random.dictionary))
    )
    estimate = resampling.estimates(own, {"share": _share})["share"]
    control, n = _share(chance.sum(axis=0)[None])[0], int(own[:, len(children) :].sum())
    return Measurement.measured("swallowed", *estimate, n=n, floor=0.0, control=control)


def _counts(
    codes: SparseCodes, atoms: Tensor, truth: SparseCodes, dictionary: Tensor, parent: np.ndarray
) -> Float[np.ndarray, "n columns"]:
    """Of every row: which children were detected without their parent, and which were detected at all."""
    children = np.flatnonzero(parent >= 0)
    concepts, partners, _ = match_atoms(dictionary.float(), atoms.detach().float().cpu())
    atom_of = np.empty(len(dictionary), dtype=np.int64)
    atom_of[concepts] = partners
    z = codes.to("cpu").to_scipy().tocsc() != 0
    true = truth.to_scipy().tocsc() != 0
    detected = z[:, atom_of[children]].multiply(true[:, children]).toarray().astype(bool)
    off = ~z[:, atom_of[parent[children]]].toarray().astype(bool)
    return np.concatenate((detected & off, detected), axis=1).astype(np.float64)


def _share(sums: Float[np.ndarray, "resamples columns"]) -> Float[np.ndarray, " resamples"]:
    """Mean over the children that were detected of the share without their parent."""
    half = sums.shape[1] // 2
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = sums[:, :half] / sums[:, half:]
    known = np.isfinite(shares)
    total, unknown = np.where(known, shares, 0.0).sum(axis=1), np.full(len(sums), np.nan)
    return np.divide(total, known.sum(axis=1), out=unknown, where=known.any(axis=1))


# -------------------------------------------------------------------------------------------------
# Absorption and splitting where only labels are known: by a linear probe.


PROBE_F1 = 0.6
"""F1 below which a probe predicts an attribute too badly to follow it (SAEBench)."""

PRECISE = 0.9
"""TPR / (TPR + FPR) of the main latents below which absorption is undefined. Ours: latents that speak of
other things as well are not the attribute's own, nothing of it can be absorbed, and random atoms would
score 0, which is best. An absorbed latent stays precise: what it loses is recall."""

RISES_BY = 0.03
"""F1 that another main latent must add (SAEBench)."""

CARRIED, STRONGEST = 0.4, 3
"""Share of P that absorbers must carry; how many are summed (SAEBench)."""

_LEAST = 20  # rows with and without the attribute, in each of the three parts
_CANDIDATES = 64  # atoms that the main latents are chosen among


class Absorption(Measurement):
    """The amount of an attribute that other latents carry where its own are off or weak."""

    told: Measurement
    """Balanced accuracy of the main latents."""

    full: Measurement
    """Share of rows with every main latent off and one absorber carrying 0.4 of P."""

    splits: Measurement
    """Main latents − 1."""

    precision: float
    """TPR / (TPR + FPR) of the main latents; the value is NaN where it is below 0.9."""

    probe_f1: float
    """Of the linear probe on the activations themselves."""

    main: tuple[int, ...]
    absorbers: tuple[tuple[int, int], ...]
    """The main latents; atoms that absorbed most often, with how often."""

    least_cosine: float
    """Cosine with p̂ that an absorber must have."""


@checked(leave=("attribute",))
def absorption(
    sae: Any,
    acts: Activations | Float[Tensor, "n d_in"],
    attribute: Bool[np.ndarray, " n"] | Bool[Tensor, " n"],
    *,
    most_main: Count = 5,
    least_cosine: float | None = None,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> Absorption:
    """Follow an attribute of rows through an SAE: its main latents, their splits, and its absorbers.

    Samples are cut in three: the probe and the latents are fitted on a half, the number of main latents
    is chosen on a quarter, and everything is judged on the last quarter, on rows where the attribute is
    true and the probe agrees. The control is a random dictionary of the same size and L0; NaN where it
    has no latents of the attribute either, as it should. The interval resamples rows.

    Parameters
    ----------
    attribute, most_main
        Whether it is true, of each row; main latents at most.
    least_cosine
        Cosine with the probe that an absorber must have. None: 0.1, or what 95 % of random directions
        stay below where that is more (0.24 in 64 dimensions).

    Raises
    ------
    ValueError: If the attribute has too few rows with or without it, or a linear probe cannot read it.

    Source
    ------
    Chanin et al., "A is for absorption", arXiv 2409.14507, as SAEBench computes it. Ours: unit atoms
    are not assumed, an absorber's cosine is above chance, the number of main latents is not chosen on
    the rows that are judged, and a dictionary without latents of the attribute gets no score.

    Example
    -------
    >>> import sae_nb as sn
    >>> tree = sn.data.concept_tree(2000)
    >>> class Known:
    ...     n_atoms, d_in, dictionary = 20, 20, tree.dictionary
    ...     def encode(self, x):
    ...         return sn.matching_pursuit(x, self.dictionary, 2)
    >>> found = absorption(Known(), tree.x, tree.codes.to_dense()[:, 0] > 0)
    >>> found.main, round(found.value, 2)
    ((0,), 0.0)
    """
    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    source = acts_for(sae, acts)
    if isinstance(attribute, Tensor):
        attribute = check_data(attribute, name="attribute", what="truth values").numpy(force=True)
    truth = np.asarray(attribute, dtype=bool)
    if truth.shape != (len(source),):
        raise ValueError(
            f"`attribute` must have one entry per row of `acts`, {len(source)}, got shape {truth.shape}."
        )
    parts = _three_parts(source, truth, seed)
    least = max(0.1, chance_cosine(source.d_in)) if least_cosine is None else least_cosine
    known = _Attribute(source, truth, parts, *_fit_probe(source, truth, parts), most_main, least)
    own, random = (known.followed(one) for one in (sae, random_like(sae, source, seed=seed)))
    defined = own.precision >= PRECISE
    chance = float(random.absorbed.mean()) if random.precision >= PRECISE else math.nan

    def mean(definition: str, values: np.ndarray, floor: float, control: float) -> Measurement:
        return resampling.mean(definition, values, floor=floor, control=control, unit="rows")

    def if_precise(measurement: Measurement) -> Measurement:
        undefined: dict[str, Any] = {} if defined else {"value": math.nan, "interval": UNKNOWN}
        return replace(measurement, **undefined)

    n_splits, n_random = len(own.main) - 1, len(random.main) - 1
    splits = Measurement.measured("splits", n_splits, floor=0.0, control=n_random, n=len(own.right))
    return Absorption.of(
        if_precise(mean("absorption_fraction", own.absorbed, 0.0, chance)),
        told=mean("attribute_told", own.right, 0.5, random.accuracy),
        full=if_precise(mean("absorption_full", own.full, 0.0, random.full.mean())),
        splits=if_precise(splits),
        precision=own.precision,
        probe_f1=known.f1,
        main=own.main,
        absorbers=own.absorbers,
        least_cosine=least,
        seconds=time.perf_counter() - start,
    )


@dataclass(frozen=True, eq=False)
class _Followed:
    """The result for an attribute in one dictionary."""

    main: tuple[int, ...]
    accuracy: float
    precision: float
    right: np.ndarray  # of every judged row: whether the latents are right, over its class's share
    absorbed: np.ndarray
    full: np.ndarray
    absorbers: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class _Attribute:
    """The followed attribute: where it is true, which part each row is in, and the reading of a linear
    probe.
    """

    acts: Activations
    truth: Bool[np.ndarray, " n"]
    part: Int[np.ndarray, " n"]
    direction: Float[np.ndarray, " d_in"]
    says: Bool[np.ndarray, " n"]
    f1: float
    most_main: int
    least_cosine: float

    def followed(self, sae: Any) -> _Followed:
        z, truth, judged = _codes(sae, self.acts), self.truth, self.part == 2
        main, says = self._main_latents(z)
        right = np.where(truth, says / truth[judged].mean(), ~says / (~truth[judged]).mean()) / 2
        unit = torch.nn.functional.normalize(sae.dictionary.detach().double(), dim=1).cpu().numpy()
        rows = np.flatnonzero(judged & truth & self.says)
        x = self.acts.rows(torch.from_numpy(rows)).detach()
        projection = (x.double().cpu().numpy() - _offset(sae, x)) @ self.direction
        least, cosine = self.least_cosine, unit @ self.direction
        absorbed = absorbed_rows(z[rows], cosine, projection, main, least_cosine=least)
        hits, slips = says[judged & truth].mean(), says[judged & ~truth].mean()
        precision = float(hits / (hits + slips)) if hits + slips > 0 else 0.5
        return _Followed(main, float(right[judged].mean()), precision, right[judged], *absorbed)

    def _main_latents(self, z: Any) -> tuple[tuple[int, ...], Bool[np.ndarray, " n"]]:
        """Latents added while F1 on the second part rises, and what they say of every row."""
        from sklearn.metrics import f1_score

        truth, fit, choose = self.truth, self.part == 0, self.part == 1
        chosen: list[int] = []
        best, says = 0.0, np.zeros(len(truth), dtype=bool)
        for candidate in _candidates(z[np.flatnonzero(fit)], truth[fit])[: self.most_main]:
            columns = z[:, [*chosen, int(candidate)]].toarray()
            probe = logistic_probe(
                columns[fit],
                truth[fit],
                scale="largest",
                centred=False,
                balanced=True,
                max_iter=500,
            )
            now = probe.predict(columns)
            f1 = float(f1_score(truth[choose], now[choose]))
            if chosen and f1 <= best + RISES_BY:
                break
            best, says = f1, now
            chosen.append(int(candidate))
        return tuple(chosen), says


def _three_parts(acts: Activations, truth: np.ndarray, seed: int) -> Int[np.ndarray, " n"]:
    """0 fit, 1 choose, 2 judge; rows of a sample stay together."""
    unique, index = np.unique(acts.sample.numpy(), return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(unique)) / max(len(unique), 1)
    part: np.ndarray = np.digitize(place, (0.5, 0.75))[index]
    for number in range(3):
        there = truth[part == number]
        least = int(min(there.sum(), (~there).sum())) if len(there) else 0
        if least < _LEAST:
            raise ValueError(
                f"`attribute` must be true of {_LEAST} rows and false of {_LEAST} in each of three parts "
                f"of the samples, got {int(there.sum())} and {int((~there).sum())} of {len(there)}. "
                "Give more samples."
            )
    return part


def _fit_probe(
    acts: Activations, truth: np.ndarray, part: np.ndarray
) -> tuple[Float[np.ndarray, " d_in"], Bool[np.ndarray, " n"], float]:
    """Return the unit direction of a linear probe, its answer for every row, and its F1."""
    from sklearn.metrics import f1_score

    x = acts.x.detach().double().cpu().numpy()
    first = x[part == 0]
    scale = float(np.sqrt(first.var(axis=0).mean())) or 1.0
    probe = logistic_probe(first, truth[part == 0], scale=scale, balanced=True, max_iter=500)
    says = probe.predict(x)
    f1 = float(f1_score(truth[part == 2], says[part == 2]))
    if f1 < PROBE_F1:
        raise ValueError(
            f"A linear probe must read `attribute` off the activations with F1 ≥ {PROBE_F1} for it to be "
            f"followed, got {f1:.2f}. Take another hook point or attribute."
        )
    return probe.weight[0] / np.linalg.norm(probe.weight[0]), says, f1


def _codes(sae: Any, acts: Activations) -> Any:
    """All codes as a scipy matrix, in the order of the rows, times the norms of the atoms."""
    order, parts = [], []
    for rows, x, codes in codes_of_rows(sae, acts):
        order.append(rows)
        parts.append(written_codes(sae, codes, x).to("cpu"))
    norms = sae.dictionary.detach().double().norm(dim=1).cpu().numpy()
    z = SparseCodes.concatenate(parts).to_scipy().multiply(norms).tocsr()
    return z[np.argsort(np.concatenate(order))]


def _offset(sae: Any, x: Float[Tensor, "n d_in"]) -> np.ndarray:
    """Return an SAE's answer to rows if no atom fired; zero if it cannot decode."""
    if not hasattr(sae, "decode"):
        return np.zeros(x.shape[1])
    if isinstance(sae, RandomDictionary):
        return sae.mean.double().cpu().numpy()
    empty = SparseCodes.from_dense(sae.dictionary.new_zeros(1, sae.n_atoms))
    with torch.no_grad():
        # What a Temporal SAE predicts is of sequences, and rows alone have none.
        sequences = getattr(sae, "reads_sequences", False)
        gain, rest = (1.0, 0.0) if sequences else uncoded(sae, x.to(sae.dictionary))
        return np.asarray((sae.decode(empty) * gain + rest).double().cpu())


def _candidates(z: Any, truth: np.ndarray) -> np.ndarray:
    """Atoms whose mean differs most with the attribute, over their deviation, more with it first."""
    with_, without, mean, square = (
        np.asarray(part.mean(axis=0)).ravel() for part in (z[truth], z[~truth], z, z.multiply(z))
    )
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    score = (with_ - without) / np.maximum(deviation, 1e-12)
    order = np.argsort(-score, kind="stable")[:_CANDIDATES]
    return order[score[order] > 0]


def absorbed_rows(
    z: Any,
    cosine: Float[np.ndarray, " n_atoms"],
    projection: Float[np.ndarray, " n"],
    main: tuple[int, ...],
    *,
    least_cosine: float,
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], tuple[tuple[int, int], ...]]:
    """Return how far each row's attribute is absorbed, whether wholly, and by which atoms."""
    absorbed, full = np.zeros(z.shape[0]), np.zeros(z.shape[0])
    counts: dict[int, int] = {}
    for row in range(z.shape[0]):
        begin, end = z.indptr[row], z.indptr[row + 1]
        atoms, strength = z.indices[begin:end], z.data[begin:end]
        share = strength * cosine[atoms]
        is_main = np.isin(atoms, main)
        m, p = float(share[is_main].sum()), float(projection[row])
        others = ~is_main & (cosine[atoms] >= least_cosine) & (share > 0)
        strongest = np.sort(share[others])[::-1][:STRONGEST]
        total = float(strongest.sum())
        if not len(strongest) or m >= p or total < CARRIED * p:
            continue
        alpha = min(total, p - m)
        absorbed[row] = 1.0 if m <= 0 else alpha / (alpha + m)
        full[row] = not (strength[is_main] != 0).any() and strongest[0] >= CARRIED * p
        first = int(atoms[others][share[others].argmax()])
        counts[first] = counts.get(first, 0) + 1
    often = sorted(counts.items(), key=lambda item: -item[1])[:5]
    return absorbed, full, tuple(often)
