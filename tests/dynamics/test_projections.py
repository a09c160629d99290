"""Endpoint axes: planted planes are found, the sphere stays a sphere, new paths land where they belong."""

from __future__ import annotations

import pytest
import torch

from sae_nb.dynamics.paths._projection import fit_endpoints


def paths(n: int = 50, d: int = 10) -> torch.Tensor:
    """Paths that end in the plane of the first two coordinates, at unit length, and start anywhere."""
    generator = torch.Generator().manual_seed(0)
    angle = 6.28 * torch.rand(n, generator=generator)
    ends = torch.zeros(n, d)
    ends[:, 0], ends[:, 1] = angle.cos(), angle.sin()
    starts = torch.randn(n, d, generator=generator)
    return torch.stack([starts, 0.5 * (starts + ends), ends], dim=1)


@pytest.mark.parametrize("kind", ["pca", "sphere"])
def test_the_plane_of_the_end_points_is_found(kind: str) -> None:
    found = fit_endpoints(paths(), 2, kind)
    assert float(found.axes[:, 2:].abs().max()) < 1e-5
    assert float(found.explained.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(found.kept[-1]) == pytest.approx(1.0, abs=1e-5)
    assert float(found.kept[0]) < 0.4


def test_the_sphere_has_radius_one() -> None:
    found = fit_endpoints(paths(), 3, "sphere")
    assert torch.allclose(found.coordinates.norm(dim=-1), torch.ones(50, 3), atol=1e-5)


@pytest.mark.parametrize("kind", ["pca", "sphere"])
def test_states_put_on_the_axes_again_are_where_they_were(kind: str) -> None:
    states = paths()
    found = fit_endpoints(states, 3, kind)
    assert torch.allclose(found.project(7 * states), found.coordinates, atol=1e-5)
