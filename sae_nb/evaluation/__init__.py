"""What an SAE is worth: each number with its floor, its random control and its interval.

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
    from sae_nb.evaluation._which import which_sae as which_sae
    from sae_nb.evaluation.causal._ablation import (
        AblationEffects as AblationEffects,
        ablation_effects as ablation_effects,
        strongest_atoms as strongest_atoms,
    )
    from sae_nb.evaluation.causal._attribution import (
        Attribution as Attribution,
        SpliceCheck as SpliceCheck,
        attribute as attribute,
    )
    from sae_nb.evaluation.causal._fidelity import (
        AttributionFidelity as AttributionFidelity,
        attribution_fidelity as attribution_fidelity,
    )
    from sae_nb.evaluation.causal._fragility import (
        Fragility as Fragility,
        fragility_battery as fragility_battery,
        picture_variants as picture_variants,
        text_variants as text_variants,
    )
    from sae_nb.evaluation.causal._heads import (
        HeadSources as HeadSources,
        head_shares as head_shares,
        head_sources as head_sources,
    )
    from sae_nb.evaluation.causal._steering_quality import (
        SteeringCurves as SteeringCurves,
        steering_curves as steering_curves,
    )
    from sae_nb.evaluation.causal._subspace_illusion import (
        IllusionCheck as IllusionCheck,
        illusion_check as illusion_check,
    )
    from sae_nb.evaluation.causal._task import (
        SparseControl as SparseControl,
        edit_success as edit_success,
        necessity as necessity,
        sparse_control as sparse_control,
        sufficiency as sufficiency,
    )
    from sae_nb.evaluation.concepts._absorption import (
        Absorption as Absorption,
        absorption as absorption,
        swallowed as swallowed,
    )
    from sae_nb.evaluation.concepts._factors import (
        FactorMatch as FactorMatch,
        FactorTold as FactorTold,
        Identifiability as Identifiability,
        identifiability as identifiability,
    )
    from sae_nb.evaluation.concepts._probing import ProbeStudy as ProbeStudy, probe as probe
    from sae_nb.evaluation.cross_model._itda import compare_itda as compare_itda
    from sae_nb.evaluation.cross_model._matching import (
        LatentMatches as LatentMatches,
        match_latents as match_latents,
    )
    from sae_nb.evaluation.cross_model._modalities import (
        Bridge as Bridge,
        ModalityGap as ModalityGap,
        SplitDictionary as SplitDictionary,
        bridge_score as bridge_score,
        modality_gap as modality_gap,
        modality_scores as modality_scores,
    )
    from sae_nb.evaluation.cross_model._universal import (
        Universality as Universality,
        compare_firing as compare_firing,
        measure_universality as measure_universality,
    )
    from sae_nb.evaluation.dark_matter._dark_matter import (
        ErrorSplit as ErrorSplit,
        NormPrediction as NormPrediction,
        split_error as split_error,
    )
    from sae_nb.evaluation.dictionary._canonical import (
        MetaDictionary as MetaDictionary,
        Stitching as Stitching,
        meta_dictionary as meta_dictionary,
        stitch as stitch,
    )
    from sae_nb.evaluation.dictionary._coactivation import (
        Coactivation as Coactivation,
        coactivation as coactivation,
    )
    from sae_nb.evaluation.dictionary._coherence import (
        AtomGeometry as AtomGeometry,
        atom_geometry as atom_geometry,
        babel as babel,
        coactive_babel as coactive_babel,
        distinct_atoms as distinct_atoms,
        duplicate_groups as duplicate_groups,
        encoder_cosines as encoder_cosines,
        welch_bound as welch_bound,
    )
    from sae_nb.evaluation.dictionary._distances import distances_kept as distances_kept
    from sae_nb.evaluation.dictionary._matching import (
        Stability as Stability,
        atom_stability as atom_stability,
        match_atoms as match_atoms,
        stability as stability,
    )
    from sae_nb.evaluation.dictionary._merging import (
        MergedDictionary as MergedDictionary,
        Merging as Merging,
        merge as merge,
    )
    from sae_nb.evaluation.dictionary._near_data import (
        ood_score as ood_score,
        plausibility as plausibility,
    )
    from sae_nb.evaluation.dictionary._quasi_orthogonality import (
        QuasiOrthogonality as QuasiOrthogonality,
        quasi_orthogonality as quasi_orthogonality,
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
    from sae_nb.evaluation.explanations._lift import (
        TokenLift as TokenLift,
        token_lift as token_lift,
    )
    from sae_nb.evaluation.explanations._planted import (
        PlantedFunctions as PlantedFunctions,
        planted_functions as planted_functions,
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
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.evaluation._comparing import held_out as held_out
    from sae_nb.evaluation.causal._outcomes import (
        Outcome as Outcome,
        Target as Target,
        answer_of as answer_of,
        index_of as index_of,
        largest_cosine as largest_cosine,
        outcome_index as outcome_index,
        outcome_name as outcome_name,
        outcome_of as outcome_of,
        repeated_share as repeated_share,
        surprise as surprise,
    )
    from sae_nb.evaluation.causal._steering_quality import Arm as Arm
    from sae_nb.evaluation.causal._unlearning import unlearning as unlearning
    from sae_nb.evaluation.concepts._factors import (
        Evidence as Evidence,
        Factor as Factor,
        match_factors as match_factors,
    )
    from sae_nb.evaluation.concepts._permutations import (
        Difference as Difference,
        n_arrangements as n_arrangements,
        permuted_difference as permuted_difference,
        wilson_interval as wilson_interval,
    )
    from sae_nb.evaluation.concepts._probe_fits import SAE as SAE, auroc as auroc
    from sae_nb.evaluation.concepts._targeted import (
        NotMeasurableError as NotMeasurableError,
        Pooled as Pooled,
        attribute_exchange as attribute_exchange,
        label_pairs as label_pairs,
        shortcut_removal as shortcut_removal,
        targeted_perturbation as targeted_perturbation,
    )
    from sae_nb.evaluation.dictionary._matching import (
        HUNGARIAN_UP_TO as HUNGARIAN_UP_TO,
        auction as auction,
    )
    from sae_nb.evaluation.dictionary._matching_many import (
        MATCHED_WHOLE as MATCHED_WHOLE,
        match_near as match_near,
    )
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
        Predicate as Predicate,
        RowFacts as RowFacts,
    )
    from sae_nb.evaluation.report._fit import POOR as POOR
    from sae_nb.evaluation.report._measurement import (
        definition_families as definition_families,
        random_like as random_like,
    )
    from sae_nb.evaluation.report._row_pass import (
        codes_of as codes_of,
        codes_of_rows as codes_of_rows,
        encoded_rows as encoded_rows,
    )
