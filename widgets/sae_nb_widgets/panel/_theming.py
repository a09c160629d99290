"""The theme on screen: open panels follow a change of scale, and figures become widgets."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

import plotly.graph_objects as go

from sae_nb.checks import checked
from sae_nb.figures import current_theme, template
from sae_nb.figures.theme import FIGURE_CONFIG, Scale, Theme, use_scale


class Restylable(Protocol):
    """Something on screen that can redraw itself in a new scale."""

    def restyle(self) -> None:
        """Redraw with the current theme."""


_on_screen: weakref.WeakSet[Any] = weakref.WeakSet()


@checked
def theme(scale: Scale | None = None) -> Theme:
    """Return the current theme, after switching to `scale` if one is given.

    Parameters
    ----------
    scale
        "normal" (13 px text) or "lecture" (16 px). Open panels are redrawn. None changes nothing.

    Examples
    --------
    >>> theme("lecture").font_px
    16
    >>> theme("normal").font_px
    13
    """
    if scale is not None:
        use_scale(scale)
        for panel in list(_on_screen):
            panel.restyle()
    return current_theme()


def keep_styled(panel: Restylable) -> None:
    """Redraw `panel` whenever the scale changes, for as long as it is alive."""
    _on_screen.add(panel)


def forget_styled(panel: Restylable) -> None:
    """Redraw `panel` no more."""
    _on_screen.discard(panel)


def figure_widget(figure: go.Figure | None = None, *, height: int | None = None) -> go.FigureWidget:
    """Return a FigureWidget in the current theme that fills the width it is given.

    Build one per panel and update it in place.
    """
    from sae_nb_widgets.panel._plot import Plot

    given = go.Figure() if figure is None else figure
    layout = given.layout.to_plotly_json() | {
        "template": template(),
        "autosize": True,
        "height": height or current_theme().figure_height_px,
    }
    widget = Plot([trace.to_plotly_json() for trace in given.data], layout)
    widget._config = {**widget._config, **FIGURE_CONFIG}
    return widget
