"""vision_bench: the seven metrics of VISAEBench for an SAE of a vision transformer's patches.

Source: visaebench 0.1.0 (Apache 2.0) [its code, read]: metrics M1 to M7, with its defaults.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor

from sae_nb.activations import Activations, check_sae, reconstruction
from sae_nb.checks import Positive, Seed, as_tensor, check_data, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import random_like
from sae_nb.findings import Finding
from sae_nb.statistics import LogisticProbe, logistic_probe

if TYPE_CHECKING:
    from pandas import DataFrame

SPARSE_KS = (1, 5, 10, 20, 50, 100)
"""Numbers of atoms that sparse probes read."""

ASKS = {
    "localization": "Are an atom's patches next to each other? Mean Moran's I",
    "fvu": "Fraction of variance unexplained",
    "downstream_preservation": "Accuracy of a probe on reconstructions, over its accuracy on activations",
    "sparse_probing": "Accuracy of probes on 1 to 100 atoms, area under the curve",
    "monosemanticity": "Are the images that an atom fires on alike for another model? Mean cosine",
    "cross_domain": "Does the SAE serve other images? Mean of four scores",
    "absorption": "Share of classes whose own atoms are those of their siblings",
}
BETTER = dict.fromkeys(ASKS, "higher") | {"fvu": "lower", "absorption": "lower"}

Patches = Float[Tensor, "images patches d_in"]
Pooled = Float[np.ndarray, "images n_atoms"]
Labels = Int[np.ndarray, " images"]


class VisionBench(Finding):
    """Scores of an SAE by VISAEBench's metrics, with those of random atoms; made by `vision_bench`."""

    HEADLINE = "{n_images} images of {n_patches} patches, {n_atoms} atoms: {n_scores} of 7 metrics"

    table: DataFrame
    """A row per metric: metric, value, random (of random atoms with the same L0), better ("higher" or
    "lower"), asks, reason (why a value is NaN)."""

    details: Mapping[str, Mapping[str, float]]
    """Parts of the values, by metric."""

    n_images: int
    n_patches: int
    n_atoms: int

    @property
    def n_scores(self) -> int:
        """Number of metrics that have a value."""
        return int(self.table.value.notna().sum())

    @property
    def below(self) -> tuple[str | DataFrame, ...]:
        """The values next to those of random atoms, and the reasons of those that are missing."""
        shown = self.table[["metric", "value", "random", "better"]].round(4).set_index("metric")
        missing = self.table[self.table.value.isna()]
        return (shown, *(f"{m}: {why}" for m, why in zip(missing.metric, missing.reason)))


