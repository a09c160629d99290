"""Deconvolutional unrolled learning (the lab): are kernels and events found, and do they predict spikes better?

Planted trials: two kernels of 16 bins, two events of each in 150 bins, 96 trials. With known events
(stage A) the kernels are learned under each link, by 30 unrolled steps, or 100 for counts. With unknown
events (stage B) they are learned by 30 steps with at most two events per kernel, and events are then read
with 100. Controls: events of another trial; no limit on events.

Recorded spikes: neurons of the locust antennal lobe (`spikes`, a file of sorted spike trains). Of each
trial, 8 to 14 s are cut into bins of 50 ms; an odour is given at 10 s. Every spike is assigned to one of
two halves at random. On 15 trials a neuron's kernel is learned from the first half, and widths and
smoothness are chosen by the second. On 10 other trials rates are estimated from the first half and
evaluated by the log-likelihood of the second, in bits per spike above a constant rate. Without the file,
planted spikes are used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from sae_nb_studies.data import PlantedEvents, planted_events
from sae_nb_studies.lab import DUNL

SHORT = {"n_trials": 16, "steps": 3, "spikes": "", "fit_steps": 3}
LENGTH, READ = 16, 100
SAMPLES, TRIAL = 15_000, 450_000
"""Samples per second, and per trial of 30 s, in the recordings of 14 February 2001."""
FROM, BIN, N_BINS, ODOUR = 8.0, 0.05, 120, 40
N_TRIALS, N_TRAIN, KERNEL = 25, 15, 50
ODOURS = ("Citral", "C3H_1", "Vanilla_1")
WIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
SMOOTH = (0.01, 0.1)
QUIET = 1e-3


def run(
    seed: int,
    *,
    n_trials: int = 96,
    steps: int = 150,
    spikes: str = "locust_spikes.npz",
    fit_steps: int = 40,
) -> dict[str, float]:
    """Recover planted kernels and events, and predict recorded spikes; `spikes` "": planted ones."""
    numbers = known(n_trials, steps, seed) | unknown(n_trials, 2 * steps, seed)
    return numbers | predicted(Path(spikes) if spikes else None, fit_steps, seed)


def known(n_trials: int, steps: int, seed: int) -> dict[str, float]:
    """Learn kernels from known events under each link; return the smaller |cross-correlation| of the two."""
    numbers = {}
    for link, n_steps, n in (
        ("gaussian", 30, steps),
        ("binomial", 30, steps),
        ("poisson", 100, steps // 3),
    ):
        planted = planted_events(n_trials, link=link, seed=seed)  # type: ignore[arg-type]
        settings = {"link": link, "sparsity": 0.0, "nonnegative": False, "n_steps": n_steps}
        dunl = fresh(seed, **settings)
        if link == "gaussian":
            numbers["random kernels"] = worst(dunl, planted)
            other = fresh(seed, **settings)
            other.fit(planted.x, planted.events.roll(1, dims=0), steps=n // 3, seed=seed)
            numbers["events of another trial"] = worst(other, planted)
        dunl.fit(planted.x, planted.events, steps=n, seed=seed)
        numbers[f"known {link}"] = worst(dunl, planted)
    return numbers


def unknown(n_trials: int, steps: int, seed: int) -> dict[str, float]:
    """Learn kernels without known events; return the same, and how many events are found."""
    planted = planted_events(n_trials, seed=seed)
    numbers = {}
    for name, k, n in (("unknown", 2, steps), ("no limit", None, 2 * steps // 3)):
        dunl = fresh(seed, k=k, tail=8).fit(planted.x, steps=n, seed=seed)
        numbers[f"{name}: kernels"] = worst(dunl, planted)
        dunl.n_steps = READ
        found = dunl.deconvolve(planted.x)
        seen = found.compare(planted.kernels, planted.events)
        numbers |= {f"{name}: hits": seen.hit_rate, f"{name}: precision": seen.precision}
        if k is not None:
            moved = planted.events.roll(1, dims=0)
            numbers["hits by luck"] = found.compare(planted.kernels, moved).hit_rate
    return numbers


def fresh(seed: int, **settings: object) -> DUNL:
    """Build a DUNL with two random kernels."""
    return DUNL(2, LENGTH, generator=torch.Generator().manual_seed(seed), **settings)  # type: ignore[arg-type]


def worst(dunl: DUNL, planted: PlantedEvents) -> float:
    """Return |cross-correlation| of the kernel that is recovered less well."""
    found = dunl.deconvolve(planted.x[:1])
    return float(found.compare(planted.kernels, planted.events[:1]).correlation.min())


# --- recorded spikes ------------------------------------------------------------------------------


def predicted(file: Path | None, steps: int, seed: int) -> dict[str, float]:
    """Return bits per held-out spike above a constant rate, of DUNL, smoothing, and other trials' average."""
    rng = np.random.default_rng(seed)
    units = planted_spikes(seed) if file is None else recorded(file, ODOURS[seed % len(ODOURS)])
    gains = [of_unit(counts, steps, rng) for counts in units]
    spikes = sum(weight for _, weight in gains)
    names = gains[0][0]
    bits = {name: sum(gain[name] for gain, _ in gains) / spikes for name in names}
    smoothed, average = (bits["DUNL"] - bits[other] for other in ("smoothed", "average"))
    return bits | {"DUNL − smoothed": smoothed, "DUNL − average": average, "units": len(units)}


