"""Does an encoder held aligned with its atoms leave none dead, and make trainings agree? Planted data.

128 atoms in 32 dimensions, four of them on in a row. Encoder rows e_j + (1 − ⟨e_j, d_j⟩) d_j, so that ⟨e_j, d_j⟩ = 1
throughout, against free ones, in a TopK without AuxK. The encoder begins as the dictionary (tied) or as other random
directions (untied); each arm is trained twice, from other atoms and batches. Beside them free rows with AuxK, and random
dictionaries.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

import sae_nb as sn
from sae_nb.architectures.parts import MatrixOperator, random_unit_rows
from sae_nb.evaluation import explained_variance, match_atoms

SHORT = {"steps": 300}
N_ATOMS, D_IN, K = 128, 32, 4
HELD_OUT = 4000
"""Rows; an atom that fires in none of them is dead."""
AUX_WEIGHT = {"free": 0.0, "aligned": 0.0, "AuxK": 1 / 32}


class Aligned(nn.Module):
    """Encoder rows with an inner product of 1 with their atoms, in place of free ones.

    Source: "Aligned Training", arXiv 2605.18629, read in its abstract.
    """

    def __init__(self, operator: MatrixOperator) -> None:
        super().__init__()
        self.atoms = operator.atoms

    def forward(self, e: Float[Tensor, "n_atoms d_in"]) -> Float[Tensor, "n_atoms d_in"]:
        """Return e_j + (1 − ⟨e_j, d_j⟩) d_j."""
        d = self.atoms()
        return e + (1 - (e * d).sum(dim=1, keepdim=True)) * d


def run(seed: int, *, steps: int = 1500) -> dict[str, float]:
    """Train every arm twice, seeds 2s and 2s + 1, `steps` of 256 rows, and compare the two."""
    data = sn.data.planted_dictionary(N_ATOMS, D_IN, 8000 + HELD_OUT, K, seed=seed)
    test, x = data.x[:HELD_OUT], data.x[HELD_OUT:]
    drawn = torch.Generator().manual_seed(seed)
    random = [random_unit_rows(N_ATOMS, D_IN, drawn) for _ in range(2)]
    numbers = {
        "random: cosine of two": _cosine(*random),
        "random: cosine with the truth": _cosine(data.dictionary, random[0]),
    }
    for start in ("tied", "untied"):
        for rows in AUX_WEIGHT:
            pair = [_trained(x, rows, start, 2 * seed + i, steps) for i in range(2)]
            each = [_measured(sae, test, data.dictionary) for sae in pair]
            means = {what: (each[0][what] + each[1][what]) / 2 for what in each[0]}
            means["cosine of two"] = _cosine(*(sae.dictionary for sae in pair))
            numbers |= {f"{rows}, {start}: {what}": value for what, value in means.items()}
    return numbers


def _trained(x: Tensor, rows: str, start: str, seed: int, steps: int) -> sn.TopK:
    drawn = torch.Generator().manual_seed(seed)
    sae = sn.TopK(D_IN, N_ATOMS, K, aux_weight=AUX_WEIGHT[rows], generator=drawn)
    if start == "untied":
        sae.encoder.start_from_(random_unit_rows(N_ATOMS, D_IN, drawn))
    if rows == "aligned":
        parametrize.register_parametrization(sae.encoder, "weight", Aligned(sae.operator))
    sn.train(sae, x, steps=steps, batch_size=256, seed=seed, progress=False)
    return sae.eval()


@torch.no_grad()
def _measured(sae: sn.TopK, test: Tensor, truth: Tensor) -> dict[str, float]:
    codes = sae.encode(test)
    return {
        "R²": float(explained_variance(test, sae.decode(codes))),
        "dead": float((codes.count(0) == 0).float().mean()),
        "alignment": float((sae.encoder.weight * sae.dictionary).sum(dim=1).mean()),
        "cosine with the truth": _cosine(truth, sae.dictionary),
    }


def _cosine(first: Tensor, other: Tensor) -> float:
    """Mean cosine of matched atoms."""
    return float(match_atoms(first, other)[2].mean())
