"""Codes with error bars (the lab): without a covariance, in clusters, and learned through the solver's steps.

One signal: 48 of 1024 cosines, of which 256 samples are taken with noise 0.01; 30 iterations of EM, 10
probes. Twenty signals of 128 cosines on two disjoint supports (5 % each), 32 samples at the same places,
noise 0.05: precisions for each signal separately, for all together, for two clusters. A factor model of
50 atoms in 100 dimensions, 200 rows, noise 0.1: gradients of the likelihood at a random dictionary. Times
are of the processor, each the smaller of two, taken in turn in one process with one thread, in float64
unless noted.
"""

from __future__ import annotations

import time

import numpy as np
import torch

import sae_nb as sn

SHORT = {"n_atoms": 256, "n_iterations": 8, "repeats": 1, "n_rows": 60}
SHARE_SEEN, SHARE_USED, NOISE = 0.25, 48 / 1024, 0.01
TASKS, WIDTH, SUPPORT, CLUSTER_NOISE = 20, 128, 0.05, 0.05
FACTORS, DIMENSIONS, FACTOR_NOISE = 50, 100, 0.1
F64 = torch.float64


def run(
    seed: int,
    *,
    n_atoms: int = 1024,
    n_iterations: int = 30,
    repeats: int = 2,
    n_rows: int = 200,
) -> dict[str, float]:
    """Measure errors and times of the solvers, errors and assignments of clusters, and cosines of gradients."""
    return (
        one_signal(seed, n_atoms, n_iterations, repeats)
        | clusters(seed, 0.25, "")
        | clusters(seed, 0.12, ", 12 % seen")
        | gradients(seed, n_rows)
    )


def one_signal(seed: int, n_atoms: int, n_iterations: int, repeats: int) -> dict[str, float]:
    """Compare covariance-free EM with the two solvers that use a covariance."""
    rng = np.random.default_rng(seed)
    n_used = round(SHARE_USED * n_atoms)
    mask = chosen(rng, n_atoms, round(SHARE_SEEN * n_atoms))
    z = torch.zeros(1, n_atoms, dtype=F64)
    z[0, chosen(rng, n_atoms, n_used)] = torch.from_numpy(rng.standard_normal(n_used))
    noise = NOISE * torch.from_numpy(rng.standard_normal((1, int(mask.sum()))))
    cosines, floats = (sn.architectures.CosineOperator(mask, dtype) for dtype in (F64, None))
    drawn = torch.from_numpy(rng.standard_normal((n_atoms, int(mask.sum()))))
    drawn = drawn / drawn.norm(dim=1, keepdim=True) * SHARE_SEEN**0.5
    numbers: dict[str, float] = {}
    for operator, suffix, wanted in (
        (cosines, "", ("cg", "exact", "woodbury")),
        (floats, ", float32", ("cg", "exact")),
        (sn.architectures.FixedOperator(drawn), ", random atoms", ("cg", "exact")),
    ):
        seen = (operator.forward(z.to(operator.energy())) + noise).to(operator.energy())
        seconds = dict.fromkeys(wanted, np.inf)
        for _ in range(repeats):
            for solver in wanted:
                started = time.process_time()
                model = sn.lab.SparseBayes(
                    noise=NOISE,
                    solver=solver,  # type: ignore[arg-type]  # of the list above
                    n_iterations=n_iterations,
                )
                found = model.fit(seen, operator, seed=seed)
                seconds[solver] = min(seconds[solver], time.process_time() - started)
                numbers[f"error, {solver}{suffix}"] = error(found.mean, z)
                if solver == "cg":
                    numbers[f"steps of CG{suffix}"] = float(np.mean(found.cg_steps))
                    there, off = z != 0, (found.mean - z).abs()
                    numbers[f"within 2 sd{suffix}"] = float(
                        (off < 2 * found.sd)[there].double().mean()
                    )
        for solver in wanted[1:]:
            numbers[f"time, {solver} / cg{suffix}"] = seconds[solver] / seconds["cg"]
    whole = cosines.forward(z) + noise
    numbers["error, smallest norm"] = error(cosines.adjoint(whole), z)
    numbers["error apart"] = abs(numbers["error, cg"] - numbers["error, exact"])
    return numbers


