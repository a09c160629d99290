"""MapPlot: a plot of many points that says in few bytes which of them a lasso holds."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Int

from sae_nb.figures import FIGURE_CONFIG, template
from sae_nb_widgets.components import read_static
from sae_nb_widgets.panel import Plot

Lasso = Callable[[int, Int[np.ndarray, " m"]], None]


class MapPlot(Plot):
    """A `Plot` whose lasso and box tell the points inside as one bit each; hovering tells nothing."""

    _esm = read_static("plot.js").replace(
        "export default () =>", "const plotlyWidget = () =>"
    ) + read_static("map_plot.js")

    def __init__(self, figure: go.Figure | None = None, height: int = 400) -> None:
        super().__init__(figure if figure is not None else go.Figure())
        self.__dict__["_lassoed"] = []
        self.__dict__["_outlined"] = False
        self.update_layout(template=template(), autosize=True, height=height)
        self._config: dict[str, Any] = {**self._config, **FIGURE_CONFIG}
        self.on_msg(lambda _, content, __: self.hear(content))

    def on_lasso(self, heard: Lasso) -> None:
        """Call back with the trace and its points whenever a lasso or a box is closed."""
        self.__dict__["_lassoed"].append(heard)

    def clear_lasso(self) -> None:
        """Take the outline of the last lasso off the plot, if there is one."""
        if not self.__dict__["_outlined"]:
            return
        self.__dict__["_outlined"] = False
        if self.layout.selections:
            self.layout.selections = ()
        # The browser draws its outlines whether or not Python was told of them.
        self._send_relayout_msg({"selections": []})

    def hear(self, content: Any) -> None:
        """Take a message from the browser."""
        if isinstance(content, dict) and content.get("kind") == "deselect":
            self.__dict__["_outlined"] = False
            for heard in self.__dict__["_lassoed"]:
                heard(-1, np.zeros(0, np.int64))
            return
        if not isinstance(content, dict) or content.get("kind") != "lasso":
            return
        self.__dict__["_outlined"] = True
        held = content.get("points") or {}
        if "none" in held:  # drawn around nothing
            held = dict.fromkeys(map(str, range(len(self.data))), "")
        for trace in range(len(self.data)):
            bits = np.frombuffer(base64.b64decode(held.get(str(trace), "")), np.uint8)
            points = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
            if str(trace) in held:
                for heard in self.__dict__["_lassoed"]:
                    heard(trace, points.astype(np.int64))
