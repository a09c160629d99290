"""Sparse probing: are an SAE's latents a better place to read a label from than the activations are?

Few latents are compared with the same number of raw channels, principal components, random latents and
atoms of a random dictionary; all latents with logistic regression on the activations themselves. Columns
are ranked on training labels, penalties and arms chosen on validation labels, and test labels are read once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations import Activations, acts_for
from sae_nb.checks import Between, Count, Resamples, Seed, as_tensor, check_data, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import Measurement, Resampling, codes_of
from sae_nb.statistics import auroc, group_rows, percentile_interval
from sae_nb_studies.evaluation._varying import check_varies
from sae_nb_studies.evaluation.concepts._probe_fits import (
    CHANNELS,
    COMPONENTS,
    MEANS,
    RANDOM,
    SAE,
    Columns,
    Pool,
    Probe,
    Split,
    Units,
    arms_for,
    fit_probe,
)

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures import SparseAutoencoder


# -------------------------------------------------------------------------------------------------
# Labels for probing: what is labelled, which classes there are, who is tested, and whose are wrong.


FEWEST_TESTED = 8
"""Examples of a class, and of the others, that must be tested on."""

FEWEST_LABELLED = 4
"""Examples of a class, and of the others, that must be labelled to train and choose on."""

Tasks = dict[str, Bool[np.ndarray, " units"]]


def units_of(
    acts: Activations, labels: object, *, max_units: int, seed: int, name: str = "labels"
) -> tuple[Units, Int[np.ndarray, " units"]]:
    """Return which rows make up each labelled unit, and the labels as whole numbers."""
    values = check_data(as_tensor(labels, name=name), name=name, what="labels").cpu()
    if values.is_floating_point() or values.is_complex():
        raise TypeError(
            f"`{name}` must be booleans or whole numbers, got {values.dtype}. Use a threshold, such as "
            f"{name} > 0."
        )
    sample = acts.sample.numpy()
    present, place = np.unique(sample, return_inverse=True)
    n_samples = acts.context.n_samples
    if values.shape == (len(acts),):
        unit, truth, of = np.arange(len(acts)), values.numpy(), sample
    elif values.ndim == 1 and len(values) in (n_samples, len(present)):
        truth = values.numpy() if len(values) == len(present) else values.numpy()[present]
        unit, of = place, present
    else:
        raise ValueError(
            f"`{name}` must have one entry per sample, {len(present)}, or per row, {len(acts)}, got "
            f"shape {tuple(values.shape)}."
        )
    used = np.arange(len(truth))
    if len(used) > max_units:
        used = np.sort(np.random.default_rng(seed).permutation(len(used))[:max_units])
    rows = np.flatnonzero(np.isin(unit, used))
    rows = rows[np.argsort(unit[rows], kind="stable")]
    number = np.searchsorted(used, unit[rows])
    return Units(rows, number, len(used), of[used]), truth[used].astype(np.int64)


def tasks_of(truth: Int[np.ndarray, " units"], names: Sequence[str] | None) -> Tasks:
    """Return one yes-or-no task for two classes, and one per class for more."""
    classes = np.unique(truth)
    if len(classes) < 2:
        raise ValueError(
            f"`labels` must have at least two classes, got {len(truth)} examples of class "
            f"{int(classes[0])} alone. Nothing can be predicted."
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
    """Split by sample, and return the units that are not tested on as well."""
    generator = np.random.default_rng(seed)
    tested = _tested(units, shifted, generator)
    rest = np.flatnonzero(~tested)
    labelled = rest if n_labels is None else _drawn(rest, tasks, n_labels, generator)
    samples = generator.permutation(np.unique(units.sample[labelled]))
    choosing = np.isin(units.sample[labelled], samples[: max(1, len(samples) // 4)])
    train, validation = labelled[~choosing], labelled[choosing]
    parts = [truth[part] for truth in tasks.values() for part in (train, validation)]
    if not all(0 < int(part.sum()) < len(part) for part in parts):
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
    if n_labels > len(rest):
        raise ValueError(
            f"`n_labels` must be at most the {len(rest)} units that are not tested on, got {n_labels}."
        )
    order = generator.permutation(rest)
    kind, turn = _kinds(tasks, order), np.zeros(len(order))
    for one in np.unique(kind):
        turn[kind == one] = np.arange(int((kind == one).sum()))
    return np.sort(order[np.argsort(turn, kind="stable")][:n_labels])


def _kinds(tasks: Tasks, units: np.ndarray) -> Int[np.ndarray, " m"]:
    """The class of each unit; 0 for the class that is asked for in no task."""
    truths = np.stack(list(tasks.values()))[:, units]
    return np.where(truths.any(axis=0), truths.argmax(axis=0) + 1, 0)


def _alternating(
    tasks: Tasks, labelled: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """With few labels: every fourth unit of each class is for choosing."""
    kind, choosing = _kinds(tasks, labelled), np.zeros(len(labelled), dtype=bool)
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
    """
    if share == 0:
        return truth
    generator = np.random.default_rng((seed, 1))
    labelled = np.concatenate([split.train, split.validation])
    wrong = np.sort(generator.permutation(labelled)[: round(share * len(labelled))])
    labels = truth.copy()
    if len(tasks) == 1:
        labels[wrong] = ~labels[wrong]
        return labels
    stacked = np.stack(list(tasks.values()))
    was = stacked[:, wrong].argmax(axis=0)
    becomes = (was + generator.integers(1, len(tasks), size=len(wrong))) % len(tasks)
    number = next(i for i, task in enumerate(tasks.values()) if task is truth)
    labels[wrong] = becomes == number
    return labels


