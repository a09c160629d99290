"""What SAEs are for: whole texts and images by their atoms, and corpora compared by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.uses._diff import Diff as Diff, diff as diff
    from sae_nb.uses._documents import Documents as Documents, documents as documents
else:
    __getattr__, __dir__, __all__ = door(__name__)
