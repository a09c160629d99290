"""Are circles, spheres and tori found among atoms by which fire together, and nothing else?

Codes are planted: atoms have places on a manifold, and fire where a row lies near. Three circles, two spheres, two
tori and two sheets lie beside two chains, two cliques and forty atoms that fire by themselves; each manifold is there
in a quarter of the rows. A group counts for a manifold if four fifths of the atoms of both together are common.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from sae_nb.codes import SparseCodes
from sae_nb_studies.geometry import CoactivationShapes, coactivation_shapes

SHORT = {"n": 6000}
KINDS = (
    *("circle",) * 3, *("sphere",) * 2, *("torus",) * 2, *("sheet",) * 2, *("chain",) * 2, *("clique",) * 2,
)  # fmt: skip
CLOSED = ("circle", "sphere", "torus")
ALONE, OFTEN, PRESENT = 40, 0.05, 0.25
SAME = 0.8
Fields = Float[np.ndarray, "n atoms"]


class Planted(NamedTuple):
    """Codes, and the kind of each planted group with its atoms."""

    codes: SparseCodes
    groups: list[tuple[str, set[int]]]


def run(seed: int, *, n: int = 10_000) -> dict[str, float]:
    """Plant, search, and count; then the same where the rows of each atom are shuffled."""
    planted = plant(seed, n)
    found = coactivation_shapes(planted.codes, seed=seed)
    rng = np.random.default_rng(seed)
    dense = planted.codes.to_dense().numpy()
    shuffled = SparseCodes.from_dense(torch.from_numpy(rng.permuted(dense, axis=0)))
    given = [sorted(atoms) for _, atoms in planted.groups]
    chance = coactivation_shapes(shuffled, given, seed=seed)
    renamed = found.shape if not found.shape else tuple(rng.permutation(found.shape).tolist())
    counts = _counted(planted, found, found.shape)
    return counts | {
        "recall, rows shuffled": float(
            np.mean([s == k for (k, _), s in zip(planted.groups, _in_order(chance, given), strict=True) if k in CLOSED])
        ),
        "shapes found, rows shuffled": float(len(coactivation_shapes(shuffled, seed=seed).shape)),
        "recall, names shuffled": _counted(planted, found, renamed)["recall"],
    }  # fmt: skip


def _in_order(found: CoactivationShapes, given: list[list[int]]) -> list[str]:
    names = {tuple(g.tolist()): s for g, s in zip(found.groups, found.shape, strict=True)}
    return [names[tuple(g)] for g in given]


def _counted(
    planted: Planted, found: CoactivationShapes, names: tuple[str, ...]
) -> dict[str, float]:
    """Precision and recall over closed shapes; how many decoys are named one."""
    right: list[bool] = []
    kinds: list[str] = []
    met: dict[int, str] = {}
    for atoms, name in zip(found.groups, names, strict=True):
        here = set(atoms.tolist())
        each = [len(a & here) / len(a | here) for _, a in planted.groups]
        best = int(np.argmax(each))
        kind = planted.groups[best][0] if each[best] >= SAME else "nothing"
        if kind != "nothing":
            met[best] = name
        if name in CLOSED:
            right.append(name == kind)
            kinds.append(kind)
    share = {
        f"recall, {one}": float(np.mean([met.get(i) == one for i, (k, _) in enumerate(planted.groups) if k == one]))
        for one in (*CLOSED, "sheet", "chain")
    }  # fmt: skip
    return {
        "precision": float(np.mean(right)) if right else 0.0,
        "recall": float(np.mean([met.get(i) == k for i, (k, _) in enumerate(planted.groups) if k in CLOSED])),
        "decoys named closed": float(sum(kind not in CLOSED for kind in kinds)),
        **share,
    }  # fmt: skip


def plant(seed: int, n: int) -> Planted:
    """Draw places of atoms and of rows, and let each atom fire where the row is near."""
    rng = np.random.default_rng(seed)
    parts = [_FIELDS[k](n, rng) * (rng.random(n) < PRESENT)[:, None] for k in KINDS]
    parts.append(np.where(rng.random((n, ALONE)) < OFTEN, rng.random((n, ALONE)), 0.0))
    x = np.maximum(np.concatenate(parts, axis=1), 0)
    places = rng.permutation(x.shape[1])
    shown = np.zeros_like(x)
    shown[:, places] = x
    ends = np.cumsum([part.shape[1] for part in parts])[:-1]
    each = np.split(places, ends)[: len(KINDS)]
    groups = [(k, set(atoms.tolist())) for k, atoms in zip(KINDS, each, strict=True)]
    return Planted(SparseCodes.from_dense(torch.from_numpy(shown)), groups)


def _line(n: int, rng: np.random.Generator, closed: bool) -> Fields:
    at = (np.arange(12) + 0.3 * rng.random(12)) / 12
    apart = np.abs(rng.random(n)[:, None] - at)
    return 1.5 / 12 - (np.minimum(apart, 1 - apart) if closed else apart)


def _square(n: int, rng: np.random.Generator, side: int, closed: bool) -> Fields:
    cells = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)
    at = (cells + 0.5 + 0.3 * (rng.random(cells.shape) - 0.5)) / side
    apart = np.abs(rng.random((n, 1, 2)) - at)
    apart = np.minimum(apart, 1 - apart) if closed else apart
    return 1.1 / side - np.linalg.norm(apart, axis=2)


def _ball(n: int, rng: np.random.Generator) -> Fields:
    height = 1 - (2 * np.arange(36) + 1) / 36
    turn, radius = np.pi * (1 + 5**0.5) * np.arange(36), np.sqrt(1 - height**2)
    at = np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)
    at = at + 0.1 * rng.standard_normal(at.shape)
    rows = rng.standard_normal((n, 3))
    at, rows = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (at, rows))
    return rows @ at.T - np.cos(0.62)


_FIELDS: dict[str, Callable[[int, np.random.Generator], Fields]] = {
    "circle": lambda n, rng: _line(n, rng, closed=True),
    "chain": lambda n, rng: _line(n, rng, closed=False),
    "sheet": lambda n, rng: _square(n, rng, 6, closed=False),
    "torus": lambda n, rng: _square(n, rng, 8, closed=True),
    "sphere": _ball,
    "clique": lambda n, rng: rng.random((n, 12)) - 0.4,
}
