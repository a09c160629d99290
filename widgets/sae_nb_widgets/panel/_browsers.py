"""Opener of an atom beneath a panel: this package knows no browser, so the package of panels registers one.

A file of its own, because `import sae_nb_widgets` writes here and must not wait for ipywidgets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

BROWSERS: list[Callable[..., Any]] = []
"""Takes names, an atom and the browser that is there already, if any; returns one that shows the atom."""
