"""Figures of measured steering hold what was measured, controls included, and can be drawn without a browser."""

from __future__ import annotations

import pytest
import torch
from sae_nb_lessons.figures._steering_studies import (
    fragility_figure,
    illusion_figure,
    success_figure,
)

import sae_nb as sn
from sae_nb.figures import to_svg
from sae_nb.studies.evaluation import fragility_battery, illusion_check, steering_curves


@pytest.fixture(scope="module")
def parts() -> tuple[sn.LiveModel, sn.TopK, torch.Tensor]:
    """A linear model of three classes."""
    head = torch.nn.Linear(6, 3)
    model = sn.wrap(torch.nn.Sequential(torch.nn.Identity(), head), class_names=["a", "b", "c"])
    generator = torch.Generator().manual_seed(0)
    sae = sn.TopK(d_in=6, n_atoms=12, k=3, generator=generator).eval()
    return model, sae, torch.randn(6, 6, generator=generator)


def test_success_shows_every_control(parts: tuple[sn.LiveModel, sn.TopK, torch.Tensor]) -> None:
    """As many grey lines as random directions, one in the legend; all begin at nothing."""
    model, sae, x = parts
    curves = steering_curves(model, x, "0", sae, 0, 1, n_controls=3, rival=torch.ones(6))
    figure = success_figure(curves)
    assert sum(trace.name == "random directions" for trace in figure.data) == 3
    assert sum(bool(t.showlegend) for t in figure.data if t.name == "random directions") == 1
    assert {"atom", "nearest atom", "untrained SAE's choice"} <= {t.name for t in figure.data}
    assert all(trace.x[0] == trace.y[0] == 0 for trace in figure.data)
    assert "<svg" in to_svg(figure)


def test_fragility_shows_every_cell(parts: tuple[sn.LiveModel, sn.TopK, torch.Tensor]) -> None:
    """One dot per input and variant, and the band."""
    model, sae, x = parts
    found = fragility_battery(model, x, "0", sae, 0, 1.0, 1, variants={"half": lambda v: v / 2})
    figure = fragility_figure(found)
    dots = next(trace for trace in figure.data if trace.name == "one input")
    assert len(dots.x) == found.effects.size == 24
    assert list(figure.layout.xaxis.ticktext) == list(found.variants)
    assert "<svg" in to_svg(figure)


def test_bars_of_the_illusion_check_are_its_numbers(
    parts: tuple[sn.LiveModel, sn.TopK, torch.Tensor],
) -> None:
    """In its order, with the random quantile across."""
    model, sae, x = parts
    check = illusion_check(model, "0", sae, 0, 3 * x, -3 * x, n_controls=4)
    figure = illusion_figure([check], ["atom"])
    bars, line = figure.data
    assert list(bars.y) == [check[k].value for k in ("v", "v_row", "v_null", "full", "pca")]
    assert line.y[0] == check["v"].control
    assert "<svg" in to_svg(figure)
