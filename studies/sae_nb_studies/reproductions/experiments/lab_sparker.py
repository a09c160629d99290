"""Kernels that move and sharpen (the lab): a clump, two clumps, no difference, and a digit among SAE codes.

Points: 3000 normal points as a reference, a Poisson number of 1000 as data, with 40 more in a clump of
width 0.12 at (1.6, −1.2); toys are fresh points. Codes: those of the class token of tiny-vit on new
scenes; the reference lacks a digit, which makes up a tenth of the data; toys permute the rows of both
sides. The kernels are compared with a classifier two-sample test (logistic regression on half of the
rows, the rank sum of its score on the other half) and with the largest difference of an atom
(permutations of all rows).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

import sae_nb as sn

SHORT = {"n_trials": 1, "n_pairs": 2, "n_tests": 5, "n_images": 120}
PLACE, SECOND = torch.tensor([1.6, -1.2]), torch.tensor([-1.5, 1.4])
CLUMP, WIDTHS, NEAR = 0.12, (1.5, 0.25), 0.3
N_REFERENCE, N_DATA, N_ODD, TOYS = 3000, 1000, 40, 30
PAIR_DATA, PAIR = 800, (50, 25)
ALONE = ", no competition"
FEW_TOYS, LEVEL = 19, 0.05
TEST_REFERENCE, TEST_DATA, TEST_STEPS = 300, 100, 60
CODES_REFERENCE, CODES_DATA, CODES_ODD = 400, 200, 20
CODES_STEPS = 100
LOOKED_AT, PERMUTATIONS = 10, 199


def run(
    seed: int, *, n_trials: int = 10, n_pairs: int = 8, n_tests: int = 50, n_images: int = 1500
) -> dict[str, float]:
    """Test one clump, two clumps, p of normal points, and p and power on codes."""
    return (
        one_clump(seed, n_trials)
        | two_clumps(seed, n_pairs)
        | {
            f"points, {name}": value
            for name, value in uniform(normal_sides(seed, n_tests), n_tests, seed).items()
        }
        | on_codes(seed, n_trials, n_tests, n_images)
    )


def one_clump(seed: int, n_trials: int) -> dict[str, float]:
    """Return median p and hits as published, not annealed, and without competition.

    Also the share of the data's rows that are near the clump.
    """
    ways = {
        "": sn.lab.SparKer(4, widths=WIDTHS, n_steps=150),
        ", not annealed": sn.lab.SparKer(4, widths=WIDTHS, n_steps=150, anneal=False),
        ALONE: sn.lab.SparKer(4, widths=WIDTHS, n_steps=150, competition=False),
    }
    p: dict[str, list[float]] = {way: [] for way in ways}
    distance: dict[str, list[float]] = {way: [] for way in ways}
    within = []
    for trial in range(n_trials):
        generator = drawn(1000 * seed + trial)
        reference = normal(N_REFERENCE, generator)
        n = int(torch.poisson(torch.tensor(float(N_DATA)), generator=generator))
        data = torch.cat([normal(n, generator), clump(N_ODD, PLACE, generator)])
        within.append(float(((data - PLACE).norm(dim=1) <= NEAR).float().mean()))
        for way, kernels in ways.items():
            toys = 0 if way == ALONE else TOYS
            found = kernels.fit(
                reference, data, n_toys=toys, draw=normal, expected=float(N_DATA), seed=trial
            )
            if toys:
                p[way].append(found.p_value)
            at = found.centres[found.amplitudes.argmax()]
            distance[way].append(float((at - PLACE).norm()))
    return {
        **{f"median p{way}": float(np.median(of)) for way, of in p.items() if of},
        **{f"hits{way}": float((np.array(distance[way]) <= NEAR).mean()) for way in ways},
        "hits of a row of the data": float(np.mean(within)),
    }


def two_clumps(seed: int, n_trials: int) -> dict[str, float]:
    """Return the share of trials in which kernels of positive amplitude lie near both clumps.

    For 8 and for 4 kernels; by luck: the same without clumps.
    """
    ways = {
        "both": (8, 300, True, True),
        "both, no competition": (8, 300, False, True),
        "both, 4 kernels": (4, 150, True, True),
        "both by luck": (8, 300, True, False),
    }
    hits: dict[str, list[bool]] = {way: [] for way in ways}
    for trial in range(n_trials):
        generator = drawn(5000 + 1000 * seed + trial)
        reference = normal(N_REFERENCE, generator)
        clumps = [clump(n, at, generator) for n, at in zip(PAIR, (PLACE, SECOND))]
        plain = normal(PAIR_DATA, generator)
        odd = torch.cat([plain[sum(PAIR) :], *clumps])
        for way, (m, steps, competition, planted) in ways.items():
            kernels = sn.lab.SparKer(m, widths=WIDTHS, competition=competition, n_steps=steps)
            found = kernels.fit(reference, odd if planted else plain, n_toys=0, seed=trial)
            more = found.centres[found.amplitudes > 0]
            hits[way].append(
                all(bool(((more - at).norm(dim=1) <= NEAR).any()) for at in (PLACE, SECOND))
            )
    return {way: float(np.mean(of)) for way, of in hits.items()}


def uniform(sides: Iterator[tuple[Tensor, Tensor]], n: int, seed: int) -> dict[str, float]:
    """Measure how far p is from uniform over sides that do not differ, by the Kolmogorov–Smirnov distance."""
    kernels = sn.lab.SparKer(4, n_steps=TEST_STEPS)
    p, by_parameters = [], []
    for trial, pair in zip(range(n), sides):
        found = kernels.fit(*pair, n_toys=FEW_TOYS, seed=trial)
        p.append(found.p_value)
        n_parameters = found.centres.numel() + found.amplitudes.numel()
        by_parameters.append(float(stats.chi2.sf(found.statistic, n_parameters)))
    return {
        **far_from_uniform(p, seed),
        "KS distance by χ²": float(stats.kstest(by_parameters, "uniform").statistic),
        "share with p ≤ 0.05": float((np.array(p) <= LEVEL).mean()),
    }


def far_from_uniform(p: list[float], seed: int) -> dict[str, float]:
    """Compute the Kolmogorov–Smirnov distance of p from uniform.

    With few toys, p is one of twenty numbers, so each is spread over its step.
    """
    within = np.random.default_rng(seed).random(len(p)) / (1 + FEW_TOYS)
    found = stats.kstest(np.array(p) - within, "uniform")
    return {"KS distance": float(found.statistic), "KS p": float(found.pvalue)}


def normal_sides(seed: int, n: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield two samples of one normal distribution."""
    generator = drawn(9000 + seed)
    for _ in range(n):
        yield normal(TEST_REFERENCE, generator), normal(TEST_DATA, generator)


