"""Files you can trust: atomic writes, locks, folders exchanged in one step, fingerprints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.files._fingerprints import (
        SaeIdentity as SaeIdentity,
        identity_of as identity_of,
        weights_digest as weights_digest,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
