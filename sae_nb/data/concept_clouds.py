"""Concepts as clouds of points: how far apart they are, and how many dimensions each one has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_count
from sae_nb.data.records import Record

FLOOR = 1e-6
"""Variance in directions a concept does not have, so that nothing is exactly flat."""


@dataclass(frozen=True, repr=False)
class ConceptClouds(Record):
    """Points, and the concept each of them is an instance of.

    Parameters
    ----------
    x
        The points an SAE is given, concepts in order.
    concept
        Which cloud each point is from.
    centres
        Where the clouds lie.
    dimensions
        In how many directions each cloud spreads.

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

    def __len__(self) -> int:
        return int(self.x.shape[0])


def six_gaussians(n: int, seed: int = 0) -> ConceptClouds:
    """Six round clouds in a plane, every other one nearer the middle.

    At angles 60°·i and radii 1.5 and 0.5 in turn, with standard deviation 0.15. The outer three can be
    cut off by a straight line each, the inner three cannot.

    Parameters
    ----------
    n
        Points per cloud.
    seed
        ≥ 0.

    Returns
    -------
    ConceptClouds
        ``.x``, ``.concept``: 0, 2, 4 are outer, 1, 3, 5 inner.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Source
    ------
    "Projecting Assumptions", arXiv 2503.01822 (Sai-Sumedh/SaeConceptDuality-SpaDE,
    syntheticdatasets/createdata2dgauss.ipynb).

    Example
    -------
    >>> six_gaussians(10).centres.norm(dim=1).round(decimals=3).tolist()
    [1.5, 0.5, 1.5, 0.5, 1.5, 0.5]
    """
    check_count(n, name="n")
    check_count(seed, name="seed", at_least=0)
    generator = torch.Generator().manual_seed(seed)
    angles = torch.arange(6) * (math.pi / 3)
    radii = 0.5 * torch.tensor([3.0, 1.0]).repeat(3)
    centres = radii[:, None] * torch.stack([angles.cos(), angles.sin()], dim=1)
    spread = math.sqrt(2**-4.5 / 2 + FLOOR)
    return _clouds(n, centres, torch.full((6, 2), spread), (2,) * 6, generator)


def uneven_dimensions(
    n: int,
    seed: int = 0,
    *,
    dimensions: Sequence[int] = (6, 14, 30, 62, 126),
    d_in: int = 128,
) -> ConceptClouds:
    """Clouds of one total variance, spread over more and more directions.

    Cloud i has variance 1 / (50 m_i) along each of the first m_i axes, about a centre uniform in
    [0, 300 / (50 · 128)] along every axis. A fixed number of atoms per input is too many for the first
    cloud and too few for the last.

    Parameters
    ----------
    n
        Points per cloud.
    seed
        ≥ 0.
    dimensions
        m_i, directions of each cloud, each ≤ d_in.
    d_in
        Width of a point.

    Returns
    -------
    ConceptClouds
        ``.x``, ``.concept``, ``.dimensions``.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

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
    check_count(n, name="n")
    check_count(seed, name="seed", at_least=0)
    check_count(d_in, name="d_in")
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
