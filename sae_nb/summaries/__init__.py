"""One frozen record of plain arrays per view, and the function that computes it; panels draw them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.atoms import (
        AtomCatalogue as AtomCatalogue,
        AtomSummary as AtomSummary,
        summarise_atom as summarise_atom,
    )
    from sae_nb.summaries._pursuit import (
        PursuitSteps as PursuitSteps,
        summarise_pursuit as summarise_pursuit,
        summarise_trace as summarise_trace,
    )
    from sae_nb.summaries._session import (
        SessionSummary as SessionSummary,
        peak_memory as peak_memory,
        summarise_session as summarise_session,
    )
    from sae_nb.summaries._steering import (
        SteeringSummary as SteeringSummary,
        summarise_steering as summarise_steering,
    )
    from sae_nb.summaries._sum_of_atoms import (
        SumOfAtoms as SumOfAtoms,
        sum_of_atoms as sum_of_atoms,
    )
    from sae_nb.summaries._superposition import (
        SelectivitySummary as SelectivitySummary,
        SuperpositionSummary as SuperpositionSummary,
        fit_atoms as fit_atoms,
        row_factors as row_factors,
        summarise_selectivity as summarise_selectivity,
        summarise_superposition as summarise_superposition,
    )
    from sae_nb.summaries.concept_map._atlas import (
        ConceptAtlas as ConceptAtlas,
        summarise_concepts as summarise_concepts,
    )
    from sae_nb.summaries.concept_map._concept_map import ConceptMapSummary as ConceptMapSummary
    from sae_nb.summaries.depth._depth import (
        AtomDepths as AtomDepths,
        DepthSummary as DepthSummary,
        atom_depths as atom_depths,
        summarise_depth as summarise_depth,
    )
    from sae_nb.summaries.depth._paths import DepthPaths as DepthPaths
    from sae_nb.summaries.input._contrast import Contrast as Contrast, contrast as contrast
    from sae_nb.summaries.input._input import InputSummary as InputSummary, top_atoms as top_atoms
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.summaries._continuing import (
        Continuation as Continuation,
        summarise_continuation as summarise_continuation,
    )
    from sae_nb.summaries._dose_response import (
        SteeringCurve as SteeringCurve,
        summarise_dose_response as summarise_dose_response,
    )
    from sae_nb.summaries._pursuit import (
        ALGORITHMS as ALGORITHMS,
        OWN as OWN,
        PENALTY_SHARE as PENALTY_SHARE,
        PURSUITS as PURSUITS,
        SHORT as SHORT,
        SOLVER_STEPS as SOLVER_STEPS,
        TITLES as TITLES,
        check_algorithm as check_algorithm,
        check_trace as check_trace,
        strongest_atoms as strongest_atoms,
    )
    from sae_nb.summaries._quiz import (
        QuizQuestion as QuizQuestion,
        QuizScore as QuizScore,
        ask_about as ask_about,
        askable_atoms as askable_atoms,
    )
    from sae_nb.summaries._report_card import (
        MovingSample as MovingSample,
        ReportCardSummary as ReportCardSummary,
        ReportCell as ReportCell,
        RowSums as RowSums,
        as_reports as as_reports,
        elsewhere as elsewhere,
        most_moving as most_moving,
        summarise_report_card as summarise_report_card,
        sums_by_sample as sums_by_sample,
    )
    from sae_nb.summaries._steering import (
        Steered as Steered,
        SteeringRecipe as SteeringRecipe,
        control_of as control_of,
        edit_of as edit_of,
        effects_of_adding as effects_of_adding,
    )
    from sae_nb.summaries._temporal import (
        MOST_RASTER_ATOMS as MOST_RASTER_ATOMS,
        Raster as Raster,
        TemporalSummary as TemporalSummary,
        read_in_time as read_in_time,
        summarise_sequence as summarise_sequence,
    )
    from sae_nb.summaries._training import (
        AtomGallery as AtomGallery,
        AtomMotion as AtomMotion,
        Axis as Axis,
        MotionTracker as MotionTracker,
        Probe as Probe,
        TrainingHistory as TrainingHistory,
        TrainingSummary as TrainingSummary,
        gallery_of_rows as gallery_of_rows,
        pareto_front as pareto_front,
        summarise_training as summarise_training,
    )
    from sae_nb.summaries.concept_map._concept_map import (
        SHOWN as SHOWN,
        ArchetypePlaces as ArchetypePlaces,
        Cluster as Cluster,
        Column as Column,
        has_archetypes as has_archetypes,
    )
    from sae_nb.summaries.concept_map._overlays import (
        DIMENSION as DIMENSION,
        Cone as Cone,
        Cones as Cones,
    )
    from sae_nb.summaries.concept_map._selection import (
        SelectionSummary as SelectionSummary,
        SharedInput as SharedInput,
    )
    from sae_nb.summaries.depth._depth import (
        SIMILARITIES as SIMILARITIES,
        DepthInputs as DepthInputs,
        depth_inputs as depth_inputs,
    )
    from sae_nb.summaries.depth._paths import (
        COORDINATES as COORDINATES,
        ChosenPaths as ChosenPaths,
        choose_paths as choose_paths,
        lambert as lambert,
        lay_out as lay_out,
        umap_rows as umap_rows,
    )
    from sae_nb.summaries.input._answers import (
        Reading as Reading,
        answering as answering,
        as_batch as as_batch,
        placed_in as placed_in,
        read_answer as read_answer,
        read_hook_point as read_hook_point,
    )
    from sae_nb.summaries.input._contrast import (
        BaseRate as BaseRate,
        Quantity as Quantity,
        base_rate as base_rate,
        labels_of as labels_of,
        pretrained_store as pretrained_store,
    )
    from sae_nb.summaries.input._input import (
        LEAST_EFFECT as LEAST_EFFECT,
        USE_ORDERS as USE_ORDERS,
        AtomsUsed as AtomsUsed,
        UseOrder as UseOrder,
        where_written as where_written,
        with_place as with_place,
    )
