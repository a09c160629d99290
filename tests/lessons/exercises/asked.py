"""The form of an exercise's answers, right and wrong, as the tables of notebooks and labs list them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """Answers to one exercise; what is wrong comes with a part of what the verdict says of it."""

    id: str
    right: Sequence[object] = ()
    near: Sequence[tuple[object, str]] = ()
