"""The exercises as nobody has touched them, for every test."""

from __future__ import annotations

from pathlib import Path

import pytest
import sae_nb_lessons
from sae_nb_lessons.exercises._predictions import COURSE


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAE_NB_COURSE", str(tmp_path / "course"))
    COURSE.forget()
    for row in sae_nb_lessons.exercise_report().rows:
        sae_nb_lessons.exercise(row[0]).reset()
