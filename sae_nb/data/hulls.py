"""Rows from a Minkowski sum of small hulls, from one simplex, or from a Gaussian: who can tell them apart?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_count
from sae_nb.data.records import Record

Kind = Literal["minkowski", "simplex", "gaussian"]
CONCENTRATION = {"minkowski": 0.5, "simplex": 0.3}
"""Of the Dirichlet weights: below 1, rows come near the corners, which is what makes them findable."""


@dataclass(frozen=True, repr=False)
class PlantedHulls(Record):
    """Rows and the archetypes that made them.

    Parameters
    ----------
    x
        Rows, noise included, with mean square 1 per coordinate before noise.
    archetypes
        Corners of all tiles below each other; empty for a Gaussian.
    tile_sizes
        Corners of each tile.
    kind
        "minkowski", "simplex" or "gaussian".

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


def planted_hulls(
    n: int,
    kind: Kind = "minkowski",
    *,
    tile_sizes: tuple[int, ...] = (4, 4, 4),
    n_active: int | None = None,
    d_in: int = 16,
    noise: float = 0.02,
    seed: int = 0,
) -> PlantedHulls:
    """Draw rows whose hull is known.

    "minkowski": x = Σ_i α_i A_i, every tile with Dirichlet(0.5) weights of its own. "simplex": one
    tile of Σ K_i corners, Dirichlet(0.3). "gaussian": Σ (K_i − 1) directions, no corners at all.

    Parameters
    ----------
    n
        Rows.
    kind
        Which.
    tile_sizes
        Corners of each tile, ≥ 2.
    n_active
        Tiles that a row of "minkowski" uses, drawn at random; the others stand at their centre. None is
        all.
    d_in
        Width.
    noise
        Standard deviation of the Gaussian noise per coordinate.
    seed
        Of every draw.

    Raises
    ------
    TypeError, ValueError
        If a size is out of range or the kind unknown.

    Example
    -------
    >>> round(float(planted_hulls(2000, "gaussian").x.square().mean()), 1)
    1.0
    """
    n, d_in = check_count(n, name="n"), check_count(d_in, name="d_in")
    sizes = tuple(check_count(size, name="tile_sizes", at_least=2) for size in tile_sizes)
    if kind not in get_args(Kind):
        raise ValueError(f"`kind` must be one of {', '.join(get_args(Kind))}, got {kind!r}.")
    if not noise >= 0:
        raise ValueError(f"`noise` must be at least 0, got {noise}.")
    active = len(sizes) if n_active is None else check_count(n_active, name="n_active")
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
