"""Atoms that a crosscoder gives to one of two models alone, next to a pair in which nothing can be.

A crosscoder of (x_a, x_b) shares one code; an atom with ‖d_b‖ / (‖d_a‖ + ‖d_b‖) above 0.9 is b's own.
Crosscoders also call atoms exclusive that are not (arXiv 2504.02922): BatchTopK does so least, and the control
is a crosscoder of x_a and its rotated copy, where each exclusive atom is false.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures import Crosscoder
from sae_nb.training import train

EDGE = 0.1
"""Share of an atom's norm below which it is not at a site. Ours, as in the claims on crosscoders."""

MOST_ROWS, MOST_ATOMS, K = 20_000, 128, 4
"""Rows and atoms of a crosscoder, at most, and atoms per row. Ours: with 8 per row in 16 dimensions a planted
exclusive atom is split, at 4 it is found (cosine above .99, difference .994)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnAtoms:
    """Atoms that fire and belong to one model alone."""

    directions: Float[Tensor, "n d"]
    """Of b's own atoms, unit, those with the most energy first."""

    atoms: Int[Tensor, " n"]
    of_a: int
    of_b: int
    """Number of own atoms of each model."""

    control: int
    """Number of exclusive atoms of a model and its rotated copy."""


@torch.enable_grad()
def own_atoms(
    x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], steps: int, seed: int, most: int
) -> OwnAtoms:
    """Train a crosscoder on rows of both models, and one on rows of the first and their rotated copy."""
    generator = torch.Generator().manual_seed(seed)
    if len(x) > MOST_ROWS:
        chosen = torch.randperm(len(x), generator=generator)[:MOST_ROWS].sort().values
        x, y = x[chosen], y[chosen]
    turn = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1], generator=generator)).Q
    found, energy = _trained(x, y, steps, seed)
    copied, _ = _trained(x, x @ turn, steps, seed)
    fires, difference = energy > 0, found.difference().detach()
    own = (difference > 1 - EDGE) & fires
    order = (energy * own).argsort(descending=True, stable=True)[: min(most, int(own.sum()))]
    false = copied.difference().detach()
    return OwnAtoms(
        directions=torch.nn.functional.normalize(found.dictionaries[1][order].detach(), dim=1),
        atoms=order,
        of_a=int(((difference < EDGE) & fires).sum()),
        of_b=int(own.sum()),
        control=int(((false < EDGE) | (false > 1 - EDGE)).sum()),
    )


def _trained(x: Tensor, y: Tensor, steps: int, seed: int) -> tuple[Crosscoder, Tensor]:
    """Return a crosscoder of two models, and the energy of each atom."""
    n_atoms = max(8, min(MOST_ATOMS, 2 * x.shape[1], len(x) // 8))
    found = Crosscoder(
        [x.shape[1], y.shape[1]], n_atoms, k=K, generator=torch.Generator().manual_seed(seed)
    )  # fmt: skip
    train(found, [x, y], steps=steps, batch_size=min(256, len(x)), seed=seed, progress=False)
    with torch.no_grad():
        codes = found.encode([x, y])
    energy = torch.zeros(n_atoms, dtype=torch.float64)
    energy.index_add_(0, codes.atoms.long(), codes.values.detach().double().square())
    return found, energy