# -------------------------------------------------------------------------------------------------
# Probes of every arm, and what is chosen among them.


Key = tuple[str, Columns]
"""Arm and number of columns."""

BASELINES = (CHANNELS, COMPONENTS, MEANS, RANDOM)
"""Arms that need no training of an SAE."""


class ProbeStudy(Measurement):
    """The advantage of the SAE's latents over the best arm that needs no SAE in predicting labels.

    `value` is AUROC of the SAE's best arm minus that of the best baseline, each chosen on validation
    labels, judged on test labels; the interval is of the difference, on the same resamples. Its
    control is the random dictionary's best arm minus the same baseline.
    """

    HEADLINE = "{answer}"

    scores: dict[Key, Measurement]
    """AUROC on test labels, mean over classes, by arm and number of columns."""

    gains: dict[Columns, Measurement]
    """SAE minus the best baseline with the same number of columns."""

    chosen: dict[str, Key]
    """Arm and number of columns that validation labels chose: "sae", "baseline", "random"."""

    latents: dict[str, tuple[int, ...]]
    """The atoms that a few-latent probe reads, by class, best first."""

    regime: str
    counts: tuple[int, int, int]
    """Labels, noise and shift, in words; units to train on, to choose on, to judge on."""

    @property
    def useful(self) -> bool | None:
        """Whether the interval of the gain lies above 0; None where it has 0 inside."""
        low, high = self.interval
        if low > 0:
            return True
        return False if high < 0 else None

    @property
    def answer(self) -> str:
        """Are SAEs useful here? In words."""
        words = {
            True: "Yes, here: the SAE's latents predict these labels better",
            False: "No: what needs no SAE predicts these labels better",
            None: "Not shown: the difference is within what the sample can show",
        }
        ours, other = (_named(*self.chosen[name]) for name in ("sae", "baseline"))
        first, second = (self.scores[self.chosen[name]].value for name in ("sae", "baseline"))
        few = ", ".join(
            f"k = {k}: {gain.value:+.3f} ({gain.interval[0]:+.3f} … {gain.interval[1]:+.3f})"
            for k, gain in self.gains.items()
        )
        return (
            f"{words[self.useful]}. {ours} {first:.3f}, {other} {second:.3f}: {self.value:+.3f} AUROC, "
            f"95 % {self.interval[0]:+.3f} … {self.interval[1]:+.3f} ({self.regime}). Against the best "
            f"baseline with the same number of columns: {few}."
        )

    @property
    def measurements(self) -> dict[str, Measurement]:
        """Everything as rows of a report."""
        gains = {f"probe_gain_{k}": gain for k, gain in self.gains.items()}
        ours = {f"probe_sae_{k}": self.scores[SAE, k] for k in self.gains}
        return {"probe_gain": self, **gains, **ours}

    @property
    def table(self) -> pd.DataFrame:
        """AUROC by arm and number of columns."""
        import pandas as pd

        values = {key: score.value for key, score in self.scores.items()}
        names = list(dict.fromkeys(name for name, _ in values))
        table = {k: {n: values[n, k] for n in names if (n, k) in values} for k in self.gains}
        return pd.DataFrame(table, index=names).round(3)


