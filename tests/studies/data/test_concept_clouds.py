"""Clouds are where they are said to be, as wide and as flat as they are said to be."""

from __future__ import annotations

import math

import pytest
import torch

from sae_nb_studies.data import six_gaussians, uneven_dimensions


def test_six_gaussians_lie_on_two_rings() -> None:
    """Angles 60° apart, radii 1.5 and 0.5 in turn, standard deviation 0.149 in both directions."""
    data = six_gaussians(4000)
    for i in range(6):
        cloud = data.x[data.concept == i]
        radius, angle = (1.5, 0.5)[i % 2], math.pi / 3 * i
        centre = radius * torch.tensor([math.cos(angle), math.sin(angle)])
        assert torch.allclose(cloud.mean(dim=0), centre, atol=0.02)
        assert torch.allclose(cloud.var(dim=0), torch.full((2,), 2**-4.5 / 2), rtol=0.15)
    assert data.dimensions == (2,) * 6


def test_the_inner_clouds_cannot_be_cut_off_by_a_line() -> None:
    """No direction ranks an inner cloud above the others; for an outer one there is one."""
    data = six_gaussians(500)
    angles = torch.linspace(0, 2 * math.pi, 181)
    directions = torch.stack([angles.cos(), angles.sin()])
    scores = data.x @ directions
    best = []
    for i in range(6):
        inside = data.concept == i
        low = scores[inside].quantile(0.05, dim=0)
        best.append(float((scores[~inside] > low).float().mean(dim=0).min()))
    assert max(best[0::2]) < 0.01
    assert min(best[1::2]) > 0.1


def test_uneven_clouds_have_one_variance_and_many_dimensions() -> None:
    """Total variance 1/50 each, spread evenly over the first m axes and nearly none elsewhere."""
    data = uneven_dimensions(3000)
    for i, m in enumerate(data.dimensions):
        variance = data.x[data.concept == i].var(dim=0)
        assert float(variance.sum()) == pytest.approx(1 / 50, rel=0.05)
        assert torch.allclose(variance[:m], torch.full((m,), 1 / (50 * m)), rtol=0.2)
        assert float(variance[m:].max()) < 1.3e-6
    assert float(data.centres.min()) >= 0
    assert float(data.centres.max()) <= 300 / 6400
