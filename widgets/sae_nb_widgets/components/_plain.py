"""ipywidgets' plain widgets with common layouts and styles.

ipywidgets makes a layout and a style for each: two more widgets, and two more messages to the page.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import ipywidgets as ipw
import traitlets as t

W = TypeVar("W", bound=ipw.Widget)

_shared: dict[tuple[Any, ...], Any] = {}


@cache
def _traits_sent(kind: Any) -> tuple[str, ...]:
    return tuple(kind.class_trait_names(sync=True))


class OwnLayout(ipw.Layout):
    """A layout of one widget, of which a page is sent what is set: nothing is set in a new one."""

    @t.default("keys")
    def _sent(self) -> list[str]:
        return list(_traits_sent(type(self)))  # type: ignore[arg-type]

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """Return the state that is sent; of a new page's all but what is not set."""
        known = [n for n in self.keys if n[0] == "_" or self._trait_values.get(n) is not None]
        return dict(super().get_state(known if key is None else key, drop_defaults))


class SharedLayout(OwnLayout):
    """A layout of any number of widgets: `lay_out` gives one of them another."""

    def __init__(self, **settings: str | None) -> None:
        self.settings = settings
        super().__init__(**settings)

    @t.validate(*ipw.Layout.class_trait_names(sync=True))
    def _stays(self, proposal: t.Bunch) -> Any:
        if self.comm is not None:
            raise t.TraitError(
                "This layout is that of many widgets. Give the one its own: "
                f"`widget.layout = ipywidgets.Layout({proposal['trait'].name}={proposal['value']!r})`."
            )
        return proposal["value"]


def shared(kind: type[W], **settings: Any) -> W:
    """Return the one layout or style with these settings."""
    key = (kind, *sorted((name, value) for name, value in settings.items() if value is not None))
    found = _shared.get(key)
    if found is None or found.comm is None:  # closed by `Widget.close_all()`
        found = _shared[key] = kind(**settings)
    return found


def is_shared(part: ipw.Widget) -> bool:
    """Return whether a layout or style belongs to any number of widgets, and stays when one is closed."""
    return any(part is one for one in _shared.values())


def layout_of(**settings: str | None) -> ipw.Layout:
    """Return the layout of these settings."""
    return shared(SharedLayout, **settings)


def lay_out(widget: Any, **settings: str | None) -> None:
    """Change some settings of a widget's layout, and of no other widget's."""
    now = widget.layout
    changed = {name: value for name, value in settings.items() if getattr(now, name) != value}
    if not isinstance(now, SharedLayout):
        for name, value in changed.items():
            setattr(now, name, value)
    elif changed:
        widget.layout = layout_of(**now.settings | changed)


class SharesLayout(ipw.DOMWidget):
    """A widget whose layout and style are those of all its kind until it gets its own."""

    @t.default("layout")
    def _common_layout(self) -> ipw.Layout:
        return layout_of()

    @t.default("keys")
    def _sent(self) -> list[str]:
        return list(_traits_sent(type(self)))  # type: ignore[arg-type]

    @t.default("style")
    def _common_style(self) -> Any:
        return shared(type(self).style.klass)


class HTML(SharesLayout, ipw.HTML):
    """Text of the page."""


class Box(SharesLayout, ipw.Box):
    """Widgets next to each other."""


class VBox(SharesLayout, ipw.VBox):
    """Widgets under each other."""


class Button(SharesLayout, ipw.Button):
    """A button."""


class ToggleButton(SharesLayout, ipw.ToggleButton):
    """A button that stays down."""
