"""Paths through depth in two or three dimensions: axes fitted to where they end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import in_own_modes
from sae_nb.dynamics.paths._trajectory import directions_of
from sae_nb.geometry._layout import signs_of_axes

Kind = Literal["pca", "sphere"]


@dataclass(frozen=True, eq=False)
class EndpointProjection:
    """Axes fitted to directions at the last layer; anything of that width can be put on them."""

    kind: Kind
    """"pca": centred, flat. "sphere": through the origin, on the unit sphere or circle."""

    axes: Float[Tensor, "components d"]
    """Orthonormal rows, the most telling first."""

    centre: Float[Tensor, " d"]
    """Subtracted first; zero for the sphere."""

    coordinates: Float[Tensor, "n layers components"]
    """The paths they were made for."""

    explained: Float[Tensor, " components"]
    """Share of the end points' variance (sphere: of their squared length) along each axis."""

    kept: Float[Tensor, " layers"]
    """The same share over all axes, at every layer: where it is small, the image shows little."""

    @in_own_modes
    def project(self, states: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows components"]:
        """Put states on these axes: perturbed ones, a roll-out, other tokens."""
        flat = (directions_of(states) - self.centre) @ self.axes.T
        return directions_of(flat) if self.kind == "sphere" else flat


def fit_endpoints(
    paths: Float[Tensor, "n layers d"], n_components: int, kind: Kind
) -> EndpointProjection:
    """Return principal axes of the last states of paths, and the paths on them.

    "pca": leading directions of û_L minus its mean. "sphere": leading directions of û_L itself; what is
    left of û_l on them is scaled to length 1 again, so that paths lie on a sphere (circle).

    Source
    ------
    Inferred; arXiv 2512.19941 shows such images.

    Example
    -------
    >>> found = fit_endpoints(torch.randn(8, 4, 5, generator=torch.Generator().manual_seed(0)), 2, "pca")
    >>> found.coordinates.shape, bool(found.explained.sum() <= 1)
    (torch.Size([8, 4, 2]), True)
    """
    directions = directions_of(paths)
    ends = directions[:, -1]
    centre = ends.mean(dim=0) if kind == "pca" else torch.zeros(paths.shape[-1])
    energies, vectors = torch.linalg.eigh(((ends - centre).T @ (ends - centre)).double())
    axes = vectors.flip(1)[:, :n_components].T.float()
    # The farthest end point is on each axis's positive side: the same image each time.
    axes = axes * signs_of_axes(ends @ axes.T)[:, None]
    flat = (directions - centre) @ axes.T
    squares = (directions - directions.mean(dim=0) if kind == "pca" else directions).square()
    shown = (flat - flat.mean(dim=0) if kind == "pca" else flat).square()
    return EndpointProjection(
        kind=kind,
        axes=axes,
        centre=centre,
        coordinates=directions_of(flat) if kind == "sphere" else flat,
        explained=(energies.flip(0)[:n_components] / energies.sum().clamp_min(1e-30)).float(),
        kept=shown.sum(dim=(0, 2)) / squares.sum(dim=(0, 2)).clamp_min(1e-30),
    )
