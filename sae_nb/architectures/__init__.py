"""Sparse autoencoders, one file each, and the parts they choose from.

Every encoder is Operator × Prox × Solver: operators hold dictionaries, proxes turn pre-codes into
sparse codes, solvers say how often. A new architecture is one file, its line here, and a page of the
documentation; `ARCHITECTURES` finds it by that line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.architectures._abs_topk import AbsTopK as AbsTopK
    from sae_nb.architectures._archetypal import Archetypal as Archetypal, centroids as centroids
    from sae_nb.architectures._base import SparseAutoencoder as SparseAutoencoder
    from sae_nb.architectures._batch_topk import BatchTopK as BatchTopK
    from sae_nb.architectures._catalogue import ARCHITECTURES as ARCHITECTURES
    from sae_nb.architectures._cross_layer_transcoder import (
        CrossLayerTranscoder as CrossLayerTranscoder,
    )
    from sae_nb.architectures._crosscoder import Crosscoder as Crosscoder
    from sae_nb.architectures._gated import Gated as Gated
    from sae_nb.architectures._jump_relu import JumpReLU as JumpReLU
    from sae_nb.architectures._matching_pursuit import MatchingPursuit as MatchingPursuit
    from sae_nb.architectures._matryoshka import Matryoshka as Matryoshka
    from sae_nb.architectures._orthogonal_matching_pursuit import (
        OrthogonalMatchingPursuit as OrthogonalMatchingPursuit,
    )
    from sae_nb.architectures._pursuit_steps import (
        PursuitSteps as PursuitSteps,
        summarise_pursuit as summarise_pursuit,
        summarise_trace as summarise_trace,
    )
    from sae_nb.architectures._recipe import (
        Recipe as Recipe,
        TrainingDefaults as TrainingDefaults,
        TrainingLoss as TrainingLoss,
    )
    from sae_nb.architectures._relu import ReLU as ReLU
    from sae_nb.architectures._saving import sae_folder as sae_folder
    from sae_nb.architectures._skip_transcoder import SkipTranscoder as SkipTranscoder
    from sae_nb.architectures._spade import SpaDE as SpaDE
    from sae_nb.architectures._sparse_coding import sparse_code as sparse_code
    from sae_nb.architectures._temporal import Temporal as Temporal
    from sae_nb.architectures._topk import TopK as TopK
    from sae_nb.architectures._transcoder import Transcoder as Transcoder
    from sae_nb.architectures._universal import UniversalSAE as UniversalSAE
    from sae_nb.architectures.parts._largest import (
        AbsTopKProx as AbsTopKProx,
        BatchTopKProx as BatchTopKProx,
        ColumnTopKProx as ColumnTopKProx,
        NormProx as NormProx,
        TopKProx as TopKProx,
    )
    from sae_nb.architectures.parts._operators import (
        ConvolutionOperator as ConvolutionOperator,
        CosineOperator as CosineOperator,
        DenseOperator as DenseOperator,
        FixedOperator as FixedOperator,
        LearnedAdjoint as LearnedAdjoint,
        Operator as Operator,
    )
    from sae_nb.architectures.parts._proxes import (
        GroupProx as GroupProx,
        HardProx as HardProx,
        IdentityProx as IdentityProx,
        Penalty as Penalty,
        Prox as Prox,
        RidgeProx as RidgeProx,
        SimplexProx as SimplexProx,
        SoftProx as SoftProx,
        ThresholdProx as ThresholdProx,
    )
    from sae_nb.architectures.parts._solvers import (
        SolverTrace as SolverTrace,
        admm as admm,
        cg as cg,
        fista as fista,
        ista as ista,
        ista_step as ista_step,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
