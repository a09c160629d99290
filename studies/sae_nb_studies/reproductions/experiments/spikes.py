"""Atoms of recorded cells, compared with PCA and NMF: ten in a locust's antennal lobe, smelling five odours.

A row is one second of one trial: square roots of the spike counts of ten cells in four bins. Odours come about
10 s into a trial. They were given in blocks, so a drift between blocks can look like an odour; as a control,
the odour is also read from the seconds before it. Recordings are not bundled: they are one file with `name`,
`time` (samples at 15 kHz) and `offset`; without it, planted trains of ten cells are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from sae_nb_studies.reproductions._simpler import METHODS, fitted, read

SHORT = {"file": "", "steps": 60}
EXPERIMENT, N_CELLS = "locust20010214", 10
RATE, TRIAL, BIN, WINDOW = 15_000, 30.0, 0.25, 4
BEFORE, SMELLING = (5.0, 9.0), (10.0, 12.0)
N_ATOMS, ACTIVE = 40, 6


def run(seed: int, *, steps: int = 1500, file: str = "locust_spikes.npz") -> dict[str, float]:
    """Fit every method on half of the trials, and read odours from the other half.

    `steps` of the SAE; `file` with the recordings, or an empty string for planted trains.
    """
    trials = recorded(Path(file)) if file else planted(seed)
    seen, fresh = trials.halves(seed)
    methods = fitted(torch.from_numpy(seen.rows), N_ATOMS, ACTIVE, steps=steps, seed=seed)
    numbers = {"odours": float(len(seen.odours)), "trials": float(trials.trial.max() + 1)}
    seen, fresh = (part.of(part.asked_about) for part in (seen, fresh))
    for name in METHODS:
        of_seen, of_fresh = (
            read(methods[name], torch.from_numpy(part.rows)) for part in (seen, fresh)
        )
        numbers[f"R2, {name}"] = of_fresh.r2
        # Dense, as scikit-learn needs them: a few thousand rows of forty atoms.
        codes = of_seen.codes.toarray(), of_fresh.codes.toarray()
        numbers |= read_off(name, (seen, codes[0]), (fresh, codes[1]))
    numbers |= read_off("counts", (seen, seen.rows), (fresh, fresh.rows))
    for rival in ("PCA", "NMF", "counts"):
        numbers[f"SAE ahead of {rival}"] = (
            numbers["odour AUC, SAE"] - numbers[f"odour AUC, {rival}"]
        )
        numbers[f"SAE's classifier ahead of {rival}"] = (
            numbers["odour accuracy, SAE"] - numbers[f"odour accuracy, {rival}"]
        )
    return numbers


# -------------------------------------------------------------------------------------------------
# Trials.


@dataclass(frozen=True, kw_only=True, eq=False)
class Trials:
    """Seconds of trials: their rows (n, cells × bins) and, for each, the trial, its start in s and the odour.

    `odour`: an index into `odours`, or −1 where none was given.
    """

    rows: np.ndarray
    trial: np.ndarray
    start: np.ndarray
    odour: np.ndarray
    odours: tuple[str, ...]

    def halves(self, seed: int) -> tuple[Trials, Trials]:
        """Split trials into two halves at random."""
        order = np.random.default_rng(seed).permutation(int(self.trial.max()) + 1)
        first = np.isin(self.trial, order[: len(order) // 2])
        return self.of(first), self.of(~first)

    def of(self, chosen: np.ndarray) -> Trials:
        """Return the chosen rows."""
        return Trials(
            rows=self.rows[chosen], trial=self.trial[chosen], start=self.start[chosen],
            odour=self.odour[chosen], odours=self.odours,
        )  # fmt: skip

    @property
    def asked_about(self) -> np.ndarray:
        """Mask of the seconds with an odour and before it, in trials that have one."""
        return (self.odour >= 0) & (self.within(SMELLING) | self.within(BEFORE))

    def within(self, seconds: tuple[float, float]) -> np.ndarray:
        """Return whether each row lies in these seconds of its trial."""
        return (self.start >= seconds[0]) & (self.start + WINDOW * BIN <= seconds[1])


def recorded(file: Path) -> Trials:
    """Fold the trains of one experiment into trials of 30 s; all trials of a block have one odour."""
    with np.load(file) as held:
        names, time, offset = (held[key] for key in ("name", "time", "offset"))
    blocks: dict[str, list[np.ndarray]] = {}
    for i, name in enumerate(names):
        experiment, _, rest = str(name).partition("_")
        if experiment == EXPERIMENT:
            trains = blocks.setdefault(rest.rsplit("_", 2)[0], [])
            trains.append(time[offset[i] : offset[i + 1]] / RATE)
    # "C3H_1" … "C3H_6" are blocks of one odour.
    kinds = {block: block.rsplit("_", 1)[0] for block in blocks}
    odours = tuple(sorted(set(kinds.values()) - {"Spontaneous"}))
    counts, odour = [], []
    for block, trains in blocks.items():
        n = int(max(train.max() for train in trains) // TRIAL) + 1
        edges = np.linspace(0, n * TRIAL, int(n * TRIAL / BIN) + 1)
        counted = np.stack([np.histogram(train, edges)[0] for train in trains], axis=1)
        counts.append(counted.reshape(n, -1, len(trains)))
        odour += [odours.index(kinds[block]) if kinds[block] in odours else -1] * n
    return windows(np.concatenate(counts), np.array(odour), odours)


def planted(seed: int, n: int = 40) -> Trials:
    """Draw Poisson trains in which each of three odours excites three of the cells, from 10 to 11.5 s."""
    draws = np.random.default_rng(seed)
    odour = draws.integers(-1, 3, n)
    rates = np.full((n, int(TRIAL / BIN), N_CELLS), 1.0)
    on = slice(int(10 / BIN), int(11.5 / BIN))
    cells = np.stack([draws.permutation(N_CELLS)[:3] for _ in range(3)])
    for i in np.flatnonzero(odour >= 0):
        rates[i, on, cells[odour[i]]] += 6.0
    return windows(draws.poisson(rates), odour, ("a", "b", "c"))


def windows(counts: np.ndarray, odour: np.ndarray, odours: tuple[str, ...]) -> Trials:
    """Cut overlapping windows of four bins, one bin apart; counts are (trials, bins, cells)."""
    # The last second of a trial is not recorded.
    n_windows = counts.shape[1] - WINDOW - int(1 / BIN) + 1
    rows = np.stack([counts[:, i : i + n_windows] for i in range(WINDOW)], axis=3)
    n = len(counts)
    return Trials(
        rows=np.sqrt(rows.reshape(n * n_windows, -1)).astype(np.float32),
        trial=np.repeat(np.arange(n), n_windows),
        start=np.tile(np.arange(n_windows) * BIN, n),
        odour=np.repeat(odour, n_windows),
        odours=odours,
    )


# -------------------------------------------------------------------------------------------------
# Reading odours from codes.


def read_off(
    name: str, seen: tuple[Trials, np.ndarray], fresh: tuple[Trials, np.ndarray]
) -> dict[str, float]:
    """Return the AUC of the best column, chosen on the trials seen, and balanced accuracy from all columns.

    "smelling": seconds with an odour against seconds before it; "odour": which odour, in its seconds;
    "odour before": which odour, in the seconds before it.
    """
    pairs = (seen, fresh)
    smelling = [(codes, trials.within(SMELLING)) for trials, codes in pairs]
    numbers = {f"smelling AUC, {name}": best_auc(*smelling[0], *smelling[1])}
    for what, seconds in (("odour", SMELLING), ("odour before", BEFORE)):
        chosen = [trials.within(seconds) for trials, _ in pairs]
        codes = [part[rows] for (_, part), rows in zip(pairs, chosen, strict=True)]
        labels = [trials.odour[rows] for (trials, _), rows in zip(pairs, chosen, strict=True)]
        numbers[f"{what} AUC, {name}"] = float(
            np.mean(
                [
                    best_auc(codes[0], labels[0] == odour, codes[1], labels[1] == odour)
                    for odour in np.unique(labels[0])
                ]
            )
        )
        scale = np.maximum(codes[0].std(axis=0), 1e-6)
        model = LogisticRegression(max_iter=300, C=0.1, class_weight="balanced")
        model.fit(codes[0] / scale, labels[0])
        numbers[f"{what} accuracy, {name}"] = float(
            balanced_accuracy_score(labels[1], model.predict(codes[1] / scale))
        )
    return numbers


def best_auc(
    seen: np.ndarray, seen_label: np.ndarray, fresh: np.ndarray, fresh_label: np.ndarray
) -> float:
    """Return the AUC on fresh rows of the column, with its sign, whose AUC was furthest from ½ on rows seen."""
    auc = np.array([roc_auc_score(seen_label, column) for column in seen.T])
    column = int(np.abs(auc - 0.5).argmax())
    sign = np.sign(auc[column] - 0.5) or 1.0
    return float(roc_auc_score(fresh_label, sign * fresh[:, column]))
