"""What an SAE is worth: each number with its floor, its random control and its interval."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.evaluation.ablation import AblationEffects, ablation_effects, strongest_atoms
    from sae_nb.evaluation.absorbed import Absorption, absorption
    from sae_nb.evaluation.attribution import Attribution, SpliceCheck, attribute
    from sae_nb.evaluation.coactive_pairs import Coactivation, coactivation
    from sae_nb.evaluation.coherence import babel, coactive_babel, distinct_atoms
    from sae_nb.evaluation.compatibility import PublishedFormula, as_published, published_formulas
    from sae_nb.evaluation.controls import RandomDictionary
    from sae_nb.evaluation.costs_by_token import TokenCosts, token_costs
    from sae_nb.evaluation.costs_said_first import EvaluationCost, evaluation_cost
    from sae_nb.evaluation.dark_matter import ErrorSplit, split_error
    from sae_nb.evaluation.definitions import Definition, define
    from sae_nb.evaluation.detection import ExplanationScores, score_explanations
    from sae_nb.evaluation.error_norms import NormPrediction
    from sae_nb.evaluation.fidelity import AttributionFidelity, attribution_fidelity
    from sae_nb.evaluation.fit import FitCheck, check_fit
    from sae_nb.evaluation.fragility import Fragility, fragility_battery
    from sae_nb.evaluation.frozen_atoms import frozen_decoder, frozen_decoder_cost
    from sae_nb.evaluation.geometry_of_atoms import (
        AtomGeometry,
        atom_geometry,
        duplicate_groups,
        encoder_cosines,
        welch_bound,
    )
    from sae_nb.evaluation.identified import FactorTold, Identifiability, identifiability
    from sae_nb.evaluation.itda import Itda, build_itda, compare_itda
    from sae_nb.evaluation.latent_matching import LatentMatches, match_latents
    from sae_nb.evaluation.lift import TokenLift, token_lift
    from sae_nb.evaluation.matching import Stability, atom_stability, match_atoms, stability
    from sae_nb.evaluation.measurement import Measurement
    from sae_nb.evaluation.meta_atoms import MetaDictionary, meta_dictionary
    from sae_nb.evaluation.near_data import ood_score
    from sae_nb.evaluation.plausible import plausibility
    from sae_nb.evaluation.probing import ProbeStudy, probe
    from sae_nb.evaluation.reconstruction import explained_variance
    from sae_nb.evaluation.report import Report, evaluate
    from sae_nb.evaluation.rules import Rule, induce_rule
    from sae_nb.evaluation.stability_trials import StabilityTrial, stability_trial
    from sae_nb.evaluation.steering_quality import SteeringCurves, steering_curves
    from sae_nb.evaluation.stitching import Stitching, stitch
    from sae_nb.evaluation.subspace_illusion import IllusionCheck, illusion_check
    from sae_nb.evaluation.superposition import (
        antipodal_loss,
        critical_sparsity,
        dedicated_loss,
        feature_dimensionality,
        interference,
    )
    from sae_nb.evaluation.supports import support_recovery
    from sae_nb.evaluation.swallowing import swallowed
    from sae_nb.evaluation.universal import UniversalSAE, train_universal
    from sae_nb.evaluation.universality import Universality, compare_firing, measure_universality
    from sae_nb.evaluation.variants import picture_variants, text_variants

_HOME = {
    "AblationEffects": "ablation",
    "Absorption": "absorbed",
    "AtomGeometry": "geometry_of_atoms",
    "Attribution": "attribution",
    "AttributionFidelity": "fidelity",
    "Coactivation": "coactive_pairs",
    "Definition": "definitions",
    "ErrorSplit": "dark_matter",
    "EvaluationCost": "costs_said_first",
    "ExplanationScores": "detection",
    "FactorTold": "identified",
    "FitCheck": "fit",
    "Fragility": "fragility",
    "Identifiability": "identified",
    "IllusionCheck": "subspace_illusion",
    "Itda": "itda",
    "LatentMatches": "latent_matching",
    "Measurement": "measurement",
    "MetaDictionary": "meta_atoms",
    "NormPrediction": "error_norms",
    "ProbeStudy": "probing",
    "PublishedFormula": "compatibility",
    "RandomDictionary": "controls",
    "Report": "report",
    "Rule": "rules",
    "SpliceCheck": "attribution",
    "Stability": "matching",
    "StabilityTrial": "stability_trials",
    "SteeringCurves": "steering_quality",
    "Stitching": "stitching",
    "TokenCosts": "costs_by_token",
    "TokenLift": "lift",
    "UniversalSAE": "universal",
    "Universality": "universality",
    "ablation_effects": "ablation",
    "absorption": "absorbed",
    "antipodal_loss": "superposition",
    "as_published": "compatibility",
    "atom_geometry": "geometry_of_atoms",
    "atom_stability": "matching",
    "attribute": "attribution",
    "attribution_fidelity": "fidelity",
    "babel": "coherence",
    "build_itda": "itda",
    "check_fit": "fit",
    "coactivation": "coactive_pairs",
    "coactive_babel": "coherence",
    "compare_firing": "universality",
    "compare_itda": "itda",
    "critical_sparsity": "superposition",
    "dedicated_loss": "superposition",
    "define": "definitions",
    "distinct_atoms": "coherence",
    "duplicate_groups": "geometry_of_atoms",
    "encoder_cosines": "geometry_of_atoms",
    "evaluate": "report",
    "evaluation_cost": "costs_said_first",
    "explained_variance": "reconstruction",
    "feature_dimensionality": "superposition",
    "fragility_battery": "fragility",
    "frozen_decoder": "frozen_atoms",
    "frozen_decoder_cost": "frozen_atoms",
    "identifiability": "identified",
    "illusion_check": "subspace_illusion",
    "induce_rule": "rules",
    "interference": "superposition",
    "match_atoms": "matching",
    "match_latents": "latent_matching",
    "measure_universality": "universality",
    "meta_dictionary": "meta_atoms",
    "ood_score": "near_data",
    "picture_variants": "variants",
    "plausibility": "plausible",
    "probe": "probing",
    "published_formulas": "compatibility",
    "score_explanations": "detection",
    "split_error": "dark_matter",
    "stability": "matching",
    "stability_trial": "stability_trials",
    "steering_curves": "steering_quality",
    "stitch": "stitching",
    "strongest_atoms": "ablation",
    "support_recovery": "supports",
    "swallowed": "swallowing",
    "text_variants": "variants",
    "token_costs": "costs_by_token",
    "token_lift": "lift",
    "train_universal": "universal",
    "welch_bound": "geometry_of_atoms",
}

__all__ = [
    "AblationEffects",
    "Absorption",
    "AtomGeometry",
    "Attribution",
    "AttributionFidelity",
    "Coactivation",
    "Definition",
    "ErrorSplit",
    "EvaluationCost",
    "ExplanationScores",
    "FactorTold",
    "FitCheck",
    "Fragility",
    "Identifiability",
    "IllusionCheck",
    "Itda",
    "LatentMatches",
    "Measurement",
    "MetaDictionary",
    "NormPrediction",
    "ProbeStudy",
    "PublishedFormula",
    "RandomDictionary",
    "Report",
    "Rule",
    "SpliceCheck",
    "Stability",
    "StabilityTrial",
    "SteeringCurves",
    "Stitching",
    "TokenCosts",
    "TokenLift",
    "UniversalSAE",
    "Universality",
    "ablation_effects",
    "absorption",
    "antipodal_loss",
    "as_published",
    "atom_geometry",
    "atom_stability",
    "attribute",
    "attribution_fidelity",
    "babel",
    "build_itda",
    "check_fit",
    "coactivation",
    "coactive_babel",
    "compare_firing",
    "compare_itda",
    "critical_sparsity",
    "dedicated_loss",
    "define",
    "distinct_atoms",
    "duplicate_groups",
    "encoder_cosines",
    "evaluate",
    "evaluation_cost",
    "explained_variance",
    "feature_dimensionality",
    "fragility_battery",
    "frozen_decoder",
    "frozen_decoder_cost",
    "identifiability",
    "illusion_check",
    "induce_rule",
    "interference",
    "match_atoms",
    "match_latents",
    "measure_universality",
    "meta_dictionary",
    "ood_score",
    "picture_variants",
    "plausibility",
    "probe",
    "published_formulas",
    "score_explanations",
    "split_error",
    "stability",
    "stability_trial",
    "steering_curves",
    "stitch",
    "strongest_atoms",
    "support_recovery",
    "swallowed",
    "text_variants",
    "token_costs",
    "token_lift",
    "train_universal",
    "welch_bound",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sae_nb.evaluation' has no attribute {name!r}.")
    value = getattr(importlib.import_module(f"sae_nb.evaluation.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
