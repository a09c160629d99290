"""Figures of the notebooks: what is drawn is what was given, controls and floors included."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sae_nb_lessons.figures import (
    arms_figure,
    bands_figure,
    curve_figure,
    difference_figure,
    likeness_figure,
    moments_figure,
    region_figure,
    time_curves_figure,
    trade_off_figure,
    watched_figure,
)
from sae_nb_lessons.figures._concept_regions import MOST_POINTS
from sae_nb_lessons.figures._depth_studies import (
    evidence_figure,
    layers_figure,
    similarities_figure,
)
from sae_nb_lessons.figures._minkowski import (
    cosines_figure,
    decision_figure,
    elsewhere_figure,
    maps_figure,
)
from sae_nb_lessons.figures._steering_studies import (
    fragility_figure,
    illusion_figure,
    success_figure,
)

import sae_nb as sn
from sae_nb.dynamics import phase_evidence
from sae_nb.figures import theme, to_svg
from sae_nb_studies.evaluation import fragility_battery, illusion_check, steering_curves
from sae_nb_studies.minkowski import dictionary_geometry, geometry_floors
from sae_nb_studies.uses import Moment

# --- notebook 03: likeness and curves -------------------------------------------------------------


def test_every_dictionary_has_a_square_of_cosines() -> None:
    """On axes of its own, one scale for all."""
    turned = np.array([[1.0, 0.0], [0.6, 0.8]])
    figure = likeness_figure({"truth": np.eye(2), "learned": turned})
    first, second = figure.data
    assert np.asarray(first.z) == pytest.approx(np.eye(2))
    assert np.asarray(second.z)[0, 1] == pytest.approx(0.6)
    assert {(t.zmin, t.zmax) for t in figure.data} == {(-1, 1)}
    assert (first.xaxis, second.xaxis) == ("x", "x2")
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]
    assert "learned" in to_svg(figure)


def test_curves_keep_their_points_and_mark_the_training() -> None:
    """One line each; the dotted line only where it was asked for."""
    curves = {"MP": ([1, 2, 4], [0.5, 0.7, 0.9]), "TopK": ([1, 2, 4], [0.4, 0.6, 0.5])}
    figure = curve_figure(curves, x_title="atoms", y_title="R²", trained_at=2)
    assert [trace.name for trace in figure.data] == ["MP", "TopK"]
    assert list(figure.data[1].y) == [0.4, 0.6, 0.5]
    assert figure.layout.shapes[0].x0 == 2
    assert list(figure.layout.xaxis.tickvals) == [1, 2, 4]
    assert not curve_figure(curves, x_title="atoms", y_title="R²").layout.shapes
    assert "atoms" in to_svg(figure)


# --- notebook 04: regions of concepts -------------------------------------------------------------


def test_every_sae_has_a_square_with_all_concepts() -> None:
    """A latent that is never on is drawn as such."""
    ticks, rng = np.linspace(-1, 1, 5), np.random.default_rng(0)
    points, concept = rng.normal(size=(200, 2)), np.arange(200) % 2
    strengths = {"SpaDE": 4 * np.eye(5), "silent": np.zeros((5, 5))}
    figure = region_figure(strengths, ticks, points, concept)
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    assert [float(np.max(trace.z)) for trace in maps] == [1.0, 0.0]
    dots = [trace for trace in figure.data if trace.type == "scatter"]
    assert len(dots) == 4
    assert {len(trace.x) for trace in dots} == {MOST_POINTS}
    assert sum(bool(trace.showlegend) for trace in dots) == 2
    # Points stand in cells of the map: −1 is the first tick, 0 the third.
    assert np.allclose(np.asarray(dots[0].x), (points[concept == 0][:MOST_POINTS, 0] + 1) / 0.5)
    assert list(figure.layout.xaxis.tickvals) == [0, 2, 4]
    assert "silent" in to_svg(figure)


# --- notebook 05: arms ----------------------------------------------------------------------------


def test_arms_stand_in_the_order_of_their_means() -> None:
    """One point per seed, and a line at the floor."""
    arms = {"shared": np.array([0.9, 0.94]), "free": np.array([0.5, 0.6])}
    figure = arms_figure(arms, floor=0.3, x_title="stability")
    bars, points, labels = figure.data
    assert list(bars.y) == ["free", "shared"]
    assert np.allclose(bars.x, [0.55, 0.92])
    assert list(points.x) == [0.5, 0.6, 0.9, 0.94]
    assert list(points.y) == ["free", "free", "shared", "shared"]
    assert list(labels.text) == ["free", "shared"]
    assert figure.layout.shapes[0].x0 == 0.3
    assert "shared" in to_svg(figure)


# --- notebook 07: layers and phases ---------------------------------------------------------------

BLOCKS = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3))


def test_each_reading_has_a_square_and_each_phase_a_box() -> None:
    """Layers are counted from 1, and the boxes run between them."""
    figure = similarities_figure({"raw": BLOCKS, "centred": BLOCKS}, {"centred": (0, 3, 6)})
    raw, centred, boxes = figure.data
    assert (raw.name, centred.name, boxes.xaxis) == ("raw", "centred", "x2")
    assert list(raw.x) == [1, 2, 3, 4, 5, 6]
    corners = [(x, y) for x, y in zip(boxes.x, boxes.y, strict=True) if x is not None]
    assert set(corners) == {
        (a, b) for low in (0.5, 3.5) for a in (low, low + 3) for b in (low, low + 3)
    }
    assert "centred" in to_svg(figure)


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


def test_layers_begin_at_one_and_floors_are_dashed() -> None:
    """Values as given."""
    figure = layers_figure(
        {"k = 2": np.array([0.9, 0.8])}, floors={"nothing": np.array([0.1, -0.2])}, y_title="R²"
    )
    line, floor = figure.data
    assert list(line.x) == [1, 2]
    assert list(line.y) == [0.9, 0.8]
    assert floor.line.dash == "dash"


# --- notebook 08: sums of hulls -------------------------------------------------------------------

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


def test_the_shaded_corner_is_where_both_are_good() -> None:
    """Up to the bounds given."""
    figure = decision_figure(SCORES, nulls={"sum": 1, "Gaussian": 1}, least_r2=0.9, most_off=2)
    box = next(shape for shape in figure.layout.shapes if shape.type == "rect")
    assert np.isclose(box.x1, 0.1)
    assert (box.y0, box.y1) == (0, 2)


def test_cosines_are_shares_and_floors_are_dashed() -> None:
    """All lines sum to 1 over their bins."""
    atoms = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    figure = cosines_figure({"mine": dictionary_geometry(atoms)} | geometry_floors(30, 8))
    assert [trace.name for trace in figure.data] == ["mine", "random", "near-Grassmannian"]
    assert [trace.line.dash for trace in figure.data] == ["solid", "dash", "dot"]
    assert all(np.isclose(np.nansum(trace.y), 1) for trace in figure.data)
    assert "%" in to_svg(figure)


def test_top_atoms_stand_out_and_silent_ones_are_left_out() -> None:
    """Each atom once, with its number."""
    off = np.array([0.1, 0.9, np.nan, 0.95])
    needs = np.array([0.5, -7.0, 1.0, 0.9])
    others, top = elsewhere_figure(off, needs, np.array([3])).data
    assert list(others.customdata) == [0, 1]
    assert list(top.customdata) == [3]
    assert min(others.y) >= -1.1


def test_maps_share_a_scale_and_show_the_object() -> None:
    """The first row is the top of the picture; names are escaped."""
    mask = np.zeros((3, 3), dtype=bool)
    mask[0, 2] = True
    figure = maps_figure({"a<b": np.eye(3), "gone": np.zeros((3, 3))}, mask)
    heat, dots, other, _ = figure.data
    assert (heat.zmax, other.zmax) == (1.0, 1.0)
    assert (list(dots.x), list(dots.y)) == ([2], [0])
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]
    assert "a&lt;b" in figure.layout.xaxis.title.text


# --- notebook 09: time ----------------------------------------------------------------------------


def test_bands_are_the_two_energies_and_the_borders() -> None:
    """Stacked, in the colours of the parts; tokens are data, never markup."""
    energy = np.array([[1.0, 2.0], [3.0, 0.5], [0.0, 4.0]])
    figure = bands_figure(energy, borders=[1, 2], tokens=["a", "<b>", "c"])
    predicted, novel, borders = figure.data
    assert (predicted.marker.color, novel.marker.color) == (theme.PREDICTED, theme.NOVEL)
    assert np.allclose(predicted.y, energy[:, 0])
    assert np.allclose(novel.y, energy[:, 1])
    assert list(borders.x) == [0.5, 0.5, None, 1.5, 1.5, None]
    assert "<b>" not in predicted.text
    assert "novel" in to_svg(figure)


def test_a_null_is_dashed_in_the_colour_of_its_curve() -> None:
    """And the parts keep their own colours."""
    curves = {
        name: ([1, 2], [0.5, 0.4]) for name in ("predicted", "planted", "planted, order lost")
    }
    figure = time_curves_figure(curves, x_title="x", y_title="y")
    assert figure.data[0].line.color == theme.PREDICTED
    assert [trace.line.dash for trace in figure.data] == ["solid", "solid", "dash"]
    assert figure.data[1].line.color == figure.data[2].line.color


def test_squares_stand_side_by_side_with_their_borders() -> None:
    """One heat map and one line each, on axes of their own."""
    matrices = {"one": np.eye(4), "two": -np.eye(4)}
    figure = moments_figure(matrices, borders=[2])
    kinds = [trace.type for trace in figure.data]
    assert kinds == ["heatmap", "scatter", "heatmap", "scatter"]
    assert {trace.xaxis for trace in figure.data} == {"x", "x2"}
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]


# --- notebook 11: measured steering ---------------------------------------------------------------


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
    curves = steering_curves(model, "0", sae, x, 0, 1, n_controls=3, rival=torch.ones(6))
    figure = success_figure(curves)
    assert sum(trace.name == "random directions" for trace in figure.data) == 3
    assert sum(bool(t.showlegend) for t in figure.data if t.name == "random directions") == 1
    assert {"atom", "nearest atom", "untrained SAE's choice"} <= {t.name for t in figure.data}
    assert all(trace.x[0] == trace.y[0] == 0 for trace in figure.data)
    assert "<svg" in to_svg(figure)


def test_fragility_shows_every_cell(parts: tuple[sn.LiveModel, sn.TopK, torch.Tensor]) -> None:
    """One dot per input and variant, and the band."""
    model, sae, x = parts
    found = fragility_battery(model, "0", sae, x, 0, 1.0, 1, variants={"half": lambda v: v / 2})
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


# --- notebook 12: difference ----------------------------------------------------------------------


def test_every_atom_is_in_one_bin() -> None:
    """Ends included; one outline for each crosscoder, two dotted lines."""
    figure = difference_figure({"price": np.array([0.0, 0.02, 0.5, 1.0]), "none": np.full(3, 0.5)})
    price, none = figure.data
    assert sum(price.y) == 2 * 4
    assert sum(none.y) == 2 * 3
    assert list(price.y[:2]) == [2, 2]
    assert price.y[-1] == 1
    assert list(price.x[:3]) == [0, 0.05, 0.05]
    assert [shape.x0 for shape in figure.layout.shapes] == [0.1, 0.9]
    assert "price" in to_svg(figure)


# --- notebook 13: trade-offs ----------------------------------------------------------------------


def test_points_and_lines() -> None:
    """A point without a number is left out; each has its colour; a line has its name."""
    points = {"TopK": (0.6, 0.9), "ReLU": (0.8, 0.7), "PCA": (math.nan, 0.8)}
    figure = trade_off_figure(points, {"PCA": 0.8}, x_title="stability", y_title="R²")
    assert [mark.name for mark in figure.data] == ["TopK", "ReLU"]
    assert [tuple(mark.y) for mark in figure.data] == [(0.9,), (0.7,)]
    assert len({mark.marker.color for mark in figure.data}) == 2
    assert figure.layout.shapes[0].y0 == 0.8
    assert figure.layout.annotations[0].text == "PCA"
    assert "TopK" in to_svg(figure)


# --- notebook 15: atoms watched -------------------------------------------------------------------


def test_strips() -> None:
    """Strengths as they were yielded, without a first one that is not known, and names of both axes."""
    moments = [
        Moment(position=i, token_id=i, token=token, new=i > 1, strengths=np.array(strengths))
        for i, (token, strengths) in enumerate(
            [("The", [np.nan, np.nan]), (" list", [0.0, 2.0]), (" of", [1.0, 3.0])]
        )
    ]
    figure = watched_figure(moments, {7: "rises", 9: "another"})
    assert np.array_equal(figure.data[0].z, [[0, 1], [2, 3]])
    assert figure.data[0].zmax == 3
    assert list(figure.layout.yaxis.ticktext) == ["rises (7)", "another (9)"]
    assert figure.layout.shapes[0].x0 == 0.5
    assert "rises" in to_svg(figure)
