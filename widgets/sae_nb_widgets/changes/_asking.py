"""The request of a ChangesPanel, and the work that answers it: nothing here knows a widget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sae_nb.studies.evaluation import ChangedText, ModelDiff, changed_text

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

NONE = -1
"""No finding, no place, no text of the list."""


@dataclass(frozen=True)
class Ask:
    """The request: a text, and the finding whose direction is set back."""

    text: str
    finding: int = NONE


def answered(a: LiveModel, b: LiveModel, ask: Ask, found: ModelDiff | None) -> ChangedText:
    """Read the text with both models, and a third time with the direction set back."""
    if ask.finding == NONE or found is None:
        return changed_text(a, b, ask.text)
    return changed_text(a, b, ask.text, found, finding=ask.finding)
