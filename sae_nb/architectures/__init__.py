"""Sparse autoencoders, one file each, and the parts they choose from.

Every encoder is Operator × Prox × Solver: operators hold dictionaries, proxes turn pre-codes into
sparse codes, solvers say how often. A new architecture is one file, its line here, and a page of the
documentation; `ARCHITECTURES` finds it by that line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.architectures._abs_topk import AbsTopK as AbsTopK
    from sae_nb.architectures._archetypal import Archetypal as Archetypal
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
    from sae_nb.architectures._recipe import (
        Recipe as Recipe,
        TrainingDefaults as TrainingDefaults,
        TrainingLoss as TrainingLoss,
    )
    from sae_nb.architectures._relu import ReLU as ReLU
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
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.architectures._archetypal import centroids as centroids
    from sae_nb.architectures._base import Data as Data, Untrained as Untrained
    from sae_nb.architectures._catalogue import (
        check_mappable as check_mappable,
        load_as as load_as,
        read_sae as read_sae,
    )
    from sae_nb.architectures._describing import (
        measured_words as measured_words,
        one_line as one_line,
    )
    from sae_nb.architectures._one_step import OneStep as OneStep, without_zeros as without_zeros
    from sae_nb.architectures._recipe import InputScaling as InputScaling, Parts as Parts
    from sae_nb.architectures._revival import (
        REVIVALS as REVIVALS,
        Dead as Dead,
        due as due,
        reaching as reaching,
        resampled_atoms as resampled_atoms,
    )
    from sae_nb.architectures._saving import (
        CONFIG as CONFIG,
        KIND as KIND,
        POLICY as POLICY,
        WEIGHTS as WEIGHTS,
        place_to_save as place_to_save,
        save_sae as save_sae,
        write_sae as write_sae,
    )
    from sae_nb.architectures._several_layers import (
        Layers as Layers,
        SeveralLayers as SeveralLayers,
    )
    from sae_nb.architectures._several_sites import (
        SharedCode as SharedCode,
        check_widths as check_widths,
    )
    from sae_nb.architectures._simplex_codes import (
        Memberships as Memberships,
        distance_to_used as distance_to_used,
    )
    from sae_nb.architectures._upload import Upload as Upload
    from sae_nb.architectures.parts._links import (
        BinomialLink as BinomialLink,
        GaussianLink as GaussianLink,
        Link as Link,
        PoissonLink as PoissonLink,
    )
    from sae_nb.architectures.parts._operators import (
        UNIT_GUARD as UNIT_GUARD,
        FreeOperator as FreeOperator,
        HullOperator as HullOperator,
        MatrixOperator as MatrixOperator,
        ModelsOperator as ModelsOperator,
        SitesOperator as SitesOperator,
        random_unit_rows as random_unit_rows,
    )
    from sae_nb.architectures.parts._proxes import (
        row_tiles as row_tiles,
        simplex_threshold as simplex_threshold,
    )
    from sae_nb.architectures.parts._solvers import (
        SOLVERS as SOLVERS,
        Options as Options,
        conjugate_gradients as conjugate_gradients,
    )
