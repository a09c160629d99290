"""Spatial autocorrelation: Moran's I by its definition, planted regions, luck, and places that are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sae_nb.corpora import Documents
from sae_nb_studies.uses import spatial_autocorrelation
from tests.studies.uses.planting import documents_of


def planted(n: int = 60, seed: int = 0) -> tuple[Documents, np.ndarray, np.ndarray]:
    """Places anywhere; atom 0 fires in the north, atom 1 anywhere, atom 2 everywhere alike."""
    rng = np.random.default_rng(seed)
    latitude, longitude = rng.uniform(-60, 60, n), rng.uniform(-180, 180, n)
    x = torch.zeros(n, 5)
    x[:, 0] = torch.from_numpy((latitude > 0) * 1.0)
    x[:, 1] = torch.from_numpy(rng.random(n) * (rng.random(n) < 0.5))
    x[:, 2] = 1.0
    x[:4, 3] = 1.0
    x[:, 4] = torch.from_numpy(np.maximum(rng.normal(size=n), 0))
    return documents_of(x), latitude, longitude


def by_definition(x: np.ndarray, latitude: np.ndarray, longitude: np.ndarray, k: int) -> float:
    a, b = np.radians(latitude), np.radians(longitude)
    apart = (
        np.sin((a[:, None] - a) / 2) ** 2
        + np.cos(a[:, None]) * np.cos(a) * np.sin((b[:, None] - b) / 2) ** 2
    )
    np.fill_diagonal(apart, np.inf)
    weights = np.zeros_like(apart)
    for i, row in enumerate(apart):
        weights[i, np.argsort(row)[:k]] = 1 / k
    left = x - x.mean()
    return float(left @ weights @ left / (left @ left))


def test_it_is_morans_i_by_its_definition() -> None:
    """Of every atom, from dense codes and all pairs; one that is everywhere alike has none."""
    docs, latitude, longitude = planted()
    found = spatial_autocorrelation(docs, latitude, longitude, n_neighbours=5, min_count=1)
    dense = docs.matrix.toarray().astype(np.float64)
    for row in found.table.itertuples():
        if row.atom == 2:
            assert row.moran == 0.0
            continue
        expected = by_definition(dense[:, row.atom], latitude, longitude, 5)
        assert row.moran == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_the_region_is_found_and_the_rest_is_luck() -> None:
    docs, latitude, longitude = planted()
    found = spatial_autocorrelation(docs, latitude, longitude)
    first = found.table.iloc[0]
    assert (first.atom, first.p) == (0, pytest.approx(1 / 200))
    assert first.moran > 0.6 > np.quantile(found.luck, 0.95)
    assert found.table.set_index("atom").p[4] > 0.05
    assert 3 not in set(found.table.atom)  # too few documents


@pytest.mark.slow
def test_components_and_neurons_stand_beside() -> None:
    docs, latitude, longitude = planted()
    found = spatial_autocorrelation(docs, latitude, longitude)
    neurons = found.simpler[found.simpler.method == "neuron"].set_index("number")
    assert neurons.moran[0] == pytest.approx(found.table.moran.iloc[0], abs=1e-5)
    assert set(found.simpler.method) == {"component", "neuron"}
