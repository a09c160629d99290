"""Sweeps: several architectures, settings and seeds trained and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.sweeps._sweep import sweep as sweep
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
