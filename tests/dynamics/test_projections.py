"""Endpoint axes: planted planes are found, the sphere stays a sphere, new paths land where they belong."""

from __future__ import annotations

import pytest
import torch

from sae_nb.dynamics import endpoint_projection


def paths(n: int = 50, d: int = 10) -> torch.Tensor:
    """Paths that end in the plane of the first two coordinates, at unit length, and start anywhere."""
    generator = torch.Generator().manual_seed(0)
    angle = 6.28 * torch.rand(n, generator=generator)
    ends = torch.zeros(n, d)
    ends[:, 0], ends[:, 1] = angle.cos(), angle.sin()
    starts = torch.randn(n, d, generator=generator)
    return torch.stack([starts, 0.5 * (starts + ends), ends], dim=1)[:, :, None]


@pytest.mark.parametrize("kind", ["pca", "sphere"])
def test_the_plane_of_the_end_points_is_found(kind: str) -> None:
    """Two axes keep all of the last layer and little of the first."""
    found = endpoint_projection(paths(), n_components=2, kind=kind)
    assert float(found.axes[:, 2:].abs().max()) < 1e-5
    assert float(found.explained.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(found.kept[-1]) == pytest.approx(1.0, abs=1e-5)
    assert float(found.kept[0]) < 0.4


def test_the_sphere_has_radius_one() -> None:
    """At every layer, whatever is lost on the way."""
    found = endpoint_projection(paths(), kind="sphere")
    assert torch.allclose(found.coordinates.norm(dim=-1), torch.ones(50, 3), atol=1e-5)


@pytest.mark.parametrize("kind", ["pca", "sphere"])
def test_states_put_on_the_axes_again_are_where_they_were(kind: str) -> None:
    """So a pushed path starts on the path it was pushed from."""
    states = paths()
    found = endpoint_projection(states, kind=kind)
    assert torch.allclose(found.project(7 * states[:, :, 0]), found.coordinates, atol=1e-5)


def test_turning_everything_changes_no_coordinate() -> None:
    """Axes turn along; their signs are fixed by the farthest end point."""
    states = paths(d=4) + 0.3 * torch.randn(50, 3, 1, 4, generator=torch.Generator().manual_seed(2))
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(3)))[0]
    before, after = (endpoint_projection(x).coordinates for x in (states, states @ turn))
    assert torch.allclose(before, after, atol=1e-3)


def test_impossible_pictures_are_refused() -> None:
    """No such token, more axes than dimensions."""
    for wrong in ({"token": 1}, {"n_components": 11}):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must"):
            endpoint_projection(paths(), **wrong)
