"""doctor: what this machine can do for the toolkit, and how to fix what it cannot."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from sae_nb.diagnosis.findings import Checkup, Finding

__all__ = ["Checkup", "Finding", "doctor"]

_CHECKS = {
    "python": ("machine", "python"),
    "packages": ("machine", "packages"),
    "torch": ("machine", "torch_build"),
    "gpu": ("machine", "gpu"),
    "numba": ("computing", "numba_layer"),
    "kernels": ("computing", "cpu_kernels"),
    "cuda kernels": ("computing", "cuda_kernels"),
    "nnsight": ("computing", "nnsight"),
    "widgets": ("screen", "widgets"),
    "jupyterlab": ("screen", "lab"),
    "memory": ("machine", "memory"),
    "disk": ("machine", "disk"),
    "offline": ("machine", "offline"),
    "chromium": ("screen", "chromium"),
}
"""Name of a check → the file it is in, and the function. Nothing is imported before it is asked."""

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
    ValueError
        If there is no such check.

    Example
    -------
    >>> import sae_nb as sn
    >>> sn.doctor("python")["python"].state
    'ok'
    """
    unknown = [name for name in names if name not in _CHECKS]
    if unknown:
        raise ValueError(
            f"`names` must be checks, got {unknown[0]!r}. They are: {', '.join(_CHECKS)}."
        )
    return Checkup(tuple(_examine(name) for name in names or _CHECKS))


def _examine(name: str) -> Finding:
    module, function = _CHECKS[name]
    try:
        check: Callable[[], Finding] = getattr(
            importlib.import_module(f"sae_nb.diagnosis.{module}"), function
        )
        return check()
    except Exception as error:  # noqa: BLE001 - a check that breaks is what was asked for
        essential = name in ESSENTIAL
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding(name=name, state="cannot", what=what, fix=_cure(error), essential=essential)


def _cure(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"Install it: python -m pip install {(error.name or 'it').partition('.')[0]}."
    return "Run `make clean` and `make lab` in a fresh checkout; if it stays, report this line."
