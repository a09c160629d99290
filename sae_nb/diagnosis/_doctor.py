"""doctor: what this machine can do for the toolkit, and how to fix what it cannot."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

# -------------------------------------------------------------------------------------------------
# Finding and Checkup: what one check saw, and all of them as a table people can read.


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


# -------------------------------------------------------------------------------------------------
# doctor: what this machine can do for the toolkit, and how to fix what it cannot.


def _checks() -> dict[str, Callable[[], Finding]]:
    """Name of a check → what makes it. Nothing that could be broken is imported before it is asked."""
    from sae_nb.diagnosis import _computing as computing, _machine as machine

    return {
        "python": machine.python,
        "packages": machine.packages,
        "torch": machine.torch_build,
        "gpu": machine.gpu,
        "numba": computing.numba_layer,
        "kernels": computing.cpu_kernels,
        "cuda kernels": computing.cuda_kernels,
        "nnsight": computing.nnsight,
        "widgets": computing.widgets,
        "jupyterlab": computing.lab,
        "memory": machine.memory,
        "disk": machine.disk,
        "offline": machine.offline,
        "chromium": computing.chromium,
    }


ESSENTIAL = frozenset({"python", "packages", "torch", "numba", "kernels", "nnsight", "offline"})
"""Without these a check that breaks means that nothing useful works."""


def doctor(*names: str) -> Checkup:
    """Look at what this machine can do, and say how to fix what it cannot.

    Every check runs on its own: one that breaks becomes a finding. Nothing is downloaded and no
    connection is made; nothing about the machine is told but versions, sizes and the GPU's name.

    Parameters
    ----------
    names
        Checks to make; none means all (a few seconds).

    Returns
    -------
    Checkup
        Prints as a table; `.usable` tells whether everything essential works.

    Raises
    ------
    ValueError: If there is no such check.

    Example
    -------
    >>> import sae_nb as sn
    >>> sn.doctor("python")["python"].state
    'ok'
    """
    checks = _checks()
    unknown = [name for name in names if name not in checks]
    if unknown:
        raise ValueError(
            f"`names` must be checks, got {unknown[0]!r}. They are: {', '.join(checks)}."
        )
    return Checkup(tuple(_examine(name, checks[name]) for name in names or checks))


def _examine(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - a check that breaks is what was asked for
        essential = name in ESSENTIAL
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding(name=name, state="cannot", what=what, fix=_cure(error), essential=essential)


def _cure(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"Install it: python -m pip install {(error.name or 'it').partition('.')[0]}."
    return "Run `make clean` and `make lab` in a fresh checkout; if it stays, report this line."
