"""A bound on what an archive may unpack to, checked before anything of it is unpacked."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path

TIMES = 32
"""Largest size of the content, in sizes of the archive. Weights and photographs shrink to a half at best,
fp32 rounded to bf16 to a quarter; zeros to a thousandth. Ours."""

ALWAYS = 64 << 20
"""Bytes of content that are never too many."""


def check_archive(path: str | Path) -> None:
    """Refuse a zip archive, such as an `.npz` or a `.pt`, that would fill the memory when it is unpacked.

    A file that is not an archive passes, and its reader refuses it. Readers stop at the sizes in its list.
    """
    path = Path(path)
    stated = 0
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        stated = sum(entry.file_size for entry in archive.infolist())
    most = max(ALWAYS, TIMES * path.stat().st_size) if stated else ALWAYS
    if stated > most:
        raise ValueError(
            f"{str(path)!r} must unpack to at most {most >> 20} MiB, got {stated >> 20} MiB in an archive of "
            f"{path.stat().st_size >> 10} KiB. Nothing was unpacked. Weights do not shrink like this: download "
            "it again from a source that you trust."
        )
