"""The common parts of the components: their script, their style sheet, their static image."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar, cast

import anywidget
import ipywidgets as ipw
import numpy as np
import traitlets as t
from jaxtyping import Float

from sae_nb.figures import current_theme, fade, theme
from sae_nb.figures.shapes import (
    Drawing,
    Label,
    Picture,
    Polyline,
    Rectangle,
    Stroke,
    shortened,
    text_width,
)
from sae_nb.figures.theme import css_colour, escape, format_number, heat_colour
from sae_nb_widgets.components._html_drawing import html_drawing
from sae_nb_widgets.components._scripts import read_static
from sae_nb_widgets.components._sheets import paragraph

TRACK = fade(theme.GREY, 0.12)


def style_sheet(*names: str) -> str:
    """Return style sheets from `static/`, the colours that they name before them."""
    return theme.CSS_VARIABLES + "".join(map(read_static, names))


# ipywidgets makes a layout and a style for each widget: two more of them, and two more messages to the page.

W = TypeVar("W", bound=ipw.Widget)

_shared: dict[tuple[Any, ...], Any] = {}


@cache
def _traits_sent(kind: type[ipw.Widget]) -> tuple[str, ...]:
    return tuple(kind.class_trait_names(sync=True))


class OwnLayout(ipw.Layout):
    """A layout of one widget, of which a page is sent what is set: nothing is set in a new one."""

    @t.default("keys")
    def _sent(self) -> list[str]:
        return list(_traits_sent(type(self)))  # type: ignore[arg-type]

    def get_state(self, key: object = None, drop_defaults: bool = False) -> dict[str, Any]:
        """Return the state that is sent; of a new page's all but what is not set."""
        known = [n for n in self.keys if n[0] == "_" or self._trait_values.get(n) is not None]
        return dict(super().get_state(known if key is None else key, drop_defaults))


class SharedLayout(OwnLayout):
    """A layout of any number of widgets: `lay_out` gives one of them another."""

    def __init__(self, **settings: str | None) -> None:
        self.settings = settings
        super().__init__(**settings)

    @t.validate(*ipw.Layout.class_trait_names(sync=True))
    def _stays(self, proposal: t.Bunch) -> object:
        if self.comm is not None:
            raise t.TraitError(
                "This layout is that of many widgets. Give the one its own: "
                f"`widget.layout = ipywidgets.Layout({proposal['trait'].name}={proposal['value']!r})`."
            )
        return proposal["value"]


def shared(kind: type[W], **settings: object) -> W:
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


def lay_out(widget: ipw.Widget, **settings: str | None) -> None:
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
    def _common_style(self) -> ipw.Widget:
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


_sending = threading.RLock()
_whole_classes: dict[type, type] = {}


class LiveWidget(SharesLayout, anywidget.AnyWidget):
    """An anywidget that a page which was late can ask for everything again (`static/hearing.js`).

    The page's question is answered on a thread of its own while a cell changes the widget: reading the
    state and sending it are one step, or the older of two states could be the last that is sent.
    """

    @t.default("layout")
    def _common_layout(self) -> ipw.Layout:
        # From when it has drawn a widget on, anywidget does not hear that the widget has another layout.
        return OwnLayout()

    def add_traits(self, **traits: object) -> None:
        """Take the class that has anywidget's traits: it would make one for each widget."""
        kind = type(self)
        if kind not in _whole_classes:
            super().add_traits(**traits)
            _whole_classes[kind] = type(self)
        self.__class__ = _whole_classes[kind]

    def send_state(self, key: object = None) -> None:
        """Send the state, or a part of it, as it is at this moment."""
        with _sending:
            super().send_state(key)

    def _get_embed_state(self, drop_defaults: bool = False) -> dict[str, Any]:  # noqa: ARG002
        # The module and the style are defaults of the class that a page does not have.
        return cast(dict[str, Any], super()._get_embed_state(drop_defaults=False))


class Component(LiveWidget):
    """A small widget fed typed arrays; everything a mouse can do is a trait.

    A component can be read without a browser: `static_html` is the same picture as plain HTML, for
    exported pages and for readers without JavaScript.
    """

    _css = style_sheet("components.css")

    description = t.Unicode("", help="What the component shows, read out by screen readers.").tag(
        sync=True
    )
    # Written after the rows: a busy page reads messages one by one, and would say that there are none.
    empty_text = t.Unicode("Nothing to show yet.", help="What to say when there is nothing.").tag(
        sync=True
    )

    absent = t.Unicode("not captured", help="Said of a token or patch without a number.").tag(
        sync=True
    )
    atoms = t.List(t.Int(), help="Atom of each row; pointing at a row shows its card.").tag(
        sync=True
    )
    icons = t.List(t.Unicode(), help="Address of a small image before each row's label.").tag(
        sync=True
    )

    def static_html(self) -> str:
        """Return the component as HTML that needs no script."""
        raise NotImplementedError

    def drawing(self, width: float) -> Drawing:
        """Return the component as strokes, `width` CSS pixels wide, for pictures made without a browser."""
        return html_drawing(self.static_html(), width)

    def _empty_html(self) -> str:
        return f'<div class="sae-nb-component sae-nb-empty">{escape(self.empty_text)}</div>'

    def _repr_mimebundle_(self, **kwargs: object) -> object:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data is not None:
            data["text/html"] = f"<style>{self._css}</style>{self.static_html()}"
        return bundle


def one_of_rows(proposal: t.Bunch, n: int, what: str = "rows") -> int:
    """Return the row that a trait is to name, -1 for none; one that is not there is refused."""
    row, name = int(proposal["value"]), proposal["trait"].name
    if not -1 <= row < n:
        raise t.TraitError(f"`{name}` must be the index of one of {n} {what}, or -1, got {row}.")
    return row


