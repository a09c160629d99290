"""Plot: plotly's FigureWidget, its script sent once per kernel and loaded once per page.

Each FigureWidget carries 5 MB of script in its own state, and the browser drops what is sent to it until
it has read them. Here the script is the state of one shared model, and a plot answers at once with a
module of 5 kB.
"""

from __future__ import annotations

import importlib
import sys
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import anywidget
import ipywidgets as ipw

# plotly asks pandas for its classes wherever it is loaded, also while another thread (sklearn's, in a
# panel's background work) is half-way through loading it: it must be there before any figure.
import pandas  # noqa: F401
import plotly
import plotly.graph_objects as go
import traitlets as t

from sae_nb_widgets.components._base import LiveWidget
from sae_nb_widgets.components._scripts import script

# -------------------------------------------------------------------------------------------------
# plotly's live figures, loaded without what only plotly's own `show` needs.
#
# plotly's FigureWidget imports nbformat, to compare a version when somebody calls `figure.show()`. nbformat
# imports jsonschema, and that a checker of web addresses which compiles 39 grammars while it is imported:
# over a second of CPU in front of the first panel of a kernel, for something no panel does.


LATE = "nbformat"


class LateModule(ModuleType):
    """A placeholder for nbformat, which is imported when an attribute of it is first read."""

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module("nbformat"), name)


def load_renderers() -> None:
    """Import plotly's renderers, whose nbformat then comes when it is first used."""
    if "plotly.io._renderers" in sys.modules or LATE in sys.modules:
        return
    late = sys.modules[LATE] = LateModule(LATE)
    try:
        importlib.import_module("plotly.io._renderers")
    finally:
        # Others who import nbformat get the real one; plotly alone holds the stand-in.
        if sys.modules.get(LATE) is late:
            del sys.modules[LATE]


# -------------------------------------------------------------------------------------------------
# Plot: plotly's FigureWidget, its script sent once per kernel and loaded once per page.


# Before the first mention of FigureWidget, which loads them itself.
load_renderers()


class PlotlyScript(anywidget.AnyWidget):
    """The script itself: a model without a view, one per kernel."""

    _esm = "export default { render() {} };"

    source = t.Unicode("", help="plotly's widget as an ES module.").tag(sync=True)


_shared: list[PlotlyScript] = []


def shared_script() -> PlotlyScript:
    """Return the one script of this kernel, made again if it was closed."""
    if not _shared or _shared[0].comm is None:
        path = Path(plotly.__file__).parent / "package_data" / "widgetbundle.js"
        _shared[:] = [PlotlyScript(source=path.read_text(encoding="utf-8"))]
    return _shared[0]


class Plot(LiveWidget, go.FigureWidget):
    """A FigureWidget that shares plotly's script with every other on the page."""

    _esm = script("plot")

    bundle = t.Instance(ipw.Widget, help="Where the script is.").tag(
        sync=True, **ipw.widget_serialization
    )
    version = t.Unicode(plotly.__version__, help="Which plotly the script is of.").tag(sync=True)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        # plotly has the page count the figure's views, which nobody reads: ipywidgets then sends the
        # count of a closed figure to nowhere, an error in the page's console for each.
        self._view_count = None

    @t.default("bundle")
    def _default_bundle(self) -> PlotlyScript:
        return shared_script()

    def get_state(self, key: object = None, drop_defaults: bool = False) -> dict[str, Any]:
        """Return the state a browser starts from: the picture as it is now.

        plotly keeps there what the figure was when it was made, so a reloaded page would show that.
        """
        if key is None and "_data_objs" in self.__dict__:
            # Past the traits: a browser that already shows the picture need not be told.
            self._trait_values["_widget_data"] = deepcopy(self._data)
            self._trait_values["_widget_layout"] = deepcopy(self._layout_obj._props)
        return dict(super().get_state(key, drop_defaults))
