"""Small studies that notebooks show: encoders, supports, pursuits, a penalty on atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb_lessons.studies._encoder_study import (
        EncoderStudy as EncoderStudy,
        study_encoders as study_encoders,
    )
    from sae_nb_lessons.studies._own_sae import (
        OwnSAE as OwnSAE,
        hidden_rows as hidden_rows,
        own_sae as own_sae,
    )
    from sae_nb_lessons.studies._penalty_study import (
        PenaltyStudy as PenaltyStudy,
        study_penalty as study_penalty,
    )
    from sae_nb_lessons.studies._pursuit_checks import (
        PursuitChecks as PursuitChecks,
        measure_pursuits as measure_pursuits,
    )
    from sae_nb_lessons.studies._serving import QuietPages as QuietPages
    from sae_nb_lessons.studies._support_study import (
        SupportStudy as SupportStudy,
        study_supports as study_supports,
    )
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb_lessons.studies._encoder_study import ENCODERS as ENCODERS
    from sae_nb_lessons.studies._own_sae import (
        Parameters as Parameters,
        Train as Train,
        encode as encode,
        on_features as on_features,
        random_cosine as random_cosine,
        replacements as replacements,
        unexplained as unexplained,
        unit_rows as unit_rows,
    )
    from sae_nb_lessons.studies._support_study import METHODS as METHODS, ONE_STEP as ONE_STEP
