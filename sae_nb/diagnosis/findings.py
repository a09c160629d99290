"""Finding and Checkup: what one check saw, and all of them as a table people can read."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["ok", "warn", "cannot"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check saw."""

    name: str
    """What was looked at."""

    state: State
    """"ok", "warn" (works, with a drawback) or "cannot"."""

    what: str
    """What was seen, with its numbers."""

    fix: str = ""
    """One sentence: what to do about it; empty where there is nothing to do."""

    essential: bool = False
    """Whether nothing useful works without it."""


@dataclass(frozen=True)
class Checkup:
    """All findings, in the order they were made; prints as a table.

    Example
    -------
    >>> checkup = Checkup((Finding(name="disk", state="warn", what="0.5 GiB free", fix="Delete some."),))
    >>> print(checkup)
    warn    disk  0.5 GiB free
                  → Delete some.
    >>> checkup.usable, checkup["disk"].state
    (True, 'warn')
    """

    findings: tuple[Finding, ...]
    """One per check."""

    @property
    def usable(self) -> bool:
        """Whether everything essential works."""
        return not any(f.essential and f.state == "cannot" for f in self.findings)

    def __getitem__(self, name: str) -> Finding:
        """Return the finding of that name."""
        found = next((f for f in self.findings if f.name == name), None)
        if found is None:
            names = ", ".join(f.name for f in self.findings)
            raise KeyError(f"`name` must be one of {names}, got {name!r}.")
        return found

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def to_json(self) -> dict[str, object]:
        """Return the same as plain values, for a bug report."""
        return {"usable": self.usable, "findings": [asdict(f) for f in self.findings]}

    def __str__(self) -> str:
        width = max((len(f.name) for f in self.findings), default=0)
        lines = []
        for f in self.findings:
            lines.append(f"{f.state:<6}  {f.name:<{width}}  {f.what}")
            if f.fix:
                lines.append(f"{'':<{width + 10}}→ {f.fix}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td><b>{f.state}</b></td><td>{html.escape(f.name)}</td>"
            f"<td style='text-align:left'>{html.escape(f.what)}"
            f"{'<br>→ ' + html.escape(f.fix) if f.fix else ''}</td></tr>"
            for f in self.findings
        )
        return f"<table>{rows}</table>"
