"""PointMap: many points on a canvas to move about in, with names, crops, rings and a key."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets as t
from jaxtyping import Bool, Int

from sae_nb_widgets.components._base import Component, style_sheet
from sae_nb_widgets.components._scripts import script


class PointMap(Component):
    """Points to pan, zoom, point at, choose and enclose; the wheel zooms, Shift and dragging lassos.

    Everything per point travels as packed bytes: 9 bytes for a place and a style. A point's colour and
    shape is `palette[style]`, which has one colour for light pages and one for dark ones.

    Examples
    --------
    >>> chart = PointMap(description="two points")
    >>> chart.xy = np.array([[0, 0], [1, 1]], np.float32).tobytes()
    >>> chart.n_points, unpacked(packed(np.array([True, False])), 2).tolist()
    (2, [True, False])
    """

    _esm = script("point_crowd", "point_shapes", "point_map")
    _css = style_sheet("components.css", "point_map.css")

    xy = t.Bytes(b"", help="float32 x, y of every point.").tag(sync=True)
    styles = t.Bytes(
        b"", help="uint8 place in `palette` of every point; 0 lies under the rest."
    ).tag(sync=True)
    sizes = t.Bytes(b"", help="uint8 diameter in quarter pixels; empty: all alike.").tag(sync=True)
    size = t.Float(6.0, help="Diameter in pixels where `sizes` is empty.").tag(sync=True)
    palette = t.List(t.Dict(), help="Shape, light and dark colour of each style.").tag(sync=True)
    shown = t.Bytes(b"", help="One bit a point: what is drawn; empty: everything.").tag(sync=True)
    off = t.List(t.Int(), help="Styles that the key has switched off.").tag(sync=True)
    legend = t.List(help="Styles in the key, each with its words.").tag(sync=True)
    bar = t.List(help="Title of the colour bar, then (share of its length, words).").tag(sync=True)
    rest = t.Unicode("", help="Said after the key.").tag(sync=True)
    others = t.Bytes(b"", help="float32 x, y of a second cloud, drawn as small squares.").tag(
        sync=True
    )
    lines = t.Bytes(b"", help="float32 x, y, x, y of every line.").tag(sync=True)
    widths = t.List(t.Float(), help="Pixels of the first lines; the others are thin.").tag(
        sync=True
    )
    chosen = t.Bytes(b"", help="int32 points with a ring around them.").tag(sync=True)
    ringed = t.Bytes(b"", help="int32 points with a ring of the colour `lonely`.").tag(sync=True)
    lonely = t.Unicode("", help="Colour of those rings.").tag(sync=True)
    current = t.Int(-1, help="The point with the thick ring; -1 for none.").tag(sync=True)
    words = t.List(help="Names on the map: x, y, text; the first have precedence.").tag(sync=True)
    nearby = t.List(t.Int(), help="Points that are named, or drawn as a crop.").tag(sync=True)
    nearby_words = t.List(t.Unicode(), help="Words next to each of those.").tag(sync=True)
    sprite = t.Bytes(b"", help="Their crops under each other, PNG; empty: none.").tag(sync=True)
    ids = t.Bytes(b"", help="int32 number of every point; empty: its place.").tag(sync=True)
    names = t.List(t.Unicode(), help="What pointing at it says; empty: word and number.").tag(
        sync=True
    )
    word = t.Unicode("atom", help="What a point is.").tag(sync=True)
    view = t.List(t.Float(), help="What is seen: low x, low y, high x, high y; []: all.").tag(
        sync=True
    )
    drag = t.Enum(("pan", "lasso", "box"), "pan", help="What dragging does.").tag(sync=True)
    height = t.Int(500, help="In CSS pixels.").tag(sync=True)
    hint = t.Unicode("", help="Said under the map while nothing is pointed at.").tag(sync=True)

    @property
    def n_points(self) -> int:
        """Number of points."""
        return len(self.xy) // 8

    @t.validate("view")
    def _view_is_a_rectangle(self, proposal: t.Bunch) -> list[float]:
        view = [float(end) for end in proposal["value"]]
        fits = not view or (len(view) == 4 and view[0] < view[2] and view[1] < view[3])
        if not fits or not np.isfinite(view).all():
            raise t.TraitError(
                "`view` must be [low x, low y, high x, high y] with low < high, or [] for the whole "
                f"map, got {view}."
            )
        return view

    def live_html(
        self, names: Sequence[str] | Mapping[int, str] = (), hint: str | None = None
    ) -> str:
        """Return the map as HTML with its script and its points: it moves and zooms without a kernel.

        `names` are the tooltips of the points, or of some, in place of those sent to a notebook; `hint` says
        what can be done there.
        """
        left_out = {"layout", "tabbable", "tooltip"}
        state: dict[str, Any] = {}
        for name in self.trait_names(sync=True):
            value = getattr(self, name)
            if not name.startswith("_") and name not in left_out:
                packed = isinstance(value, bytes)
                state[name] = {"base64": base64.b64encode(value).decode()} if packed else value
        if names:
            state["names"] = dict(names) if isinstance(names, Mapping) else list(names)
        # Nobody would hear of a lasso, and nobody says what is near.
        state |= {"drag": "pan", "alone": True, "nearby": [], "sprite": {"base64": ""}}
        state["hint"] = self.hint if hint is None else hint
        content = json.dumps(state).replace("</", "<\\/").replace("<!--", "<\\!--")
        place = f"map-{zlib.crc32(content.encode()):08x}"
        module = str(self._esm).replace("export default", "const widget =")
        return (
            f'<style>{style_sheet("point_map.css")}</style><div id="{place}"></div>'
            f'<script type="module">{module}\nconst state = {content};\n{_STAND_IN}'
            f"widget.render({{ model, el: document.getElementById({json.dumps(place)}) }});</script>"
        )

    def static_html(self) -> str:
        """Return what the map shows in words: a drawing of it is its panel's."""
        return f'<div class="sae-nb-component">{self._empty_html()}</div>' if not self.xy else ""


# What a page without a kernel has in place of the model: its state, and who asked to hear of changes.
_STAND_IN = """
const heard = {};
for (const [name, value] of Object.entries(state))
  if (value && value.base64 !== undefined)
    state[name] = new DataView(Uint8Array.from(atob(value.base64), (c) => c.charCodeAt(0)).buffer);
const model = {
  get: (name) => state[name],
  set: (name, value) => { state[name] = value; (heard[`change:${name}`] || []).forEach((f) => f()); },
  on: (name, callback) => (heard[name] = heard[name] || []).push(callback),
  save_changes: () => {},
  send: () => {},
};
"""


def packed(flags: Bool[np.ndarray, " n"]) -> bytes:
    """Return one bit a flag, the first lowest."""
    return np.packbits(flags, bitorder="little").tobytes()


def unpacked(bits: bytes, n: int) -> Bool[np.ndarray, " n"]:
    """Return `n` flags from what `packed` made; what is missing is False."""
    flags = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")[:n]
    return np.pad(flags, (0, n - len(flags))).astype(bool)


def whole_bytes(points: Int[np.ndarray, " m"]) -> bytes:
    """Return indices of points as the browser takes them."""
    return np.ascontiguousarray(points, np.int32).tobytes()
