"""Sparse codes in CSR, from encoder to screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.codes._sparse_codes import SparseCodes as SparseCodes
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
