"""For a class: copies without answers, and returned notebooks collected and marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_lessons.classroom._copies import student_copy as student_copy
    from sae_nb_lessons.classroom._marks import collect as collect, mark as mark
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
