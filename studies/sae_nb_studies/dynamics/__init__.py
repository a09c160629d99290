"""Depth beyond the panel: Raptor's recurring blocks, segments that they replace, blocks exchanged.

The names are found at `sn.dynamics` too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_studies.dynamics.phases._answers import (
        AnswerPath as AnswerPath,
        answer_path as answer_path,
    )
    from sae_nb_studies.dynamics.phases._linear import (
        LinearPhase as LinearPhase,
        linearise_phases as linearise_phases,
    )
    from sae_nb_studies.dynamics.phases._segments import (
        MaxCut as MaxCut,
        SegmentErrors as SegmentErrors,
        recursive_max_cut as recursive_max_cut,
        segment_errors as segment_errors,
    )
    from sae_nb_studies.dynamics.phases._swaps import (
        LayerSwap as LayerSwap,
        SwapContrast as SwapContrast,
        swap_layers as swap_layers,
    )
    from sae_nb_studies.dynamics.raptor._config import RaptorConfig as RaptorConfig
    from sae_nb_studies.dynamics.raptor._loop import RaptorResult as RaptorResult
    from sae_nb_studies.dynamics.raptor._raptor import (
        BlockSizes as BlockSizes,
        Raptor as Raptor,
        RaptorBlock as RaptorBlock,
        sizes_of as sizes_of,
        start_from_teacher as start_from_teacher,
    )
    from sae_nb_studies.dynamics.raptor._scores import (
        RaptorAccuracy as RaptorAccuracy,
        RaptorFit as RaptorFit,
        raptor_accuracy as raptor_accuracy,
        raptor_fit as raptor_fit,
    )
    from sae_nb_studies.dynamics.raptor._training import (
        RaptorRun as RaptorRun,
        start_raptor as start_raptor,
        train_raptor as train_raptor,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
