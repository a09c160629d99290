"""Ways through the course, with minutes that are computed from the lessons, and the instructors' table.

    python docs/tools/paths.py

writes the minutes into each lesson's first cell, and what first cells state into the tables of the course.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from lesson_pages import NEEDS, Lesson, execute, lessons, rows, texts
from lessons import NOTEBOOKS

WORDS_A_MINUTE = 150
"""Of prose with symbols in it; plain non-fiction is read silently at 238 (Brysbaert 2019)."""
SECONDS_A_LINE = 3
"""To read a line of code."""
MINUTES_A_PANEL = 2
"""To use a panel before going on."""
SECTION = re.compile(r"^## (?:(\d+) · )?", re.M)
ASKED = re.compile(r'^exercise\("([\w.]+)"\)', re.M)
PANEL = re.compile(r"\bsw\.[A-Z]\w+\(")
MINUTES = re.compile(r"(\d+)((?:\n# | )minutes\b)")
"""What a lesson's first cell states of the minutes it takes."""
ROW = re.compile(r"^\| (\[.+\]\((\w+)\.ipynb\)) \| (.+?) \| .+ \| (.+?) \|$", re.M)
"""A row of the tables: lesson, question, what `with_stated` writes, what one can do afterwards."""
TABLES = ("README.md", "electives.md")


