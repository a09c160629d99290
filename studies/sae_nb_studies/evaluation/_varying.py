"""A check of rows that several measures share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sae_nb.activations import Activations


def check_varies(acts: Activations) -> None:
    """Refuse rows that are all the same, of which nothing can be learned, explained or answered."""
    if bool((acts.x == acts.x[:1]).all()):
        raise ValueError(
            f"`acts` must vary, but all {len(acts)} rows are the same. Capture other inputs, or another "
            "hook point."
        )
