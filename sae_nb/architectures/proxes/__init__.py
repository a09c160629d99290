"""Proximal maps: from pre-codes to sparse codes, z = argmin ½‖z − u‖² + g(z).

A prox has two faces: on dense pre-codes (small inputs), and fused with the affine map that makes
the pre-codes, so that they exist in tiles only. Both give `SparseCodes`. A new penalty is one file.
"""

from __future__ import annotations

from sae_nb.architectures.proxes.penalty import Prox
from sae_nb.architectures.proxes.top_k import TopKProx

__all__ = ["Prox", "TopKProx"]