def on_codes(seed: int, n_trials: int, n_tests: int, n_images: int) -> dict[str, float]:
    """Measure calibration on codes of scenes, and power for a digit that the reference lacks."""
    codes, digits = class_codes(seed, n_images)
    rng = np.random.default_rng(seed)
    share = min(1.0, n_images / 1500)  # a short run has fewer of everything
    n_reference, n_data = int(CODES_REFERENCE * share), int(CODES_DATA * share)
    n_odd = int(CODES_ODD * share)

    def same() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            rows = rng.permutation(len(codes))[: n_reference + n_data]
            yield codes[rows[:n_reference]], codes[rows[n_reference:]]

    found: dict[str, list[float]] = {"SparKer": [], "classifier": [], "atom": []}
    nearest = []
    kernels = sn.lab.SparKer(4, n_steps=CODES_STEPS)
    for trial in range(n_trials):
        odd = rng.permutation(np.flatnonzero(digits == trial % 10))[:n_odd]
        rest = rng.permutation(np.flatnonzero(digits != trial % 10))
        reference = codes[rest[:n_reference]]
        data = codes[np.concatenate([odd, rest[n_reference:][: n_data - n_odd]])]
        test = kernels.fit(reference, data, n_toys=FEW_TOYS, seed=trial)
        found["SparKer"].append(test.p_value)
        found["classifier"].append(by_classifier(reference, data, trial))
        found["atom"].append(by_atom(reference, data, trial))
        nearest.append(float((test.nearest(LOOKED_AT)[0] < len(odd)).float().mean()))
    power = {name: float((np.array(p) <= LEVEL).mean()) for name, p in found.items()}
    return {
        **{f"codes, {name}": value for name, value in uniform(same(), n_tests, seed).items()},
        **{f"power, {name}": value for name, value in power.items()},
        "power − classifier": power["SparKer"] - power["classifier"],
        "power − atom": power["SparKer"] - power["atom"],
        "codes with a digit, KS distance": far_from_uniform(found["SparKer"], seed)["KS distance"],
        "nearest injected": float(np.mean(nearest)),
        "share injected": n_odd / n_data,
        "atoms that fire": float(codes.shape[1]),
    }


def class_codes(seed: int, n_images: int) -> tuple[Tensor, np.ndarray]:
    """Return the class token's codes, without atoms that never fire there, and the digits."""
    model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    scenes = sn.data.scenes(n_images, seed=6000 + seed, split="test")
    acts = sn.capture(model, scenes.images, "resid_post.6", progress=False)
    tokens = len(acts.x) // n_images
    codes = sae.encode(acts.x[::tokens]).to_dense().detach()
    return codes[:, (codes != 0).any(dim=0)], scenes.digit.numpy()


def by_classifier(reference: Tensor, data: Tensor, seed: int) -> float:
    """Return P that data score no higher than the reference, by a classifier of the other half of the rows."""
    x = torch.cat([reference, data]).numpy()
    y = np.repeat([0, 1], [len(reference), len(data)])
    train = np.random.default_rng(seed).permutation(len(x)) < len(x) // 2
    scale = StandardScaler().fit(x[train])
    model = LogisticRegression(C=0.1, max_iter=200, class_weight="balanced")
    model.fit(scale.transform(x[train]), y[train])
    score = model.decision_function(scale.transform(x[~train]))
    asked = y[~train] == 1
    return float(stats.mannwhitneyu(score[asked], score[~asked], alternative="greater").pvalue)


def by_atom(reference: Tensor, data: Tensor, seed: int) -> float:
    """Return P of the largest difference of means of an atom, in units of its standard deviation."""
    x = torch.cat([reference, data])
    x = (x / x.std(dim=0).clamp_min(1e-9)).double()
    total, n = x.sum(dim=0), len(data)

    def largest(rows: Tensor) -> float:
        there = x[rows].sum(dim=0)
        return float((there / n - (total - there) / (len(x) - n)).abs().max())

    generator = drawn(seed)
    observed = largest(torch.arange(len(reference), len(x)))
    null = [largest(torch.randperm(len(x), generator=generator)[:n]) for _ in range(PERMUTATIONS)]
    return float((1 + (np.array(null) >= observed).sum()) / (1 + PERMUTATIONS))


def normal(n: int, generator: torch.Generator) -> Tensor:
    """Draw points of the reference."""
    return torch.randn(n, 2, generator=generator)


def clump(n: int, at: Tensor, generator: torch.Generator) -> Tensor:
    """Draw anomalous points around a place."""
    return at + CLUMP * normal(n, generator)


def drawn(seed: int) -> torch.Generator:
    """Return a generator with a seed."""
    return torch.Generator().manual_seed(seed)