@checked(leave=("labels", "shifted"))
def probe(
    sae: SparseAutoencoder,
    acts: Activations | Float[Tensor, "n d_in"],
    labels: Bool[Tensor, " units"] | Int[Tensor, " units"],
    *,
    codes: SparseCodes | None = None,
    names: Sequence[str] | None = None,
    ks: Sequence[Count] = (1, 2, 5),
    pool: Pool = "mean",
    n_labels: Count | None = None,
    label_noise: Annotated[
        float, Between(0, 0.5, "[)", do="From one half on, labels say nothing.")
    ] = 0.0,
    shifted: Bool[Tensor, " units"] | None = None,
    max_units: Count = 4000,
    n_bootstrap: Resamples = 400,
    seed: Seed = 0,
) -> ProbeStudy:
    """Probe latents, and everything that could have been probed without an SAE.

    Each class against the others: columns ranked by |mean⁺ − mean⁻| on training labels, logistic
    regression, AUROC on test labels; then the mean over classes. Half of the samples are tested on, a
    quarter of the others is for choosing.

    Parameters
    ----------
    acts, codes
        Of samples the SAE was not trained on where possible; their codes, where computed already.
    labels, names
        True or false, or a class number, per sample of `acts` or per row; names of the classes.
    ks
        Numbers of columns; all columns are always probed too.
    pool
        Pooling of rows to a sample: their mean, or the largest entry of each column.
    n_labels
        Few labels: how many units have one to train and choose on; None: all that are not tested.
    label_noise
        Share of training and validation labels that are wrong.
    shifted
        Units to test on, all others being trained on: another place, time, or source. None: at random.
    max_units
        Units used at most, drawn at random.

    Raises
    ------
    TypeError, ValueError: If a class has too few examples, or all atoms are dead.

    Source
    ------
    SAEBench sparse probing; Kantamneni et al., "Are sparse autoencoders useful?", arXiv 2502.16681.
    Unlike SAEBench's, nothing is chosen on test labels.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> x = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    >>> study = probe(sn.TopK(8, 16, 2), x, x[:, 0] > 0, ks=(1,), n_bootstrap=20)
    >>> study.scores["raw channels", 1].value > 0.99  # channel 0 is the label
    True
    """
    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    acts = acts_for(sae, acts)
    codes = codes_of(sae, acts, codes)
    units, truth = units_of(acts, labels, max_units=max_units, seed=seed)
    tasks = tasks_of(truth, names)
    tested = None
    if shifted is not None:
        _, tested = units_of(acts, shifted, max_units=max_units, seed=seed, name="shifted")
    split, unlabelled = divided(units, tasks, n_labels=n_labels, shifted=tested, seed=seed)
    check_varies(acts)
    arms = arms_for(acts, codes, units, unlabelled, pool, seed=seed)
    columns: list[Columns] = [*(k for k in ks if k <= min(acts.d_in, sae.n_atoms)), "all"]
    fitted_on = {n: noisy(task, label_noise, tasks, split, seed=seed) for n, task in tasks.items()}
    probes = {
        (arm.name, k): {name: fit_probe(arm, k, y, split) for name, y in fitted_on.items()}
        for arm in arms
        for k in columns
        if arm.takes(k)
    }
    judged = _Judged(probes, tasks, split, units, resampling)
    chosen = judged.chosen()
    gain = judged.gain(chosen["sae"], chosen["baseline"])
    control = judged.gain(chosen["random"], chosen["baseline"]).value
    few = max((k for k in columns if k != "all"), default=None)
    best = {} if few is None else probes[SAE, few]
    return ProbeStudy.of(
        replace(gain, control=control),
        scores=judged.scores,
        gains={k: judged.gain((SAE, k), judged.best_baseline(k)) for k in columns},
        chosen=chosen,
        latents={name: tuple(int(atom) for atom in one.columns) for name, one in best.items()},
        regime=_regime(split, n_labels, label_noise, shifted is not None),
        counts=(len(split.train), len(split.validation), len(split.test)),
        seconds=round(time.perf_counter() - start, 3),
    )


