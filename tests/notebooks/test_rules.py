"""Rules for every lesson: a first cell that states what it takes and gives, few recorded rows, something to write.

Where a lesson does not meet a rule yet, it is named in `OPEN`; a lesson that meets it must leave the list.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
LESSONS = [*sorted(FOLDER.glob("[0-9]*.py")), *sorted(FOLDER.glob("lab_*.py"))]
MOST_LINES, MOST_TABLES = 350, 3
CELL = re.compile(r"^# %%(.*)\n", re.MULTILINE)
RECORDED = re.compile(r"^(\w+) = recorded\(", re.MULTILINE)


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
    """A panel or a figure."""
    return bool(re.search(r"\bsw\.|figure_widget\(|\.plot\(", path.read_text(encoding="utf-8")))


RULES: dict[str, Callable[[Path], bool]] = {
    "states what it takes and gives": states_what_it_takes_and_gives,
    "has something to write": has_something_to_write,
    "shows few recorded tables": shows_few_recorded_tables,
    "is short": is_short,
    "draws": draws,
}

OPEN: dict[str, set[str]] = {
    "states what it takes and gives": set(),
    "has something to write": {"00_tour", "06_panels"},
    "shows few recorded tables": {
        *("07_block_recurrence", "08_minkowski", "09_time"),
        *("12_transcoders_and_crosscoders", "13_choosing_a_dictionary"),
        *("15_benchmarks_and_behaviour", "16_seeing_with_a_vision_model"),
    },
    "is short": {
        *("12_transcoders_and_crosscoders", "15_benchmarks_and_behaviour"),
        "16_seeing_with_a_vision_model",
    },
    "draws": set(),
}
"""Lessons that do not meet a rule yet."""


@pytest.mark.parametrize("rule", RULES)
def test_lessons_meet_the_rule_or_are_named(rule: str) -> None:
    """No other lesson breaks it, and one that was mended is taken off the list."""
    broken = {path.stem for path in LESSONS if not RULES[rule](path)}
    assert broken - OPEN[rule] == set(), f"{rule}: bring these to it"
    assert OPEN[rule] - broken == set(), f"{rule}: take these off the list"


def test_titles_are_different() -> None:
    """No two lessons have one title, nor one beginning up to a colon."""
    titles = [opening(path).split(" [<kbd>")[0].split(":")[0] for path in LESSONS]
    assert len(set(titles)) == len(titles), titles


def test_a_rule_can_be_broken(tmp_path: Path) -> None:
    """Each by a lesson that has nothing, and by one with too much; none by one that has it all."""
    poor, good = tmp_path / "poor.py", tmp_path / "good.py"
    poor.write_text('# %% [markdown]\n# # T\n\n# %%\nx = recorded("a")\nx.table()\n' + "#\n" * 350)
    good.write_text(
        "# %% [markdown]\n# # T\n# You need 01; 5 minutes. Afterwards you can see.\n\n"
        '# %%\nx = recorded("a")\nx.brief({})\nsw.AtomBrowser()\n\n'
        '# %% tags=["exercise"]\ndef f(x):\n    return ...\n'
    )
    for rule, meets in RULES.items():
        assert not meets(poor), rule
        assert meets(good), rule
