"""Closing what a panel made: widgets on screen and off, their layouts and their styles."""

from __future__ import annotations

from typing import Any

import ipywidgets as ipw

from sae_nb_widgets.panel._exporting import descendants


def close_whole(widget: ipw.Widget) -> None:
    """Close a widget with its layout and style, which are widgets of their own."""
    parts = [getattr(widget, name, None) for name in ("layout", "style")]
    widget.close()
    for part in parts:
        if isinstance(part, ipw.Widget):
            part.close()


def owned_widgets(owner: Any, depth: int = 3) -> list[ipw.Widget]:
    """Return widgets among an object's attributes, and among those of its own small objects.

    Panels are left out: they close themselves.
    """
    found: list[ipw.Widget] = []
    for name, value in list(vars(owner).items()):
        if name == "_trait_values":  # holds what is shared too, such as plotly's script
            continue
        several = list(value.values()) if isinstance(value, dict) else value
        for one in several if isinstance(several, list | tuple) else (value,):
            if hasattr(type(one), "kept_traits"):
                continue
            if isinstance(one, ipw.Widget):
                found += descendants(one)
            ours = type(one).__module__.startswith("sae_nb_widgets.")
            if depth and ours and hasattr(one, "__dict__"):
                found += owned_widgets(one, depth - 1)
    return found
