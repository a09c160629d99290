"""Exercises of the notebooks, and the kit they are made with."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.exercises.kit import Exercise, Task
    from sae_nb.exercises.registry import ExerciseReport, exercise, exercise_report

_HOME = {
    "Exercise": "kit",
    "ExerciseReport": "registry",
    "Task": "kit",
    "exercise": "registry",
    "exercise_report": "registry",
}

__all__ = ["Exercise", "ExerciseReport", "Task", "exercise", "exercise_report"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has {__all__}.")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
