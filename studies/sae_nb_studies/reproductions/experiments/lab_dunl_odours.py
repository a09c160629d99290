"""Is an odour found in spikes whose times are not given (the lab)? Neurons of the locust antennal lobe.

Ten projection neurons, 25 trials of an odour; each seed takes the next of ten recordings, of five odours (one of them in
six blocks). An odour is given at 10 s of a trial; 6 s around it are cut into bins of 50 ms, beginning at random, so that
it may be at bins 20 to 74, and `DUNL` is not given when. It learns a kernel of 1.5 s from the counts of 15 trials, with
one event in each, shared by the neurons. The events of the 10 other trials are read, and moved by the one lag that suits
the trials learned from. A hit is within 5 bins. Floor: events of another trial. Controls: kernels learned from, and read
in, recordings without any odour; the largest rate of all neurons, smoothed, with its own lag.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from sae_nb_studies.data import planted_events
from sae_nb_studies.lab import DUNL
from sae_nb_studies.reproductions.experiments.lab_dunl import (
    BIN,
    N_BINS,
    N_TRAIN,
    N_TRIALS,
    SAMPLES,
    TRIAL,
)

SHORT = {"spikes": "", "steps": 6, "read": 30}
RECORDINGS = (
    *("Citral", "Vanilla_1", "Mint_1", "Octanol_1"),
    *(f"C3H_{i}" for i in range(1, 7)),
)
QUIET = "Spontaneous_1"
GIVEN, FIRST, LAST = 10.0, 20, 75
"""Second of a trial at which an odour is given, and the bins where it may lie in what is cut out."""
KERNEL, WITHIN, SMOOTHED = 30, 5, 3.0


def run(
    seed: int, *, spikes: str = "locust_spikes.npz", steps: int = 40, read: int = 200
) -> dict[str, float]:
    """Find the times of an odour, and the same where none was given; `spikes` "": planted ones."""
    rng = np.random.default_rng(seed)
    at = rng.integers(FIRST, LAST, N_TRIALS)
    order = rng.permutation(N_TRIALS)
    train, test = order[:N_TRAIN], order[N_TRAIN:]
    numbers: dict[str, float] = {}
    for name, recording in (("", RECORDINGS[seed % len(RECORDINGS)]), (", no odour", QUIET)):
        counts = cut(Path(spikes), recording, at) if spikes else planted(seed, at, bool(name))
        found = strongest(counts, train, steps, read, seed)
        numbers[f"hits{name}"] = hits(found, at, train, test)
        if not name:
            other = at.copy()
            other[test] = np.roll(at[test], 1)
            numbers["hits by luck"] = hits(found, at, train, test, other)
            rate = gaussian_filter1d(counts.sum(dim=1).numpy(), SMOOTHED, axis=1)
            numbers["hits, largest rate"] = hits(rate.argmax(axis=1), at, train, test)
            numbers["hits, trials learned from"] = hits(found, at, train, train)
    return numbers


def cut(file: Path, recording: str, at: np.ndarray) -> torch.Tensor:
    """Count spikes of each neuron, (trials, neurons, bins), with the odour at a bin of each trial."""
    with np.load(file) as stored:
        names, times, offsets = stored["name"], stored["time"], stored["offset"]
    units = []
    for unit in np.flatnonzero([f"locust20010214_{recording}_tet" in str(name) for name in names]):
        trial, within = np.divmod(times[offsets[unit] : offsets[unit + 1]].astype(float), TRIAL)
        begins = GIVEN - BIN * at
        edges = [begin + BIN * np.arange(N_BINS + 1) for begin in begins]
        units.append(
            [np.histogram(within[trial == i] / SAMPLES, one)[0] for i, one in enumerate(edges)]
        )
    return torch.tensor(np.array(units)).movedim(0, 1).float()


def planted(seed: int, at: np.ndarray, none: bool) -> torch.Tensor:
    """Plant counts of ten neurons that share an event at a bin of each trial, or of none."""
    drawn = planted_events(
        N_TRIALS, n_samples=N_BINS, n_events=1, n_neurons=10, link="poisson", seed=seed
    )
    first = drawn.events.any(dim=1)[:, 0].long().argmax(dim=1)
    counts = [row.roll(int(t - f), dims=-1) for row, t, f in zip(drawn.x, at, first, strict=True)]
    shown = torch.stack(counts).float()
    if none:
        order = torch.randperm(N_BINS, generator=torch.Generator().manual_seed(seed))
        shown = shown[..., order]
    return shown


def strongest(
    counts: torch.Tensor, train: np.ndarray, steps: int, read: int, seed: int
) -> np.ndarray:
    """Learn a kernel from some trials; return the place of the strongest event of each, over neurons."""
    dunl = DUNL(
        1,
        KERNEL,
        link="poisson",
        sparsity=0.1,
        group=1.0,
        k=1,
        nonnegative=False,
        n_steps=60,
        tail=10,
        smoothness=0.05,
        generator=torch.Generator().manual_seed(seed),
    )
    dunl.fit(counts[torch.from_numpy(train)], steps=steps, seed=seed)
    dunl.n_steps = read
    codes = dunl.deconvolve(counts).codes.to_dense()
    return codes.square().sum(dim=(1, 3)).argmax(dim=1).numpy()


def hits(
    found: np.ndarray,
    at: np.ndarray,
    train: np.ndarray,
    asked: np.ndarray,
    truth: np.ndarray | None = None,
) -> float:
    """Return the share of trials whose event is at the odour, after the median lag of the trials learned from."""
    lag = np.median((at - found)[train])
    return float((np.abs(found + lag - (at if truth is None else truth))[asked] <= WITHIN).mean())
