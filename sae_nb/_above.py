"""What a module above holds, looked up by name: for methods that are a shorter way to a function of it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sae_nb._lazy import STUDIES, studies


def above(module: str, name: str) -> Any:
    """Return what a higher module holds, once it is called for.

    A class looks up a file of its own package that needs the class (`SAE.load`), commands and tools of
    agents what they take from the studies. A package above is asked by a `Hook`. The contract "looked up" in
    `pyproject.toml` lists who may.
    """
    if module.startswith(STUDIES):
        studies()  # or what to install
    return getattr(import_module(module), name)
