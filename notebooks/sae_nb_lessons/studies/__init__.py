"""Small studies that notebooks show: encoders, supports, pursuits, a penalty on atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

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
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb_lessons.studies._encoder_study import ENCODERS as ENCODERS
    from sae_nb_lessons.studies._own_model import weights as weights
    from sae_nb_lessons.studies._own_sae import (
        Parameters as Parameters,
        Train as Train,
        encode as encode,
        random_cosine as random_cosine,
        replacements as replacements,
        unexplained as unexplained,
        unit_rows as unit_rows,
    )
    from sae_nb_lessons.studies._probing import (
        columns_apart as columns_apart,
        descend as descend,
        log_loss as log_loss,
        logistic as logistic,
        shuffled_fit as shuffled_fit,
    )
    from sae_nb_lessons.studies._support_study import METHODS as METHODS, ONE_STEP as ONE_STEP
    from sae_nb_lessons.studies._two_towers import (
        best_detector as best_detector,
        bridges as bridges,
        own_found as own_found,
        sides as sides,
        split_share as split_share,
    )
