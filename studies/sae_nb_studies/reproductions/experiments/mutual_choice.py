"""Are more atoms in use if AuxK serves those that fire too rarely, not only dead ones? tiny-vit, 512 atoms.

MutualChoice with aux_zipf is compared with the same SAE with AuxK for dead atoms only, and without such a
loss. Thresholds are set on training rows so that held-out rows use 16 atoms on average; everything is
measured on held-out rows.
"""

from __future__ import annotations

import torch

import sae_nb as sn
from sae_nb_studies.reproductions.experiments.feature_choice import measured, settle

SHORT = {"steps": 72, "n_images": 40}
K, N_ATOMS, PLACE, BATCH = 16, 512, "resid_post.6", 512
RARE = 0.1  # of the mean rate


def run(seed: int, *, steps: int = 600, n_images: int = 300) -> dict[str, float]:
    """Train every kind once and measure what the claims ask for.

    `steps` of 512 rows; `n_images`: scenes, of which a fifth is held out.
    """
    images = sn.data.scenes(n_images, seed=seed).images
    acts = sn.capture(sn.load_model("tiny-vit"), images, PLACE, progress=False)
    train, test = acts.split(0.8, seed)
    numbers: dict[str, float] = {}
    for name, sae in kinds(acts.d_in, seed).items():
        if name == "untrained":
            sae.initialise(train, _drawn(seed))
            sae.eval()
        else:
            sn.train(sae, train, steps=steps, batch_size=BATCH, seed=seed, progress=False)
        settle(sae, train, test)
        found = measured(sae, test) | {"rare": rare(sae, test)}
        numbers |= {f"{name}: {what}": value for what, value in found.items()}
    for what in ("dead", "rare", "useless"):
        numbers[f"{what}: auxk − aux_zipf"] = numbers[f"auxk: {what}"] - numbers[f"zipf: {what}"]
    numbers["R²: aux_zipf − auxk"] = numbers["zipf: R²"] - numbers["auxk: R²"]
    return numbers


def kinds(d_in: int, seed: int) -> dict[str, sn.MutualChoice]:
    """Create every SAE by name, all from the same random atoms."""
    settings: dict[str, dict[str, float]] = {
        "zipf": {},
        "auxk": {"aux_zipf": 0.0},
        "none": {"aux_zipf": 0.0, "aux_weight": 0.0},
        "untrained": {},
    }
    return {
        name: sn.MutualChoice(d_in, N_ATOMS, K, generator=_drawn(seed), **how)  # type: ignore[arg-type]
        for name, how in settings.items()
    }


def _drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + seed)


@torch.no_grad()
def rare(sae: sn.MutualChoice, test: sn.Activations) -> float:
    """Return the share of atoms that fire at less than a tenth of the mean rate, dead ones included."""
    return float((sae.encode(test).frequency < RARE * K / N_ATOMS).double().mean())
