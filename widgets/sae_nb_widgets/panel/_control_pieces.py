"""Small widgets that rows of controls are put together from."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as ipw


def wide(width: str) -> ipw.Layout:
    """Layout of a CSS width that may shrink."""
    return ipw.Layout(width=width, min_width="0")


def line(*widgets: ipw.Widget) -> ipw.Box:
    """Widgets in a row that stays together."""
    return ipw.Box(list(widgets)).add_class("sae-nb-line")


def small_button(text: str, tip: str) -> ipw.Button:
    """A small button with words on it."""
    return ipw.Button(description=text, tooltip=tip).add_class("sae-nb-small")


def icon_button(icon: str, tip: str, action: Callable[[], None]) -> ipw.Button:
    """A button with nothing but a picture on it, which does `action`."""
    button = ipw.Button(icon=icon, tooltip=tip, layout=wide("36px"))
    button.on_click(lambda _: action())
    return button
