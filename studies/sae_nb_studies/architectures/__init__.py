"""SAEs that one paper each brought; `sn.PolySAE` and the others are found here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_studies.architectures._feature_choice import FeatureChoice as FeatureChoice
    from sae_nb_studies.architectures._gradient import GradientSAE as GradientSAE
    from sae_nb_studies.architectures._group_bias_adaptation import (
        GroupBiasAdaptation as GroupBiasAdaptation,
    )
    from sae_nb_studies.architectures._group_sparse import GroupSparse as GroupSparse
    from sae_nb_studies.architectures._lorsa import Lorsa as Lorsa
    from sae_nb_studies.architectures._masked import MaskedSAE as MaskedSAE
    from sae_nb_studies.architectures._mutual_choice import MutualChoice as MutualChoice
    from sae_nb_studies.architectures._ort import OrtSAE as OrtSAE
    from sae_nb_studies.architectures._poly import PolySAE as PolySAE
    from sae_nb_studies.architectures._t_sae import TSAE as TSAE
    from sae_nb_studies.architectures._top_afa import TopAFA as TopAFA
    from sae_nb_studies.architectures._tree import TreeSAE as TreeSAE
    from sae_nb_studies.architectures._variational import VariationalSAE as VariationalSAE
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
