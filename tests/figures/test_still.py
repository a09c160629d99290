"""Figures without a browser: every mark at the place plotly would put it."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image
from plotly.subplots import make_subplots

from sae_nb.figures import draw_figure, theme, to_png, to_svg
from sae_nb.figures._sum_strips import NAME, sum_of_strips
from sae_nb.figures.shapes import Dot, Label, Picture, Polyline, Rectangle


def of_kind(figure: go.Figure, kind: type) -> list:
    return [stroke for stroke in draw_figure(figure).strokes if isinstance(stroke, kind)]


def test_bars_are_as_high_as_their_values() -> None:
    bars = of_kind(go.Figure(go.Bar(x=[0, 1, 2], y=[1.0, 2.0, 4.0])), Rectangle)
    heights = [bar.height for bar in bars]
    assert heights[1] == pytest.approx(2 * heights[0])
    assert heights[2] == pytest.approx(4 * heights[0])
    assert len({round(bar.y + bar.height, 6) for bar in bars}) == 1


def test_log_axes_space_decades_evenly() -> None:
    """1, 10, 100 climb in equal steps; zero is left out."""
    figure = go.Figure(go.Scatter(x=[0, 1, 2, 3], y=[1, 10, 100, 0], mode="markers"))
    figure.update_yaxes(type="log")
    dots = of_kind(figure, Dot)
    assert len(dots) == 3
    assert dots[0].y - dots[1].y == pytest.approx(dots[1].y - dots[2].y)


def test_gaps_break_lines_and_dashes_stay_dashed() -> None:
    """NaN is no point; a control line is dashed here too."""
    line = go.Scatter(x=[0, 1, 2, 3, 4], y=[1, 2, np.nan, 3, 4], mode="lines", line_dash="dash")
    runs = [p for p in of_kind(go.Figure(line), Polyline) if p.dashed]
    assert [len(run.points) for run in runs] == [2, 2]


def test_subplots_do_not_overlap() -> None:
    """Every panel of a figure has its own part of the sheet."""
    figure = make_subplots(rows=1, cols=2)
    figure.add_trace(go.Scatter(x=[0, 1], y=[0, 1], mode="markers"), 1, 1)
    figure.add_trace(go.Scatter(x=[0, 1], y=[0, 1], mode="markers"), 1, 2)
    dots = of_kind(figure, Dot)
    assert max(dot.x for dot in dots[:2]) < min(dot.x for dot in dots[2:])


def test_heatmaps_have_the_colours_they_ask_for() -> None:
    """A scale of its own, opacities over white; not the one that the signs of its values suggest."""
    scale = [[0, theme.NOVEL], [0.5, theme.fade(theme.NOVEL, 0.0)], [1, theme.PREDICTED]]
    heat = go.Heatmap(z=[[-1.0, 0.0, 1.0]], zmin=-1, zmax=1, colorscale=scale, showscale=False)
    svg = to_svg(go.Figure(heat))
    for colour in (theme.NOVEL, theme.WHITE, theme.PREDICTED):
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert theme.css_colour(rgb) in svg


def test_shapes_and_notes_are_drawn() -> None:
    """Reference lines and what is written beside them: plotly's tags are not words, the data's are."""
    figure = go.Figure(go.Scatter(x=[0, 1], y=[0, 1]))
    figure.add_vline(x=0.5, line_dash="dash", annotation_text="<b>a</b> &lt;b&gt; &amp; c")
    svg = to_svg(figure)
    assert "stroke-dasharray" in svg
    assert "a &lt;b&gt; &amp; c" in svg
    assert not re.search(r"<b>", svg)


def test_images_stand_where_the_axes_place_them() -> None:
    """As large as they fit into their boxes, centred; those of the sheet are left out."""
    file = io.BytesIO()
    Image.new("RGB", (4, 2)).save(file, "PNG")
    source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    figure = go.Figure(go.Scatter(x=[0, 2, 4], y=[0, 2, 4], mode="markers"))
    figure.update_layout(xaxis_range=[-1, 5], yaxis_range=[-1, 5])
    box = {"source": source, "sizex": 1, "sizey": 1, "xanchor": "center", "yanchor": "middle"}
    figure.add_layout_image(x=2, y=2, xref="x", yref="y", **box)
    figure.add_layout_image(x=0, y=0, xref="paper", yref="paper", **box)
    (image,) = of_kind(figure, Picture)
    dot = of_kind(figure, Dot)[1]
    assert (image.x + image.width / 2, image.y + image.height / 2) == pytest.approx((dot.x, dot.y))
    assert image.width == pytest.approx(2 * image.height)
    left, middle, _ = of_kind(figure, Dot)
    assert image.height == pytest.approx((left.y - middle.y) / 2)
    assert image.width < (middle.x - left.x) / 2


def test_unknown_traces_are_named_not_hidden() -> None:
    assert "not drawn here: pie" in to_svg(go.Figure(go.Pie(values=[1, 2])))


def test_png_has_the_colours_on_white() -> None:
    """White at the corner whatever page it comes from, blue where the bar is."""
    figure = go.Figure(go.Bar(x=[0], y=[1.0], marker_color="#0072B2"))
    picture = Image.open(io.BytesIO(to_png(figure)))
    assert picture.getpixel((0, 0)) == (255, 255, 255)
    colours = {colour for _, colour in picture.getcolors(100_000)}
    assert (0, 114, 178) in colours


def test_every_named_trace_is_in_the_legend_with_its_mark() -> None:
    """A bar as a box, a dashed line dashed; what says no is left out."""
    figure = go.Figure(
        [
            go.Bar(name="after", x=[1], y=[1], marker_color="#009e73"),
            go.Scatter(name="random", x=[0, 1, 1], y=[0, 0, 1], mode="lines", fill="toself"),
            go.Scatter(name="floor", x=[0, 1], y=[0, 1], mode="lines", line_dash="dash"),
            go.Scatter(name="hidden", x=[0, 1], y=[0, 1], showlegend=False),
        ]
    )  # fmt: skip
    strokes = draw_figure(figure).strokes
    words = [s.text for s in strokes if isinstance(s, Label)]
    assert [word for word in words if word in ("after", "random", "floor", "hidden")] == [
        "after", "random", "floor",
    ]  # fmt: skip
    small = [s for s in strokes if isinstance(s, Rectangle) and s.width <= 16 and s.height <= 12]
    assert [s.fill for s in small] == ["#009e73"]
    svg = to_svg(figure)
    assert svg.count("stroke-dasharray") == 2  # the line and its entry


def test_a_sum_of_strips_is_drawn_as_plotly_draws_it() -> None:
    """Strips leave room for the names above them; the image is square, and its box lies on it."""
    image = np.zeros((32, 32, 3), np.uint8)
    strips = {"the activation": np.array([1.0, -1.0]), "= bias": np.array([0.5, 0.2])}
    drawing = draw_figure(sum_of_strips(strips, image=image, box=(8, 8, 16, 16)))
    cells = [one for one in drawing.strokes if isinstance(one, Rectangle)]
    rows = sorted({one.y for one in cells})
    assert len(rows) == len(strips)
    assert rows[1] - (rows[0] + cells[0].height) == pytest.approx(NAME, abs=1)
    names = {one.text: one.y for one in drawing.strokes if isinstance(one, Label)}
    for name, top in zip(strips, rows, strict=True):
        assert top - NAME < names[name] < top
    (picture,) = (one for one in drawing.strokes if isinstance(one, Picture))
    assert picture.width == pytest.approx(picture.height)
    (box,) = (one for one in drawing.strokes if isinstance(one, Polyline) and len(one.points) == 5)
    across = np.array([x for x, _ in box.points])
    assert (across.min() - picture.x) / picture.width == pytest.approx(8.5 / 32, abs=0.01)
    assert np.ptp(across) / picture.width == pytest.approx(8 / 32, abs=0.01)
