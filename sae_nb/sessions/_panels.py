"""Openers of the panels of a session: sae_nb is headless, so the package of panels registers itself.

A file of its own, because `import sae_nb_widgets` writes here and must not wait for torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

OPENERS: list[Callable[..., Any]] = []
"""Takes a session and what `Session.dashboard` was given; the first one is asked."""
