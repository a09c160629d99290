"""Files you can trust: atomic writes, locks, folders exchanged in one step, fingerprints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.files._atomic import (
        new_folder as new_folder,
        read_json as read_json,
        read_manifest as read_manifest,
        write_bytes as write_bytes,
        write_json as write_json,
        write_manifest as write_manifest,
    )
    from sae_nb.files._exchange import remove_folder as remove_folder
    from sae_nb.files._fingerprints import (
        SaeIdentity as SaeIdentity,
        identity_of as identity_of,
        inputs_digest as inputs_digest,
        weights_digest as weights_digest,
    )
    from sae_nb.files._tensors import (
        read_tensors as read_tensors,
        write_folder as write_folder,
        write_tensors as write_tensors,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
