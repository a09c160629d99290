"""K-Deep Simplex on two moons and on digits, and weighted sparse coding on image patches (the lab).

Moons and digits: landmarks are learned, connected if they share inputs, and the graph of these
connections is cut into the true number of groups. Compared with k-means, with the same without a cost of
distance (λ = 0), and with SpaDE, one step of the solver with an encoder of its own. Patches: 8 × 8,
whitened, of the two photographs that scikit-learn ships; the penalty weighted by distance is compared
with the plain one, each with a weight that gives about the same number of atoms.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_sample_images, make_moons
from sklearn.feature_extraction.image import extract_patches_2d

import sae_nb as sn

SHORT = {"steps": 20, "n_patches": 500}
N_POINTS, NOISE, LANDMARKS = 1500, 0.03, 24
DIGITS, DIGIT_LANDMARKS = 10, 100
PATCH, PATCH_ATOMS, NEAREST = 8, 96, 4
WEIGHTED, PLAIN = 0.06, 0.10
EIGENVALUE_FLOOR = 0.02


def run(seed: int, *, steps: int = 200, n_patches: int = 20_000) -> dict[str, float]:
    """Group moons and digits, and code patches twice."""
    return moons(seed, steps) | digits(seed, 2 * steps) | patches(seed, 5 * steps // 2, n_patches)


def moons(seed: int, steps: int) -> dict[str, float]:
    """Group two moons by KDS, k-means, λ = 0 and SpaDE; and check the Laplacian identity."""
    points, truth = make_moons(N_POINTS, noise=NOISE, random_state=seed)
    x = torch.tensor(points, dtype=torch.float32)
    kds = sn.lab.KDS(2, LANDMARKS, generator=drawn(seed)).fit(x, steps=steps, seed=seed)
    wide = sn.lab.KDS(2, LANDMARKS, locality=0.0, generator=drawn(seed))
    wide.fit(x, steps=steps, seed=seed)
    near, far = grouped(kds, x, 2, seed), grouped(wide, x, 2, seed)
    return {
        "moons": near.accuracy(truth),
        "moons, k-means": by_means(x, truth, 2, seed, near),
        "moons, λ = 0": far.accuracy(truth),
        "moons, SpaDE": grouped(spade(x, LANDMARKS, steps, seed), x, 2, seed).accuracy(truth),
        "atoms a point": near.l0,
        "atoms a point, λ = 0": far.l0,
        "Laplacian error": laplacian_error(kds, x),
    }


def digits(seed: int, steps: int) -> dict[str, float]:
    """Group handwritten digits of 8 × 8 pixels into ten groups."""
    bunch = load_digits()
    x = torch.tensor(bunch.data, dtype=torch.float32)
    kds = sn.lab.KDS(x.shape[1], DIGIT_LANDMARKS, generator=drawn(seed))
    found = grouped(kds.fit(x, steps=steps, seed=seed), x, DIGITS, seed)
    ours, means = found.accuracy(bunch.target), by_means(x, bunch.target, DIGITS, seed, found)
    one_step = grouped(spade(x, DIGIT_LANDMARKS, steps, seed), x, DIGITS, seed)
    return {
        "digits": ours,
        "digits, k-means": means,
        "digits, SpaDE": one_step.accuracy(bunch.target),
        "digits − k-means": ours - means,
        "digits − SpaDE": ours - one_step.accuracy(bunch.target),
    }


def patches(seed: int, steps: int, n: int) -> dict[str, float]:
    """Compare the weighted with the plain penalty on the same patches."""
    x = whitened_patches(seed, n)
    weighted, plain = (
        coded(x, seed, steps, weight, local) for weight, local in ((WEIGHTED, True), (PLAIN, False))
    )
    return {
        **{f"{name}, weighted": value for name, value in weighted.items()},
        **{f"{name}, plain": value for name, value in plain.items()},
        "L0 saved": plain["L0"] - weighted["L0"],
        "R² gained": weighted["R²"] - plain["R²"],
        "cosine gained": weighted["cosine"] - plain["cosine"],
    }


def coded(x: torch.Tensor, seed: int, steps: int, weight: float, local: bool) -> dict[str, float]:
    """Measure L0, R² and the similarity of atoms that fire together."""
    sae = sn.lab.WLSC(
        x.shape[1], PATCH_ATOMS, locality=weight, weighted=local, generator=drawn(seed)
    )
    sae.fit(x, steps=steps, batch_size=256, seed=seed)
    with torch.no_grad():
        codes = sae.encode(x)
        left = (x - sae.decode(codes)).square().sum() / (x - x.mean(0)).square().sum()
    z = codes.to_scipy()
    together = np.asarray((z.T @ z).todense())
    np.fill_diagonal(together, -1)
    nearest = np.argsort(-together, axis=1)[:, :NEAREST]
    cosines = (sae.dictionary @ sae.dictionary.T).numpy()
    return {
        "L0": float(codes.l0.float().mean()),
        "R²": 1 - float(left),
        "cosine": float(np.take_along_axis(cosines, nearest, axis=1).mean()),
    }


def whitened_patches(seed: int, n: int) -> torch.Tensor:
    """Cut patches of two photographs, without their mean, whitened (ZCA), of unit norm."""
    grey = [image.mean(axis=2) for image in load_sample_images().images]
    halves = [
        extract_patches_2d(image, (PATCH, PATCH), max_patches=n // 2, random_state=seed)
        for image in grey
    ]
    flat = np.concatenate(halves).reshape(-1, PATCH * PATCH)
    flat = flat - flat.mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(np.cov(flat.T))
    shrunk = np.maximum(values, EIGENVALUE_FLOOR * values.max()) ** -0.5
    white = flat @ (vectors * shrunk) @ vectors.T
    white /= np.linalg.norm(white, axis=1, keepdims=True) + 1e-8
    return torch.tensor(white, dtype=torch.float32)


def laplacian_error(kds: sn.lab.KDS, x: torch.Tensor) -> float:
    """Return |Σ z_ij ‖x_i − w_j‖² − tr(VᵀLV)| of the graph of points and atoms, as a share."""
    with torch.no_grad():
        z = kds.encode(x).to_dense().double().numpy()
    atoms, points = kds.landmarks.double().numpy(), x.double().numpy()
    direct = (z * ((points[:, None] - atoms[None]) ** 2).sum(axis=2)).sum()
    nodes = np.concatenate([points, atoms])
    weight = np.block([[np.zeros((len(z), len(z))), z], [z.T, np.zeros((z.shape[1],) * 2)]])
    form = np.trace(nodes.T @ (np.diag(weight.sum(axis=1)) - weight) @ nodes)
    return float(abs(direct - form) / direct)


def spade(x: torch.Tensor, n_atoms: int, steps: int, seed: int) -> sn.SpaDE:
    """Train SpaDE on the same rows, with its own recipe."""
    sae = sn.SpaDE(x.shape[1], n_atoms, generator=drawn(seed))
    sn.train(sae, x, steps=steps, batch_size=128, seed=seed, progress=False)
    return sae


def grouped(sae: sn.SparseAutoencoder, x: torch.Tensor, n: int, seed: int) -> sn.lab.LocalMap:
    """Group inputs by cutting the graph of atoms."""
    return sn.lab.local_map(sae, x, n, seed=seed)


def by_means(x: torch.Tensor, truth: np.ndarray, n: int, seed: int, like: sn.lab.LocalMap) -> float:
    """Return the same accuracy for k-means."""
    from dataclasses import replace

    labels = KMeans(n, n_init=10, random_state=seed).fit_predict(x.numpy())
    return replace(like, labels=labels).accuracy(truth)


def drawn(seed: int) -> torch.Generator:
    """Return a generator with a seed."""
    return torch.Generator().manual_seed(seed)
