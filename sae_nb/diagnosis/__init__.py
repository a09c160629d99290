"""doctor: what this machine can do for the toolkit, and how to fix what it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.diagnosis._doctor import (
        Check as Check,
        Checkup as Checkup,
        Finding as Finding,
        doctor as doctor,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
