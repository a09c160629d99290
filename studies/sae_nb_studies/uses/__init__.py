"""Uses of SAEs: whole texts and images by their atoms: compared, grouped, found, counted, chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.corpora import (
        Diff as Diff,
        Documents as Documents,
        diff as diff,
        documents as documents,
    )
    from sae_nb_studies.uses._bench import Bench as Bench, bench as bench
    from sae_nb_studies.uses._bench_tasks import BenchTasks as BenchTasks
    from sae_nb_studies.uses._benchmarks import (
        Redundancy as Redundancy,
        Selection as Selection,
        footprint as footprint,
        overlap as overlap,
        redundancy as redundancy,
        select as select,
    )
    from sae_nb_studies.uses._cluster import Clusters as Clusters, cluster as cluster
    from sae_nb_studies.uses._cooccurrence import (
        Cooccurrence as Cooccurrence,
        cooccurrence as cooccurrence,
    )
    from sae_nb_studies.uses._debug import Debugged as Debugged, debug as debug
    from sae_nb_studies.uses._or_rule import (
        OrRule as OrRule,
        or_rule as or_rule,
        or_rule_by_layer as or_rule_by_layer,
    )
    from sae_nb_studies.uses._penalty import Penalty as Penalty, penalty as penalty
    from sae_nb_studies.uses._repetition import Repetition as Repetition, repetition as repetition
    from sae_nb_studies.uses._retrieve import Retrieval as Retrieval, retrieve as retrieve
    from sae_nb_studies.uses._rise import (
        Rise as Rise,
        RiseEffect as RiseEffect,
        rise as rise,
        rise_effect as rise_effect,
    )
    from sae_nb_studies.uses._spatial import (
        SpatialAutocorrelation as SpatialAutocorrelation,
        spatial_autocorrelation as spatial_autocorrelation,
    )
    from sae_nb_studies.uses._synthesis import Synthesis as Synthesis, fill_gaps as fill_gaps
    from sae_nb_studies.uses._text_dimension import (
        TextDimension as TextDimension,
        text_dimension as text_dimension,
    )
    from sae_nb_studies.uses._vision_bench import (
        VisionBench as VisionBench,
        vision_bench as vision_bench,
    )
    from sae_nb_studies.uses._watch import Moment as Moment, watch as watch
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
