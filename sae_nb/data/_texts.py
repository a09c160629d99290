"""English prose that ships with CPython, and the texts in a folder, in paragraphs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from sae_nb.checks import checked
from sae_nb.data._images import visible_files
from sae_nb.data._records import Texts
from sae_nb.files._atomic import existing_folder

Split = Literal["train", "test", "all"]

_TEST_SHARE = 10  # one paragraph in ten is held out
_LONG_SENTENCE = 40  # characters from which a sentence counts as a repeat
_SHORTEST = 60  # characters of a paragraph worth keeping
_UNDERLINE = re.compile(r"^\s*([*=\-~^\"+#])\1{2,}\s*$", re.MULTILINE)
_NOT_PROSE = re.compile(r"::=|>>>|^\s*\|", re.MULTILINE)
_BULLET = re.compile(r"^\s*(?:[*•-]|\d+\.|\[\d+\])\s+")
_SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+")


@dataclass(frozen=True, repr=False)
class Prose(Texts):
    """Paragraphs of one split of the Python reference, each on one line, in the order of its topics.

    `topic` is the title under which pydoc files each paragraph ("assert", "classes", …).

    Example
    -------
    >>> record = prose("test")
    >>> record[0] == record.texts[0], len(record[:3].topic), len([text for text in record[:3]])
    (True, 3, 3)
    """

    texts: tuple[str, ...]
    topic: tuple[str, ...]


@checked
def prose(split: Split = "all") -> Prose:
    """Return English prose about Python from ``pydoc_data.topics``, which every CPython ships.

    Headings, code and grammar are left out, lines are joined to paragraphs. Repeats go before the
    split: a paragraph that shares a sentence of 40 characters or more with an earlier one is
    dropped. A paragraph is held out (one in ten) by a hash of its own words, so the same paragraph
    lies on the same side in every version of Python.

    Raises
    ------
    ModuleNotFoundError: If this Python comes without its reference texts.

    Example
    -------
    >>> train, test = prose("train"), prose("test")
    >>> len(train) > 5 * len(test) > 0, set(train.texts) & set(test.texts)
    (True, set())
    """
    kept = [(topic, text) for topic, text in _paragraphs() if split in ("all", side_of_split(text))]
    return Prose(tuple(text for _, text in kept), tuple(topic for topic, _ in kept))


def side_of_split(text: str) -> Literal["train", "test"]:
    """Return the side of the split a paragraph falls on: by a hash of its words alone."""
    digest = hashlib.sha256(" ".join(text.lower().split()).encode()).digest()
    return "test" if int.from_bytes(digest[:4], "big") % _TEST_SHARE == 0 else "train"


def first_told(paragraphs: Iterable[str]) -> list[bool]:
    """Return which paragraphs to keep so that no long sentence is in two of them: of two the first.

    Example
    -------
    >>> twice = "The very same sentence, which is long enough to be told apart from all the others."
    >>> first_told([twice, "Short.", f"Again. {twice}"])
    [True, True, False]
    """
    seen: set[str] = set()
    keep = []
    for text in paragraphs:
        words = " ".join(text.lower().split())
        keys = {s for s in _SENTENCE_END.split(words) if len(s) >= _LONG_SENTENCE} | {words}
        keep.append(seen.isdisjoint(keys))
        seen |= keys
    return keep


@lru_cache(maxsize=1)
def _paragraphs() -> tuple[tuple[str, str], ...]:
    try:
        from pydoc_data.topics import topics  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "`prose` reads pydoc_data.topics, which this Python comes without. Install the standard"
            " library's documentation data (Debian: libpython3-stdlib), or use stories or text."
        ) from error
    found = [
        (topic, text)
        for topic in sorted(topics)
        for block in re.split(r"\n\s*\n", topics[topic])
        if (text := clean_paragraph(block))
    ]
    keep = first_told(text for _, text in found)
    return tuple(pair for pair, kept in zip(found, keep, strict=True) if kept)


def clean_paragraph(block: str) -> str:
    r"""Return one paragraph on one line, or "" if the block is a heading, code, a table or grammar.

    Example
    -------
    >>> clean_paragraph("Two lines are one paragraph\nif they are prose, as long as\nthis one, and no heading.")
    'Two lines are one paragraph if they are prose, as long as this one, and no heading.'
    >>> clean_paragraph("Usage\n-----")
    ''
    """
    if _UNDERLINE.search(block) or _NOT_PROSE.search(block):
        return ""
    text = " ".join(_BULLET.sub("", block).split())
    begins = text[:1].isupper() or text[:1] in "\"'("
    if len(text) < _SHORTEST or not begins or text[-1] not in ".:!?)":
        return ""
    plain = sum(character.isalpha() or character == " " for character in text)
    return text if plain >= 0.85 * len(text) else ""


# -------------------------------------------------------------------------------------------------
# A folder of texts people have: every .txt file below it, in paragraphs.

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n")


@dataclass(frozen=True, repr=False)
class TextFolder(Texts):
    """Paragraphs of the texts in a folder, line breaks kept, in the order of the files' paths.

    `file` is the path below the folder that each paragraph comes from.
    """

    texts: tuple[str, ...]
    file: tuple[str, ...]


@checked
def text(folder: str | Path) -> TextFolder:
    r"""Read every ``.txt`` file below a folder, to any depth; a blank line ends a paragraph.

    Hidden files and folders are skipped. Files must be UTF-8; Windows line ends and a byte-order
    mark are taken away.

    Raises
    ------
    FileNotFoundError: If there is no such folder.
    ValueError: If it holds no text, or a file is not UTF-8 text.

    Example
    -------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "tale.txt").write_text("Once upon a time.\n\nThe end.\n")
    ...     text(folder).texts
    ('Once upon a time.', 'The end.')
    """
    folder = existing_folder(Path(folder).expanduser())
    found = sorted(path.relative_to(folder) for path in visible_files(folder, {".txt"}))
    pairs = [(part, path.as_posix()) for path in found for part in _read(folder / path)]
    if not pairs:
        raise ValueError(
            f"A folder of texts must hold at least one .txt file with words, got {str(folder)!r} with"
            f" {len(found)} such files. Check the path."
        )
    return TextFolder(tuple(part for part, _ in pairs), tuple(name for _, name in pairs))


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
