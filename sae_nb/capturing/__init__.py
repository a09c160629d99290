"""Read activations from a live model: into memory, into a folder, or as a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.capturing._capture import capture as capture
    from sae_nb.capturing._streaming import stream as stream
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.capturing._batch_rows import (
        BatchRows as BatchRows,
        batch_rows as batch_rows,
    )
    from sae_nb.capturing._context_builder import ContextBuilder as ContextBuilder
    from sae_nb.capturing._harvest import (
        CaptureSettings as CaptureSettings,
        Harvest as Harvest,
        check_any_rows as check_any_rows,
        reporting as reporting,
    )
    from sae_nb.capturing._streaming import StreamEndedError as StreamEndedError
