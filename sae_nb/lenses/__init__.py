"""Lenses: the model's answer as it is read from a block's output, with the score of that reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.lenses._checking import LensCheck as LensCheck
    from sae_nb.lenses._fitting import LensRecord as LensRecord, fit_lens as fit_lens
    from sae_nb.lenses._head import Head as Head, head_of as head_of
    from sae_nb.lenses._lens import Lens as Lens
    from sae_nb.lenses._measuring import measured_effects as measured_effects
    from sae_nb.lenses._ranks import AnswerRanks as AnswerRanks, answer_ranks as answer_ranks
    from sae_nb.lenses._reading import LensReading as LensReading
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
