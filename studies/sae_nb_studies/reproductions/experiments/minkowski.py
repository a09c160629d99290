"""E4, can block archetypes tell a Minkowski sum from one simplex and from a Gaussian? Planted data.

16 coordinates, 1200 rows (800 to fit), noise 0.02. (a) a sum of three tiles of four archetypes, (b) one
simplex with twelve vertices, (c) a 9-dimensional Gaussian. Every fit has twelve archetypes.
"""

from __future__ import annotations

import torch

from sae_nb.evaluation import match_atoms
from sae_nb_studies.data import PlantedHulls, planted_hulls
from sae_nb_studies.data.planted._clouds import Kind
from sae_nb_studies.minkowski import (
    BlockArchetypes,
    BlockConfig,
    Decision,
    PathSupport,
    decide,
    fit_block_archetypes,
    path_support,
)

SHORT = {"n_nulls": 1, "steps": 200}
TILES = (4, 4, 4)
KINDS: tuple[Kind, ...] = ("minkowski", "simplex", "gaussian")
ARMS = ("block", "free AA", "AA of rows", "TopK")
RANDOM = 1_000_000
"""Added to the seed of random archetypes, so that they do not repeat the planted ones."""


def run(seed: int, *, n: int = 1200, steps: int = 400, n_nulls: int = 3) -> dict[str, float]:
    """Decide on every kind of data, and compare the archetypes found with the planted ones.

    `n`: rows; a third is held out.
    """
    numbers: dict[str, float] = {}
    for kind in KINDS:
        planted = planted_hulls(n, kind, tile_sizes=TILES, seed=seed)
        config = BlockConfig(n_steps=steps, seed=seed)
        decision = decide(planted.x, TILES, config, n_nulls=n_nulls)
        numbers |= _told(decision, kind)
        if kind == "minkowski":
            numbers |= _recovery(decision, planted, steps, seed)
    numbers["accepted elsewhere"] = numbers["simplex accepted"] + numbers["gaussian accepted"]
    return numbers | _paths(n, seed)


def look(seed: int = 0, kind: Kind = "minkowski", *, steps: int = 200) -> Decision:
    """Make one decision on less data and with fewer steps than `run`."""
    planted = planted_hulls(900, kind, tile_sizes=TILES, seed=seed)
    return decide(planted.x, TILES, BlockConfig(n_steps=steps, seed=seed), n_nulls=1)


def _told(decision: Decision, kind: str) -> dict[str, float]:
    numbers = {f"{kind} accepted": float(decision.accepted)}
    for name in ARMS:
        score = decision.scores[name]
        numbers[f"{kind} {name} r2"] = score.r2
        if score.off_support is not None:
            numbers[f"{kind} {name} off-support"] = score.off_support
    numbers[f"{kind} null off-support"] = decision.null_off_support
    numbers[f"{kind} null r2"] = decision.scores["Gaussian null 0"].r2
    numbers[f"{kind} off-support / null"] = (
        numbers[f"{kind} block off-support"] / decision.null_off_support
    )
    return numbers


def _recovery(decision: Decision, planted: PlantedHulls, steps: int, seed: int) -> dict[str, float]:
    """Compare the archetypes found from either start, and random ones, with the planted ones."""
    by_rows = BlockConfig(n_steps=steps, seed=seed, start="rows")
    shape = planted.archetypes.shape
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(RANDOM + seed))
    random = BlockArchetypes(drawn, TILES, torch.zeros(shape[1]))
    other = fit_block_archetypes(planted.x, TILES, by_rows)
    return {
        "archetypes found": _found(decision.block, planted),
        "archetypes found, start from rows": _found(other, planted),
        "archetypes found, random": _found(random, planted),
    }


def _paths(n: int, seed: int) -> dict[str, float]:
    """Measure path support on sums with all tiles on, with one of three on, and on a Gaussian."""
    numbers: dict[str, float] = {}
    for name, n_active in (("all tiles", None), ("one tile", 1)):
        planted = planted_hulls(n, tile_sizes=TILES, n_active=n_active, seed=seed)
        found = path_support(planted.x, _truth(planted, n_active), seed=seed)
        numbers |= _path_numbers(found, name)
        if found.block is not None:
            numbers[f"{name} tile path"] = float(found.block.mean())
    null = planted_hulls(n, "gaussian", tile_sizes=TILES, seed=seed)
    return numbers | _path_numbers(path_support(null.x, seed=seed), "gaussian")


def _path_numbers(found: PathSupport, name: str) -> dict[str, float]:
    return {
        f"{name} line": float(found.straight.mean()),
        f"{name} neighbours": float(found.geodesic.mean()),
        f"{name} line − neighbours": found.gain,
    }


def _truth(planted: PlantedHulls, n_active: int | None = None) -> BlockArchetypes:
    middle = torch.zeros(planted.x.shape[1])
    return BlockArchetypes(planted.archetypes, planted.tile_sizes, middle, n_active)


def _found(model: BlockArchetypes, planted: PlantedHulls) -> float:
    """Return the mean cosine of archetypes matched with the planted ones, about their tile's centre."""
    return float(match_atoms(model.archetypes, _truth(planted).archetypes)[2].mean())
