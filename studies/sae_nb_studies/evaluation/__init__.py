"""Questions about SAEs beyond the report: causes, concepts, other models, what is left over.

The names are found at `sn.evaluation` too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.diffing import (
        ChangedImage as ChangedImage,
        ChangedText as ChangedText,
        DifferentModelsError as DifferentModelsError,
        ModelDiff as ModelDiff,
        changed_image as changed_image,
        changed_text as changed_text,
        check_alike as check_alike,
        diff_models as diff_models,
    )
    from sae_nb_studies.evaluation.causal._ablation import (
        AblationEffects as AblationEffects,
        ablation_effects as ablation_effects,
        strongest_atoms as strongest_atoms,
    )
    from sae_nb_studies.evaluation.causal._fidelity import (
        AttributionFidelity as AttributionFidelity,
        attribution_fidelity as attribution_fidelity,
    )
    from sae_nb_studies.evaluation.causal._fragility import (
        Fragility as Fragility,
        fragility_battery as fragility_battery,
        picture_variants as picture_variants,
        text_variants as text_variants,
    )
    from sae_nb_studies.evaluation.causal._heads import (
        HeadSources as HeadSources,
        head_sources as head_sources,
    )
    from sae_nb_studies.evaluation.causal._steering_quality import (
        SteeringCurves as SteeringCurves,
        steering_curves as steering_curves,
    )
    from sae_nb_studies.evaluation.causal._subspace_illusion import (
        IllusionCheck as IllusionCheck,
        illusion_check as illusion_check,
    )
    from sae_nb_studies.evaluation.causal._task import (
        SparseControl as SparseControl,
        edit_success as edit_success,
        necessity as necessity,
        sparse_control as sparse_control,
        sufficiency as sufficiency,
    )
    from sae_nb_studies.evaluation.certifying._certificate import (
        Certificate as Certificate,
        certificate as certificate,
    )
    from sae_nb_studies.evaluation.certifying._sisters import (
        SisterDivergedError as SisterDivergedError,
    )
    from sae_nb_studies.evaluation.concepts._absorption import (
        Absorption as Absorption,
        absorption as absorption,
        swallowed as swallowed,
    )
    from sae_nb_studies.evaluation.concepts._probing import ProbeStudy as ProbeStudy, probe as probe
    from sae_nb_studies.evaluation.cross_model._itda import compare_itda as compare_itda
    from sae_nb_studies.evaluation.cross_model._matching import (
        LatentMatches as LatentMatches,
        match_latents as match_latents,
    )
    from sae_nb_studies.evaluation.cross_model._modalities import (
        Bridge as Bridge,
        ModalityGap as ModalityGap,
        SplitDictionary as SplitDictionary,
        bridge_score as bridge_score,
        modality_gap as modality_gap,
        modality_scores as modality_scores,
    )
    from sae_nb_studies.evaluation.cross_model._universal import (
        Universality as Universality,
        compare_firing as compare_firing,
        measure_universality as measure_universality,
    )
    from sae_nb_studies.evaluation.dark_matter._dark_matter import (
        ErrorSplit as ErrorSplit,
        NormPrediction as NormPrediction,
        split_error as split_error,
    )
    from sae_nb_studies.evaluation.dark_matter._reductions import (
        ErrorReductions as ErrorReductions,
        reduce_error as reduce_error,
    )
    from sae_nb_studies.evaluation.dictionary._canonical import (
        MetaDictionary as MetaDictionary,
        Stitching as Stitching,
        meta_dictionary as meta_dictionary,
        stitch as stitch,
    )
    from sae_nb_studies.evaluation.dictionary._comparing import (
        ComparedDictionary as ComparedDictionary,
        Comparison as Comparison,
        compare_dictionaries as compare_dictionaries,
    )
    from sae_nb_studies.evaluation.dictionary._frozen_atoms import (
        frozen_decoder as frozen_decoder,
        frozen_decoder_cost as frozen_decoder_cost,
    )
    from sae_nb_studies.evaluation.dictionary._merging import (
        MergedDictionary as MergedDictionary,
        Merging as Merging,
        merge as merge,
    )
    from sae_nb_studies.evaluation.dictionary._plausibility import plausibility as plausibility
    from sae_nb_studies.evaluation.dictionary._quasi_orthogonality import (
        QuasiOrthogonality as QuasiOrthogonality,
        quasi_orthogonality as quasi_orthogonality,
    )
    from sae_nb_studies.evaluation.dictionary._stability_trials import (
        StabilityTrial as StabilityTrial,
        stability_trial as stability_trial,
    )
    from sae_nb_studies.evaluation.dictionary._superposition import (
        antipodal_loss as antipodal_loss,
        critical_sparsity as critical_sparsity,
        dedicated_loss as dedicated_loss,
        support_recovery as support_recovery,
    )
    from sae_nb_studies.evaluation.explanations._interventions import (
        InterventionScore as InterventionScore,
        intervention_score as intervention_score,
    )
    from sae_nb_studies.evaluation.explanations._lift import (
        TokenLift as TokenLift,
        token_lift as token_lift,
    )
    from sae_nb_studies.evaluation.explanations._planted import (
        PlantedFunctions as PlantedFunctions,
        planted_functions as planted_functions,
    )
    from sae_nb_studies.evaluation.tables._rashomon import (
        InteractionCloud as InteractionCloud,
        interaction_cloud as interaction_cloud,
    )
    from sae_nb_studies.evaluation.tables._responsiveness import (
        Responsiveness as Responsiveness,
        atom_responsiveness as atom_responsiveness,
        responsiveness as responsiveness,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
