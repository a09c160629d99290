"""The models that ship with the toolkit, and the place of their weights."""

from __future__ import annotations

from pathlib import Path

from sae_nb.checks import checked

WEIGHTS = Path(__file__).parent / "weights"


@checked
def bundled_names() -> list[str]:
    """Return the names of the models that ship with the toolkit, checkpoints as "name@step-N"."""
    if not WEIGHTS.is_dir():
        return []
    return sorted(folder.parent.name for folder in WEIGHTS.glob("*/config.json"))


def bundled_folder(name: str) -> Path:
    """Return where the weights of a bundled model lie."""
    return WEIGHTS / name
