"""What other libraries call what is here, as tables of a page; read from `sae_nb/words.toml`, as errors are."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

WORDS = Path(__file__).parents[2] / "sae_nb" / "words.toml"


def words(table: str) -> str:
    """Rows of one table: the name elsewhere, and what to write here; "keywords" has those of every call."""
    entries: dict[str, Any] = tomllib.loads(WORDS.read_text(encoding="utf-8"))[table]
    rows = [
        f"| `{name}` | {_said(hint)} |"
        for name, hint in entries.items()
        if not isinstance(hint, dict)
    ]
    return "\n".join(["| elsewhere | here |", "|---|---|", *rows])


def _said(hint: str | list[str]) -> str:
    """One hint, or several; a sentence as it is."""
    options = [hint] if isinstance(hint, str) else hint
    shown = [one if one.endswith(".") else f"`{one}`" for one in options]
    return " or ".join(shown).replace("|", "\\|")
