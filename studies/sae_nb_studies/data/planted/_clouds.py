"""Points with a planted geometry: concepts as clouds, sums of small hulls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Count, Seed, at_least, check_count, check_memory, checked
from sae_nb.data import Record

# -------------------------------------------------------------------------------------------------
# Concepts as clouds of points: how far apart they are, and how many dimensions each one has.

FLOOR = 1e-6
"""Variance in directions a concept does not have, so that nothing is exactly flat."""


@dataclass(frozen=True, repr=False)
class ConceptClouds(Record):
    """Points, concepts in order, and the concept each of them is an instance of.

    A concept is a cloud about its centre, which spreads in so many `dimensions`.

    Example
    -------
    >>> data = six_gaussians(100)
    >>> data.x.shape, data.concept.bincount().tolist()
    (torch.Size([600, 2]), [100, 100, 100, 100, 100, 100])
    """

    x: Float[Tensor, "n d_in"]
    concept: Int[Tensor, " n"]
    centres: Float[Tensor, "concepts d_in"]
    dimensions: tuple[int, ...]

    shared = ("centres", "dimensions")


@checked
def six_gaussians(n: Count, seed: Seed = 0) -> ConceptClouds:
    """Draw six round clouds of n points in a plane, every other one nearer the middle.

    At angles 60°·i and radii 1.5 (concepts 0, 2, 4) and 0.5 (1, 3, 5), with standard deviation 0.15. The
    outer three can be cut off by a straight line each, the inner three cannot.

    Source
    ------
    "Projecting Assumptions", arXiv 2503.01822 (Sai-Sumedh/SaeConceptDuality-SpaDE,
    syntheticdatasets/createdata2dgauss.ipynb).

    Example
    -------
    >>> six_gaussians(10).centres.norm(dim=1).round(decimals=3).tolist()
    [1.5, 0.5, 1.5, 0.5, 1.5, 0.5]
    """
    generator = torch.Generator().manual_seed(seed)
    angles = torch.arange(6) * (math.pi / 3)
    radii = 0.5 * torch.tensor([3.0, 1.0]).repeat(3)
    centres = radii[:, None] * torch.stack([angles.cos(), angles.sin()], dim=1)
    spread = math.sqrt(2**-4.5 / 2 + FLOOR)
    return _clouds(n, centres, torch.full((6, 2), spread), (2,) * 6, generator)


@checked
def uneven_dimensions(
    n: Count,
    seed: Seed = 0,
    *,
    dimensions: Sequence[int] = (6, 14, 30, 62, 126),
    d_in: Count = 128,
) -> ConceptClouds:
    """Draw clouds of one total variance, spread over more and more directions.

    Cloud i has variance 1 / (50 m_i) along each of the first m_i axes, about a centre uniform in
    [0, 300 / (50 · 128)] along every axis. A fixed number of atoms per input is too many for the first
    cloud and too few for the last.

    Parameters
    ----------
    n, dimensions
        Points of each cloud, and the directions m_i ≤ d_in it spreads in.

    Source
    ------
    "Projecting Assumptions", arXiv 2503.01822 (Sai-Sumedh/SaeConceptDuality-SpaDE,
    syntheticdatasets/createdata_heterogeneity.ipynb).

    Example
    -------
    >>> data = uneven_dimensions(500)
    >>> last = data.x[data.concept == 4]
    >>> round(float(last.var(dim=0).sum()), 3)
    0.02
    """
    sizes = tuple(check_count(m, name="dimensions") for m in dimensions)
    if not sizes or max(sizes) > d_in:
        raise ValueError(
            f"`dimensions` must be numbers between 1 and d_in={d_in}, got {tuple(dimensions)}. Use a "
            "wider space."
        )
    generator = torch.Generator().manual_seed(seed)
    centres = 300 / (50 * 128) * torch.rand(len(sizes), d_in, generator=generator)
    spreads = torch.full((len(sizes), d_in), math.sqrt(FLOOR))
    for cloud, m in enumerate(sizes):
        spreads[cloud, :m] = math.sqrt(1 / (50 * m))
    return _clouds(n, centres, spreads, sizes, generator)


def _clouds(
    n: int,
    centres: Tensor,
    spreads: Tensor,
    dimensions: tuple[int, ...],
    generator: torch.Generator,
) -> ConceptClouds:
    concept = torch.arange(len(centres)).repeat_interleave(n)
    noise = torch.randn(len(concept), centres.shape[1], generator=generator)
    x = centres[concept] + spreads[concept] * noise
    return ConceptClouds(x=x, concept=concept, centres=centres, dimensions=dimensions)


# -------------------------------------------------------------------------------------------------
# Rows from a Minkowski sum of small hulls, from one simplex, or from a Gaussian.

Kind = Literal["minkowski", "simplex", "gaussian"]
CONCENTRATION = {"minkowski": 0.5, "simplex": 0.3}
"""Of the Dirichlet weights: below 1, rows come near the corners, which is what makes them findable."""


@dataclass(frozen=True, repr=False)
class PlantedHulls(Record):
    """Rows and the archetypes that made them.

    Rows include their noise; before it their mean square is 1 per coordinate. `archetypes` are
    the corners of all tiles below each other, none for a Gaussian; `tile_sizes` counts each tile's.

    Example
    -------
    >>> planted = planted_hulls(5, "minkowski")
    >>> planted.x.shape, planted.tile_sizes
    (torch.Size([5, 16]), (4, 4, 4))
    """

    x: Float[Tensor, "n d_in"]
    archetypes: Float[Tensor, "n_archetypes d_in"]
    tile_sizes: tuple[int, ...]
    kind: str

    shared = ("archetypes", "tile_sizes", "kind")


@checked
def planted_hulls(
    n: Count,
    kind: Kind = "minkowski",
    *,
    tile_sizes: tuple[int, ...] = (4, 4, 4),
    n_active: Count | None = None,
    d_in: Count = 16,
    noise: Annotated[float, at_least(0)] = 0.02,
    seed: Seed = 0,
) -> PlantedHulls:
    """Draw rows whose hull is known.

    "minkowski": x = Σ_i α_i A_i, every tile with Dirichlet(0.5) weights of its own. "simplex": one
    tile of Σ K_i corners, Dirichlet(0.3). "gaussian": Σ (K_i − 1) directions, no corners at all.

    Parameters
    ----------
    tile_sizes
        Corners of each tile, ≥ 2.
    n_active
        Tiles that a row of "minkowski" uses, drawn at random; the others are at their centre. None is
        all.
    noise
        Standard deviation of the Gaussian noise per coordinate.

    Example
    -------
    >>> round(float(planted_hulls(2000, "gaussian").x.square().mean()), 1)
    1.0
    """
    sizes = tuple(check_count(size, name="tile_sizes", at_least=2) for size in tile_sizes)
    if not sizes:
        raise ValueError("`tile_sizes` must name at least one tile, got none.")
    check_memory(8 * n * (d_in + sum(sizes)), f"`planted_hulls(n={n})`", "Ask for fewer rows.")
    active = len(sizes) if n_active is None else n_active
    if active > len(sizes) or (kind != "minkowski" and n_active is not None):
        raise ValueError(
            f"`n_active` must be at most the {len(sizes)} tiles, and is for 'minkowski' alone, got "
            f"{n_active} for {kind!r}."
        )
    generator = torch.Generator().manual_seed(seed)
    if kind == "gaussian":
        directions = torch.randn(sum(size - 1 for size in sizes), d_in, generator=generator)
        x = torch.randn(n, len(directions), generator=generator) @ directions
        archetypes = torch.empty(0, d_in)
    else:
        sizes = sizes if kind == "minkowski" else (sum(sizes),)
        archetypes = torch.randn(sum(sizes), d_in, generator=generator)
        weights = [_dirichlet(n, size, CONCENTRATION[kind], generator) for size in sizes]
        if active < len(sizes):
            weights = _gated(weights, active, generator)
        x = torch.cat(weights, dim=1) @ archetypes
    scale = float((x - x.mean(dim=0)).square().mean().sqrt()) if n > 1 else 1.0
    x = x / scale + noise * torch.randn(n, d_in, generator=generator)
    return PlantedHulls(x=x, archetypes=archetypes / scale, tile_sizes=sizes, kind=kind)


def _gated(weights: list[Tensor], n: int, generator: torch.Generator) -> list[Tensor]:
    """Equal weights, which put a tile at its centre, in all but n random tiles of each row."""
    order = torch.rand(len(weights[0]), len(weights), generator=generator).argsort(dim=1)
    on = (order < n)[:, :, None]
    return [torch.where(on[:, i], w, 1 / w.shape[1]) for i, w in enumerate(weights)]


def _dirichlet(n: int, size: int, concentration: float, generator: torch.Generator) -> Tensor:
    import numpy as np

    # torch has no public Dirichlet with a generator of its own.
    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    drawn = np.random.default_rng(seed).dirichlet([concentration] * size, n)
    return torch.from_numpy(drawn).float()
