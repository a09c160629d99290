"""An SAE as a folder of files that any web server gives out: every atom's card, search, the map, no kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.site._write import (
        Site as Site,
        write_site as write_site,
        write_site_of as write_site_of,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
