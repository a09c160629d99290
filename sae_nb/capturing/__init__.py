"""Read activations from a live model: into memory, into a folder, or as a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.capturing._capture import capture as capture
    from sae_nb.capturing._streaming import StreamEndedError as StreamEndedError, stream as stream
    from sae_nb.capturing._texts import TextRows as TextRows, text_rows as text_rows
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
