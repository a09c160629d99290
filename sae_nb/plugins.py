"""Parts that other installed packages bring: architectures, readers of files, kinds of input, faces of samples.

A package offers them by entry points in its metadata. A part that cannot be loaded is named in a warning and
left out. The package that takes a part knows its kind; this file does not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import entry_points
from operator import attrgetter
from typing import Any, Literal

Kind = Literal["architectures", "readers", "modalities", "faces"]
KINDS: tuple[Kind, ...] = ("architectures", "readers", "modalities", "faces")
"""Kinds of parts; the group of their entry points is `sae_nb.` and one of these."""

Accept = Callable[[str, Any], None]
"""(name of the entry point, its value) → nothing; raises an error for a value of another kind."""


@dataclass
class Part:
    """One entry point of another package, as `sae-nb doctor` reports it."""

    kind: Kind
    name: str
    package: str
    """Name and version of the package that brings it."""

    value: object = None
    problem: str = ""
    """The reason for which it is left out; empty for a part that is used."""

    def attempt(self, do: Callable[[], object]) -> object:
        """Return what others' code gives; keep what it raises as the problem."""
        try:
            return do()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - others' code, and it is reported
            self.problem = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
            return None


@dataclass
class _State:
    """The parts that were found, and the packages that wait for them."""

    parts: list[Part] | None = None
    takers: dict[Kind, Accept] = field(default_factory=dict)
    is_loading: bool = False


_state = _State()


def take(kind: Kind, accept: Accept) -> None:
    """Give each part of a kind to the package that keeps them; name in a warning what is refused or breaks.

    Importing a part may import the packages of other kinds, which then ask for parts whose module is still
    being imported. So everything is imported first, and handed over after.
    """
    _state.takers[kind] = accept
    if not _state.is_loading:  # else whoever began to load hands them over
        parts()
        _hand_over()


def parts() -> list[Part]:
    """Return every part that other packages bring, imported once to see whether it can be."""
    if _state.parts is None:
        _state.is_loading = True
        found: list[Part] = []
        try:
            for kind in KINDS:
                for point in sorted(entry_points(group=f"sae_nb.{kind}"), key=attrgetter("name")):
                    by = (
                        "unknown"
                        if point.dist is None
                        else f"{point.dist.name} {point.dist.version}"
                    )
                    found.append(Part(kind, point.name, by))
                    found[-1].value = found[-1].attempt(point.load)
        finally:
            _state.is_loading = False
        _state.parts = found
        _hand_over()
    return _state.parts


def _hand_over() -> None:
    """Give each package that waits the parts of its kind."""
    while _state.takers:
        kind, accept = _state.takers.popitem()
        for part in (one for one in _state.parts or () if one.kind == kind):
            if not part.problem:
                part.attempt(partial(accept, part.name, part.value))
            if part.problem:
                warnings.warn(
                    f"The part {part.name!r} ({kind}) of the package {part.package} is left out: "
                    f"{part.problem}. Update or uninstall that package; all else works without it.",
                    UserWarning,
                    stacklevel=2,
                )
