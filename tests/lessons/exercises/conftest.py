"""The exercises as nobody has touched them, for every test."""

from __future__ import annotations

import pytest
import sae_nb_lessons


@pytest.fixture(autouse=True)
def _fresh() -> None:
    """Reset them all."""
    for row in sae_nb_lessons.exercise_report().rows:
        sae_nb_lessons.exercise(row[0]).reset()
