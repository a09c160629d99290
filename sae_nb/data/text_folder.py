"""A folder of texts people have: every .txt file below it, in paragraphs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sae_nb.data.records import Record

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n")


@dataclass(frozen=True, repr=False)
class TextFolder(Record):
    """Paragraphs of the texts in a folder, file after file in the order of their paths.

    Parameters
    ----------
    texts
        One paragraph each, line breaks kept.
    file
        Path below the folder each paragraph comes from.
    """

    texts: tuple[str, ...]
    file: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


def text(folder: str | Path) -> TextFolder:
    r"""Read every ``.txt`` file below a folder; a blank line ends a paragraph.

    Hidden files and folders are skipped. Files must be UTF-8; Windows line ends and a byte-order
    mark are taken away.

    Parameters
    ----------
    folder
        Searched to any depth.

    Returns
    -------
    TextFolder
        Paragraphs and the files they come from.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If it holds no text, or a file is not UTF-8 text.

    Example
    -------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "tale.txt").write_text("Once upon a time.\n\nThe end.\n")
    ...     text(folder).texts
    ('Once upon a time.', 'The end.')
    """
    if not isinstance(folder, (str, Path)):
        raise TypeError(f"`folder` must be a path, got {type(folder).__name__}.")
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"No folder {str(folder)!r}. Check the path.")
    found = sorted(path.relative_to(folder) for path in folder.rglob("*") if _is_text(path, folder))
    pairs = [(part, path.as_posix()) for path in found for part in _read(folder / path)]
    if not pairs:
        raise ValueError(
            f"A folder of texts must hold at least one .txt file with words, got {str(folder)!r} with"
            f" {len(found)} such files. Check the path."
        )
    return TextFolder(tuple(part for part, _ in pairs), tuple(name for _, name in pairs))


def _is_text(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() == ".txt" and path.is_file()


def _read(path: Path) -> list[str]:
    raw = path.read_bytes()
    try:
        whole = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"A text file must be UTF-8, got {str(path)!r} with byte 0x{raw[error.start]:02x} at"
            f" {error.start}. Convert it (iconv -t UTF-8) or take it out of the folder."
        ) from error
    if "\x00" in whole:
        raise ValueError(
            f"A text file must hold text, got {str(path)!r} with zero bytes. Take it out of the"
            " folder."
        )
    lines = whole.replace("\r\n", "\n").replace("\r", "\n")
    return [part.strip() for part in _BLANK_LINES.split(lines) if part.strip()]
