"""Uses of SAEs: whole texts and images by their atoms: compared, grouped, found, counted, chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.studies.uses._bench import Bench as Bench, bench as bench
    from sae_nb.studies.uses._bench_tasks import BenchTasks as BenchTasks
    from sae_nb.studies.uses._benchmarks import (
        Redundancy as Redundancy,
        Selection as Selection,
        footprint as footprint,
        overlap as overlap,
        redundancy as redundancy,
        select as select,
    )
    from sae_nb.studies.uses._cluster import Clusters as Clusters, cluster as cluster
    from sae_nb.studies.uses._cooccurrence import (
        Cooccurrence as Cooccurrence,
        cooccurrence as cooccurrence,
    )
    from sae_nb.studies.uses._debug import Debugged as Debugged, debug as debug
    from sae_nb.studies.uses._diff import Diff as Diff, diff as diff
    from sae_nb.studies.uses._documents import Documents as Documents
    from sae_nb.studies.uses._or_rule import (
        OrRule as OrRule,
        or_rule as or_rule,
        or_rule_by_layer as or_rule_by_layer,
    )
    from sae_nb.studies.uses._penalty import Penalty as Penalty, penalty as penalty
    from sae_nb.studies.uses._reading import documents as documents
    from sae_nb.studies.uses._repetition import Repetition as Repetition, repetition as repetition
    from sae_nb.studies.uses._retrieve import Retrieval as Retrieval, retrieve as retrieve
    from sae_nb.studies.uses._rise import (
        Rise as Rise,
        RiseEffect as RiseEffect,
        rise as rise,
        rise_effect as rise_effect,
    )
    from sae_nb.studies.uses._spatial import (
        SpatialAutocorrelation as SpatialAutocorrelation,
        spatial_autocorrelation as spatial_autocorrelation,
    )
    from sae_nb.studies.uses._text_dimension import (
        TextDimension as TextDimension,
        text_dimension as text_dimension,
    )
    from sae_nb.studies.uses._vision_bench import (
        VisionBench as VisionBench,
        vision_bench as vision_bench,
    )
    from sae_nb.studies.uses._watch import Moment as Moment, watch as watch
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.studies.uses._bench import BROKEN as BROKEN, N_INPUTS as N_INPUTS
    from sae_nb.studies.uses._bench_rows import BENCH_ROWS as BENCH_ROWS, score_of as score_of
    from sae_nb.studies.uses._bench_tasks import (
        Material as Material,
        bundled_tasks as bundled_tasks,
    )
    from sae_nb.studies.uses._corpora import (
        MIN_COUNT as MIN_COUNT,
        NAMES as NAMES,
        CorpusSummary as CorpusSummary,
        summarise_corpora as summarise_corpora,
        with_simpler as with_simpler,
    )
    from sae_nb.studies.uses._documents import (
        check_same_kind as check_same_kind,
        check_several as check_several,
    )
    from sae_nb.studies.uses._generation import (
        RANDOM as RANDOM,
        STEERED as STEERED,
        UNSTEERED as UNSTEERED,
        Branch as Branch,
        Generation as Generation,
        Written as Written,
        notable as notable,
    )
    from sae_nb.studies.uses._reading import (
        check_labels as check_labels,
        check_reads as check_reads,
    )
    from sae_nb.studies.uses._text_dimension import column_correlations as column_correlations
    from sae_nb.studies.uses._writing import check_writer as check_writer
