"""Putting a finished folder in the place of an old one, so that a whole one has the name at any moment;
and errors that keep a file from being written, as rule, given, do.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_HERE = -100  # AT_FDCWD: paths count from the working folder
_EXCHANGE = 2  # RENAME_EXCHANGE
_MEANWHILE = (errno.ENOTEMPTY, errno.EEXIST)  # somebody else gave a folder the name


def swap_in(partial: Path, path: Path, *, replace: bool) -> None:
    """Give `partial` the name `path`; what had it is removed, and never missed in between."""
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
        # A folder cannot be renamed over a full one. A kill before the next rename leaves the old
        # folder whole under the `.old` name, which `recover` finds.
        shutil.rmtree(_old(path), ignore_errors=True)
        _rename_unless_done(path, _old(path))
    raise FileExistsError(
        f"{str(path)!r} must be replaced by one at a time, but others never stop. Choose another name."
    )


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step and return whether the system did; Linux can, on most disks."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def recover(path: str | Path) -> None:
    """Put back the previous version of a folder whose replacement was killed half-way."""
    path = Path(path)
    old = _old(path)
    if path.name and old.exists() and not path.exists():
        _rename_unless_done(old, path)


def _rename_unless_done(one: Path, other: Path) -> None:
    """Rename, unless another process was quicker."""
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


# -------------------------------------------------------------------------------------------------
# What keeps a file from being written: disks that are full, folders that are read-only or no folders.

_PARTIAL = re.compile(r"^\.(.+)\.[0-9a-f]{8}\.partial$")

_NO_ROOM = {
    errno.ENOSPC: (
        "must lie on a disk with room left",
        "the disk is full",
        "Make room, or choose a folder on another disk",
    ),
    errno.EDQUOT: (
        "must lie on a disk with room left",
        "your share of it is used up",
        "Make room, or choose a folder on another disk",
    ),
    errno.EFBIG: (
        "must not be larger than a file may be here",
        "it would be",
        "Raise the limit (`ulimit -f`), or choose a folder on another disk",
    ),
    errno.EROFS: (
        "must lie on a disk that can be written to",
        "it is read-only",
        "Choose another folder",
    ),
}
"""Errors that only writing causes."""

_IN_A_FOLDER = ("must lie in a folder", "Choose another name")
_REFUSED = (
    "must lie in a folder you may write to",
    "permission was refused",
    "Choose another folder, or ask for the right to write there",
)
_RULES = {
    **_NO_ROOM,
    errno.EACCES: _REFUSED,
    errno.EPERM: _REFUSED,
    errno.ENAMETOOLONG: (
        "must have a name that the disk takes",
        "it is too long",
        "Choose a shorter one",
    ),
}


@contextmanager
def named_write_errors(path: Path, *, only_room: bool = False) -> Iterator[None]:
    """Turn the system's error about writing `path` into a sentence; its type stays."""
    try:
        yield
    except OSError as error:
        # Without `strerror` it is a sentence of ours already.
        if error.strerror is None or (only_room and error.errno not in _NO_ROOM):
            raise
        # Under its final name: people know nothing of temporary ones.
        parts = (_PARTIAL.match(part) for part in path.parts)
        final = (m[1] if m else part for m, part in zip(parts, path.parts, strict=True))
        named = type(error)(_sentence(Path(*final), error))
        named.errno = error.errno
        raise named from error


def place(path: str | Path) -> Path:
    """Return the path of something to be written, if the system can look there at all."""
    path = Path(path)
    with named_write_errors(path), suppress(FileNotFoundError, NotADirectoryError):
        path.stat()
    return path


def _sentence(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ENOENT):
        rule, do = _IN_A_FOLDER
        here = (path, *path.parents)
        file = next((one for one in here if one.exists() and not one.is_dir()), None)
        nowhere = "there is none and none can be made"
        given = nowhere if file is None else f"{str(file)!r} is a file"
    else:
        fallback = ("must be writable", "the system refuses", "Choose another folder")
        rule, given, do = _RULES.get(error.errno or 0, fallback)
    return (
        f"{str(path)!r} {rule}, but {given} ({error.strerror}). {do}; what was there before is as "
        "it was."
    )


def is_partial(path: Path) -> bool:
    """Return whether the name is a temporary one, of a file being written."""
    return _PARTIAL.match(path.name) is not None
