"""A class as a table: one row per student and exercise, as CSV and as a page."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sae_nb.files import write_bytes

N_COMMONEST = 3
STYLE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse } td, th { border: 1px solid #bbb; padding: 2px 8px; text-align: left; vertical-align: top }
td { white-space: pre-wrap } blockquote { white-space: pre-wrap; border-left: 4px solid #bbb; padding-left: 1em }"""


@dataclass(frozen=True)
class Row:
    """One exercise of one student."""

    student: str
    lesson: str
    exercise: str
    state: str
    """right, wrong, cannot be judged, blank, predicted, text (for the teacher to read), missing, unread."""

    tries: int = 0
    answer: str = ""
    mistake: str = ""
    seconds: float | None = None
    """From when the question was seen to the last answer, as the notebook says."""

    notes: str = ""
    file: str = ""
    earlier: tuple[str, ...] = ()
    """What was said of earlier wrong answers."""


COLUMNS = [one.name for one in fields(Row) if one.name != "earlier"]


@dataclass(frozen=True, repr=False)
class ClassTable:
    """Rows of a class, and where they were written."""

    rows: Sequence[Row]
    judged: bool
    """Whether answers were judged again; else states are what notebooks say."""

    files: tuple[Path, ...] = ()

    def commonest(self) -> list[tuple[str, str, int]]:
        """Return exercise, mistake and number of students of the three commonest; numbers in a mistake do not count."""
        made: Counter[tuple[str, str]] = Counter()
        words: dict[tuple[str, str], str] = {}
        for student, exercise in dict.fromkeys((row.student, row.exercise) for row in self.rows):
            kinds: dict[tuple[str, str], str] = {}
            for row in self.rows:
                if (row.student, row.exercise) == (student, exercise):
                    here = (row.mistake,) if row.state in ("wrong", "cannot be judged") else ()
                    kinds |= {
                        (exercise, re.sub(r"[-−]?\d[\d.]*", "…", said)): said
                        for said in (*row.earlier, *here)
                    }
            made.update(kinds.keys() - {(exercise, "")})
            words = kinds | words
        ranked = sorted(made.items(), key=lambda one: (-one[1], one[0]))[:N_COMMONEST]
        return [(key[0], words[key], n) for key, n in ranked]

    def written(self, folder: Path, name: str) -> ClassTable:
        """Write it as CSV and as a page, and return it with their places."""
        import pandas as pd

        table = pd.DataFrame(
            [{c: getattr(row, c) for c in COLUMNS} for row in self.rows], columns=COLUMNS
        )
        csv, page = folder / f"{name}.csv", folder / f"{name}.html"
        write_bytes(csv, table.map(_no_formula).to_csv(index=False).encode())
        write_bytes(page, self._page(table).encode())
        return ClassTable(self.rows, self.judged, (csv, page))

    def _page(self, table: Any) -> str:
        solved = table[table.exercise != ""].pivot_table(
            index="student", columns="exercise", values="state", aggfunc="first", fill_value=""
        )
        title = "Marks" if self.judged else "What the notebooks say"
        about = (
            "Answers were judged again. Tries and seconds are what the notebooks say."
            if self.judged
            else "Nothing was judged: all of it is what the notebooks say. `mark` judges."
        )
        mistakes = "".join(
            f"<li>{html.escape(id)}: {html.escape(said)} <b>({n})</b></li>"
            for id, said, n in self.commonest()
        )
        texts = "".join(
            f"<h3>{html.escape(row.exercise)} · {html.escape(row.student)}</h3>"
            f"<blockquote>{html.escape(row.answer)}</blockquote><p>{html.escape(row.notes)}</p>"
            for row in sorted(self.rows, key=lambda row: (row.exercise, row.student))
            if row.state == "text"
        )
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
            f"<h1>{title}</h1><p>{about}</p><h2>Class</h2>{solved.to_html() if len(solved) else ''}"
            f"<h2>Commonest mistakes, and students who made them</h2><ol>{mistakes or '<li>none</li>'}</ol>"
            f"<h2>Texts to read</h2>{texts or '<p>None.</p>'}"
            f"<h2>Every answer</h2>{table.to_html(index=False, na_rep='')}</html>"
        )

    def __repr__(self) -> str:
        students, files = (
            {getattr(row, name) for row in self.rows} for name in ("student", "file")
        )
        places = ", ".join(str(place) for place in self.files)
        return f"{len(students)} students, {len(files)} notebooks. Written: {places}"


def _no_formula(value: Any) -> Any:
    """Return a text that a spreadsheet takes for a text: one that begins as a formula gets a quote in front."""
    return (
        f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value
    )
