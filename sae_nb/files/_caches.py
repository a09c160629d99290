"""The folder of what was fetched or computed once, and can be again."""

from __future__ import annotations

import os
from pathlib import Path

CACHE = "SAE_NB_CACHE"
"""Environment variable: a folder in place of the toolkit's part of the user's cache."""


def cache_folder(kind: str) -> Path:
    """Return where one kind is kept: fetched `models`, layouts of `umap`. It need not exist."""
    import platformdirs

    named = os.environ.get(CACHE)
    return (Path(named).expanduser() if named else platformdirs.user_cache_path("sae_nb")) / kind
