"""What all data share: records that show names, shapes and types, never numbers; seeds; shares."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from sae_nb.checks import between, check_count, check_real

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


def seeded(seed: int) -> torch.Generator:
    """Return a generator of torch's that begins at a seed ≥ 0."""
    return torch.Generator().manual_seed(check_count(seed, name="seed", at_least=0))


def check_share(value: float, *, name: str, do: str) -> float:
    """Return a number in [0, 1)."""
    return float(between(check_real(value, name=name), 0, 1, name=name, ends="[)", do=do))
