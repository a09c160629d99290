"""Sparse autoencoders, one file each, and the parts they choose from.

Every encoder is Operator × Prox × Solver: `operators` hold dictionaries, `proxes` turn pre-codes
into sparse codes, `solvers` say how often, `encoders` hold learned adjoints. A new architecture is
one file and one line in `ARCHITECTURES`.
"""

from __future__ import annotations

from sae_nb.architectures.abs_topk import AbsTopK
from sae_nb.architectures.archetypal import Archetypal
from sae_nb.architectures.base import SparseAutoencoder, TrainingLoss
from sae_nb.architectures.batch_topk import BatchTopK
from sae_nb.architectures.gated import Gated
from sae_nb.architectures.jump_relu import JumpReLU
from sae_nb.architectures.matching_pursuit import MatchingPursuit
from sae_nb.architectures.matryoshka import Matryoshka
from sae_nb.architectures.orthogonal_matching_pursuit import OrthogonalMatchingPursuit
from sae_nb.architectures.recipe import Recipe
from sae_nb.architectures.relu import ReLU
from sae_nb.architectures.spade import SpaDE
from sae_nb.architectures.temporal import Temporal
from sae_nb.architectures.topk import TopK

__all__ = [
    "ARCHITECTURES",
    "AbsTopK",
    "Archetypal",
    "BatchTopK",
    "Gated",
    "JumpReLU",
    "MatchingPursuit",
    "Matryoshka",
    "OrthogonalMatchingPursuit",
    "ReLU",
    "Recipe",
    "SpaDE",
    "SparseAutoencoder",
    "Temporal",
    "TopK",
    "TrainingLoss",
]

ARCHITECTURES: dict[str, type[SparseAutoencoder]] = {
    "AbsTopK": AbsTopK,
    "Archetypal": Archetypal,
    "BatchTopK": BatchTopK,
    "Gated": Gated,
    "JumpReLU": JumpReLU,
    "MatchingPursuit": MatchingPursuit,
    "Matryoshka": Matryoshka,
    "OrthogonalMatchingPursuit": OrthogonalMatchingPursuit,
    "ReLU": ReLU,
    "SpaDE": SpaDE,
    "Temporal": Temporal,
    "TopK": TopK,
}
"""Every architecture by its saved name."""
