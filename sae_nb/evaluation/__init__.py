"""The quality of an SAE: each number with its floor, its random control and its interval.

`n_bootstrap` and `seed` mean the same everywhere: see `Measurement`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.evaluation._comparing import (
        ComparedDictionary as ComparedDictionary,
        Comparison as Comparison,
        compare_dictionaries as compare_dictionaries,
    )
    from sae_nb.evaluation._recommend import which_sae as which_sae
    from sae_nb.evaluation.causal._attribution import (
        Attribution as Attribution,
        SpliceCheck as SpliceCheck,
        attribute as attribute,
    )
    from sae_nb.evaluation.causal._heads import (
        HeadSources as HeadSources,
        head_shares as head_shares,
        head_sources as head_sources,
    )
    from sae_nb.evaluation.concepts._factors import (
        FactorMatch as FactorMatch,
        FactorTold as FactorTold,
        Identifiability as Identifiability,
        identifiability as identifiability,
    )
    from sae_nb.evaluation.dictionary._distances import distances_kept as distances_kept
    from sae_nb.evaluation.dictionary._matching import (
        Stability as Stability,
        atom_stability as atom_stability,
        match_atoms as match_atoms,
        stability as stability,
    )
    from sae_nb.evaluation.dictionary._near_data import (
        ood_score as ood_score,
        plausibility as plausibility,
    )
    from sae_nb.evaluation.dictionary._stability_trials import (
        StabilityTrial as StabilityTrial,
        stability_trial as stability_trial,
    )
    from sae_nb.evaluation.dictionary._superposition import (
        antipodal_loss as antipodal_loss,
        critical_sparsity as critical_sparsity,
        dedicated_loss as dedicated_loss,
        feature_dimensionality as feature_dimensionality,
        interference as interference,
        support_recovery as support_recovery,
    )
    from sae_nb.evaluation.explanations._detection import (
        ExplanationScores as ExplanationScores,
        score_explanations as score_explanations,
    )
    from sae_nb.evaluation.explanations._rules import Rule as Rule, induce_rule as induce_rule
    from sae_nb.evaluation.report._by_tiles import evaluate_saved as evaluate_saved
    from sae_nb.evaluation.report._compatibility import (
        PublishedFormula as PublishedFormula,
        as_published as as_published,
        published_formulas as published_formulas,
    )
    from sae_nb.evaluation.report._downstream import (
        TokenCosts as TokenCosts,
        token_costs as token_costs,
    )
    from sae_nb.evaluation.report._fit import FitCheck as FitCheck, check_fit as check_fit
    from sae_nb.evaluation.report._frozen_atoms import (
        frozen_decoder as frozen_decoder,
        frozen_decoder_cost as frozen_decoder_cost,
    )
    from sae_nb.evaluation.report._measurement import (
        Definition as Definition,
        Measurement as Measurement,
        RandomDictionary as RandomDictionary,
        define as define,
    )
    from sae_nb.evaluation.report._reconstruction import explained_variance as explained_variance
    from sae_nb.evaluation.report._report import (
        EvaluationCost as EvaluationCost,
        Report as Report,
        evaluate as evaluate,
        evaluation_cost as evaluation_cost,
    )
    from sae_nb.geometry import (
        AtomGeometry as AtomGeometry,
        Coactivation as Coactivation,
        atom_geometry as atom_geometry,
        babel as babel,
        coactivation as coactivation,
        coactive_babel as coactive_babel,
        distinct_atoms as distinct_atoms,
        duplicate_groups as duplicate_groups,
        encoder_cosines as encoder_cosines,
        welch_bound as welch_bound,
    )
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.evaluation._dictionary_trainings import (
        Run as Run,
        begun as begun,
        from_seed as from_seed,
        held_out as held_out,
        trained as trained,
    )
    from sae_nb.evaluation.causal._outcomes import (
        MAX_SECONDS as MAX_SECONDS,
        Fluency as Fluency,
        Outcome as Outcome,
        Target as Target,
        TargetOdds as TargetOdds,
        Targets as Targets,
        Writing as Writing,
        answers_to as answers_to,
        edited as edited,
        index_of as index_of,
        largest_cosine as largest_cosine,
        mean_strengths as mean_strengths,
        nearest as nearest,
        outcome_index as outcome_index,
        outcome_name as outcome_name,
        outcome_of as outcome_of,
        prompts_of as prompts_of,
        quantile_of as quantile_of,
        removing as removing,
        repeated_share as repeated_share,
        surprise as surprise,
    )
    from sae_nb.evaluation.concepts._factors import (
        Evidence as Evidence,
        Factor as Factor,
        largest_of_each as largest_of_each,
        match_factors as match_factors,
    )
    from sae_nb.evaluation.dictionary._matching import (
        HUNGARIAN_UP_TO as HUNGARIAN_UP_TO,
        auction as auction,
    )
    from sae_nb.evaluation.dictionary._matching_many import (
        MATCHED_WHOLE as MATCHED_WHOLE,
        match_near as match_near,
    )
    from sae_nb.evaluation.dictionary._near_data import nearest_atoms as nearest_atoms
    from sae_nb.evaluation.explanations._detection import (
        CountedJudge as CountedJudge,
        Desk as Desk,
        Judge as Judge,
        JudgeGuesser as JudgeGuesser,
        Window as Window,
        balanced as balanced,
        shown as shown,
    )
    from sae_nb.evaluation.explanations._rules import (
        SHAPES as SHAPES,
        Predicate as Predicate,
        RowFacts as RowFacts,
        firings_of as firings_of,
    )
    from sae_nb.evaluation.report._downstream import (
        SpliceTask as SpliceTask,
        splice_task as splice_task,
    )
    from sae_nb.evaluation.report._fit import POOR as POOR
    from sae_nb.evaluation.report._measurement import (
        Measurements as Measurements,
        Resampling as Resampling,
        chance_generator as chance_generator,
        definition_families as definition_families,
        measured as measured,
    )
    from sae_nb.evaluation.report._report import HEADLINES as HEADLINES, RECOVERED as RECOVERED
    from sae_nb.evaluation.report._row_pass import (
        check_codes as check_codes,
        codes_of as codes_of,
        codes_of_rows as codes_of_rows,
        encoded_rows as encoded_rows,
        random_like as random_like,
        summed_atoms as summed_atoms,
    )
    from sae_nb.statistics import (
        Difference as Difference,
        auroc as auroc,
        n_arrangements as n_arrangements,
        permuted_difference as permuted_difference,
        wilson_interval as wilson_interval,
    )
