"""The request of a ChangesPanel, and the work that answers it: nothing here knows a widget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sae_nb.diffing import ChangedImage, ChangedText, ModelDiff, changed_image, changed_text

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

NONE = -1
"""No finding, no place, no input of the list."""

Seen = ChangedText | ChangedImage


@dataclass(frozen=True)
class Ask:
    """The request: a text, or the number of an image, and the finding whose direction is set back."""

    given: str | int
    finding: int = NONE


def answered(
    a: LiveModel, b: LiveModel, given: object, finding: int, found: ModelDiff | None
) -> Seen:
    """Read a text or an image with both models, and a third time with the direction set back."""
    read: Any = changed_text if isinstance(given, str) else changed_image
    if finding == NONE or found is None:
        return read(a, b, given)
    return read(a, b, given, found, finding=finding)
