"""Small studies that notebooks show: encoders, supports, pursuits, a penalty on atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_lessons.studies._encoder_study import (
        EncoderStudy as EncoderStudy,
        study_encoders as study_encoders,
    )
    from sae_nb_lessons.studies._own_model import budget as budget
    from sae_nb_lessons.studies._own_sae import (
        OwnSAE as OwnSAE,
        hidden_rows as hidden_rows,
        on_features as on_features,
        own_sae as own_sae,
        raw_rows_cosine as raw_rows_cosine,
        scrambled as scrambled,
        toy_run as toy_run,
    )
    from sae_nb_lessons.studies._penalty_study import (
        PenaltyStudy as PenaltyStudy,
        study_penalty as study_penalty,
    )
    from sae_nb_lessons.studies._probing import (
        even_digits as even_digits,
        probe_table as probe_table,
        random_latents as random_latents,
        tested as tested,
    )
    from sae_nb_lessons.studies._pursuit_checks import (
        PursuitChecks as PursuitChecks,
        measure_pursuits as measure_pursuits,
    )
    from sae_nb_lessons.studies._safety_case import (
        alarms as alarms,
        monitor_chart as monitor_chart,
    )
    from sae_nb_lessons.studies._serving import QuietPages as QuietPages
    from sae_nb_lessons.studies._support_study import (
        SupportStudy as SupportStudy,
        study_supports as study_supports,
    )
    from sae_nb_lessons.studies._tree_match import (
        TreeMatch as TreeMatch,
        match_tree as match_tree,
    )
    from sae_nb_lessons.studies._two_towers import (
        Pairs as Pairs,
        f1_of as f1_of,
        joint_sae as joint_sae,
        paired as paired,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
