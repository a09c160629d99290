"""The quality of an SAE: each number with its floor, its random control and its interval.

`n_bootstrap` and `seed` mean the same everywhere: see `Measurement`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.evaluation._fixed_rows import AtomGallery as AtomGallery, FixedRows as FixedRows
    from sae_nb.evaluation._recommend import which_sae as which_sae
    from sae_nb.evaluation._second_code import SecondCode as SecondCode, second_code as second_code
    from sae_nb.evaluation.causal._attribution import (
        Attribution as Attribution,
        SpliceCheck as SpliceCheck,
        attribute as attribute,
    )
    from sae_nb.evaluation.causal._outcomes import (
        atom_removal as atom_removal,
        chance_cosine as chance_cosine,
        outcome_index as outcome_index,
    )
    from sae_nb.evaluation.concepts._factors import (
        Factor as Factor,
        FactorEvidence as FactorEvidence,
        FactorMatch as FactorMatch,
        FactorTold as FactorTold,
        Identifiability as Identifiability,
        identifiability as identifiability,
        match_factors as match_factors,
    )
    from sae_nb.evaluation.concepts._selectivity import (
        SelectivitySummary as SelectivitySummary,
        row_factors as row_factors,
        summarise_selectivity as summarise_selectivity,
    )
    from sae_nb.evaluation.concepts._superposition import (
        FoundDirections as FoundDirections,
        SuperpositionSummary as SuperpositionSummary,
        fit_atoms as fit_atoms,
        summarise_superposition as summarise_superposition,
    )
    from sae_nb.evaluation.dictionary._distances import distances_kept as distances_kept
    from sae_nb.evaluation.dictionary._near_data import head_shares as head_shares
    from sae_nb.evaluation.dictionary._stability import (
        Stability as Stability,
        atom_stability as atom_stability,
        stability as stability,
    )
    from sae_nb.evaluation.explanations._detection import (
        ExplanationScores as ExplanationScores,
        score_explanations as score_explanations,
    )
    from sae_nb.evaluation.explanations._rules import (
        TOKEN_SHAPES as TOKEN_SHAPES,
        Predicate as Predicate,
        RowFacts as RowFacts,
        Rule as Rule,
        active_rows as active_rows,
        induce_rule as induce_rule,
    )
    from sae_nb.evaluation.report._by_sample import (
        MovingSample as MovingSample,
        RowSums as RowSums,
        published_values as published_values,
        sums_by_sample as sums_by_sample,
    )
    from sae_nb.evaluation.report._by_tiles import evaluate_saved as evaluate_saved
    from sae_nb.evaluation.report._compatibility import (
        PublishedFormula as PublishedFormula,
        as_published as as_published,
        published_formulas as published_formulas,
    )
    from sae_nb.evaluation.report._downstream import (
        SpliceTask as SpliceTask,
        TokenCosts as TokenCosts,
        splice_task as splice_task,
        token_costs as token_costs,
    )
    from sae_nb.evaluation.report._fit import FitCheck as FitCheck, check_fit as check_fit
    from sae_nb.evaluation.report._judging import (
        comparable as comparable,
        judge as judge,
        key_rows as key_rows,
        objection as objection,
    )
    from sae_nb.evaluation.report._measurement import (
        Definition as Definition,
        Measurement as Measurement,
        Measurements as Measurements,
        RandomDictionary as RandomDictionary,
        Resampling as Resampling,
        chance_generator as chance_generator,
        define as define,
    )
    from sae_nb.evaluation.report._reconstruction import explained_variance as explained_variance
    from sae_nb.evaluation.report._report import (
        EvaluationCost as EvaluationCost,
        Report as Report,
        evaluate as evaluate,
        evaluation_cost as evaluation_cost,
        training_cut_short as training_cut_short,
    )
    from sae_nb.evaluation.report._row_pass import (
        codes_of as codes_of,
        codes_of_rows as codes_of_rows,
        encoded_rows as encoded_rows,
        random_like as random_like,
    )
    from sae_nb.geometry._coactivation import (
        Coactivation as Coactivation,
        coactivation as coactivation,
    )
    from sae_nb.geometry._coherence import (
        AtomGeometry as AtomGeometry,
        atom_geometry as atom_geometry,
        babel as babel,
        coactive_babel as coactive_babel,
        distinct_atoms as distinct_atoms,
        duplicate_groups as duplicate_groups,
        encoder_cosines as encoder_cosines,
        welch_bound as welch_bound,
    )
    from sae_nb.geometry._dimension import (
        feature_dimensionality as feature_dimensionality,
        interference as interference,
    )
    from sae_nb.geometry._matching import match_atoms as match_atoms
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
