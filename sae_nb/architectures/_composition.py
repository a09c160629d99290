"""Rules over another SAE's selection: which SAEs can host them, and the class that is both."""

from __future__ import annotations

from functools import cache
from typing import Any

from sae_nb.architectures._abs_topk import AbsTopK
from sae_nb.architectures._base import SparseAutoencoder
from sae_nb.architectures._batch_topk import BatchTopK
from sae_nb.architectures._gated import Gated
from sae_nb.architectures._jump_relu import JumpReLU
from sae_nb.architectures._matryoshka import Matryoshka
from sae_nb.architectures._relu import ReLU
from sae_nb.architectures._topk import TopK

_BASES: dict[str, type[SparseAutoencoder]] = {
    base.__name__: base for base in (TopK, BatchTopK, JumpReLU, ReLU, Gated, AbsTopK, Matryoshka)
}
HOSTS = tuple(_BASES)
"""Architectures with an encoder of their own, over whose codes any dictionary can be held."""


@cache
def class_over(kind: type[Any], base: str, *first: type) -> type[Any]:
    """Return the class of a kind of SAE that takes its encoder from another; made once.

    For the `__new__` of a kind whose objects are of both classes, as those of `Archetypal` and `Transcoder`.

    Parameters
    ----------
    kind
        Whose rules come before the base's.
    base
        "TopK", "BatchTopK", "JumpReLU", "ReLU", "Gated", "AbsTopK" or "Matryoshka".
    first
        Whose rules come before both.
    """
    body = {"__doc__": kind.__doc__, "__module__": kind.__module__, "_host": base}
    return type(kind.__name__, (*first, kind, _BASES[base]), body)
