"""Rules over another SAE's selection: which SAEs can host them, and the class that is both."""

from __future__ import annotations

from functools import cache
from typing import Any

HOSTS = ("TopK", "BatchTopK", "JumpReLU", "ReLU", "Gated", "AbsTopK", "Matryoshka")
"""Architectures with an encoder of their own, over whose codes any dictionary can be held."""


@cache
def over(kind: type[Any], base: str) -> type[Any]:
    """The class of a kind over a base: both, the rules of the kind first."""
    from sae_nb.architectures import ARCHITECTURES

    body = {"__doc__": kind.__doc__, "__module__": kind.__module__, "_host": base}
    return type(kind.__name__, (kind, ARCHITECTURES[base]), body)
