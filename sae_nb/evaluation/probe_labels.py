"""Labels for probing: what is labelled, which classes there are, who is tested, and whose are wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int

from sae_nb.activations import Activations
from sae_nb.checks import check_count
from sae_nb.evaluation.probe_features import Units
from sae_nb.evaluation.probe_fits import Split

FEWEST_TESTED = 8
"""Examples of a class, and of the others, that must be tested on."""

FEWEST_LABELLED = 4
"""Examples of a class, and of the others, that must be labelled to train and choose on."""

Tasks = dict[str, Bool[np.ndarray, " units"]]


def units_of(
    acts: Activations, labels: object, *, max_units: int, seed: int
) -> tuple[Units, Int[np.ndarray, " units"]]:
    """Return which rows make up each labelled unit, and the labels as whole numbers.

    Raises
    ------
    TypeError, ValueError
        If labels are no whole numbers, or neither one per sample nor one per row.
    """
    check_count(max_units, name="max_units")
    given = torch.as_tensor(labels).cpu()
    if given.is_floating_point() or given.is_complex():
        raise TypeError(
            f"`labels` must be booleans or whole numbers, got {given.dtype}. Use a threshold, such as "
            "labels > 0."
        )
    sample = acts.sample.numpy()
    present, place = np.unique(sample, return_inverse=True)
    n_samples = acts.context.n_samples
    if given.shape == (len(acts),):
        unit, truth, of = np.arange(len(acts)), given.numpy(), sample
    elif given.ndim == 1 and len(given) in (n_samples, len(present)):
        truth = given.numpy() if len(given) == len(present) else given.numpy()[present]
        unit, of = place, present
    else:
        raise ValueError(
            f"`labels` must have one entry per sample, {len(present)}, or per row, {len(acts)}, got "
            f"shape {tuple(given.shape)}."
        )
    kept = np.arange(len(truth))
    if len(kept) > max_units:
        kept = np.sort(np.random.default_rng(seed).permutation(len(kept))[:max_units])
    chosen = np.isin(unit, kept)
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(unit[rows], kind="stable")]
    number = np.searchsorted(kept, unit[rows])
    return Units(rows, number, len(kept), of[kept]), truth[kept].astype(np.int64)


def tasks_of(truth: Int[np.ndarray, " units"], names: Sequence[str] | None) -> Tasks:
    """Return one yes-or-no task for two classes, and one per class for more.

    Raises
    ------
    ValueError
        If there is one class, or `names` do not name all.
    """
    classes = np.unique(truth)
    if len(classes) < 2:
        raise ValueError(
            f"`labels` must have at least two classes, got {len(truth)} examples of class "
            f"{int(classes[0])} alone. Nothing can be told apart."
        )
    if names is not None and (classes.min() < 0 or len(names) <= int(classes.max())):
        raise ValueError(
            f"`names` must name classes 0 … {int(classes.max())}, got {len(names)} names."
        )
    called = {int(c): str(c) if names is None else names[int(c)] for c in classes}
    asked = classes[1:] if len(classes) == 2 else classes
    return {called[int(c)]: truth == c for c in asked}


def divided(
    units: Units,
    tasks: Tasks,
    *,
    n_labels: int | None,
    shifted: Int[np.ndarray, " units"] | None,
    seed: int,
) -> tuple[Split, Int[np.ndarray, " m"]]:
    """Split by sample, and return the units that are not tested on as well.

    Raises
    ------
    ValueError
        If any part has too few examples of a class.
    """
    generator = np.random.default_rng(seed)
    tested = _tested(units, shifted, generator)
    rest = np.flatnonzero(~tested)
    labelled = rest if n_labels is None else _drawn(rest, tasks, n_labels, generator)
    samples = generator.permutation(np.unique(units.sample[labelled]))
    choosing = np.isin(units.sample[labelled], samples[: max(1, len(samples) // 4)])
    train, validation = labelled[~choosing], labelled[choosing]
    if not _both(tasks, train) or not _both(tasks, validation):
        train, validation = _alternating(tasks, labelled, generator)
    split = Split(train, validation, np.flatnonzero(tested))
    for name, truth in tasks.items():
        _check_few(name, truth[split.test], FEWEST_TESTED, "test on")
        _check_few(name, truth[labelled], FEWEST_LABELLED, "train and choose on")
    return split, rest


def _tested(
    units: Units, shifted: np.ndarray | None, generator: np.random.Generator
) -> Bool[np.ndarray, " units"]:
    if shifted is None:
        samples = generator.permutation(np.unique(units.sample))
        return np.isin(units.sample, samples[: len(samples) // 2])
    tested = shifted.astype(bool)
    if tested.all() or not tested.any():
        raise ValueError(
            f"`shifted` must be true of some units and false of others, got {int(tested.sum())} true of "
            f"{len(tested)}. True ones are tested on, the others trained on."
        )
    return tested


def _drawn(
    rest: np.ndarray, tasks: Tasks, n_labels: int, generator: np.random.Generator
) -> Int[np.ndarray, " n_labels"]:
    """Draw labelled units, classes as evenly as their numbers allow."""
    check_count(n_labels, name="n_labels")
    if n_labels > len(rest):
        raise ValueError(
            f"`n_labels` must be at most the {len(rest)} units that are not tested on, got {n_labels}."
        )
    order = generator.permutation(rest)
    kind = np.zeros(len(order), dtype=int)
    for number, truth in enumerate(tasks.values()):
        kind[truth[order]] = number + 1
    turn = np.zeros(len(order))
    for one in np.unique(kind):
        turn[kind == one] = np.arange(int((kind == one).sum()))
    return np.sort(order[np.argsort(turn, kind="stable")][:n_labels])


def _both(tasks: Tasks, part: np.ndarray) -> bool:
    return all(0 < int(truth[part].sum()) < len(part) for truth in tasks.values())


def _alternating(
    tasks: Tasks, labelled: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """With few labels: every fourth unit of each class is for choosing."""
    choosing = np.zeros(len(labelled), dtype=bool)
    kind = np.zeros(len(labelled), dtype=int)
    for number, truth in enumerate(tasks.values()):
        kind[truth[labelled]] = number + 1
    for one in np.unique(kind):
        members = generator.permutation(np.flatnonzero(kind == one))
        choosing[members[: max(1, len(members) // 4)]] = True
    return labelled[~choosing], labelled[choosing]


def _check_few(name: str, truth: Bool[np.ndarray, " units"], fewest: int, what: str) -> None:
    yes = int(truth.sum())
    few = min(yes, len(truth) - yes)
    if few < fewest:
        raise ValueError(
            f"`labels` must leave at least {fewest} examples of {name!r} and of the others to {what}, "
            f"got {yes} and {len(truth) - yes}. Label more, or leave this class out."
        )


def noisy(
    truth: Bool[np.ndarray, " units"], share: float, tasks: Tasks, split: Split, *, seed: int
) -> Bool[np.ndarray, " units"]:
    """Return labels of which a share is wrong, among those trained and chosen on.

    A unit whose label is wrong gets another class, the same one in every task.

    Parameters
    ----------
    truth
        Of one task.
    share
        How many are wrong.
    tasks
        All tasks.
    split
        Test labels stay as they are.
    seed
        Whose.
    """
    if share == 0:
        return truth
    generator = np.random.default_rng((seed, 1))
    labelled = np.concatenate([split.train, split.validation])
    wrong = np.sort(generator.permutation(labelled)[: round(share * len(labelled))])
    heard = truth.copy()
    if len(tasks) == 1:
        heard[wrong] = ~heard[wrong]
        return heard
    stacked = np.stack(list(tasks.values()))
    was = stacked[:, wrong].argmax(axis=0)
    becomes = (was + generator.integers(1, len(tasks), size=len(wrong))) % len(tasks)
    number = next(i for i, task in enumerate(tasks.values()) if task is truth)
    heard[wrong] = becomes == number
    return heard