class _Judged:
    """Probes on test labels: one set of resamples for all, so differences are paired."""

    def __init__(
        self,
        probes: dict[Key, dict[str, Probe]],
        tasks: Tasks,
        split: Split,
        units: Units,
        resampling: Resampling,
    ) -> None:
        self._probes, self._n = probes, len(split.test)
        self._unit = "samples" if len(np.unique(units.sample)) == units.n else "rows"
        group, n_groups = group_rows(units.sample[split.test], self._n, seed=resampling.seed)
        weights = np.concatenate([np.ones((1, self._n)), resampling.weights(group, n_groups)])

        def mean_auroc(fitted: dict[str, Probe]) -> Float[np.ndarray, " resamples"]:
            pairs = [(probe.scores, tasks[name][split.test]) for name, probe in fitted.items()]
            return np.asarray(np.mean([auroc(s, truth, weights) for s, truth in pairs], axis=0))

        self._values = {key: mean_auroc(fitted) for key, fitted in probes.items()}
        chance = {k: float(v[0]) for (name, k), v in self._values.items() if name == RANDOM}
        self.scores = {
            (name, k): self._measured(
                "probe_auroc", values, 0.5, None if name == RANDOM else chance[k]
            )
            for (name, k), values in self._values.items()
        }

    def validation(self, key: Key) -> tuple[float, float]:
        """Return the criterion of choice: AUROC on validation labels, and at equal values more columns.

        A small validation set is often predicted without a mistake by a few columns that happen to fit.
        """
        score = float(np.mean([p.validation for p in self._probes[key].values()]))
        return round(score, 9), np.inf if key[1] == "all" else float(key[1])

    def best_baseline(self, k: Columns) -> Key:
        """Return the arm with this number of columns that needs no SAE and is best on validation labels."""
        keys = [key for key in self._probes if key[0] in BASELINES and key[1] == k]
        return max(keys, key=self.validation)

    def chosen(self) -> dict[str, Key]:
        groups = {"sae": (SAE,), "baseline": BASELINES, "random": (RANDOM,)}
        return {
            name: max((k for k in self._probes if k[0] in arms), key=self.validation)
            for name, arms in groups.items()
        }

    def gain(self, ours: Key, other: Key) -> Measurement:
        control = self._values[RANDOM, ours[1]][0] - self._values[other][0]
        difference = self._values[ours] - self._values[other]
        return self._measured("probe_gain", difference, 0.0, float(control))

    def _measured(
        self, definition: str, values: np.ndarray, floor: float, control: float | None
    ) -> Measurement:
        return Measurement.measured(
            definition,
            values[0],
            floor=floor,
            control=control,
            interval=percentile_interval(values[1:], at_least=2),
            n=self._n,
            unit=self._unit,
        )


def _regime(split: Split, n_labels: int | None, noise: float, shifted: bool) -> str:
    n = len(split.train) + len(split.validation)
    parts = [f"{n} labels" + ("" if n_labels is None else " by choice")]
    parts += [f"{noise:.0%} of them wrong"] if noise else []
    parts += ["tested on shifted samples"] if shifted else []
    return ", ".join(parts)


def _named(arm: str, k: Columns) -> str:
    if arm == MEANS:
        return "Difference of means"
    if arm == CHANNELS and k == "all":
        return "Logistic regression on activations"
    return f"{k} {arm}".capitalize()
