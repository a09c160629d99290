"""Other systems on the same sparse-coding core: not SAEs, but cousins that teach what one could be.

Each is a file of its own: an operator, a link, a prox and a solver that `sae_nb.architectures` already has,
with what is learned around them. Dictionaries among them train, save, load and are viewed as SAEs are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_studies.lab._bit_denoiser import (
        BitDenoiser as BitDenoiser,
        BitDenoiserModel as BitDenoiserModel,
        RuleLearned as RuleLearned,
        even_strings as even_strings,
        group_parity as group_parity,
    )
    from sae_nb_studies.lab._deconvolution import (
        Deconvolution as Deconvolution,
        Recovery as Recovery,
    )
    from sae_nb_studies.lab._dunl import DUNL as DUNL
    from sae_nb_studies.lab._group_network import (
        GroupAction as GroupAction,
        GroupNetwork as GroupNetwork,
        learn_action as learn_action,
    )
    from sae_nb_studies.lab._kds import KDS as KDS, WLSC as WLSC
    from sae_nb_studies.lab._kernel_similarity import (
        KernelSimilarity as KernelSimilarity,
        MatchedSimilarity as MatchedSimilarity,
    )
    from sae_nb_studies.lab._likelihood_gradient import likelihood_gradient as likelihood_gradient
    from sae_nb_studies.lab._local_denoiser import (
        DenoiserModel as DenoiserModel,
        DenoiserPrediction as DenoiserPrediction,
        LocalDenoiser as LocalDenoiser,
    )
    from sae_nb_studies.lab._local_map import LocalMap as LocalMap, local_map as local_map
    from sae_nb_studies.lab._momentum import Momentum as Momentum, MomentumModel as MomentumModel
    from sae_nb_studies.lab._parity import (
        ParityPosterior as ParityPosterior,
        parity_posterior as parity_posterior,
    )
    from sae_nb_studies.lab._patch_mosaic import (
        Mosaics as Mosaics,
        PatchDictionary as PatchDictionary,
        PatchMosaic as PatchMosaic,
        ScoreCost as ScoreCost,
    )
    from sae_nb_studies.lab._signatures import (
        Attribution as Attribution,
        MantelTest as MantelTest,
        SignatureDistances as SignatureDistances,
        Signatures as Signatures,
    )
    from sae_nb_studies.lab._sparker import AnomalyTest as AnomalyTest, SparKer as SparKer
    from sae_nb_studies.lab._sparse_bayes import Posterior as Posterior, SparseBayes as SparseBayes
    from sae_nb_studies.lab._table import names as names
    from sae_nb_studies.lab._unfolded_groups import (
        UnfoldedGroups as UnfoldedGroups,
        UnfoldedModel as UnfoldedModel,
    )
    from sae_nb_studies.lab._wave_network import WaveModel as WaveModel, WaveNetwork as WaveNetwork
    from sae_nb_studies.lab._wavelet_score import (
        WaveletScore as WaveletScore,
        wavelet_score as wavelet_score,
    )
    from sae_nb_studies.lab._waves import (
        Ringing as Ringing,
        Waves as Waves,
        square_fundamental as square_fundamental,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
