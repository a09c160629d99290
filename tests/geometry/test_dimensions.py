"""All dimensions in one table: each the function of its name, with what it counts and whether rows suffice."""

from __future__ import annotations

import pytest
import torch

from sae_nb.data import planted_manifolds
from sae_nb.geometry import dimensions, participation_ratio, stable_rank, two_nn_dimension


def test_a_swiss_roll_spans_three_directions_and_has_two_dimensions() -> None:
    """Spectra say three, neighbours two."""
    roll = planted_manifolds(2000, shapes=("swiss roll",), n_active=1, d_in=10, noise=0.0).x
    found = dimensions(roll)
    assert found["effective rank"] == pytest.approx(3, abs=0.2)
    for measure in ("two nearest neighbours", "Levina–Bickel"):
        assert found[measure] == pytest.approx(2, abs=0.3)
    assert not found.table["warning"].any()


def test_each_number_is_that_of_its_function() -> None:
    """Centred where the table says so."""
    x = 3 + torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    found = dimensions(x)
    assert found["participation ratio"] == participation_ratio(x)
    assert found["stable rank"] == stable_rank(x)
    assert found["two nearest neighbours"] == pytest.approx(two_nn_dimension(x))
    # The mean of 3 is one direction of squared length, and none of variance.
    assert found["stable rank"] < 1.5 < found["participation ratio"]
    centred = found.table.set_index("measure")["centred"]
    assert centred["participation ratio"]
    assert not centred["stable rank"]


def test_too_few_rows_are_said() -> None:
    """Fifty rows for fifty directions bias a spectrum, and cannot show so many by neighbours."""
    x = torch.randn(50, 50, generator=torch.Generator().manual_seed(0))
    warning = dimensions(x).table.set_index("measure")["warning"]
    assert "50 rows are fewer than 10 per direction" in warning["participation ratio"]
    assert "50 rows can show at most 3.4" in warning["two nearest neighbours"]
    assert "with too few rows" in repr(dimensions(x))


def test_components_hold_nine_tenths_of_the_variance() -> None:
    """Nine equal directions of ten."""
    x = torch.linalg.qr(torch.randn(500, 10, generator=torch.Generator().manual_seed(0))).Q
    assert dimensions(x - x.mean(dim=0))["components for 90%"] in (9, 10)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: dimensions(torch.randn(30, 4)), "at least 40 distinct rows, got 30"),
        (lambda: dimensions(torch.ones(90, 4)), "got 1"),
        (lambda: dimensions(torch.randn(90, 4))["girth"], "one of"),
    ],
)
def test_bad_input_is_refused_by_name(ask: object, message: str) -> None:
    """Before any work."""
    with pytest.raises(ValueError, match=message):
        ask()  # type: ignore[operator]
