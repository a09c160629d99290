"""Dictionaries from similarities alone (the lab): planted atoms, and a ring given by a radial kernel.

Planted: 500 inputs of two of 16 atoms each, strengths 1 to 2; the solver is given only inner products.
Floor: as many mixtures of the inputs with random weights. Ring: 400 points of a circle, radial kernel of
width ½, units with one contiguous piece of the ring each; twelve units are compared with eight, which are
too few.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import sae_nb as sn

SHORT = {"n_steps": 100}
N_INPUTS, N_PLANTED, ACTIVE = 500, 16, 2
N_RING, WIDTH, UNITS, TOO_FEW = 400, 0.5, 12, 8
FIRES = 0.05
"""Share of its largest code above which a unit counts as firing."""


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
    """Measure the share of units with one piece of the ring, with enough units and with too few."""
    angle = torch.linspace(0, 2 * math.pi, N_RING + 1)[:-1]
    x = torch.stack([angle.cos(), angle.sin()], dim=1)
    numbers = {}
    for n_atoms, name in ((UNITS, "twelve"), (TOO_FEW, "eight")):
        model = sn.lab.KernelSimilarity(
            n_atoms, kernel="rbf", width=WIDTH, sparsity=0.02, ridge=0.1, n_steps=n_steps
        )
        found = model.fit(x, seed=seed)
        numbers[f"one piece, {name}"] = _one_piece(found.z)
        numbers[f"left, {name}"] = found.residual
    shuffled = found.z[:, torch.randperm(N_RING, generator=torch.Generator().manual_seed(seed))]
    return numbers | {"one piece, shuffled": _one_piece(shuffled)}


def _one_piece(z: Tensor) -> float:
    """Return the share of the units in use that fire in one contiguous piece."""
    live = z[(z > 0).any(dim=1)]
    on = live > FIRES * live.amax(dim=1, keepdim=True)
    return float(((on & ~on.roll(1, dims=1)).sum(dim=1) == 1).double().mean())


def _worst(atoms: Tensor, mixtures: Tensor) -> float:
    return float((atoms @ _unit(mixtures).T).amax(dim=1).min())


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)
