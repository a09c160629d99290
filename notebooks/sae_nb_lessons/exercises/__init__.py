"""Exercises of the notebooks, and the kit they are made with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_lessons.exercises._attention_by_hand import copying_score as copying_score
    from sae_nb_lessons.exercises._heads import first_block_sae as first_block_sae
    from sae_nb_lessons.exercises._kit import Exercise as Exercise, Task as Task
    from sae_nb_lessons.exercises._registry import (
        ExerciseReport as ExerciseReport,
        exercise as exercise,
        exercise_report as exercise_report,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
