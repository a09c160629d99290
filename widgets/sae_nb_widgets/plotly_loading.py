"""plotly's live figures, loaded without what only plotly's own `show` needs.

plotly's FigureWidget imports nbformat, to compare a version when somebody calls `figure.show()`. nbformat
imports jsonschema, and that a checker of web addresses which compiles 39 grammars while it is imported:
over a second of CPU in front of the first panel of a kernel, for something no panel does.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

LATE = "nbformat"


class LateModule(ModuleType):
    """Stands in for a module until something of it is asked for.

    Examples
    --------
    >>> late = LateModule("colorsys")
    >>> late.rgb_to_hsv(1.0, 1.0, 1.0)
    (0.0, 0.0, 1.0)
    """

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


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
