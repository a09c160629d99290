"""Every exercise by its number, one state per kernel, and a report of progress."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from sae_nb_lessons.exercises._cells import numbered
from sae_nb_lessons.exercises._kit import Exercise
from sae_nb_lessons.exercises._predictions import COURSE, Calibration
from sae_nb_lessons.exercises._verdicts import CARD, RECORD, card, count

NOTEBOOKS = {
    "00": "tour",
    "01": "superposition",
    "02": "own_sae",
    "03": "evaluation",
    "04": "probing",
    "05": "steering",
    "06": "lens",
    "07": "patching",
    "08": "circuits",
    "09": "own_claim",
    "10": "own_model",
    "11": "pursuit",
    "12": "hierarchy",
    "13": "projections",
    "14": "archetypal",
    "15": "depth",
    "16": "minkowski",
    "17": "time",
    "18": "shapes",
    "19": "transcoders",
    "20": "crosscoders",
    "21": "corpora",
    "22": "behaviour",
    "23": "talking",
    "24": "sharing",
    "25": "vision",
    "26": "pixels",
    "27": "towers",
    "28": "hearing",
    "29": "changes",
    "30": "heads",
    "31": "attention_by_hand",
    "32": "paths",
    "33": "modular",
    "34": "safety",
    "35": "moods",
    "36": "curves",
    "37": "neighbours",
    "38": "few_weights",
    "39": "parts",
    "40": "attention_atoms",
    "41": "lies",
    "42": "story",
    "43": "persona",
    "44": "knobs",
    "45": "found_shapes",
    "lab_01": "landmarks",
    "lab_02": "similarity",
    "lab_03": "waves",
    "lab_05": "anomalies",
    "lab_04": "events",
    "lab_06": "error_bars",
    "lab_07": "momentum",
    "lab_08": "orbits",
    "lab_09": "signatures",
    "lab_10": "mosaics",
}
"""Number of a notebook → module here that holds its `TASKS`."""

OF_SEVERAL = "reading"
"""Module with `TASKS` of several notebooks: what is read off their panels."""


def exercise(id: str) -> Exercise:
    """Return an exercise of the notebooks, with its state in this kernel.

    Parameters
    ----------
    id
        Notebook and number, "01.3"; the leading zero may be left out.

    Returns
    -------
    Exercise
        The same object at every call: `.check(answer)`, `.hint()`, or `.predict(value)` then
        `.reveal()`.

    Raises
    ------
    TypeError: If `id` is not text.
    ValueError: If there is no exercise of that number; the message lists those of its notebook.

    Example
    -------
    >>> exercise("01.2").difficulty
    'warm-up'
    """
    if not isinstance(id, str):
        raise TypeError(f'`id` must be text such as "01.3", got {id!r}. Put quotes around it.')
    wanted = numbered(id)
    known = _exercises()
    if wanted not in known:
        raise ValueError(f"There is no exercise {id!r}. {_near(wanted)}")
    return known[wanted]


def _near(wanted: str) -> str:
    """Return the exercises of the notebook that was meant, or the notebooks with exercises."""
    notebook = wanted.partition(".")[0]
    if there := numbers(notebook):
        return f"Notebook {notebook} has {', '.join(there)}."
    return f"Notebooks with exercises: {', '.join(NOTEBOOKS)}."


@dataclass(frozen=True, repr=False)
class ExerciseReport:
    """Progress, with one line per exercise."""

    rows: tuple[tuple[str, str, str], ...]
    """Number, title, and status of each."""

    n_solved: int
    """Number of solved exercises."""

    calibration: Calibration
    """Predictions over the whole course: how far off, and how often a stated range held the number."""

    records: tuple[dict[str, Any], ...] = ()
    """What was answered to each exercise that has been tried, as a saved notebook keeps it."""

    @property
    def all_solved(self) -> bool:
        """Whether every exercise is solved."""
        return self.n_solved == len(self.rows)

    def _summary(self) -> str:
        return f"{self.n_solved} of {count(len(self.rows), 'exercise')} solved"

    def __repr__(self) -> str:
        lines = (f"{id} · {title} · {status}" for id, title, status in self.rows)
        return "\n".join((self._summary(), *lines, repr(self.calibration)))

    def _repr_html_(self) -> str:
        lines = (f"{id} · {title} · {status}" for id, title, status in self.rows)
        return card(self._summary(), (*lines, repr(self.calibration)), CARD, role="status")

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {RECORD: list(self.records)} if self.records else {}


def exercise_report(notebook: str | None = None) -> ExerciseReport:
    """Report which exercises are solved in this kernel, and which are left.

    Parameters
    ----------
    notebook
        Number of a notebook, "01"; None for all.

    Raises
    ------
    ValueError: If no notebook with exercises has that number.

    Example
    -------
    >>> len(exercise_report("01").rows) >= 3
    True
    """
    if notebook is not None and notebook not in NOTEBOOKS:
        raise ValueError(
            f"`notebook` must be one of {', '.join(NOTEBOOKS)}, got {notebook!r}. None means all."
        )
    chosen = [_exercises()[id] for id in (numbers(notebook) if notebook else _exercises())]
    rows = tuple((e.id, e.title, e.status) for e in chosen)
    solved = sum(e.solved for e in chosen)
    records = tuple(e.record for e in chosen if e.tries or e.record["answers"])
    return ExerciseReport(rows, solved, Calibration.of(COURSE.all().values()), records)


def untouched(id: str) -> Exercise:
    """Return an exercise as nobody has touched it, whatever its state in this kernel."""
    return exercise(id).again()


def numbers(notebook: str) -> list[str]:
    """Return the numbers of a notebook's exercises, in its order; of a notebook without any, none."""
    return [id for id in _exercises() if id.partition(".")[0] == notebook]


_kernel: dict[str, Exercise] = {}


def _exercises() -> dict[str, Exercise]:
    """All exercises by number, made once per kernel."""
    if not _kernel:
        modules = (*NOTEBOOKS.values(), OF_SEVERAL)
        found = [importlib.import_module(f"{__package__}._{module}").TASKS for module in modules]
        path = list(NOTEBOOKS)
        by_place = sorted(
            (task for tasks in found for task in tasks),
            key=lambda task: (
                path.index(task.id.partition(".")[0]),
                int(task.id.partition(".")[2]),
            ),
        )
        _kernel.update({task.id: Exercise(task) for task in by_place})
    return _kernel