def recorded(file: Path, odour: str) -> list[np.ndarray]:
    """Count spikes around an odour, (trials, bins), for every neuron of an experiment."""
    with np.load(file) as stored:
        names, times, offsets = stored["name"], stored["time"], stored["offset"]
    edges = FROM + BIN * np.arange(N_BINS + 1)
    units = []
    for unit in np.flatnonzero([f"locust20010214_{odour}_tet" in str(name) for name in names]):
        trial, within = np.divmod(times[offsets[unit] : offsets[unit + 1]], TRIAL)
        rows = [np.histogram(within[trial == i] / SAMPLES, edges)[0] for i in range(N_TRIALS)]
        units.append(np.stack(rows))
    return units


def planted_spikes(seed: int) -> list[np.ndarray]:
    """Plant two neurons with a kernel after one event at a known time."""
    planted = planted_events(2 * N_TRIALS, n_samples=N_BINS, n_events=1, link="poisson", seed=seed)
    first = planted.events[:, 0].long().argmax(dim=1)
    counts = torch.stack(
        [row.roll(ODOUR - int(at)) for row, at in zip(planted.x, first, strict=True)]
    )
    return list(counts.reshape(-1, N_TRIALS, N_BINS).numpy())


def of_unit(
    counts: np.ndarray, steps: int, rng: np.random.Generator
) -> tuple[dict[str, float], int]:
    """Return the summed bits of one neuron's held-out spikes by each rate, and the number of these spikes."""
    order = rng.permutation(len(counts))
    first = rng.binomial(counts.astype(int), 0.5)
    seen, asked = first[order].astype(float), (counts - first)[order].astype(float)
    train, test = slice(0, N_TRAIN), slice(N_TRAIN, None)

    def best(rates: dict[float, np.ndarray]) -> np.ndarray:
        """Choose the setting with the best rates on the training trials; return its rates of all trials."""
        return rates[max(rates, key=lambda at: bits(rates[at][train], seen[train], asked[train]))]

    smoothed = {w: gaussian_filter1d(seen, w, axis=1, mode="nearest") for w in WIDTHS}
    mean = seen[train].mean(axis=0)
    others = [
        (seen[train].sum(axis=0) - row) / (N_TRAIN - 1) if i < N_TRAIN else mean
        for i, row in enumerate(seen)
    ]
    average = {w: gaussian_filter1d(np.stack(others), w, axis=1, mode="nearest") for w in WIDTHS}
    at_odour, at_random = (
        np.full(len(counts), ODOUR),
        rng.integers(0, N_BINS - KERNEL, len(counts)),
    )
    rates = {
        "smoothed": best(smoothed),
        "average": best(average),
        "DUNL": best({s: unrolled(seen, at_odour, s, steps) for s in SMOOTH}),
        "wrong times": unrolled(seen, at_random, SMOOTH[-1], steps),
    }
    gains = {name: bits(rate[test], seen[test], asked[test]) for name, rate in rates.items()}
    return gains, int(asked[test].sum())


def unrolled(seen: np.ndarray, at: np.ndarray, smoothness: float, steps: int) -> np.ndarray:
    """Return the rates of all trials, by a kernel learned on the training trials with one event in each."""
    x = torch.tensor(seen, dtype=torch.float32)
    events = torch.zeros(len(x), 1, N_BINS - KERNEL + 1, dtype=torch.bool)
    events[range(len(x)), 0, torch.tensor(at)] = True
    dunl = DUNL(
        1,
        KERNEL,
        link="poisson",
        sparsity=0.0,
        nonnegative=False,
        n_steps=30,
        smoothness=smoothness,
        generator=torch.Generator().manual_seed(0),
    )
    dunl.fit(x[:N_TRAIN], events[:N_TRAIN], steps=steps)
    dunl.n_steps = READ
    return dunl.deconvolve(x, events).rate.numpy()


def bits(rate: np.ndarray, seen: np.ndarray, asked: np.ndarray) -> float:
    """Return the Poisson log-likelihood of counts above that of each trial's mean rate, in bits."""
    constant = np.broadcast_to(seen.mean(axis=1, keepdims=True), rate.shape)
    terms = [
        (asked * np.log(r.clip(QUIET)) - r.clip(QUIET)).sum() / np.log(2) for r in (rate, constant)
    ]
    return float(terms[0] - terms[1])