@checked(leave=("x", "labels", "embeddings", "elsewhere", "siblings", "mean"))
def vision_bench(
    sae: Any,
    x: Patches,
    labels: Labels | None = None,
    *,
    grid: tuple[int, int] | None = None,
    embeddings: Float[Tensor, "images d_other"] | None = None,
    elsewhere: Mapping[str, tuple[Patches, Labels]] | None = None,
    siblings: Mapping[str, Sequence[int]] | None = None,
    mean: Float[Tensor, " d_in"] | None = None,
    std: Positive | None = None,
    control: bool = True,
    seed: Seed = 42,
) -> VisionBench:
    """Score an SAE of a vision transformer by the seven metrics of VISAEBench.

    A metric whose data are not given is NaN, with the reason. Two of them look at the rows that they are
    judged on, as published: sparse probes choose atoms, and absorption judges probes, on all images.

    Parameters
    ----------
    sae
        Anything that encodes rows and has a dictionary.
    x
        Patch activations of labelled images, in-distribution; rows of a grid one after the other.
    labels
        Class of each image, from 0.
    grid
        Rows and columns of patches. None: square.
    embeddings
        Of each image by another model than the one that x is from: the mean of its patches.
    elsewhere
        Activations and labels of images of other data sets, by name.
    siblings
        Classes that share a parent, by the parent's name; groups of fewer than three are left out.
    mean, std
        Subtracted from activations, and what they are divided by, where the SAE was trained on such.
    control
        Whether random atoms are scored too, which doubles the time.
    seed
        Of the splits into training and test images, and of atoms that are drawn where there are many.

    Raises
    ------
    ValueError: If x is not of images, patches and d_in, or something is of another number of images.

    Source
    ------
    visaebench 0.1.0; monosemanticity: Pach et al., arXiv 2504.02821; absorption: after SAEBench, arXiv
    2503.09532. Values agree with the package's to 1e-5 on the same codes. Ours: codes stay sparse where
    patches are compared, and random atoms are scored too.

    Example
    -------
    >>> import sae_nb as sn
    >>> x = torch.randn(60, 9, 4, generator=torch.Generator().manual_seed(0))
    >>> sae = sn.TopK(4, 8, 2, generator=torch.Generator().manual_seed(0))
    >>> found = vision_bench(sae, x, np.arange(60) % 3, siblings={"all": [0, 1, 2]})
    >>> found.table.metric[found.table.value.isna()].tolist()
    ['monosemanticity', 'cross_domain']
    """
    import pandas as pd

    check_sae(sae)
    given = _checked_images(
        x,
        labels,
        grid=grid,
        embeddings=embeddings,
        elsewhere={} if elsewhere is None else elsewhere,
        siblings={} if siblings is None else siblings,
        scale=(mean, std),
        d_in=sae.d_in,
        seed=seed,
    )
    found = _scores(sae, given)
    chance = {}
    if control:
        rows = Activations.from_tensor(given.x.flatten(0, 1))
        chance = _scores(random_like(sae, rows, seed=seed), given)
    rows_of_table = [
        {
            "metric": name,
            "value": found[name].value,
            "random": chance[name].value if control else np.nan,
            "better": BETTER[name],
            "asks": ASKS[name],
            "reason": found[name].reason,
        }
        for name in ASKS
    ]
    return VisionBench(
        table=pd.DataFrame(rows_of_table),
        details={name: score.details for name, score in found.items() if score.details},
        n_images=len(given.x),
        n_patches=given.x.shape[1],
        n_atoms=sae.n_atoms,
    )


# -------------------------------------------------------------------------------------------------
# What is given.


@dataclass(frozen=True, eq=False, kw_only=True)
class _Given:
    x: Patches
    labels: Labels | None
    grid: tuple[int, int]
    embeddings: Float[Tensor, "images d_other"] | None
    elsewhere: Mapping[str, tuple[Patches, Labels]]
    siblings: Mapping[str, Sequence[int]]
    seed: int


@dataclass(frozen=True, kw_only=True)
class _Score:
    value: float
    details: Mapping[str, float]
    reason: str = ""


class _MissingError(ValueError):
    """A metric's data were not given."""


def _checked_images(
    x: Any,
    labels: Any,
    *,
    grid: tuple[int, int] | None,
    embeddings: Any,
    elsewhere: Mapping[str, Any],
    siblings: Mapping[str, Any],
    scale: tuple[Any, float | None],
    d_in: int,
    seed: int,
) -> _Given:
    patches = _patches(x, "x", d_in, scale)
    n, p = patches.shape[:2]
    side = round(p**0.5)
    grid = (side, side) if grid is None else grid
    if grid[0] * grid[1] != p:
        raise ValueError(
            f"`grid` must have a place for each of the {p} patches of an image, got {grid}. Give the rows and "
            "columns of patches; leave out a class token."
        )
    if embeddings is not None:
        embeddings = check_data(as_tensor(embeddings, name="embeddings"), name="embeddings")
        _check_number(len(embeddings), n, "embeddings")
    others = {}
    for name, pair in _by_name(elsewhere, "elsewhere").items():
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ValueError(
                f"`elsewhere` must hold activations and labels by name, got {type(pair).__name__} for "
                f"{name!r}. Give a pair of them."
            )
        rows = _patches(pair[0], f"elsewhere[{name!r}]", d_in, scale)
        others[name] = (rows, _labels(pair[1], len(rows), f"elsewhere[{name!r}]"))
    return _Given(
        x=patches,
        labels=None if labels is None else _labels(labels, n, "labels"),
        grid=grid,
        embeddings=embeddings,
        elsewhere=others,
        siblings={
            name: _classes(classes, name)
            for name, classes in _by_name(siblings, "siblings").items()
        },
        seed=seed,
    )


