"""Directions in which the states of two models differ, and atoms that a crosscoder gives to one of them alone.

A crosscoder of (x_a, x_b) shares one code; an atom with ‖d_b‖ / (‖d_a‖ + ‖d_b‖) above 0.9 is b's own.
Crosscoders also call atoms exclusive that are not (arXiv 2504.02922): BatchTopK does so least, and the control
is a crosscoder of x_a and its rotated copy, where each exclusive atom is false.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures import Crosscoder, TopK
from sae_nb.codes import SparseCodes
from sae_nb.training import train

MEAN, COMPONENT, ATOM = "mean difference", "principal component", "atom of an SAE on differences"

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
    return found, _energy(codes)


def _energy(codes: SparseCodes) -> Float[Tensor, " n_atoms"]:
    """Sum of squares of each atom's strengths."""
    energy = torch.zeros(codes.n_atoms, dtype=torch.float64)
    return energy.index_add_(0, codes.atoms.long(), codes.values.detach().double().square())


def directions_between(
    x: Float[Tensor, "n d"], n_components: int, steps: int, seed: int
) -> dict[str, Float[Tensor, " d"]]:
    """Return unit directions in which the states differ, by the name of their method."""
    named: dict[str, Tensor] = {}
    mean = x.mean(dim=0)
    if float(mean.norm()) > 0:
        named[MEAN] = torch.nn.functional.normalize(mean, dim=0)
    centred = x - mean
    values, vectors = torch.linalg.eigh((centred.T @ centred).double())
    for i, place in enumerate(values.argsort(descending=True, stable=True)[:n_components].tolist()):
        named[f"{COMPONENT} {i + 1}"] = vectors[:, place].float()
    atoms, energy = _atoms_of(x, steps, seed)
    for atom in energy.argsort(descending=True, stable=True)[:n_components].tolist():
        named[f"{ATOM}, {atom}"] = atoms[atom]
    return named


@torch.enable_grad()
def _atoms_of(x: Float[Tensor, "n d"], steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Train a small SAE on the differences; return its atoms, and the energy of each."""
    n_atoms = min(64, max(8, len(x) // 8))
    sae = TopK(x.shape[1], n_atoms, min(4, n_atoms), generator=torch.Generator().manual_seed(seed))
    train(sae, x, steps=steps, seed=seed, progress=False)
    codes = sae.encode(x).detach()
    return sae.dictionary.detach().float().cpu(), _energy(codes)
