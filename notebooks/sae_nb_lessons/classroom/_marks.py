"""Returned notebooks judged again: their cells run in a process apart, their answers are judged here."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sae_nb_lessons.classroom._plain import NotPlain, packed, unpacked
from sae_nb_lessons.classroom._process import Ended, Process
from sae_nb_lessons.classroom._returned import Record, Returned, records, returned
from sae_nb_lessons.classroom._table import ClassTable, Row
from sae_nb_lessons.exercises._cells import digest, numbered
from sae_nb_lessons.exercises._limits import SECONDS, TRAINING
from sae_nb_lessons.exercises._registry import numbers, untouched
from sae_nb_lessons.exercises._verdicts import State, Verdict

ASKS = re.compile(r"\.(check|predict|write|score)\(")
"""In a cell that hands something in."""

CELL_SECONDS, START_SECONDS = 60.0, 180.0
"""Most for one cell that hands something in, and for a process to begin, with what the lesson imports."""


def collect(folder: str | Path, *, to: str | Path | None = None) -> ClassTable:
    """Gather what returned notebooks say, run and judge nothing: as quick as reading, and all of it a claim.

    Parameters
    ----------
    folder
        As nbgrader (`submitted/STUDENT/ASSIGNMENT/x.ipynb`) or Canvas (`lastfirst_123_456_x.ipynb`) hands it out,
        or a zip of it. Of a lesson that was sent twice the last is read.
    to
        Folder of `collected.csv` and `collected.html`; None: beside the notebooks.

    Raises
    ------
    FileNotFoundError: If `folder` is neither a folder nor a zip, or holds no notebook.

    Example
    -------
    >>> collect("submitted")                                              # doctest: +SKIP
    24 students, 24 notebooks. Written: submitted/collected.csv, submitted/collected.html
    """
    where, notebooks = _given(folder)
    rows = [row for one in notebooks for row in _said(one)]
    return ClassTable(rows, judged=False).written(_beside(where, to), "collected")


def mark(folder: str | Path, *, to: str | Path | None = None, seconds: float = 300) -> ClassTable:
    """Judge the answers of returned notebooks again, whatever the notebooks say of themselves.

    A notebook's cells run in a process of their own, which hands out numbers and calls its functions; the checkers
    judge outside of it. Only what cannot leave it, such as a function of a model, is judged inside, and its row says
    so. A cell that ends the process, or does not end, costs that cell. Tries and seconds are the notebook's own.

    Parameters
    ----------
    folder, to
        As in `collect`; the files are `marks.csv` and `marks.html`.
    seconds
        Most for all cells of a notebook, in seconds, where an answer needs those above it.

    Raises
    ------
    FileNotFoundError: If `folder` is neither a folder nor a zip, or holds no notebook.
    ValueError: If `seconds` is not above 0.

    Example
    -------
    >>> mark("submitted")                                                 # doctest: +SKIP
    24 students, 24 notebooks. Written: submitted/marks.csv, submitted/marks.html
    """
    if not seconds > 0:
        raise ValueError(f"`seconds` must be above 0, got {seconds!r}. 300 is enough for a lesson.")
    where, notebooks = _given(folder)
    rows = [row for one in notebooks for row in _marked(one, seconds)]
    return ClassTable(rows, judged=True).written(_beside(where, to), "marks")


def _given(folder: str | Path) -> tuple[Path, list[Returned]]:
    where = Path(folder).expanduser()
    found = returned(where)
    if not found:
        raise FileNotFoundError(
            f"Returned notebooks must end in .ipynb, and {str(where)!r} holds none. Give the folder that holds "
            "`submitted`, or what Canvas let you download."
        )
    return where, found


def _beside(where: Path, to: str | Path | None) -> Path:
    return Path(to) if to is not None else where if where.is_dir() else where.parent


# --- what a notebook says -------------------------------------------------------------------------


def _asked(notebook: Returned, said: Mapping[str, Record]) -> list[str]:
    """Return the exercises of its lesson, then others that it has answers to; none of one that cannot be read."""
    if notebook.problem:
        return []
    own = numbers(notebook.lesson)
    others = sorted({*_mentioned("\n".join(notebook.code)), *said} - set(own))
    return [*own, *(id for id in others if id in numbers(id.partition(".")[0]))]


def _mentioned(source: str) -> list[str]:
    return [numbered(id) for id in re.findall(r"exercise\(\s*[\"']([\w.]+)[\"']", source)]


def _said(notebook: Returned) -> Iterator[Row]:
    said = records(notebook)
    asked = _asked(notebook, said)
    for id in asked:
        record = said.get(id, Record())
        noted = "text" if record.last.get("asked") == "write" else "predicted"
        names = {"noted": noted, "assessed": "text", "form": "cannot be judged"}
        state = record.last.get("state", "missing")
        state = names.get(state, state)
        wrong = [one["said"] for one in record.answers if one["said"]]
        answer = _text_of(record) if state == "text" else record.last.get("answer", "")
        yield _row(notebook, id, record, state, answer, wrong[-1] if wrong else "")
    if not asked:
        yield _whole(notebook)


def _text_of(record: Record) -> str:
    return next((one["answer"] for one in reversed(record.answers) if one["asked"] == "write"), "")


def _whole(notebook: Returned) -> Row:
    """Return the row of a notebook without any exercise that is known."""
    said = notebook.problem or "no exercise of the course is in it"
    return Row(notebook.student, notebook.lesson, "", "unread", notes=said, file=notebook.file)


def _row(
    notebook: Returned, id: str, record: Record, state: str, answer: str, mistake: str, *notes: str
) -> Row:
    checkers = {record.checker, notebook.checker} - {"", digest()}
    more = [
        f"checker {', '.join(sorted(checkers))} is another than {digest()}" if checkers else "",
        "an answer was shown" if record.solution else "",
        "" if id in numbers(notebook.lesson) or not notebook.lesson else "of another lesson",
    ]
    return Row(
        notebook.student,
        id.partition(".")[0],
        id,
        state,
        record.tries,
        answer,
        mistake,
        record.seconds,
        "; ".join(note for note in (*notes, *more) if note),
        notebook.file,
        tuple(one["said"] for one in record.answers if one["state"] == "wrong"),
    )


# --- judging --------------------------------------------------------------------------------------


def _marked(notebook: Returned, seconds: float) -> Iterator[Row]:
    said = records(notebook)
    asked = _asked(notebook, said)
    if not asked:
        yield _whole(notebook)
        return
    run = _Run(notebook, seconds)
    try:
        for id in asked:
            yield _judged(notebook, id, said.get(id, Record()), run)
    finally:
        run.end()


def _judged(notebook: Returned, id: str, record: Record, run: _Run) -> Row:
    """Return the row of one exercise."""
    method, handed = run.handed(id)
    verdict, inside = run.verdict(id, method, handed)
    if _forgotten(verdict) and run.all_cells():
        method, handed = run.handed(id)
        verdict, inside = run.verdict(id, method, handed)
    if not isinstance(verdict, Verdict) and id in run.problems:
        kept = _of_record(id, record)
        verdict, inside = (
            (kept, "its cell does not run here: the answer is the record's")
            if kept
            else (verdict, inside)
        )
    answer = handed.get("source") or handed.get("written") or record.last.get("answer", "")
    mistake, notes = "", [inside]
    match verdict:
        case None:
            state = "missing"
        case str():
            state, mistake = "cannot be judged", verdict
        case Verdict(state="noted"):
            state = "text" if method == "write" else "predicted"
            points = run.handed(id, "score")[1].get("written")
            notes.append(
                f"{points} points by their own count" if points and state == "text" else ""
            )
        case Verdict():
            state = verdict.state.replace("form", "cannot be judged")
            mistake = verdict.said if state in ("wrong", "cannot be judged") else ""
    if record.claims_right and state != "right":
        notes.append("the notebook says right")
    return _row(notebook, id, record, state, answer, mistake, *notes)


def _of_record(id: str, record: Record) -> Verdict | None:
    """Judge an answer that a notebook keeps as numbers or a word; None if it keeps no such answer."""
    asked, answer = record.last.get("asked"), record.last.get("answer", "")
    if asked not in ("check", "predict"):
        return None
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        answer = ast.literal_eval(answer)
    verdict: Verdict = getattr(untouched(id), asked)(answer)
    return verdict if verdict.state in ("right", "wrong", "noted") else None


def _forgotten(verdict: Verdict | str | None) -> bool:
    """Test whether a name was missing that a cell above may make."""
    return "NameError" in (verdict.said if isinstance(verdict, Verdict) else verdict or "")


class _Run:
    """The cells of a notebook in a process: first what they import and define, with those that hand something in."""

    def __init__(self, notebook: Returned, seconds: float) -> None:
        self._code, self._seconds = notebook.code, seconds
        self._handed: dict[tuple[str, str], dict[str, Any]] = {}
        self.problems: dict[str, str] = {}
        self._begin, self._good = _definitions(notebook.code), list[str]()
        self._all = False
        self._process: Process | None = None
        for source in self._code:
            if ASKS.search(source):
                self._run(source, min(CELL_SECONDS, seconds))

    def handed(self, id: str, method: str = "") -> tuple[str, dict[str, Any]]:
        """Return what was handed in for an exercise, and by which call; {} if nothing was."""
        for one in (method,) if method else ("check", "predict", "write"):
            if (id, one) in self._handed:
                return one, self._handed[id, one]
        return "", {}

    def verdict(
        self, id: str, method: str, handed: Mapping[str, Any]
    ) -> tuple[Verdict | str | None, str]:
        """Return what the checker says, why it cannot be asked, or None if nothing was handed in; and a note."""
        if not handed:
            return self.problems.get(id), ""
        exercise = untouched(id)
        try:
            if handed.get("blank"):
                return getattr(exercise, method)(...), ""
            if "plain" in handed:
                return getattr(exercise, method)(unpacked(handed["plain"])), ""
            if handed.get("function"):
                with suppress(NotPlain):
                    return exercise.check(lambda *given: self._call(id, given)), ""
            reply = self._ask("judge", [id, method], seconds=3 * CELL_SECONDS)
            states: tuple[State, ...] = ("right", "wrong", "blank")
            state: State = next((one for one in states if one == reply["state"]), "form")
            said = str(reply["said"])[:2000]
            return Verdict(exercise=id, state=state, said=said), "judged in the student's process"
        except Ended as ended:
            return str(ended), ""
        except Exception as error:  # noqa: BLE001 - a reply can be anything
            return f"what was handed in cannot be read ({type(error).__name__})", ""

    def all_cells(self) -> bool:
        """Run all cells from the first, once; return whether that was new."""
        if self._all:
            return False
        self._all = True
        self.end()
        until = time.monotonic() + self._seconds
        self._begin, self._good = "", []
        for source in self._code:
            if time.monotonic() > until:
                break
            self._run(source, until - time.monotonic())
        return True

    def end(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.end()
        self._process = None

    def _run(self, source: str, seconds: float) -> None:
        ids = _mentioned(source)
        try:
            reply = self._ask("run", source, seconds=seconds)
            error = str(reply["error"])[:500]
            handed = [
                (str(id), str(method), str(text), dict(kind))
                for id, method, text, kind in reply["handed"]
            ]
        except Ended as ended:
            error, handed = str(ended), []
        except (KeyError, TypeError, ValueError):  # a reply can be anything
            error, handed = "its cell gives no answer", []
        else:
            self._good.append(source)
        if error:
            self.problems |= dict.fromkeys(ids, error)
        for id, method, text, kind in handed:
            call = source.find("exercise(")
            shown = source[:call].strip()[:2000] if kind.get("function") else ""
            self._handed[id, method] = kind | {"written": text[:2000], "source": shown}

    def _ask(self, *request: Any, seconds: float) -> dict[str, Any]:
        """Ask the process; one that ended begins again with the cells that did no harm."""
        if self._process is None or not self._process.alive:
            self.end()
            self._process = self._started()
        return self._process.ask(*request, seconds=seconds)

    def _started(self) -> Process:
        process = Process()
        try:
            process.ask("run", self._begin, seconds=START_SECONDS)
            for source in self._good:
                process.ask("run", source, seconds=self._seconds)
        except Ended:
            if not (self._begin or self._good):
                raise
            self._begin, self._good = "", []  # what ended it is not tried again
            return self._started()
        return process

    def _call(self, id: str, given: tuple[Any, ...]) -> Any:
        """Call the student's function: its result, its error, and what it did to its arguments arrive here."""
        reply = self._ask("call", [id, "check"], packed(list(given)), seconds=TRAINING + SECONDS)
        if "raised" in reply:
            raise type(str(reply["raised"])[:80] or "Exception", (Exception,), {})(
                str(reply.get("message"))[:500]
            )
        if reply.get("blank"):
            return ...
        if "returned" not in reply:
            raise NotPlain("what it returned")
        for mine, theirs in zip(given, unpacked(reply["given"]), strict=True):
            _leave(mine, theirs)
        return unpacked(reply["returned"])


def _leave(mine: Any, theirs: Any) -> None:
    """Do to an argument what the function did to its copy."""
    if hasattr(mine, "copy_") and mine.shape == theirs.shape:
        mine.copy_(theirs)
    elif hasattr(mine, "shape") and hasattr(mine, "flags"):
        mine[...] = theirs


def _definitions(code: list[str]) -> str:
    """Return the imports, functions and classes of the cells that hand nothing in."""
    kept = []
    for source in code:
        if ASKS.search(source):
            continue
        with suppress(SyntaxError, ValueError):
            kept += [
                ast.unparse(node)
                for node in ast.parse(source).body
                if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)
            ]
    return "\n".join(kept)