def _by_name(given: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise TypeError(
            f"`{name}` must be a dict by name, got {type(given).__name__}. Give each a name of yours."
        )
    return given


def _classes(given: Any, name: str) -> list[int]:
    try:
        return [int(one) for one in given]
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(
            f"`siblings` must hold numbers of classes by name, got {type(given).__name__} for {name!r}. "
            "Give a list of them."
        ) from error


def _patches(x: Any, name: str, d_in: int, scale: tuple[Any, float | None]) -> Patches:
    rows = as_tensor(x, name=name)
    if rows.ndim != 3 or rows.shape[2] != d_in or not rows.numel():
        raise ValueError(
            f"`{name}` must be of images, patches and d_in={d_in}, got {tuple(rows.shape)}. Reshape captured "
            "activations, as in acts.x.reshape(images, patches, d_in)."
        )
    rows = check_data(rows, name=name).float()
    mean, std = scale
    if mean is not None and std is not None:
        rows = (rows - as_tensor(mean, name="mean").to(rows)) / std
    return rows


def _labels(labels: Any, n: int, name: str) -> Labels:
    numbers = np.asarray(labels)
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer) or (numbers < 0).any():
        raise ValueError(
            f"`{name}` must have a class from 0 for each image, got {numbers.dtype} of shape "
            f"{numbers.shape}. Number the classes."
        )
    _check_number(len(numbers), n, name)
    return numbers.astype(np.int64)


def _check_number(got: int, n: int, name: str) -> None:
    if got != n:
        raise ValueError(f"`{name}` must be of {n} images, as the activations, got {got}.")


# -------------------------------------------------------------------------------------------------
# The scores.


def _scores(sae: Any, given: _Given) -> dict[str, _Score]:
    pooled = image_codes(sae, given.x)
    measures: dict[str, Callable[[], tuple[float, dict[str, float]]]] = {
        "localization": lambda: localization(sae, given.x, given.grid, seed=given.seed),
        "fvu": lambda: unexplained(sae, given.x),
        "downstream_preservation": lambda: preservation(
            sae, given.x, _of(given.labels), given.seed
        ),
        "sparse_probing": lambda: sparse_probing(pooled, _of(given.labels), given.seed),
        "monosemanticity": lambda: monosemanticity(pooled, given.embeddings, given.seed),
        "cross_domain": lambda: cross_domain(sae, pooled, given.elsewhere, given.seed),
        "absorption": lambda: absorbed(pooled, _of(given.labels), given.siblings),
    }
    return {name: _measured(measure) for name, measure in measures.items()}


def _measured(measure: Callable[[], tuple[float, dict[str, float]]]) -> _Score:
    try:
        value, details = measure()
    except _MissingError as error:
        return _Score(value=np.nan, details={}, reason=str(error))
    return _Score(value=value, details=details)


def _of(labels: Labels | None) -> Labels:
    if labels is None:
        raise _MissingError("needs labels")
    return labels


GROUP = 64
"""Images that are encoded together; also how often the limit of images per atom is looked at."""


def _groups(sae: Any, x: Patches, size: int = GROUP) -> Iterator[tuple[Tensor, SparseCodes]]:
    """Some images at a time, a row per patch, and their codes."""
    with torch.no_grad():
        for start in range(0, len(x), size):
            rows = x[start : start + size].flatten(0, 1).to(sae.dictionary)
            yield rows, sae.encode(rows).detach()


def _sparse(codes: SparseCodes) -> csr_matrix:
    return csr_matrix(codes.reshape(codes.n_rows).to("cpu").to_scipy())