def clusters(seed: int, share: float, suffix: str) -> dict[str, float]:
    """Compare precisions for each signal, for all together, and by cluster."""
    rng = np.random.default_rng([seed, 1])
    k = round(SUPPORT * WIDTH)
    order = rng.permutation(WIDTH)
    z = torch.zeros(TASKS, WIDTH, dtype=F64)
    for task in range(TASKS):
        support = order[:k] if task % 2 else order[k : 2 * k]
        z[task, torch.from_numpy(support)] = torch.from_numpy(rng.standard_normal(k))
    operator = sn.architectures.CosineOperator(chosen(rng, WIDTH, round(share * WIDTH)), F64)
    x = operator.forward(z)
    x = x + CLUSTER_NOISE * torch.from_numpy(rng.standard_normal(tuple(x.shape)))
    numbers: dict[str, float] = {}
    for name, n_clusters in (("separate", None), ("joint", 1), ("clustered", 2)):
        for solver in ("cg", "exact"):
            model = sn.lab.SparseBayes(
                noise=CLUSTER_NOISE,
                n_clusters=n_clusters,
                solver=solver,
                n_probes=15,
                tolerance=1e-10,
            )
            found = model.fit(x, operator, seed=seed)
            more = suffix + (", exact" if solver == "exact" else "")
            numbers[f"error, {name}{more}"] = error(found.mean, z)
            if n_clusters == 2:
                agree = float((found.assignment.numpy() == np.arange(TASKS) % 2).mean())
                numbers[f"assigned right{more}"] = max(agree, 1 - agree)
    for more in (suffix, suffix + ", exact"):
        best = min(numbers[f"error, separate{more}"], numbers[f"error, joint{more}"])
        numbers[f"clustered / best other{more}"] = numbers[f"error, clustered{more}"] / best
    return numbers


def gradients(seed: int, n_rows: int) -> dict[str, float]:
    """Measure cosines with the exact gradient, at a random dictionary and near the true one."""
    rng = np.random.default_rng([seed, 2])
    true, other = (torch.from_numpy(rng.standard_normal((FACTORS, DIMENSIONS))) for _ in range(2))
    true, other = true / FACTORS**0.5, other / FACTORS**0.5
    x = torch.from_numpy(rng.standard_normal((n_rows, FACTORS))) @ true
    x = x + FACTOR_NOISE * torch.from_numpy(rng.standard_normal(tuple(x.shape)))
    numbers: dict[str, float] = {}
    for at, suffix in ((other, ""), (true + 0.2 * other, ", near the end")):
        exact = sn.lab.likelihood_gradient(x, at, noise=FACTOR_NOISE, how="exact")
        for how in ("network", "output"):
            for n_steps in (2, 5, 20):
                found = sn.lab.likelihood_gradient(
                    x, at, noise=FACTOR_NOISE, how=how, n_steps=n_steps, seed=seed
                )
                numbers[f"{how}, {n_steps} steps{suffix}"] = cosine(found, exact)
        ahead = numbers[f"network, 5 steps{suffix}"] - numbers[f"output, 5 steps{suffix}"]
        numbers[f"network − output, 5 steps{suffix}"] = ahead
        if not suffix:
            numbers["a random direction"] = abs(
                cosine(torch.from_numpy(rng.standard_normal(tuple(exact.shape))), exact)
            )
    return numbers


def chosen(rng: np.random.Generator, n: int, k: int) -> torch.Tensor:
    """Draw a mask of k of n places."""
    mask = torch.zeros(n, dtype=torch.bool)
    mask[torch.from_numpy(rng.permutation(n)[:k])] = True
    return mask


def error(mean: torch.Tensor, z: torch.Tensor) -> float:
    """Return ‖μ − z‖ / ‖z‖."""
    return float((mean - z).norm() / z.norm())


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the cosine of two matrices as vectors."""
    return float(torch.cosine_similarity(a.flatten(), b.flatten(), dim=0))
