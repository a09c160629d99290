"""Plots share plotly's 5 MB of script: it is in one model, not in each of them."""

from __future__ import annotations

import plotly.graph_objects as go
from sae_nb_widgets.panel._plot import Plot, shared_script
from sae_nb_widgets.panel._theming import figure_widget


def test_a_plot_is_a_figure_widget_without_the_script() -> None:
    """Same class for everyone who asks, a thousandth of the state."""
    first, second = figure_widget(), figure_widget(go.Figure(go.Bar(y=[1, 2])))
    for plot in (first, second):
        assert isinstance(plot, go.FigureWidget)
        assert len(str(plot.get_state())) < 60_000
    assert first.bundle is second.bundle
    assert len(first.bundle.source) > 1_000_000
    assert "export{" in first.bundle.source


def test_the_script_is_made_anew_after_everything_was_closed() -> None:
    """Widget.close_all closes it too; the next plot must not refer to a dead model."""
    old = shared_script()
    old.close()
    new = shared_script()
    assert new is not old
    assert new.comm is not None
    assert figure_widget().bundle is new


def test_a_reloaded_page_starts_from_the_picture_as_it_is_now() -> None:
    """The state a browser asks for holds the newest data and layout."""
    plot = Plot(go.Figure(go.Bar(y=[1, 2])))
    with plot.batch_update():
        plot.data[0].y = [5, 6, 7]
        plot.layout.title.text = "later"
    state = plot.get_state()
    assert list(state["_widget_data"][0]["y"]) == [5, 6, 7]
    assert state["_widget_layout"]["title"]["text"] == "later"
