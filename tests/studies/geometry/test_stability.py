"""Halves of the coordinates agree where a geometry is shared; distances follow labels and drift where they do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from sae_nb_studies.geometry import GeometricStability, geometric_stability


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def measured(x: torch.Tensor, *args: Any, **more: Any) -> GeometricStability:
    return geometric_stability(x, *args, n_splits=8, **more)


SIGNAL = draws(120, 3) @ draws(3, 64, seed=1)
LABELS = torch.arange(120) % 4
CLUSTERS = 4 * draws(4, 64, seed=3)[LABELS] + draws(120, 64, seed=2)


@pytest.mark.slow
def test_independent_coordinates_share_no_geometry() -> None:
    assert abs(measured(draws(300, 256)).feature_split) < 0.05


@pytest.mark.slow
def test_a_signal_of_low_rank_is_in_every_half() -> None:
    """Rank 3 with noise, ratio 10; and rows of one half shuffled share nothing with the other."""
    signal = draws(300, 3) @ draws(3, 256, seed=1)
    found = measured(signal + draws(300, 256, seed=2) * signal.std() / 10**0.5)
    assert found.feature_split > 0.9
    assert abs(found.split_floor) < 0.05


def test_a_rotation_changes_the_split_and_no_distance() -> None:
    """Halves are halves of axes: what lies on a few axes is in one half; the drift of a rotation is none."""
    few = torch.cat([10 * draws(120, 1), 10 * draws(120, 1, seed=5), draws(120, 62, seed=4)], dim=1)
    turned = few @ torch.linalg.qr(draws(64, 64, seed=6)).Q
    assert measured(few).feature_split < measured(turned).feature_split - 0.2
    assert measured(few, other=turned).drift == pytest.approx(0, abs=1e-6)


def test_distances_follow_the_labels_of_clusters_alone() -> None:
    found = measured(CLUSTERS, LABELS)
    pairs = pdist(LABELS[:, None].numpy(), lambda a, b: float(a[0] != b[0]))
    expected = spearmanr(pdist(CLUSTERS.double().numpy(), "correlation"), pairs).statistic
    assert found.supervised == pytest.approx(expected, abs=1e-6)
    assert found.supervised_floor == pytest.approx(0, abs=0.02)
    other = measured(SIGNAL, LABELS)
    assert other.supervised is not None
    assert abs(other.supervised) < 0.05


def test_variance_between_classes_has_its_known_share() -> None:
    """Means of 16 per coordinate over noise of 1; shuffled, (classes − 1) / (n − 1)."""
    found = measured(CLUSTERS, LABELS)
    x = CLUSTERS.double()
    means = torch.stack([x[i == LABELS].mean(dim=0) for i in range(4)])[LABELS]
    between = (means - x.mean(dim=0)).square().sum() / (x - x.mean(dim=0)).square().sum()
    assert found.variance_ratio == pytest.approx(float(between))
    assert found.variance_ratio_floor == pytest.approx(3 / 119, abs=0.01)


def test_drift_grows_with_noise_up_to_that_of_shuffled_rows() -> None:
    drifts = [
        measured(SIGNAL, other=SIGNAL + noise * draws(120, 64, seed=9)).drift
        for noise in (0.0, 0.5, 2.0, 50.0)
    ]
    assert drifts[0] == pytest.approx(0, abs=1e-9)
    assert drifts == sorted(drifts)  # type: ignore[type-var]
    assert drifts[-1] == pytest.approx(1, abs=0.1)
    wide = measured(SIGNAL, other=torch.cat([SIGNAL, SIGNAL], dim=1))
    assert wide.drift == pytest.approx(0, abs=1e-6)
    assert wide.drift_floor == pytest.approx(1, abs=0.1)
