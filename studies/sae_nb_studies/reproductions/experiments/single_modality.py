"""How many atoms serve one modality alone, and how much of the strength do they carry? (two bundled towers)

One TopK SAE over the embeddings of images and captions, as in `two_towers`. An atom is mostly of one modality
where three quarters of its strength are there. The floor turns each pair about by a coin, the control is a
dictionary as training begins.
"""

from __future__ import annotations

import torch

import sae_nb as sn
from sae_nb_studies.reproductions.experiments.common_atoms import sae_of
from sae_nb_studies.reproductions.experiments.two_towers import towers

SHORT = {"steps": 20, "n": 300}
MOSTLY = 0.75


def run(seed: int, *, steps: int = 400, n: int = 3000) -> dict[str, float]:
    """Train once, `steps` of 256 rows; `n` pairs, of which a quarter, drawn by the seed, is held out."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    pairs = [x[order] for x in towers(n)]
    train, test = torch.cat([x[n // 4 :] for x in pairs]), [x[: n // 4] for x in pairs]
    numbers: dict[str, float] = {}
    for name, its_steps in (("trained", steps), ("untrained", 0)):
        sae = sae_of(train, seed, its_steps)
        with torch.no_grad():
            codes = [sae.encode(x) for x in test]
        found = sn.studies.evaluation.modality_scores(codes, alone=MOSTLY, n_bootstrap=0)
        numbers |= {
            f"{name}, atoms": found.value,
            f"{name}, atoms shuffled": float(found.floor or 0.0),
            f"{name}, strength": found.energy,
            f"{name}, strength shuffled": found.energy_floor,
            f"{name}, atoms − strength": found.value - found.energy,
            f"{name}, shuffled atoms − strength": float(found.floor or 0.0) - found.energy_floor,
            f"{name}, live": float(found.n),
        }
    return numbers
