"""Returned notebooks as nbgrader and Canvas hand them out, and the records in them. All of it is a student's claim."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sae_nb_lessons.exercises._verdicts import RECORD

LARGEST = 50_000_000
"""Bytes of a notebook that is read."""

CANVAS = re.compile(
    r"(?P<name>[^_]+)(_LATE)?_(?P<id>\d+)_\d+_(?P<file>.+?)(-(?P<again>\d+))?\.ipynb"
)
"""`lastfirst_LATE_123_456_01_superposition-2.ipynb`: a student, two numbers, the file, and how often it was sent again."""

LESSON = re.compile(r"(lab_\d\d|\d\d)(?=_)")
LONGEST = 2000


@dataclass(frozen=True)
class Returned:
    """A notebook that came back, or why it cannot be read."""

    student: str
    lesson: str
    """Number of the lesson, by the file's name; empty if that has none."""

    file: str
    cells: tuple[Any, ...] = ()
    checker: str = ""
    """Digest of the checkers that it was given out with; empty if it does not say."""

    problem: str = ""

    @property
    def code(self) -> list[str]:
        """Sources of its cells of code."""
        return [cell.source for cell in self.cells if cell.cell_type == "code"]


def returned(where: Path) -> list[Returned]:
    """Read the notebooks below a folder or in a zip: of each student and lesson the last that was sent."""
    last: dict[tuple[str, str], tuple[int, str, bytes | str]] = {}
    for path, content in _files(where):
        student, name, again = _whose(path)
        key = student, name
        if key not in last or last[key][:2] < (again, str(path)):
            last[key] = again, str(path), content
    return [
        _read(student, name, path, content)
        for (student, name), (_, path, content) in sorted(last.items())
    ]


def _files(where: Path) -> Iterator[tuple[PurePosixPath, bytes | str]]:
    """Yield each notebook's place below `where`, with its bytes or why they are not read."""
    if where.is_dir():
        for path in sorted(where.rglob("*.ipynb")):
            place = PurePosixPath(path.relative_to(where).as_posix())
            if path.is_file() and not path.is_symlink() and not _hidden(place):
                size = path.stat().st_size
                yield place, path.read_bytes() if size <= LARGEST else _too_large(size)
    elif zipfile.is_zipfile(where):
        with zipfile.ZipFile(where) as archive:
            for entry in archive.infolist():
                place = PurePosixPath(entry.filename)
                if place.suffix == ".ipynb" and not _hidden(place):
                    yield place, _unzipped(archive, entry)
    else:
        raise FileNotFoundError(
            f"Returned notebooks must lie in a folder or a zip, and {str(where)!r} is neither. Give the folder "
            "that holds `submitted`, or what Canvas let you download."
        )


def _unzipped(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes | str:
    if entry.file_size > LARGEST:
        return _too_large(entry.file_size)
    try:
        return archive.read(entry)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        return f"it cannot be unpacked ({error})"


def _hidden(place: PurePosixPath) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in place.parts)


def _too_large(size: int) -> str:
    return f"its file has {size / 1e6:.3g} MB, and {LARGEST / 1e6:.3g} MB are read: ask for it with fewer outputs"


def _whose(place: PurePosixPath) -> tuple[str, str, int]:
    """Return the student, the name of the notebook, and how often it was sent again."""
    if canvas := CANVAS.fullmatch(place.name):
        return f"{canvas['name']} {canvas['id']}", canvas["file"], int(canvas["again"] or 0)
    parts = (
        place.parts[place.parts.index("submitted") + 1 :]
        if "submitted" in place.parts
        else place.parts
    )
    return (parts[0] if len(parts) > 1 else place.stem), place.stem, 0


def _read(student: str, name: str, path: str, content: bytes | str) -> Returned:
    import nbformat  # late: it takes seconds

    found = LESSON.match(name)
    lesson = found[0] if found else ""
    if isinstance(content, str):
        return Returned(student, lesson, path, problem=content)
    try:
        notebook = nbformat.reads(content.decode(), as_version=4)
        cells = tuple(cell for cell in notebook.cells if isinstance(cell.source, str))
        noted = notebook.metadata.get("sae_nb", {})
        checker = str(noted.get("checker", ""))[:64] if isinstance(noted, Mapping) else ""
    except Exception:  # noqa: BLE001 - a file of a student can be anything
        return Returned(student, lesson, path, problem="it is no notebook that can be read")
    return Returned(student, lesson, path, cells, checker)


# --- what a notebook says of itself ---------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """What the outputs of a notebook say of an exercise; anybody can write this by hand."""

    tries: int = 0
    solution: bool = False
    checker: str = ""
    answers: tuple[Mapping[str, Any], ...] = ()

    @property
    def last(self) -> Mapping[str, Any]:
        """The last answer."""
        return self.answers[-1] if self.answers else {}

    @property
    def seconds(self) -> float | None:
        """From when the question was first seen to the last answer."""
        return self.last.get("seconds")

    @property
    def claims_right(self) -> bool:
        """Whether it says that a right answer was given."""
        return any(one["state"] == "right" for one in self.answers)


def records(notebook: Returned) -> dict[str, Record]:
    """Return the longest record of each exercise in the outputs; what has another form is left out."""
    found: dict[str, Record] = {}
    for cell in notebook.cells:
        for out in cell.get("outputs", ()):
            listed = out.get("data", {}).get(RECORD, ()) if isinstance(out, Mapping) else ()
            for one in listed if isinstance(listed, list) else ():
                if isinstance(one, Mapping) and isinstance(one.get("exercise"), str):
                    record = _record(one)
                    before = found.get(one["exercise"], Record())
                    if len(record.answers) >= len(before.answers):
                        found[one["exercise"]] = record
    return found


def _record(one: Mapping[str, Any]) -> Record:
    given = one.get("answers")
    answers = (
        [_answer(a) for a in given if isinstance(a, Mapping)] if isinstance(given, list) else []
    )
    return Record(
        tries=_whole(one.get("tries")),
        solution=one.get("solution") is True,
        checker=_text(one.get("checker")),
        answers=tuple(answers),
    )


def _answer(given: Mapping[str, Any]) -> dict[str, Any]:
    seconds = given.get("seconds")
    fine = isinstance(seconds, int | float) and math.isfinite(seconds) and 0 <= seconds < 1e8
    texts = {name: _text(given.get(name)) for name in ("asked", "answer", "state", "said")}
    return texts | {"seconds": round(float(seconds), 1) if fine and seconds is not None else None}


def _text(value: object) -> str:
    return value[:LONGEST] if isinstance(value, str) else ""


def _whole(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 10**6 else 0
