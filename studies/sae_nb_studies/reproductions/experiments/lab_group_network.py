"""Actions from pairs, and dictionaries of orbits (the lab).

Pairs: patches of 6 × 6, and the same patches rotated by 90°, rolled by a pixel, or flipped. Patches are
white noise, whitened patches of the two photographs that scikit-learn ships, or patches of them without
their mean. Orbits: two base atoms in 16 dimensions and their rolls by 4, eight atoms in all, two of which
are in every input; a group network of two orbits of four is compared with a free dictionary of eight
atoms. It is not shown any pairs.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from sklearn.feature_extraction.image import extract_patches_2d
from torch import Tensor

import sae_nb as sn

SHORT = {"steps": 40, "action_steps": 600}
SIDE, N_PAIRS, SEEN = 6, 2000, 1e-6
D, K, G, N_INPUTS, CLOSURE = 16, 2, 4, 4000, 0.1


def run(seed: int, *, steps: int = 800, action_steps: int = 2000) -> dict[str, float]:
    """Learn the actions of three moves on three kinds of patches, and orbits without pairs."""
    kinds = {"noise": noise(seed), "whitened": whitened(seed), "without mean": without_mean(seed)}
    numbers: dict[str, float] = {}
    for kind, x in kinds.items():
        found = {name: pairs(x, *move, action_steps, seed) for name, move in moves().items()}
        for number in ("distance", "closure", "error", "seen distance"):
            numbers[f"{number}, {kind}"] = max(move[number] for move in found.values())
            numbers |= {f"{number}, {kind}, {name}": found[name][number] for name in found}
    drawn = pairs(kinds["noise"], *moves()["turn"], 1, seed)
    return numbers | {"distance, as drawn": drawn["distance"]} | orbits(seed, steps)


def moves() -> dict[str, tuple[Tensor, int]]:
    """Return each move as a matrix, and its order: the number of repetitions that restores a patch."""
    eye = torch.eye(SIDE**2).reshape(-1, SIDE, SIDE)
    moved = {
        "turn": (eye.rot90(1, (1, 2)), 4),
        "roll": (eye.roll(1, 2), SIDE),
        "flip": (eye.flip(2), 2),
    }
    return {name: (images.flatten(1).T, order) for name, (images, order) in moved.items()}


def pairs(x: Tensor, move: Tensor, order: int, steps: int, seed: int) -> dict[str, float]:
    """Learn an action from pairs of one move, and compare it with the move."""
    action = sn.lab.learn_action(x, x @ move.T, steps=steps, seed=seed)
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    seen = vectors[:, values > SEEN * values[-1]]
    return {
        "distance": action.distance(move),
        "closure": action.closure(order),
        "error": float(action.error or 0.0),
        "seen distance": float(((action.matrix - move) @ seen).norm() / (move @ seen).norm()),
    }


def noise(seed: int) -> Tensor:
    """Draw white noise."""
    return torch.randn(N_PAIRS, SIDE**2, generator=drawn(seed))


def whitened(seed: int) -> Tensor:
    """Cut patches of photographs, with their means, and whiten them (ZCA) in every direction."""
    flat = patches(seed)
    flat -= flat.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(flat.T))
    return torch.tensor(flat @ (vectors * values**-0.5) @ vectors.T, dtype=torch.float32)


def without_mean(seed: int) -> Tensor:
    """Cut patches of photographs, and subtract the mean of each."""
    flat = patches(seed)
    flat -= flat.mean(axis=1, keepdims=True)
    return torch.tensor(flat / flat.std(), dtype=torch.float32)


def patches(seed: int) -> np.ndarray:
    """Cut patches of two photographs in grey."""
    grey = [image.mean(axis=2) / 255 for image in load_sample_images().images]
    cut = [
        extract_patches_2d(image, (SIDE, SIDE), max_patches=N_PAIRS // 2, random_state=seed)
        for image in grey
    ]
    return np.concatenate(cut).reshape(N_PAIRS, -1)


def orbits(seed: int, steps: int) -> dict[str, float]:
    """Measure the atoms found by a group network, with and without a closure term, and by a free dictionary."""
    base = torch.nn.functional.normalize(torch.randn(K, D, generator=drawn(seed)), dim=1)
    atoms = torch.stack([base.roll(D // G * g, dims=1) for g in range(G)], dim=1).flatten(0, 1)
    z = torch.zeros(N_INPUTS, K * G)
    chosen = torch.rand(z.shape, generator=drawn(seed + 10)).argsort(dim=1)[:, :2]
    z.scatter_(1, chosen, 1 + torch.rand(chosen.shape, generator=drawn(seed + 20)))
    x = z @ atoms
    group = {
        weight: sn.lab.GroupNetwork(D, K, G, closure=weight, generator=drawn(seed))
        for weight in (0.0, CLOSURE)
    }
    free = sn.lab.WLSC(D, K * G, locality=0.1, weighted=False, generator=drawn(seed))
    random = recovered(atoms, free.dictionary)
    for sae in (*group.values(), free):
        sae.fit(x, steps=steps, seed=seed)
    return {
        "atoms": recovered(atoms, group[0.0].dictionary),
        "atoms, closed": recovered(atoms, group[CLOSURE].dictionary),
        "atoms, free": recovered(atoms, free.dictionary),
        "atoms, random": random,
        "orbits end apart": float(group[0.0].closing_errors.mean()),
        "orbits end apart, closed": float(group[CLOSURE].closing_errors.mean()),
        "of one orbit": together(atoms, group[0.0]),
        "of one orbit, closed": together(atoms, group[CLOSURE]),
        "of one orbit, chance": (1 * 2 + 0.75 * 32 + 0.5 * 36) / 70,
    }


def recovered(atoms: Tensor, found: Tensor) -> float:
    """Return the largest cosine with each planted atom, on average."""
    return float((atoms @ found.T).amax(dim=1).mean())


def together(atoms: Tensor, network: sn.lab.GroupNetwork) -> float:
    """Return the share of a learned orbit's atoms that belong to one planted orbit, mean over orbits."""
    nearest = (network.orbits @ atoms.T).argmax(dim=-1) // G
    return float(torch.stack([(nearest == k).float().mean(dim=1) for k in range(K)]).amax(0).mean())


def drawn(seed: int) -> torch.Generator:
    """Return a generator with a seed."""
    return torch.Generator().manual_seed(seed)
