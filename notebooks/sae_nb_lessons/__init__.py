"""Lessons: exercises that check themselves, their language model, reproductions of published claims, and their
studies and figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import check_version, lazy_exports

check_version("sae-nb-course")

if TYPE_CHECKING:
    from sae_nb_lessons.exercises import exercise as exercise, exercise_report as exercise_report
    from sae_nb_lessons._language import (
        LanguageModel as LanguageModel,
        language_model as language_model,
    )
    from sae_nb_studies.reproductions import own_claim as own_claim, recorded as recorded
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
