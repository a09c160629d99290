"""The results of studies: typed records that print in a line and show, draw and save themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.findings._finding import Finding as Finding, Plotted as Plotted, column as column
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
