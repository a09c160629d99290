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

from sae_nb.figures import (
    Dot,
    Label,
    Picture,
    Polyline,
    Rectangle,
    draw_figure,
    parse_colour,
    sum_of_strips,
    text_width,
    theme,
    to_png,
    to_svg,
)
from sae_nb.figures._sum_strips import NAME


def of_kind(figure: go.Figure, kind: type) -> list:
    """Strokes of one kind."""
    return [stroke for stroke in draw_figure(figure).strokes if isinstance(stroke, kind)]


def test_bars_are_as_high_as_their_values() -> None:
    """Heights in proportion, all on one foot."""
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


def test_lying_bars_lie() -> None:
    """Horizontal bars grow to the right, one row per name."""
    bars = of_kind(go.Figure(go.Bar(x=[1.0, 3.0], y=["a", "b"], orientation="h")), Rectangle)
    assert bars[1].width == pytest.approx(3 * bars[0].width)
    assert bars[0].y > bars[1].y


def test_given_ranges_and_widths_are_kept() -> None:
    """What the figure says counts, not what the data would suggest."""
    figure = go.Figure(go.Scatter(x=[0.0, 10.0], y=[0.0, 10.0], mode="markers"))
    figure.update_xaxes(range=[0, 20])
    dots = of_kind(figure, Dot)
    full = of_kind(go.Figure(figure).update_xaxes(range=[0, 10]), Dot)
    assert dots[1].x - dots[0].x == pytest.approx((full[1].x - full[0].x) / 2)


def test_texts_stand_where_they_are_told_to() -> None:
    """Above its point, or ending there when it leans to the left; empty ones are left out."""
    trace = go.Scatter(
        x=[0, 1, 2],
        y=[1, 1, 1],
        mode="markers+text",
        text=["a", "b", ""],
        textposition=["top center", "top left", "top center"],
    )
    dots = of_kind(go.Figure(trace), Dot)
    labels = {s.text: s for s in of_kind(go.Figure(trace), Label) if s.text in ("a", "b", "")}
    assert set(labels) == {"a", "b"}
    assert (labels["a"].x, labels["a"].anchor) == (dots[0].x, "middle")
    assert labels["b"].anchor == "end"
    assert labels["a"].y < dots[0].y


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


def test_heatmap_cells_carry_the_colours_of_the_map() -> None:
    """Lowest is navy, highest yellow."""
    drawn = of_kind(go.Figure(go.Heatmap(z=[[0.0, 1.0], [2.0, 3.0]])), Rectangle)
    cells = [box for box in drawn if box.width > 3]  # not the legend's
    assert [cell.fill for cell in cells][::3] == ["rgb(0,34,78)", "rgb(254,232,56)"]


def test_shapes_and_notes_are_drawn() -> None:
    """Reference lines and what is written beside them: plotly's tags are not words, the data's are."""
    figure = go.Figure(go.Scatter(x=[0, 1], y=[0, 1]))
    figure.add_vline(x=0.5, line_dash="dash", annotation_text="<b>a</b> &lt;b&gt; &amp; c")
    svg = to_svg(figure)
    assert "stroke-dasharray" in svg
    assert "a &lt;b&gt; &amp; c" in svg
    assert not re.search(r"<b>", svg)


def test_a_note_stands_at_a_row_that_it_names() -> None:
    """By the row's name, as plotly takes it; in the middle of that row."""
    figure = go.Figure(go.Heatmap(z=[[0.0, 1.0], [2.0, 3.0]], y=["first", "second"]))
    figure.update_yaxes(visible=False)
    for row in ("first", "second"):
        figure.add_annotation(x=0, y=row, text=f"at {row}", showarrow=False)
    heights = {label.text: label.y for label in of_kind(figure, Label)}
    (first, second), (low, *_, high) = (
        (heights["at first"], heights["at second"]),
        sorted({box.y + box.height / 2 for box in of_kind(figure, Rectangle) if box.width > 3}),
    )
    assert high - low == pytest.approx(abs(first - second), rel=0.05)


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
    """What cannot be drawn is said."""
    assert "not drawn here: pie" in to_svg(go.Figure(go.Pie(values=[1, 2])))


def test_arrays_of_every_kind_are_drawn() -> None:
    """Lists, tuples, numpy; a figure that went through JSON; empty traces."""
    trace = go.Scatter(x=np.arange(3, dtype=np.float32), y=(1, 2, 3), mode="markers")
    assert len(of_kind(go.Figure(trace), Dot)) == 3
    assert len(of_kind(go.Figure(go.Figure(trace).to_dict()), Dot)) == 3
    assert to_svg(go.Figure()).startswith("<svg")
    assert to_svg(go.Figure(go.Bar())).startswith("<svg")


def test_png_has_the_colours_on_white() -> None:
    """White at the corner whatever page it comes from, blue where the bar is."""
    figure = go.Figure(go.Bar(x=[0], y=[1.0], marker_color="#0072B2"))
    picture = Image.open(io.BytesIO(to_png(figure)))
    assert picture.getpixel((0, 0)) == (255, 255, 255)
    colours = {colour for _, colour in picture.getcolors(100_000)}
    assert (0, 114, 178) in colours


def test_colours_of_css_are_understood() -> None:
    """Six digits, rgb, rgba, names; the rest is mid-grey, never an error."""
    assert parse_colour("rgb(1,2,3)") == (1, 2, 3, 255)
    assert parse_colour("none")[3] == 0
    assert parse_colour("papayawhip")[3] == 255


def test_long_names_of_rows_end_in_an_ellipsis_on_the_sheet() -> None:
    """Short ones are whole, however long the others; none is cut by the edge."""
    names = [
        "<|endoftext|>",
        "a name of a row that goes on and on and on for longer than any sheet",
    ]
    bars = go.Figure(go.Bar(x=[1.0, 2.0], y=names, orientation="h"))
    labels = [label for label in of_kind(bars, Label) if label.anchor == "end"]
    assert labels[0].text == names[0]
    assert labels[1].text.endswith("…")
    for label in labels:
        assert label.x - text_width(label.text, label.size) > 0


def test_no_grid_line_strikes_through_rows_with_names_or_through_words() -> None:
    """Rows are separate things; words that stand on a line have white around them."""
    trace = go.Scatter(x=[1, 2], y=["a", "b"], mode="text", text=["0.1 → 0.9", "no"])
    strokes = draw_figure(go.Figure(trace)).strokes
    level = [s for s in strokes if isinstance(s, Polyline) and s.points[0][1] == s.points[-1][1]]
    assert len(level) == 1  # the axis
    assert all(s.halo for s in strokes if isinstance(s, Label) and s.text in ("0.1 → 0.9", "no"))
    last_line = max(i for i, s in enumerate(strokes) if isinstance(s, Polyline))
    assert last_line < min(i for i, s in enumerate(strokes) if isinstance(s, Label))


def test_every_named_trace_is_in_the_legend_with_its_mark() -> None:
    """A bar as a box, a control hatched, a dashed line dashed; what says no is left out."""
    figure = go.Figure(
        [
            go.Bar(name="after", x=[1], y=[1], marker_color="#009e73"),
            go.Scatter(name="random", x=[0, 1, 1], y=[0, 0, 1], mode="lines", fill="toself",
                       fillpattern={"shape": "/"}),
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
    assert [s.hatched for s in small] == [False, True]
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