def tag_html(component: Component, row: int) -> str:
    """Return the attribute that names the atom of a row, or nothing."""
    return f' data-atom="{component.atoms[row]}"' if row < len(component.atoms) else ""


_IN_TEXT = re.compile(r"\b[Aa]tom (\d{1,9})\b")


def atom_mark(atom: int, text: str) -> str:
    """Return `text` as escaped HTML that shows the atom's card when it is pointed at or focused."""
    return f'<span class="sae-nb-atom" tabindex="0" data-atom="{int(atom)}">{escape(text)}</span>'


def mark_atoms(text: str) -> str:
    """Return a sentence as escaped HTML in which every "atom 17" shows that atom's card."""
    return _IN_TEXT.sub(lambda found: atom_mark(int(found[1]), found[0]), escape(text))


def icon_html(component: Component, row: int) -> str:
    """Return the small image before a row's label, or nothing."""
    address = component.icons[row] if row < len(component.icons) else ""
    return f'<img class="sae-nb-icon" src="{escape(address)}" alt="">' if address else ""


def shade(fraction: float, signed: bool = False, tone: str = "strength") -> str:
    """Return the CSS colour of a strength, or of a signed value, given as a share of the maximum."""
    *rgb, opacity = heat_colour(fraction, signed, tone)
    return css_colour(rgb, opacity)


def label_strokes(
    component: Component, row: int, text: str, y: float, width: float
) -> list[Stroke]:
    """Return a row's small image and its label, the line's top at `y`, no wider than `width`."""
    size = current_theme().font_px
    address = component.icons[row] if row < len(component.icons) else ""
    side = 1.3 * size if address else 0.0
    strokes: list[Stroke] = []
    if address:
        file = base64.b64decode(address.partition(",")[2])
        strokes.append(Picture(0, y, side, side, file, smooth=False))
    room = width - side - 4 * bool(side)
    strokes.append(Label(width - room, y + size, shortened(text, size, room), "start", size))
    return strokes


def title_drawing(text: str, width: float) -> Drawing:
    """Return the title of a component as a drawing."""
    return paragraph(text, width, bold=True)


def legend_drawing(
    maximum: float, width: float, unit: str = "", signed: bool = False, tone: str = "strength"
) -> Drawing:
    """Return the colour legend 0 … maximum, or −maximum … maximum, as a drawing."""
    size, steps, long = current_theme().font_px, 36, 72.0
    low = format_number(-maximum) if signed else "0"
    top = format_number(maximum, unit)
    left = text_width(low, size) + 6
    strokes: list[Stroke] = [
        Label(0, size + 4, low, anchor="start", size=size),
        Label(left + long + 6, size + 4, top, anchor="start", size=size),
    ]
    for step in range(steps):
        share = (step + 0.5) / steps
        colour = shade(2 * share - 1 if signed else share, signed, tone)
        strokes.append(Rectangle(left + step * long / steps, 5, long / steps, 10, colour))
    corners = [(left, 5), (left + long, 5), (left + long, 15), (left, 15), (left, 5)]
    return Drawing(width, 1.6 * size, (*strokes, Polyline(corners, theme.AXIS, 1)))


def bar_strokes(x: float, y: float, width: float, share: float, height: float = 4) -> list[Stroke]:
    """Return a bar on its track."""
    filled = width * float(np.clip(np.nan_to_num(share), 0, 1))
    return [
        Rectangle(x, y, width, height, TRACK),
        Rectangle(x, y, filled, height, theme.NEUTRAL),
    ]


def tick_strokes(x: float, y: float, height: float, control: bool) -> list[Stroke]:
    """Return a tick across a bar: dashed grey for a random control, solid ink for a value before."""
    ends = [(x, y - 2), (x, y + height + 2)]
    return [Polyline(ends, theme.CONTROL, 2, True) if control else Polyline(ends, width=2)]


def bar_html(value: float, maximum: float) -> str:
    """Return the thin bar under a caption, as HTML."""
    width = 100 * float(np.clip(value / maximum if maximum else 0, 0, 1))
    return (
        f'<div class="sae-nb-bar"><div class="sae-nb-fill" style="width:{width:.1f}%"></div></div>'
    )


def legend_html(
    maximum: float, unit: str = "", signed: bool = False, tone: str = "strength"
) -> str:
    """Return the colour legend 0 … maximum, or −maximum … maximum, as HTML."""
    low = format_number(-maximum) if signed else "0"
    stops = ",".join(
        f"{shade(stop, signed, tone)} {100 * ((stop + 1) / 2 if signed else stop):g}%"
        for stop in theme.LEGEND_STOPS["signed" if signed else "strength"]
    )
    ramp = f'<span class="sae-nb-ramp" style="background:linear-gradient(to right,{stops})"></span>'
    return (
        f'<span class="sae-nb-legend"><span>{escape(low)}</span>{ramp}'
        f"<span>{escape(format_number(maximum, unit))}</span></span>"
    )


def common_maximum(strengths: Float[np.ndarray, " n"], maximum: float | None) -> float:
    """Return the given maximum, or the largest finite strength, and never zero."""
    if maximum is not None and maximum > 0:
        return float(maximum)
    finite = strengths[np.isfinite(strengths)]
    top = float(finite.max()) if finite.size else 0.0
    return top if top > 0 else 1.0


def float_list(values: np.ndarray | Sequence[float | None] | None) -> list[float | None]:
    """Return plain floats; None for what is absent or not a number, which JSON cannot say."""
    return [
        None if v is None or not np.isfinite(v) else float(v)
        for v in (values if values is not None else [])
    ]
