"""What a module above holds, looked up by name: for methods that are a shorter way to a function of it."""

from __future__ import annotations

from typing import Any

from sae_nb.exports import imported


def above(module: str, name: str) -> Any:
    """Return what a higher module holds, once it is called for.

    A class looks up a file of its own package that needs the class (`SAE.load`), commands and tools of
    agents what they take from the studies. A package above is asked by a `Hook`. The contract "looked up" in
    `pyproject.toml` lists who may.
    """
    return getattr(imported(module), name)
