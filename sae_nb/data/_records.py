"""How a record of data shows itself: names, shapes and types, never its numbers."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import fields
from typing import Any

from torch import Tensor

LONGEST_TEXT = 40


class Record:
    """Base of the data records: as long as their first field, and with a short `repr`."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))  # type: ignore[arg-type]

    def __repr__(self) -> str:
        facts = "; ".join(_described(f.name, getattr(self, f.name)) for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({facts})"


def _described(name: str, value: Any) -> str:
    if isinstance(value, Tensor):
        shape = "×".join(map(str, value.shape))
        return f"{name} {shape} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, str | int | float | bool) or value is None:
        text = repr(value)
        return f"{name}={text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + '…'}"
    if isinstance(value, Sized):
        return f"{name}: {len(value)}"
    return f"{name}: {type(value).__name__}"