def image_codes(sae: Any, x: Patches) -> Pooled:
    """Return the largest code of each atom over an image's patches."""
    parts = []
    for _, codes in _groups(sae, x):
        pooled = np.zeros((codes.n_rows // x.shape[1], codes.n_atoms), np.float32)
        image = (codes.support.rows.cpu() // x.shape[1]).numpy()
        np.maximum.at(
            pooled, (image, codes.atoms.cpu().numpy()), codes.values.cpu().float().numpy()
        )
        parts.append(pooled)
    return np.concatenate(parts)


def localization(
    sae: Any,
    x: Patches,
    grid: tuple[int, int],
    *,
    fewest_patches: int = 5,
    most_of_image: float = 0.9,
    fewest_images: int = 50,
    most_images: int = 200,
    most_atoms: int = 500,
    seed: int = 42,
) -> tuple[float, dict[str, float]]:
    """Return the mean Moran's I of atoms over patches and their eight neighbours (M1).

    I = (P/S) Σ_pq w_pq (z_p − z̄)(z_q − z̄) / Σ_p (z_p − z̄)², from sums over the stored entries alone.
    """
    n_patches = grid[0] * grid[1]
    weights, most_patches = neighbours(grid), int(most_of_image * n_patches)
    degree, total = np.asarray(weights.sum(axis=1)).ravel(), weights.sum()
    sums = np.zeros(sae.n_atoms)
    counts = np.zeros(sae.n_atoms, np.int64)
    for _, codes in _groups(sae, x):
        z = _sparse(codes).astype(np.float64)
        open_ = counts < most_images
        for image in range(z.shape[0] // n_patches):
            own = z[image * n_patches : (image + 1) * n_patches]
            n_on = np.bincount(own.indices[own.data != 0], minlength=sae.n_atoms)
            mean = np.asarray(own.sum(axis=0)).ravel() / n_patches
            spread = np.asarray(own.multiply(own).sum(axis=0)).ravel() - n_patches * mean**2
            along = np.asarray(own.multiply(weights @ own).sum(axis=0)).ravel()
            shared = along - 2 * mean * (own.T @ degree) + mean**2 * total
            used = (n_on >= fewest_patches) & (n_on <= most_patches) & (spread > 1e-10) & open_
            sums[used] += (n_patches / total) * shared[used] / spread[used]
            counts += used
        if (counts >= most_images).all():
            break
    atoms = np.flatnonzero(counts >= fewest_images)
    if not len(atoms):
        return 0.0, {"atoms scored": 0.0}
    chosen = _drawn(atoms, most_atoms, seed)
    found = sums[chosen] / counts[chosen]
    details = {"atoms scored": float(len(chosen)), "below 0.1": float((found < 0.1).mean())}
    return float(found.mean()), details


def neighbours(grid: tuple[int, int]) -> csr_matrix:
    """Return which patches of a grid touch, diagonals among them."""
    row, column = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    near = (abs(row[:, None] - row) <= 1) & (abs(column[:, None] - column) <= 1)
    np.fill_diagonal(near, False)
    return csr_matrix(near.astype(np.float64))


def _drawn(atoms: Int[np.ndarray, " n"], most: int, seed: int) -> Int[np.ndarray, " m"]:
    if len(atoms) <= most:
        return atoms
    return np.sort(np.random.RandomState(seed).choice(atoms, size=most, replace=False))


def unexplained(sae: Any, x: Patches) -> tuple[float, dict[str, float]]:
    """Return Var(x − x̂) / Var(x), each over all entries about one mean (M2)."""
    n, sums, l0 = 0, np.zeros(4), 0
    for target, codes in _groups(sae, x):
        left = (target - reconstruction(sae, codes, target)).double()
        l0 += int((codes.values != 0).sum())
        n += len(target)
        whole = target.double()
        sums += [
            float(s) for s in (whole.sum(), whole.square().sum(), left.sum(), left.square().sum())
        ]
    # As published: sums over entries, divided by the number of rows.
    var_x, var_left = sums[1] / n - (sums[0] / n) ** 2, sums[3] / n - (sums[2] / n) ** 2
    return (var_left / var_x if var_x > 0 else float("inf")), {"l0": l0 / n}


def preservation(sae: Any, x: Patches, labels: Labels, seed: int) -> tuple[float, dict[str, float]]:
    """Return accuracy on mean reconstructions over that on mean activations, in [0, 2] (M3)."""
    own = x.mean(dim=1).numpy()
    rebuilt = np.concatenate(
        [
            reconstruction(sae, codes, rows).cpu().float().reshape(-1, *x.shape[1:]).mean(1).numpy()
            for rows, codes in _groups(sae, x)
        ]
    )
    train, test = _split(labels, seed)
    probe = _probe(own[train], labels[train], 1000)
    original, kept = (
        float((probe.predict(rows[test]) == labels[test]).mean()) for rows in (own, rebuilt)
    )
    ratio = kept / original if original > 0 else 0.0
    return min(max(ratio, 0.0), 2.0), {"accuracy": original, "accuracy reconstructed": kept}


def sparse_probing(pooled: Pooled, labels: Labels, seed: int) -> tuple[float, dict[str, float]]:
    """Return the area under the accuracy of probes over 1 to 100 atoms, as a mean accuracy (M4)."""
    ranked = _ranked(pooled, labels)
    train, test = _split(labels, seed)
    ks = [k for k in SPARSE_KS if k <= pooled.shape[1]]
    accuracies = [_sparse_accuracy(pooled, labels, ranked[:k], train, test) for k in ks]
    details = {f"k = {k}": a for k, a in zip(ks, accuracies, strict=True)}
    if len(ks) == 1:
        return accuracies[0], details
    return float(np.trapezoid(accuracies, x=ks) / (ks[-1] - ks[0])), details


def monosemanticity(
    pooled: Pooled,
    embeddings: Float[Tensor, "images d_other"] | None,
    seed: int,
    *,
    top: int = 16,
    most_atoms: int = 1000,
) -> tuple[float, dict[str, float]]:
    """Return the mean cosine of embeddings of an atom's strongest images, weighted by strengths (M5)."""
    if embeddings is None:
        raise _MissingError("needs embeddings of the images by another model")
    unit = torch.nn.functional.normalize(embeddings.float(), dim=1).numpy()
    lowest, highest = pooled.min(axis=0), pooled.max(axis=0)
    spread = np.where(highest == lowest, 1.0, highest - lowest)
    top = min(top, len(pooled))
    found = []
    for atom in _drawn(np.flatnonzero(highest > 0), most_atoms, seed):
        strength = pooled[:, atom]
        images = np.argsort(strength, kind="stable")[-top:]
        weight = (strength[images] - lowest[atom]) / spread[atom]
        pairs = np.triu(np.outer(weight, weight), k=1)
        if pairs.sum() > 0:
            cosines = unit[images] @ unit[images].T
            found.append(float((cosines * pairs).sum() / pairs.sum()))
    return (float(np.mean(found)) if found else 0.0), {"atoms scored": float(len(found))}


def cross_domain(
    sae: Any, pooled: Pooled, elsewhere: Mapping[str, tuple[Patches, Labels]], seed: int
) -> tuple[float, dict[str, float]]:
    """Return the mean over data sets of R², atoms in use, their overlap, and accuracy of ten atoms (M6)."""
    if not elsewhere:
        raise _MissingError("needs activations and labels of other data sets")
    used = pooled.max(axis=0) > 0
    details: dict[str, float] = {}
    for name, (x, labels) in elsewhere.items():
        codes = image_codes(sae, x)
        used_there = codes.max(axis=0) > 0
        train, test = _split(labels, seed)
        ranked = _ranked(codes[train], labels[train])[:10]
        parts = {
            "R²": min(max(1 - _per_entry(sae, x), 0.0), 1.0),
            "atoms in use": 1 - _share(used & ~used_there, used),
            "overlap": _share(used & used_there, used | used_there),
            "accuracy of ten atoms": _sparse_accuracy(codes, labels, ranked, train, test),
        }
        details |= {f"{name}: {part}": value for part, value in parts.items()}
        details[name] = float(np.mean(list(parts.values())))
    return float(np.mean([details[name] for name in elsewhere])), details


def _per_entry(sae: Any, x: Patches) -> float:
    value = unexplained(sae, x)[0]
    return value if np.isfinite(value) else 1.0


def _share(some: Bool[np.ndarray, " n"], of: Bool[np.ndarray, " n"]) -> float:
    return float(some.sum() / of.sum()) if of.any() else 0.0


def absorbed(
    pooled: Pooled,
    labels: Labels,
    siblings: Mapping[str, Sequence[int]],
    *,
    top: int = 10,
    gap: float = 0.1,
) -> tuple[float, dict[str, float]]:
    """Return the share of classes that are absorbed by their siblings (M7).

    Absorbed: over half of the ten strongest atoms of the class and of the group together are in both, or
    four atoms separate the class from its siblings better than one by more than 0.1 of F1.
    """
    if not siblings:
        raise _MissingError("needs groups of sibling classes")
    from sklearn.metrics import f1_score

    verdicts, overlaps, gaps = [], [], []
    for classes in siblings.values():
        inside = np.isin(labels, classes)
        if len(classes) < 3 or inside.sum() < 10:
            continue
        codes, own = pooled[inside], labels[inside]
        of_group = set(np.argsort(codes.mean(axis=0), kind="stable")[-top:])
        for one in classes:
            target = (own == one).astype(np.int64)
            if min(target.sum(), len(target) - target.sum()) < 3:
                continue
            of_class = set(np.argsort(codes[own == one].mean(axis=0), kind="stable")[-top:])
            overlaps.append(len(of_class & of_group) / len(of_class | of_group))
            ranked = _ranked(codes, target)
            few, more = (
                f1_score(
                    target,
                    _probe(codes[:, ranked[:k]], target, 500).predict(codes[:, ranked[:k]]),
                    zero_division=0.0,
                )
                for k in (1, 4)
            )
            gaps.append(float(more - few))
            verdicts.append(gaps[-1] > gap or overlaps[-1] > 0.5)
    if not verdicts:
        return 0.0, {"classes": 0.0}
    details = {"classes": float(len(verdicts)), "overlap": float(np.mean(overlaps))}
    return float(np.mean(verdicts)), details | {"F1, four atoms − one": float(np.mean(gaps))}


# -------------------------------------------------------------------------------------------------
# Probes.


def _split(labels: Labels, seed: int) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
    from sklearn.model_selection import train_test_split

    alike = labels if np.bincount(labels).min() >= 2 else None
    train, test = train_test_split(
        np.arange(len(labels)), test_size=0.2, stratify=alike, random_state=seed
    )
    return train, test


def _probe(x: Any, y: np.ndarray, steps: int) -> LogisticProbe:
    """Fit on columns as they are."""
    return logistic_probe(x, y, scale=1.0, centred=False, max_iter=steps)


def _ranked(codes: Pooled, labels: Labels) -> Int[np.ndarray, " n_atoms"]:
    """Return atoms by how well one separates the classes, the best first; those that never fire last."""
    from sklearn.feature_selection import f_classif

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore")
        scores, _ = f_classif(codes, labels)
    return np.argsort(np.nan_to_num(scores, nan=-np.inf), kind="stable")[::-1]


def _sparse_accuracy(
    codes: Pooled,
    labels: Labels,
    atoms: Int[np.ndarray, " k"],
    train: Int[np.ndarray, " a"],
    test: Int[np.ndarray, " b"],
) -> float:
    some = codes[:, atoms]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        probe = _probe(some[train], labels[train], 500)
    return float((probe.predict(some[test]) == labels[test]).mean())
