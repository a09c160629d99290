"""Histograms count everything once, and the logarithmic axis loses nobody at its ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sae_nb.atoms._atom import strength_histogram
from sae_nb.atoms._firings import Firings, frequency_histogram
from sae_nb.codes import SparseCodes


@pytest.mark.parametrize("n_rows", [1, 2, 3, 7, 100, 1234])
def test_every_living_atom_is_in_one_bin(n_rows: int) -> None:
    """Also one that fires once, and one that fires always."""
    dense = torch.rand(n_rows, 50, generator=torch.Generator().manual_seed(n_rows))
    dense = dense * (dense > torch.linspace(0, 1, 50))
    dense[:, 0], dense[0, 1], dense[1:, 1] = 1.0, 1.0, 0.0
    firings = Firings(SparseCodes.from_dense(dense))
    found = frequency_histogram(firings)
    assert int(found.counts.sum()) + found.marks["never"] == 50
    assert found.counts[-1] >= 1
    assert len(found.edges) == len(found.counts) + 1


@pytest.mark.parametrize(("n_rows", "decades", "bins"), [(100, 2, 12), (1, np.log10(2), 2)])
def test_six_bins_a_decade_from_one_row_to_all(n_rows: int, decades: float, bins: int) -> None:
    """Of a single row from a half, since one of one is all."""
    edges = frequency_histogram(Firings(SparseCodes.from_dense(torch.ones(n_rows, 2)))).edges
    np.testing.assert_allclose(edges, np.logspace(-decades, 0, bins + 1), rtol=1e-6)


def test_negative_strengths_are_counted_from_the_lowest() -> None:
    found = strength_histogram(np.array([-4.0, -1.0, 2.0]))
    assert (found.edges[0], found.edges[-1]) == (-4, 2)
    assert found.marks["top"] == 4
    only = strength_histogram(np.array([-4.0, -1.0]))
    assert (only.edges[0], only.edges[-1]) == (-4, 0)
    assert strength_histogram(np.zeros(0)).edges[-1] == 1


def test_strengths_start_at_zero_and_name_their_bands() -> None:
    """Quantiles of what fires; an atom that never fires has an empty picture."""
    strengths = np.linspace(1, 101, 101).astype(np.float32)
    found = strength_histogram(strengths)
    assert found.edges[0] == 0
    assert found.counts.sum() == 101
    assert found.marks == pytest.approx({"50 %": 51.0, "99 %": 100.0, "top": 101.0})
    assert strength_histogram(np.zeros(0, np.float32)).counts.sum() == 0
