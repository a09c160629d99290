"""Figures of the notebooks: what is drawn is what was given, controls and floors included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sae_nb_lessons.figures import (
    decision_figure,
    difference_figure,
    elsewhere_figure,
    evidence_figure,
    illusion_figure,
)

import sae_nb as sn
from sae_nb.dynamics import phase_evidence
from sae_nb.figures import to_svg
from sae_nb_studies.evaluation import illusion_check

# --- notebook 15: layers and phases ---------------------------------------------------------------

BLOCKS = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3))


def test_evidence_stands_beside_bands_without_phases() -> None:
    """Gain on the left, step at the cuts on the right, nine tenths of the draws as bars."""
    found = [phase_evidence(BLOCKS, k, draws=20) for k in (2, 3)]
    gain_bars, gains, step_bars, steps = evidence_figure({"planted": found}).data
    assert gains.y[0] == pytest.approx(1)
    assert steps.y[0] == pytest.approx(found[0].phases.contrast)
    assert steps.xaxis == "x2"
    assert gain_bars.y[:2] == pytest.approx(np.percentile(found[0].banded_gain, (5, 95)))
    assert step_bars.y[0] < steps.y[0]
    figure = evidence_figure({"of 2 and 3": found, "of 3": found[1:]})
    assert list(figure.layout.xaxis.tickvals) == [2, 3]


# --- notebook 16: sums of hulls -------------------------------------------------------------------

SCORES = {
    "sum": {"block": (np.array([0.999, 0.998]), np.array([1.4, 1.5]))},
    "Gaussian": {"block": (np.array([0.9, 1.0]), np.array([4.0, 4.2]))},
}


def test_every_seed_stands_in_the_square_of_its_data() -> None:
    """A perfect R² stays on the logarithmic axis; the null is a line in its own square."""
    figure = decision_figure(SCORES, nulls={"sum": 3.9, "Gaussian": 4.1})
    first, second = figure.data
    assert np.allclose(first.x, [0.001, 0.002])
    assert list(second.y) == [4.0, 4.2]
    assert (second.x > 0).all()
    assert (first.xaxis, second.xaxis) == ("x", "x2")
    lines = [shape for shape in figure.layout.shapes if shape.type == "line"]
    assert [(line.y0, line.xref) for line in lines] == [(3.9, "x"), (4.1, "x2")]
    assert "Gaussian: 1 − R²" in to_svg(figure)


def test_top_atoms_stand_out_and_silent_ones_are_left_out() -> None:
    off = np.array([0.1, 0.9, np.nan, 0.95])
    needs = np.array([0.5, -7.0, 1.0, 0.9])
    others, top = elsewhere_figure(off, needs, np.array([3])).data
    assert list(others.customdata) == [0, 1]
    assert list(top.customdata) == [3]
    assert min(others.y) >= -1.1


# --- notebook 05: measured steering ---------------------------------------------------------------


@pytest.fixture(scope="module")
def parts() -> tuple[sn.LiveModel, sn.TopK, torch.Tensor]:
    head = torch.nn.Linear(6, 3)
    model = sn.wrap(torch.nn.Sequential(torch.nn.Identity(), head), class_names=["a", "b", "c"])
    generator = torch.Generator().manual_seed(0)
    sae = sn.TopK(d_in=6, n_atoms=12, k=3, generator=generator).eval()
    return model, sae, torch.randn(6, 6, generator=generator)


def test_bars_of_the_illusion_check_are_its_numbers(
    parts: tuple[sn.LiveModel, sn.TopK, torch.Tensor],
) -> None:
    model, sae, x = parts
    check = illusion_check(model, "0", sae, 0, 3 * x, -3 * x, n_controls=4)
    figure = illusion_figure([check], ["atom"])
    bars, line = figure.data
    assert list(bars.y) == [check[k].value for k in ("v", "v_row", "v_null", "full", "pca")]
    assert line.y[0] == check["v"].control
    assert "<svg" in to_svg(figure)


# --- notebook 19: difference ----------------------------------------------------------------------


def test_every_atom_is_in_one_bin() -> None:
    figure = difference_figure({"price": np.array([0.0, 0.02, 0.5, 1.0]), "none": np.full(3, 0.5)})
    price, none = figure.data
    assert sum(price.y) == 2 * 4
    assert sum(none.y) == 2 * 3
    assert list(price.y[:2]) == [2, 2]
    assert price.y[-1] == 1
    assert list(price.x[:3]) == [0, 0.05, 0.05]
    assert [shape.x0 for shape in figure.layout.shapes] == [0.1, 0.9]
    assert "price" in to_svg(figure)
