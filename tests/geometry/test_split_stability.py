"""Halves of the coordinates agree where a geometry is shared, and only there (E7 of the method notes)."""

from __future__ import annotations

import pytest
import torch

from sae_nb.geometry import feature_split_stability


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_independent_coordinates_share_no_geometry() -> None:
    """300 Gaussian rows of width 256."""
    assert abs(feature_split_stability(draws(300, 256), n_splits=8)) < 0.05


def test_a_signal_of_low_rank_is_in_every_half() -> None:
    """Rank 3 with noise, ratio 10."""
    signal = draws(300, 3) @ draws(3, 256, seed=1)
    noise = draws(300, 256, seed=2) * signal.std() / 10**0.5
    assert feature_split_stability(signal + noise, n_splits=8) > 0.9


def test_scale_and_order_do_not_count() -> None:
    """Cosines of rows, ranks of distances."""
    x = draws(60, 3) @ draws(3, 40, seed=1) + 0.1 * draws(60, 40, seed=2)
    value = feature_split_stability(x, n_splits=4)
    assert feature_split_stability(7 * x, n_splits=4) == pytest.approx(value)
    assert feature_split_stability(x, n_splits=4) == value


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (draws(2, 8), "three rows"),
        (draws(9, 3), "four coordinates"),
        (torch.zeros(5, 8), "no direction"),
    ],
)
def test_bad_input_is_refused_by_name(x: torch.Tensor, message: str) -> None:
    """Before any work."""
    with pytest.raises(ValueError, match=message):
        feature_split_stability(x)
