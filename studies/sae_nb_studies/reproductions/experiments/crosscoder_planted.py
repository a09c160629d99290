"""A planted pair: two sites that share most concepts, while each also has some of its own.

96 concepts, each on with probability 0.03 and a strength in [1, 2], in 48 and 56 dimensions. 48 have the
same length at both sites, 16 have a fifth of it at the second, and 16 at each site are absent from the
other. A shared concept is not equally strong at both: its strength at the second is up to a fifth more or
less. Values at the second site are ten times as large. Every crosscoder has 96 atoms and uses 3 per row.

An atom is called exclusive if its relative norm is below 0.1 or above 0.9. A false exclusive is a shared
concept with such an atom in its direction at one site (cosine ≥ 0.9).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

import sae_nb as sn
from sae_nb_studies.reproductions.experiments.shrinkage import repelled

SHORT = {"steps": 250}
N_SHARED, N_WEAK, N_OWN, WIDTHS = 48, 16, 16, (48, 56)
N_CONCEPTS = N_SHARED + N_WEAK + 2 * N_OWN
CHANCE, JITTER, WEAK, LOUD = 0.03, 0.2, 0.2, 10.0
N_ROWS, L0 = 20_000, 3
FOUND, EDGE = 0.9, 0.1

BOTH = slice(0, N_SHARED)
FAINT = slice(N_SHARED, N_SHARED + N_WEAK)
FIRST = slice(N_SHARED + N_WEAK, N_SHARED + N_WEAK + N_OWN)
SECOND = slice(N_CONCEPTS - N_OWN, N_CONCEPTS)


def run(seed: int, *, steps: int = 1500) -> dict[str, float]:
    """Train every kind once and count the concepts that each represents as exclusive.

    `steps` of 256 rows.
    """
    generator = torch.Generator().manual_seed(seed)
    concepts, rows = planted(generator)
    shuffled = [rows[0], rows[1][torch.randperm(N_ROWS, generator=generator)]]
    numbers: dict[str, float] = {}
    for name, (c, data) in kinds(seed, rows, shuffled).items():
        if name == "untrained":
            c.initialise(data)
        else:
            sn.train(c, data, steps=steps, batch_size=256, seed=seed, progress=False)
        numbers |= {f"{name} {what}": value for what, value in measured(c, concepts).items()}
        r2 = zip(data, c(data), strict=True)
        found = [sn.evaluation.explained_variance(x, x_hat.detach()) for x, x_hat in r2]
        numbers |= {f"{name} r2": min(found), f"{name} l0": l0(c, data)}
    for what in ("false", "shrunk"):
        numbers[f"{what}, relu − batchtopk"] = (
            numbers[f"relu {what}"] - numbers[f"batchtopk {what}"]
        )
    return numbers


def planted(generator: torch.Generator) -> tuple[list[Tensor], list[Tensor]]:
    """Draw concepts at each site, and rows of each."""
    first, second = (repelled(N_CONCEPTS, width, generator) for width in WIDTHS)
    first[SECOND], second[FIRST] = 0.0, 0.0
    second[FAINT] *= WEAK
    on = torch.rand(N_ROWS, N_CONCEPTS, generator=generator) < CHANCE
    z = on * (1 + torch.rand(on.shape, generator=generator))
    other = z * (1 + JITTER * (2 * torch.rand(on.shape, generator=generator) - 1))
    return [first, LOUD * second], [z @ first, LOUD * (other @ second)]


def kinds(
    seed: int, rows: list[Tensor], shuffled: list[Tensor]
) -> dict[str, tuple[Any, list[Tensor]]]:
    """Build every crosscoder by name, with its training data; ReLU's penalty is set for the same L0."""

    def make(**settings: Any) -> Any:
        generator = torch.Generator().manual_seed(1000 + seed)
        return sn.Crosscoder(WIDTHS, N_CONCEPTS, generator=generator, **settings)

    return {
        "batchtopk": (make(k=L0), rows),
        "relu": (make(base="ReLU", l0=float(L0)), rows),
        "untrained": (make(k=L0), rows),
        "shuffled": (make(k=L0), shuffled),
    }


@torch.no_grad()
def measured(c: Any, concepts: list[Tensor]) -> dict[str, float]:
    """Return shares of concepts: shared found as one atom, exclusive found as such, falsely exclusive."""
    units = c.operator.unit.split(list(WIDTHS))
    at = [concept / unit for concept, unit in zip(concepts, units, strict=True)]
    atoms = [d / unit for d, unit in zip(c.dictionaries, units, strict=True)]
    difference = c.difference()
    exclusive = [difference < EDGE, difference > 1 - EDGE]
    near = [
        normalize(here, dim=1) @ normalize(part, dim=1).T
        for here, part in zip(at, atoms, strict=True)
    ]
    alone = [
        ((cosines >= FOUND) & only).any(dim=1)
        for cosines, only in zip(near, exclusive, strict=True)
    ]
    *_, joint = sn.evaluation.match_atoms(torch.cat(at, dim=1)[BOTH], torch.cat(atoms, dim=1))
    either = (alone[0] | alone[1]).double()
    return {
        "shared": float((joint >= FOUND).mean()),
        "own": share(torch.cat([alone[0][FIRST], alone[1][SECOND]])),
        "false": float(either[BOTH].mean()),
        "shrunk": float(either[FAINT].mean()),
        "split": share(alone[0][BOTH] & alone[1][BOTH]),
    }


def share(found: Float[Tensor, " n"]) -> float:
    """Return the share that is found."""
    return float(found.double().mean())


@torch.no_grad()
def l0(c: Any, data: list[Tensor]) -> float:
    """Return the mean number of atoms per row."""
    return float(c.encode(data).l0.double().mean())
