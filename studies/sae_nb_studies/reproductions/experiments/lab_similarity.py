"""Dictionaries from similarities alone (the lab): planted atoms, and a ring given by a radial kernel.

Planted: 500 inputs of two of 16 atoms each, strengths 1 to 2; the solver is given only inner products.
Floor: as many mixtures of the inputs with random weights. Ring: 400 points of a circle, radial kernel of
width ½; counted are units whose codes above 0 are one contiguous piece of the ring. Twelve units at sparsity
.2 are compared with the same at .02, where each also fires faintly elsewhere, and with eight.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import sae_nb as sn

SHORT = {"n_steps": 100}
N_INPUTS, N_PLANTED, ACTIVE = 500, 16, 2
N_RING, WIDTH, UNITS, TOO_FEW = 400, 0.5, 12, 8
SPARSE, FAINT = 0.2, 0.02


def run(seed: int, *, n_steps: int = 400) -> dict[str, float]:
    """Find planted atoms, and tile a ring."""
    return planted(seed, n_steps) | ring(seed, n_steps)


def planted(seed: int, n_steps: int) -> dict[str, float]:
    """Return the largest cosine with the worst-found atom, and the same for random mixtures."""
    generator = torch.Generator().manual_seed(seed)
    atoms = _unit(torch.randn(N_PLANTED, N_PLANTED, generator=generator))
    z = torch.zeros(N_INPUTS, N_PLANTED)
    for row in z:
        chosen = torch.randperm(N_PLANTED, generator=generator)[:ACTIVE]
        row[chosen] = 1 + torch.rand(ACTIVE, generator=generator)
    x = z @ atoms
    model = sn.lab.KernelSimilarity(N_PLANTED, kernel="precomputed", n_steps=n_steps)
    found = model.fit(x @ x.T, seed=seed)
    weights = torch.randn(N_PLANTED, N_INPUTS, generator=generator)
    return {
        "worst atom": _worst(atoms, found.top_down.float() @ x),
        "worst atom, random mixtures": _worst(atoms, weights @ x),
        "largest rise": float(found.objective.diff().max() / found.objective[0]),
        "objective": float(found.objective[-1] / found.objective[0]),
    }


def ring(seed: int, n_steps: int) -> dict[str, float]:
    """Measure the share of units with one piece of the ring, and what is left of the kernel."""
    angle = torch.linspace(0, 2 * math.pi, N_RING + 1)[:-1]
    x = torch.stack([angle.cos(), angle.sin()], dim=1)
    numbers = {}
    ways = (
        ("eight", TOO_FEW, SPARSE),
        ("little sparsity", UNITS, FAINT),
        ("twelve", UNITS, SPARSE),
    )
    for name, n_atoms, sparsity in ways:
        model = sn.lab.KernelSimilarity(
            n_atoms, kernel="rbf", width=WIDTH, sparsity=sparsity, ridge=0.1, n_steps=n_steps
        )
        found = model.fit(x, seed=seed)
        numbers[f"one piece, {name}"] = _one_piece(found.z)
        numbers[f"left, {name}"] = found.residual
    shuffled = found.z[:, torch.randperm(N_RING, generator=torch.Generator().manual_seed(seed))]
    return numbers | {"one piece, shuffled": _one_piece(shuffled)}


def _one_piece(z: Tensor) -> float:
    """Return the share of the units in use whose exact support is one contiguous piece."""
    on = z[(z > 0).any(dim=1)] > 0
    return float(((on & ~on.roll(1, dims=1)).sum(dim=1) == 1).double().mean())


def _worst(atoms: Tensor, mixtures: Tensor) -> float:
    return float((atoms @ _unit(mixtures).T).amax(dim=1).min())


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)
