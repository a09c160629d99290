"""Do a few atoms hold a concept, and nothing else? SCR, TPP and RAVEL on samples with known labels.

Everything is linear in the mean of a sample's rows: x̄ is that mean, z̄ the mean of its codes, and taking atoms S
out with the error kept leaves x̄ − Σ_{i∈S} z̄_i d_i. Probes are logistic regressions on x̄.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix

from sae_nb.activations import Activations, reconstruction, written_codes
from sae_nb.codes import SparseCodes
from sae_nb.statistics import logistic_probe

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

FEWEST = 12
"""Samples of each kind, or of each pair of kinds, below which nothing is fitted."""

_LEARNED, _READABLE = 0.05, 0.7
"""Accuracy that a shortcut must cost before its removal is measured, and that a probe without it must have.
SAEBench asks for a cost of .001, of which the ratio is noise."""


class NotMeasurableError(ValueError):
    """These samples or this model cannot show the requested quantity; gives the reason."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pooled:
    """Samples by the means of their rows, activations and codes, with the SAE's dictionary."""

    x: Float[np.ndarray, "n d_in"]
    z: csr_matrix  # (n, n_atoms)
    atoms: Float[np.ndarray, "n_atoms d_in"]
    offset: Float[
        np.ndarray, "*n d_in"
    ]  # what of a reconstruction no atom writes; one for all, or each

    @classmethod
    def of(cls, sae: SparseAutoencoder, acts: Activations, codes: SparseCodes) -> Pooled:
        """Pool rows to their samples; every sample must have one."""
        sample, n = acts.sample.numpy(), acts.context.n_samples
        counts = np.bincount(sample, minlength=n)
        if not counts.all():
            raise NotMeasurableError(f"{int((counts == 0).sum())} of {n} samples have no rows left")
        share = (1 / counts)[sample]
        mean = csr_matrix((share, (sample, np.arange(len(sample)))), shape=(n, len(sample)))
        atoms = sae.dictionary.detach().double().cpu().numpy()
        with torch.no_grad():
            own = codes.to(sae.dictionary.device)
            x_hat = reconstruction(sae, own, acts).double().cpu().numpy()
            made = written_codes(sae, own, acts).to("cpu").to_scipy().astype(np.float64)
        z = (mean @ made).tocsr()
        x = mean @ acts.x.double().cpu().numpy()
        return cls(x=x, z=z, atoms=atoms, offset=mean @ x_hat - z @ atoms)

    def without(
        self, rows: Int[np.ndarray, " m"], chosen: Int[np.ndarray, " k"]
    ) -> Float[np.ndarray, "m d_in"]:
        """Return x̄ of some samples with some atoms taken out and the error kept."""
        return self.x[rows] - self.z[rows][:, chosen] @ self.atoms[chosen]

    def offset_of(self, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m d_in"]:
        """Return what of some samples' reconstructions no atom writes."""
        return np.broadcast_to(self.offset, self.x.shape)[rows]

    def difference(
        self, yes: Int[np.ndarray, " m"], no: Int[np.ndarray, " k"]
    ) -> Float[np.ndarray, " n_atoms"]:
        """Return mean code of some samples minus that of others."""
        means = [np.asarray(self.z[rows].mean(axis=0)).ravel() for rows in (yes, no)]
        return means[0] - means[1]

    def direction(
        self, yes: Int[np.ndarray, " m"], no: Int[np.ndarray, " k"]
    ) -> Float[np.ndarray, " d_in"]:
        """Return the unit difference of means: the direction that a simpler method removes."""
        difference = self.x[yes].mean(axis=0) - self.x[no].mean(axis=0)
        return difference / max(float(np.linalg.norm(difference)), 1e-12)


@dataclass(frozen=True, eq=False)
class _Reader:
    """A linear probe in the units of x̄."""

    weight: Float[np.ndarray, "classes d_in"]
    bias: Float[np.ndarray, " classes"]

    @classmethod
    def fit(cls, x: np.ndarray, y: np.ndarray) -> _Reader:
        """Fit a logistic regression on standardised columns, classes weighted evenly; one row per class."""
        probe = logistic_probe(x, y, balanced=True, max_iter=500, quiet=True)
        weight, bias = probe.weight, probe.bias
        if len(weight) == 1:
            return cls(np.concatenate((-weight, weight)) / 2, np.concatenate((-bias, bias)) / 2)
        return cls(weight, bias)

    def says(self, x: Float[np.ndarray, "m d_in"]) -> Int[np.ndarray, " m"]:
        return np.asarray((x @ self.weight.T + self.bias).argmax(axis=1))

    @property
    def yes(self) -> Float[np.ndarray, " d_in"]:
        """Of two classes, the direction towards the second."""
        return self.weight[1] - self.weight[0]


def _along(x: Float[np.ndarray, "m d_in"], basis: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """X without its part in the span of orthonormal rows, put at a mean there."""
    return x - ((x - mean) @ basis.T) @ basis


def _halves(
    kind: Int[np.ndarray, " n"], kinds: Sequence[int], seed: int, *, name: str
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " k"]]:
    """Two disjoint draws, each with the same number of every kind."""
    generator = np.random.default_rng(seed)
    members = [generator.permutation(np.flatnonzero(kind == one)) for one in kinds]
    n = min(map(len, members))
    if n < FEWEST:
        raise NotMeasurableError(f"{name}: a kind has {n} samples, and {FEWEST} are needed")
    half = n // 2
    first = np.concatenate([rows[:half] for rows in members])
    return first, np.concatenate([rows[half : 2 * half] for rows in members])


# -------------------------------------------------------------------------------------------------
# SCR: a probe learned a shortcut; does taking out the shortcut's atoms repair it?


@dataclass(frozen=True, kw_only=True)
class ShortcutRemoval:
    """The part of the accuracy lost to a shortcut that removing N of its atoms restores."""

    score: float
    """With the N that repairs most on the samples that probes were trained on."""

    by_n: dict[int, float]
    simple: float
    """The same, with the difference of means taken out instead of atoms."""

    base: float
    clean: float
    """Accuracy of the probe that learned the shortcut, and of one trained without it."""


def shortcut_removal(
    pooled: Pooled,
    first: Bool[np.ndarray, " n"],
    second: Bool[np.ndarray, " n"],
    ns: Sequence[int],
    *,
    seed: int = 0,
    name: str = "",
) -> ShortcutRemoval:
    """Compute SCR of two labels, in the direction in which the shortcut costs more.

    A probe of the one label is trained where both are equal. Atoms are ranked by
    |Δ_i|, Δ_i = (mean z̄_i⁺ − mean z̄_i⁻) · ⟨w, d_i⟩ with the other label's probe w, and
    SCR = (A_without − A_base) / (A_clean − A_base) on samples in which the labels are independent.
    Source: SAEBench evals/scr_and_tpp, after SHIFT, arXiv 2403.19647 [its code]. Ours: logistic regression
    instead of AdamW for 20 epochs; N is chosen, as a fixed one takes more atoms than an oracle has for the
    shortcut; undefined where the shortcut costs less than .05 or the label is read with less than .7.
    """
    kind = 2 * first.astype(int) + second
    train, test = _halves(kind, range(4), seed, name=name)
    equal = train[first[train] == second[train]]
    biased = _Reader.fit(pooled.x[equal], first[equal])
    x = pooled.x[test]
    right = {0: _accuracy(biased, x, first[test]), 1: _accuracy(biased, x, second[test])}
    # The label that the biased probe reads worse is the one that is to be repaired.
    main, spurious = (first, second) if right[0] <= right[1] else (second, first)
    base = min(right.values())
    clean = _accuracy(_Reader.fit(pooled.x[train], main[train]), x, main[test])
    if clean - base < _LEARNED or clean < _READABLE:
        raise NotMeasurableError(
            f"{name}: the shortcut costs {clean - base:.2f} of an accuracy of {clean:.2f}, and .05 of .7 "
            "is needed"
        )
    yes, no = train[spurious[train]], train[~spurious[train]]
    probe = _Reader.fit(pooled.x[train], spurious[train])
    effect = pooled.difference(yes, no) * (pooled.atoms @ probe.yes)
    order = _largest(np.abs(effect))

    def repaired(x: np.ndarray) -> float:
        return (_accuracy(biased, x, main[test]) - base) / (clean - base)

    u = pooled.direction(yes, no)[None]
    by_n = {n: repaired(pooled.without(test, order[:n])) for n in ns}
    on_train = {n: _accuracy(biased, pooled.without(train, order[:n]), main[train]) for n in ns}
    return ShortcutRemoval(
        score=by_n[max(ns, key=on_train.__getitem__)],
        by_n=by_n,
        simple=repaired(_along(x, u, pooled.x[train].mean(axis=0))),
        base=base,
        clean=clean,
    )


def _accuracy(reader: _Reader, x: np.ndarray, y: np.ndarray) -> float:
    return float((reader.says(x) == y).mean())


def _largest(score: Float[np.ndarray, " n_atoms"]) -> Int[np.ndarray, " m"]:
    """Atoms with a positive score, largest first."""
    order = np.argsort(-score, kind="stable")
    return order[score[order] > 0]


# -------------------------------------------------------------------------------------------------
# TPP: taking out the atoms of one class should hurt that class's probe alone.


@dataclass(frozen=True, kw_only=True)
class TargetedPerturbation:
    """Accuracy that a class's probe loses without N of the class's atoms, minus the loss of other probes."""

    score: float
    """With the N that is best on the samples that probes were trained on."""

    by_n: dict[int, float]
    simple: float
    """The same, with the class's difference of means taken out instead of atoms."""


def targeted_perturbation(
    pooled: Pooled,
    label: Int[np.ndarray, " n"],
    ns: Sequence[int],
    *,
    seed: int = 0,
    name: str = "",
    most: int = 6,
) -> TargetedPerturbation:
    """Compute TPP of a label's classes, the `most` frequent of them.

    Atoms of class i are ranked by max(mean z̄⁺ − mean z̄⁻, 0) · ⟨w_i, d_i⟩;
    TPP = mean_i (A_i − A_i^(i)) − mean_{i≠j} (A_j − A_j^(i)), A balanced accuracy.
    Source: SAEBench evals/scr_and_tpp [its code]. Ours: logistic regression with even weights; N is chosen.
    """
    values, counts = np.unique(label, return_counts=True)
    classes = values[np.argsort(-counts, kind="stable")][:most].tolist()
    if len(classes) < 3:
        raise NotMeasurableError(f"{name}: {len(classes)} classes, and 3 are needed")
    train, test = _halves(label, classes, seed, name=name)
    readers = [_Reader.fit(pooled.x[train], label[train] == c) for c in classes]
    orders, directions = [], []
    for reader, c in zip(readers, classes):
        yes, no = train[label[train] == c], train[label[train] != c]
        score = np.maximum(pooled.difference(yes, no), 0) * (pooled.atoms @ reader.yes)
        orders.append(_largest(score))
        directions.append(pooled.direction(yes, no)[None])

    def accuracies(x: np.ndarray, rows: np.ndarray) -> Float[np.ndarray, " classes"]:
        says = [reader.says(x) == 1 for reader in readers]
        return np.array([_balanced(s, label[rows] == c) for s, c in zip(says, classes)])

    def contrast(rows: np.ndarray, without: Sequence[np.ndarray]) -> float:
        clean = accuracies(pooled.x[rows], rows)
        lost = np.stack([clean - accuracies(x, rows) for x in without])
        own = np.eye(len(classes), dtype=bool)
        return float(lost[own].mean() - lost[~own].mean())

    def of(rows: np.ndarray, n: int) -> float:
        return contrast(rows, [pooled.without(rows, order[:n]) for order in orders])

    mean = pooled.x[train].mean(axis=0)
    by_n, on_train = ({n: of(rows, n) for n in ns} for rows in (test, train))
    return TargetedPerturbation(
        score=by_n[max(ns, key=on_train.__getitem__)],
        by_n=by_n,
        simple=contrast(test, [_along(pooled.x[test], u, mean) for u in directions]),
    )


def _balanced(says: Bool[np.ndarray, " m"], truth: Bool[np.ndarray, " m"]) -> float:
    return float((says[truth].mean() + (~says[~truth]).mean()) / 2)


# -------------------------------------------------------------------------------------------------
# RAVEL: exchanging an attribute's atoms between two samples should exchange that attribute alone.

_STEPS, _RATE, _COLDEST = 80, 0.2, 1e-2
_PAIRS = 256
_READS = 0.6  # of the way from chance to 1 that a label's probe must go


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Cause: how often the attribute becomes the source's. Isolation: how often others stay the base's."""

    cause: float
    isolation: float
    simple: float
    """Half of cause + isolation where the span of the attribute's class means is exchanged."""

    n_atoms: int

    @property
    def score(self) -> float:
        """Half of cause + isolation; ½ for changing nothing, and for changing everything."""
        return (self.cause + self.isolation) / 2


def attribute_exchange(
    pooled: Pooled, labels: Mapping[str, Int[np.ndarray, " n"]], *, seed: int = 0
) -> dict[str, Exchange]:
    """Compute RAVEL by attribute: learn which atoms to take over from another sample.

    x̃ = decode((1 − m) ⊙ z̄_base + m ⊙ z̄_source), without the error; a mask m ∈ {0, 1} of atoms per attribute,
    learned by cross-entropy to the source's value of the attribute and the base's of the others, as σ(l / T)
    while T falls.
    Source: RAVEL, arXiv 2402.17700, as SAEBench evals/ravel masks atoms (MDBM) [its code]. Ours: linear probes
    read the attributes, not a language model's continuation, so that images and last layers have them too.
    """
    train, test = _parted(len(pooled.x), seed)
    readers = {}
    for name, label in _independent(labels).items():
        values, code = np.unique(label, return_inverse=True)
        if len(values) < 2 or np.bincount(code[train], minlength=len(values)).min() < 2:
            continue
        reader = _Reader.fit(pooled.x[train], code[train])
        chance = 1 / len(values)
        if _accuracy(reader, pooled.x[test], code[test]) >= chance + _READS * (1 - chance):
            readers[name] = reader
    if len(readers) < 2:
        raise NotMeasurableError(
            f"a linear probe reads {len(readers)} of the {len(labels)} labels, and 2 are needed"
        )
    truth = {name: np.unique(labels[name], return_inverse=True)[1] for name in readers}
    return {name: _exchange(pooled, readers, truth, name, train, test, seed) for name in readers}


def _independent(labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Labels that no other one determines: a digit cannot be kept while its parity is exchanged."""
    kept = dict(labels)
    for name, label in labels.items():
        n_classes = {o: len(np.unique(other)) for o, other in kept.items() if o != name}
        pairs = {o: len(np.unique(np.stack((kept[o], label)), axis=1).T) for o in n_classes}
        if any(pairs[o] == n for o, n in n_classes.items()):
            del kept[name]
    return kept


def _parted(n: int, seed: int) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " k"]]:
    order = np.random.default_rng(seed).permutation(n)
    return order[: n // 2], order[n // 2 :]


def _pairs(
    rows: Int[np.ndarray, " m"], label: Int[np.ndarray, " n"], seed: int
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Base and source samples that differ in a label."""
    generator = np.random.default_rng((seed, 1))
    base, source = generator.choice(rows, (2, 4 * _PAIRS))
    differ = np.flatnonzero(label[base] != label[source])[:_PAIRS]
    return base[differ], source[differ]


def _exchange(
    pooled: Pooled,
    readers: Mapping[str, _Reader],
    truth: Mapping[str, Int[np.ndarray, " n"]],
    name: str,
    train: np.ndarray,
    test: np.ndarray,
    seed: int,
) -> Exchange:
    mask = _mask(pooled, readers, truth, name, *_pairs(train, truth[name], seed))
    base, source = _pairs(test, truth[name], seed + 1)
    decoded = pooled.z[base] @ pooled.atoms + pooled.offset_of(base)
    chosen = np.flatnonzero(mask)
    atoms = decoded + (pooled.z[source] - pooled.z[base])[:, chosen] @ pooled.atoms[chosen]

    def judged(x: np.ndarray) -> tuple[float, float]:
        said = {other: reader.says(x) for other, reader in readers.items()}
        stays = [(said[o] == truth[o][base]).mean() for o in readers if o != name]
        return float((said[name] == truth[name][source]).mean()), float(np.mean(stays))

    values = np.unique(truth[name])
    means = np.stack([pooled.x[train][truth[name][train] == v].mean(axis=0) for v in values])
    basis = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)[2][: len(values) - 1]
    swapped = pooled.x[base] + ((pooled.x[source] - pooled.x[base]) @ basis.T) @ basis
    cause, isolation = judged(atoms)
    return Exchange(
        cause=cause,
        isolation=isolation,
        simple=float(np.mean(judged(swapped))),
        n_atoms=len(chosen),
    )


def _mask(
    pooled: Pooled,
    readers: Mapping[str, _Reader],
    truth: Mapping[str, Int[np.ndarray, " n"]],
    name: str,
    base: np.ndarray,
    source: np.ndarray,
) -> Bool[np.ndarray, " n_atoms"]:
    """Learn which atoms to exchange; what probes read is linear in the mask, so codes stay sparse."""
    weight = np.concatenate([reader.weight for reader in readers.values()])
    bias = np.concatenate([reader.bias for reader in readers.values()])
    decoded = pooled.z[base] @ pooled.atoms + pooled.offset_of(base)
    clean = torch.from_numpy(decoded @ weight.T + bias).float()
    change = (pooled.z[source] - pooled.z[base]).tocoo()
    places = torch.from_numpy(np.stack((change.row, change.col)).astype(np.int64))
    sparse = torch.sparse_coo_tensor(
        places, torch.from_numpy(change.data).float(), change.shape, check_invariants=False
    ).coalesce()
    reads = torch.from_numpy(pooled.atoms @ weight.T).float()
    sizes = [len(reader.weight) for reader in readers.values()]
    wanted = {o: torch.from_numpy(truth[o][source if o == name else base]) for o in readers}
    logits = torch.zeros(len(reads), requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=_RATE)
    with torch.enable_grad():
        for temperature in np.geomspace(1.0, _COLDEST, _STEPS):
            m = torch.sigmoid(logits / temperature)
            said = clean + torch.sparse.mm(sparse, m[:, None] * reads)
            parts = dict(zip(readers, said.split(sizes, dim=1)))
            losses = {o: torch.nn.functional.cross_entropy(parts[o], wanted[o]) for o in readers}
            others = [loss for o, loss in losses.items() if o != name]
            optimiser.zero_grad()
            (losses[name] + torch.stack(others).mean()).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return (logits.detach() > 0).numpy()


def label_pairs(labels: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return every pair of labels with two classes."""
    return list(itertools.combinations([n for n, v in labels.items() if len(np.unique(v)) == 2], 2))