def path(name: str) -> str:
    """Return a way through the course as a table, and the sums of its minutes."""
    lines = [
        "| when | lesson | what you do | reading | exercises | computing | minutes |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    whole = 0.0
    for step in _steps(name):
        read, asked, computed = minutes_of(step)
        whole += read + asked + computed
        where = _where(step)
        told = [f"{read:.0f}", f"{asked:.0f}", f"{computed:.1f}", f"{read + asked + computed:.0f}"]
        lines.append(f"| {' | '.join([step.get('at', ''), where, step['do'], *told])} |")
    lines.append(f"| | | together | | | | {_as_time(whole)} |")
    return "\n".join(lines)


def path_minutes(name: str) -> float:
    """Return the minutes of a way through the course."""
    return sum(sum(minutes_of(step)) for step in _steps(name))


def asked_in(step: dict[str, Any]) -> list[str]:
    """Return the numbers of the exercises in a step, in their order."""
    text = "\n".join(_source(cell) for cell in _cells(step) if cell["cell_type"] == "code")
    return list(dict.fromkeys(ASKED.findall(text)))


def minutes_of(step: dict[str, Any]) -> tuple[float, float, float]:
    """Return minutes of reading, of exercises and of computing, for a step or `{"lesson": stem}`."""
    if "page" in step:
        return float(step["minutes"]), 0.0, 0.0
    lesson = _lesson(step["lesson"])
    cells = _cells(step)
    words = sum(len(_source(c).split()) for c in cells if c["cell_type"] == "markdown")
    code = [_source(c) for c in cells if c["cell_type"] == "code"]
    n_lines = sum(bool(line.strip()) for text in code for line in text.splitlines())
    panels = sum(len(PANEL.findall(text)) for text in code)
    reading = words / WORDS_A_MINUTE + n_lines * SECONDS_A_LINE / 60 + panels * MINUTES_A_PANEL
    seconds = execute.stated(_text(lesson)) or 0
    return reading, float(sum(texts()[one]["minutes"] for one in asked_in(step))), seconds / 60


def instructors(_: str) -> str:
    """Return what a teacher needs of each lesson: goal, minutes, what goes wrong, answers, a page to print."""
    wrong = _told()["wrong"]
    lines = [
        "| lesson | afterwards they can | minutes | what goes wrong | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in lessons():
        read, asked, computed = minutes_of({"lesson": one.stem})
        number = one.stem.split("_")[0]
        answers = f"[answers](lessons/{one.stem}_solved.md), " if one.exercises else ""
        lines.append(
            f"| [{one.stem.replace('_', ' ')}](../notebooks/{one.stem}.ipynb) | {rows()[one.stem][3]} | "
            f"{read + asked + computed:.0f}: {read:.0f} reading, {asked:.0f} exercises | "
            f"{wrong.get(number, '')} | {answers}[print](teachers/{one.stem}.md) |"
        )
    return "\n".join(lines)


def rubrics(_: str) -> str:
    """Return the rubric of every open exercise."""
    found = [(number, text) for number, text in sorted(texts().items()) if text.get("rubric")]
    parts = []
    for number, text in found:
        points = "\n".join(f"- {' '.join(point.split())}" for point in text["rubric"])
        parts.append(f"**{number} · {text['title']}**\n\n{points}")
    return "\n\n".join(parts)


def reading_rate(_: str) -> str:
    """Return how minutes are computed, as a sentence."""
    return (
        f"{WORDS_A_MINUTE} words of prose a minute, {SECONDS_A_LINE} s for a line of code, "
        f"{MINUTES_A_PANEL} minutes for each panel"
    )


@cache
def _told() -> dict[str, Any]:
    return tomllib.loads((NOTEBOOKS / "paths.toml").read_text(encoding="utf-8"))


def _steps(name: str) -> list[dict[str, Any]]:
    return list(_told()[name]["step"])


def _lesson(stem: str) -> Lesson:
    found = [one for one in lessons() if one.stem == stem]
    if not found:
        raise ValueError(f"notebooks/paths.toml names {stem!r}, and no lesson is called so.")
    return found[0]


def _where(step: dict[str, Any]) -> str:
    if "page" in step:
        return f"[{step['words']}]({step['page']})"
    sections = step.get("sections")
    known = {number for number, _ in _sections(_lesson(step["lesson"]))}
    if sections and not set(sections) <= known:
        raise ValueError(
            f"notebooks/paths.toml names § {sections} of {step['lesson']}; it has {sorted(known)}."
        )
    which = (
        f" §{'–'.join(map(str, dict.fromkeys((sections[0], sections[-1]))))}" if sections else ""
    )
    name = step["lesson"].replace("_", " ")
    return f"[{name}](../notebooks/{step['lesson']}.ipynb){which}"


def _cells(step: dict[str, Any]) -> list[dict[str, Any]]:
    if "page" in step:
        return []
    wanted = step.get("sections")
    every = _sections(_lesson(step["lesson"]))
    return [cell for number, cell in every if not wanted or number in (0, *wanted)]


def _sections(lesson: Lesson) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the cells with the numbers of their sections; 0 before the first, and for one without a number."""
    number = 0
    for cell in _reviewed(lesson.path.with_suffix(".py")):
        if "colab" in cell["metadata"].get("tags", []):
            continue
        found = SECTION.search(_source(cell)) if cell["cell_type"] == "markdown" else None
        number = number if found is None else int(found[1] or 0)
        yield number, cell


@cache
def _reviewed(path: Path) -> list[Any]:
    import jupytext  # late: it takes a second

    return list(jupytext.read(path).cells)


def _text(lesson: Lesson) -> str:
    return lesson.path.with_suffix(".py").read_text(encoding="utf-8")


def _source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def _as_time(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


# --- one place for minutes: computed, stated by first cells, copied into tables -------------------------


def with_own_minutes(lesson: Lesson) -> str:
    """Return a lesson's text whose first cell states the minutes that it takes, in fives."""
    whole = max(5, 5 * round(sum(minutes_of({"lesson": lesson.stem})) / 5))
    return MINUTES.sub(rf"{whole}\2", _text(lesson), count=1)


def with_stated(table: str) -> str:
    """Return a table in which each lesson has what its first cell states: needs, minutes, seconds."""

    def row(found: re.Match[str]) -> str:
        title, stem, question, able = found.groups()
        lesson = _lesson(stem)
        text = _text(lesson)
        minutes, seconds = MINUTES.search(text), execute.stated(text)
        if minutes is None or seconds is None:
            return found[0]  # the demo states nothing
        clause = NEEDS.search(" ".join(lesson.opening.split()))
        asked = re.split(r"\d+ minutes", clause[1])[0] if clause else ""
        needs = ", ".join(re.findall(r"\b\d\d\b", asked)) or "–"
        return f"| {title} | {question} | {needs} | {minutes[1]} min | {seconds} s | {able} |"

    return ROW.sub(row, table)


def main() -> int:
    """Write minutes into first cells, and what they state into the tables."""
    for lesson in lessons():
        lesson.path.with_suffix(".py").write_text(with_own_minutes(lesson), encoding="utf-8")
    for name in TABLES:
        page = NOTEBOOKS / name
        page.write_text(with_stated(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
