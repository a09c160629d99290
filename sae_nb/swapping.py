"""Putting a finished folder in the place of an old one, so that a whole one has the name at any moment."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
from pathlib import Path

_HERE = -100  # AT_FDCWD: paths count from the working folder
_EXCHANGE = 2  # RENAME_EXCHANGE
_MEANWHILE = (errno.ENOTEMPTY, errno.EEXIST)  # somebody else gave a folder the name


def swap_in(partial: Path, path: Path, *, replace: bool) -> None:
    """Give `partial` the name `path`; what had it is removed, and never missed in between.

    Parameters
    ----------
    partial
        A finished folder beside `path`.
    path
        Final name.
    replace
        Whether an existing folder is replaced.

    Raises
    ------
    FileExistsError
        If somebody else made `path` meanwhile and `replace` is false.
    """
    for _ in range(100):  # others may replace the same folder at the same time
        if not path.exists():
            try:
                partial.rename(path)
            except OSError as error:
                if error.errno not in _MEANWHILE:
                    raise
            else:
                return
        if not replace:
            raise FileExistsError(
                f"{str(path)!r} must not exist yet, but was made meanwhile. Choose another name."
            )
        if _exchange(partial, path):
            shutil.rmtree(partial, ignore_errors=True)
            return
        _step_aside(path)
    raise FileExistsError(
        f"{str(path)!r} must be replaced by one at a time, but others never stop. Choose another name."
    )


def _exchange(one: Path, other: Path) -> bool:
    """Whether the system exchanged two names in one step; Linux can, on most disks."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def _step_aside(path: Path) -> None:
    # A folder cannot be renamed over a full one. A kill before the next rename leaves the old folder
    # whole under the `.old` name, which `recover` finds.
    old = _old(path)
    shutil.rmtree(old, ignore_errors=True)
    _rename_unless_done(path, old)


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def recover(path: str | Path) -> None:
    """Put back the previous version of a folder whose replacement was killed half-way."""
    path = Path(path)
    old = _old(path)
    if path.name and old.exists() and not path.exists():
        _rename_unless_done(old, path)


def _rename_unless_done(one: Path, other: Path) -> None:
    """Rename, unless somebody else was quicker."""
    try:
        one.rename(other)
    except OSError as error:
        if error.errno not in (errno.ENOENT, *_MEANWHILE):
            raise


def remove_folder(path: Path) -> None:
    """Remove a folder that is no longer needed; killed half-way, nothing of it has its name any more."""
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    path.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def tidy_old(path: Path) -> None:
    """Remove the previous version of a folder that has been replaced."""
    if path.exists():
        shutil.rmtree(_old(path), ignore_errors=True)
