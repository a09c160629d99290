"""Sparse autoencoders, one file each, and the parts they choose from.

Every encoder is Operator × Prox × Solver: `operators` hold dictionaries, `proxes` turn pre-codes
into sparse codes, `solvers` say how often, `encoders` hold learned adjoints. A new architecture is
one file and one line in `ARCHITECTURES`.
"""

from __future__ import annotations

from sae_nb.architectures.base import SparseAutoencoder, TrainingLoss
from sae_nb.architectures.recipe import Recipe
from sae_nb.architectures.saving import load_sae
from sae_nb.architectures.topk import TopK

__all__ = ["ARCHITECTURES", "Recipe", "SparseAutoencoder", "TopK", "TrainingLoss", "load_sae"]

ARCHITECTURES: dict[str, type[SparseAutoencoder]] = {
    "TopK": TopK,
}
"""Every architecture by its saved name."""
