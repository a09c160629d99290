"""Proximal maps: from pre-codes to sparse codes, z = argmin ½‖z − u‖² + g(z).

A prox has two faces for encoders: on dense pre-codes (small inputs), and fused with the affine map
that makes the pre-codes, so that they exist in tiles only. Both give `SparseCodes`. A `Penalty` also
has a value and a step, for solvers. A new penalty is one file.
"""

from __future__ import annotations

from sae_nb.architectures.proxes.abs_top_k import AbsTopKProx
from sae_nb.architectures.proxes.batch_top_k import BatchTopKProx
from sae_nb.architectures.proxes.grouped import GroupProx
from sae_nb.architectures.proxes.penalty import Penalty, Prox
from sae_nb.architectures.proxes.quadratic import IdentityProx, RidgeProx
from sae_nb.architectures.proxes.simplex import SimplexProx
from sae_nb.architectures.proxes.threshold import ThresholdProx
from sae_nb.architectures.proxes.thresholding import HardProx, SoftProx
from sae_nb.architectures.proxes.top_k import TopKProx

__all__ = [
    "AbsTopKProx",
    "BatchTopKProx",
    "GroupProx",
    "HardProx",
    "IdentityProx",
    "Penalty",
    "Prox",
    "RidgeProx",
    "SimplexProx",
    "SoftProx",
    "ThresholdProx",
    "TopKProx",
]
