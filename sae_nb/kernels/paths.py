"""Which way sparse arithmetic went, and why: a record per operation, the latest decision kept."""

from __future__ import annotations

import threading
from dataclasses import dataclass

_LOCK = threading.Lock()
_TAKEN: dict[str, Path] = {}


@dataclass(frozen=True, kw_only=True)
class Path:
    """A choice between ways to compute the same thing."""

    operation: str
    """What was computed."""

    chosen: str
    """The way taken: `sparse`, `dense` or `dense bf16`."""

    reason: str
    """The number that decided: a density, or two measured times."""

    def __str__(self) -> str:
        return f"{self.operation}: {self.chosen} ({self.reason})"


def note(operation: str, chosen: str, reason: str) -> None:
    """Keep a decision, replacing the operation's last one."""
    with _LOCK:
        _TAKEN[operation] = Path(operation=operation, chosen=chosen, reason=reason)


def paths_taken() -> dict[str, Path]:
    """The latest decision of every operation that had a choice, by operation.

    Example
    -------
    >>> note("sum_atoms", "dense", "25.0% of entries are non-zero")
    >>> print(paths_taken()["sum_atoms"])
    sum_atoms: dense (25.0% of entries are non-zero)
    """
    with _LOCK:
        return dict(_TAKEN)
