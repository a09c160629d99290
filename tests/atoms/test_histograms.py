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


def test_bins_are_equally_wide_on_the_logarithmic_axis() -> None:
    """From one row in all to every row."""
    codes = SparseCodes.from_dense(torch.eye(1000))
    edges = np.log10(frequency_histogram(Firings(codes)).edges)
    np.testing.assert_allclose(np.diff(edges), np.diff(edges)[0], rtol=1e-5)
    assert edges[0] == pytest.approx(-3, abs=1e-6)
    assert edges[-1] == pytest.approx(0, abs=1e-6)


def test_a_frequency_is_counted_where_it_is_shown() -> None:
    """Half of the atoms fire on every tenth row: they are all in the bin around 0.1."""
    dense = torch.zeros(100, 8)
    dense[:10, :4] = 1.0
    dense[:, 4:] = 2.0
    found = frequency_histogram(Firings(SparseCodes.from_dense(dense)))
    place = np.searchsorted(found.edges, 0.1 * (1 + 1e-6)) - 1
    assert found.counts[place] + found.counts[place - 1] == 4
    assert found.counts[-1] == 4


def test_strengths_start_at_zero_and_name_their_bands() -> None:
    """Quantiles of what fires; an atom that never fires has an empty picture."""
    strengths = np.linspace(1, 101, 101).astype(np.float32)
    found = strength_histogram(strengths)
    assert found.edges[0] == 0
    assert found.counts.sum() == 101
    assert found.marks == pytest.approx({"50 %": 51.0, "99 %": 100.0, "top": 101.0})
    assert strength_histogram(np.zeros(0, np.float32)).counts.sum() == 0
