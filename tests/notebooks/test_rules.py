"""Rules for every lesson: what its first cell states, few recorded rows, something to write, a panel to use."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sae_nb_lessons import exercise, exercise_report

FOLDER = Path(__file__).parents[2] / "notebooks"
LESSONS = [*sorted(FOLDER.glob("[0-9]*.py")), *sorted(FOLDER.glob("lab_*.py"))]
COURSE = (FOLDER / "README.md").read_text(encoding="utf-8")
MOST_LINES, MOST_TABLES, LEAST_WRITTEN = 350, 3, 45
CELL = re.compile(r"^# %%(.*)\n", re.MULTILINE)
RECORDED = re.compile(r"^(\w+) = recorded\(", re.MULTILINE)
ASKED = re.compile(r'exercise\("([\w.]+)"\)')
SECTION = re.compile(r"^# ## (.*)$", re.MULTILINE)


def cells(path: Path) -> Iterator[tuple[str, str]]:
    """Heads and texts of a lesson's cells."""
    _, *parts = CELL.split(path.read_text(encoding="utf-8"))
    yield from zip(parts[::2], parts[1::2], strict=True)


def opening(path: Path) -> str:
    """The first cell as one line."""
    return re.sub(r"\s+", " ", next(iter(cells(path)))[1].replace("# ", ""))


def states_what_it_takes_and_gives(path: Path) -> bool:
    """The first cell has what is needed, minutes, and what one can do afterwards."""
    text = opening(path)
    needed = re.search(r"You need|comes first|asks for nothing", text)
    return bool(needed and re.search(r"\d+ minutes", text) and "Afterwards you can" in text)


def states_the_seconds_of_the_course(path: Path) -> bool:
    """The first cell's seconds of computing are those of the course's table, which are measured."""
    row = re.search(rf"\({path.stem}\.ipynb\).*?\| (\d+) s \|", COURSE)
    said = re.search(r"(\d+) seconds of computing", opening(path))
    measured = float(row[1]) if row else 0.0
    return bool(said) and abs(float(said[1]) - measured) <= max(1.0, 0.2 * measured)


def has_something_to_write(path: Path) -> bool:
    """An exercise in which a function is written."""
    written = (text for head, text in cells(path) if '"exercise"' in head)
    return any(
        isinstance(node, ast.FunctionDef) for text in written for node in ast.walk(ast.parse(text))
    )


def shows_few_recorded_tables(path: Path) -> bool:
    """At most three, each made by `brief`, which takes six rows at most."""
    text = path.read_text(encoding="utf-8")
    names = "|".join([r"recorded\([^)]*\)", *RECORDED.findall(text)])
    whole = re.findall(rf"^(?:{names})\.table\(", text, re.MULTILINE)
    brief = re.findall(rf"^(?:{names})\.brief\(", text, re.MULTILINE)
    return not whole and len(brief) <= MOST_TABLES


def is_short(path: Path) -> bool:
    """350 lines."""
    return len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def draws(path: Path) -> bool:
    """A panel or a figure for every idea: at least one for every two sections, the checked numbers not counted."""
    text = path.read_text(encoding="utf-8")
    ideas = [title for title in SECTION.findall(text) if "checked numbers" not in title]
    drawn = re.findall(r"\bsw\.[A-Za-z]+\(|figure_widget\(|\.plot\(|\.style\b", text)
    return len(drawn) >= max(1, len(ideas) // 2)


def asks_what_a_panel_shows(path: Path) -> bool:
    """An exercise that is answered by using a panel of the lesson, or the slider of a figure."""
    text = path.read_text(encoding="utf-8")
    asked = [exercise(id).panel for id in dict.fromkeys(ASKED.findall(text))]
    made = [f"sw.{panel}(" if panel != "slider" else "one_at_a_time(" for panel in asked if panel]
    return any(one in text for one in made)


def shows_what_it_asks(path: Path) -> bool:
    """Before an answer is asked for, a cell shows the question."""
    shown: set[str] = set()
    for _, text in cells(path):
        (asked,) = set(ASKED.findall(text)) or {""}
        if re.search(r'^exercise\("[\w.]+"\)$', text, re.MULTILINE):
            shown.add(asked)
        elif asked and asked not in shown:
            return False
    return True


RULES: dict[str, Callable[[Path], bool]] = {
    "states what it takes and gives": states_what_it_takes_and_gives,
    "states the seconds of the course": states_the_seconds_of_the_course,
    "has something to write": has_something_to_write,
    "shows few recorded tables": shows_few_recorded_tables,
    "is short": is_short,
    "draws": draws,
    "asks what a panel shows": asks_what_a_panel_shows,
    "shows what it asks": shows_what_it_asks,
}


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
@pytest.mark.parametrize("rule", RULES)
def test_every_lesson_meets_the_rule(rule: str, path: Path) -> None:
    """None is excepted."""
    assert RULES[rule](path), f"{path.name}: {rule}"


def test_a_student_of_the_course_writes_the_method_many_times() -> None:
    """Exercises that ask for a function: at least so many over all lessons."""
    written = [row[0] for row in exercise_report().rows if "a function" in exercise(row[0]).expects]
    assert len(written) >= LEAST_WRITTEN


def test_titles_are_different() -> None:
    """No two lessons have one title, nor one beginning up to a colon."""
    titles = [opening(path).split(" [<kbd>")[0].split(":")[0] for path in LESSONS]
    assert len(set(titles)) == len(titles), titles


def test_a_rule_can_be_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by a lesson that has nothing, and by one with too much; none by one that has it all."""
    rows = (
        "| [G](good.ipynb) | q? | 5 min | 22 s | x |\n| [P](poor.ipynb) | q? | 5 min | 22 s | x |\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "COURSE", rows)
    poor, good = tmp_path / "poor.py", tmp_path / "good.py"
    poor.write_text(
        '# %% [markdown]\n# # T, 40 seconds of computing\n\n# %%\nx = recorded("a")\nx.table()\n\n'
        '# %%\nexercise("00.1").check(x)\n' + "#\n" * 350
    )
    good.write_text(
        "# %% [markdown]\n# # T\n# You need 01; 5 minutes, 20 seconds of computing. Afterwards you can see.\n\n"
        '# %%\nx = recorded("a")\nx.brief({})\nsw.AtomBrowser()\n\n'
        '# %%\nexercise("00.1")\n\n# %%\nexercise("16.4")\n\n'
        '# %% tags=["exercise"]\ndef f(x):\n    return ...\n\n\nexercise("00.1").check(f)\n'
    )
    for rule, meets in RULES.items():
        assert not meets(poor), rule
        assert meets(good), rule
