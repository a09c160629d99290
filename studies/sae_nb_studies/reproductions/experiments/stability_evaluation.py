"""Do seeds and subsets of data find the same atoms, before training and after? tiny-vit, tiny-gpt.

TopK SAEs, two runs per seed, on the same activations and on two halves of the samples. The first atoms of
every run are drawn by its own seed, or shared. Rare atoms are those up to the median density.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import sae_nb as sn
from sae_nb.evaluation import identifiability
from sae_nb_studies.evaluation import StabilityTrial, stability_trial
from sae_nb_studies.recipes.saes._material import scene_factors

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

SHORT = {"steps": 60, "models": ("tiny-vit",), "n_pictures": 260}
N_ATOMS, K, MOST_ROWS = 256, 8, 20_000
PLACES = {"tiny-vit": "resid_post.6", "tiny-gpt": "resid_post.2"}


def run(
    seed: int,
    *,
    steps: int = 300,
    models: tuple[str, ...] = ("tiny-vit", "tiny-gpt"),
    n_pictures: int = 300,
) -> dict[str, float]:
    """Train every arm twice and compare the two SAEs.

    `seed`: seed s takes the runs 2s and 2s + 1, and its own data; `steps` of 512 rows; `models`:
    names of bundled models; `n_pictures`: scenes, half of which are held out to judge factors.
    """
    numbers: dict[str, float] = {}
    for name in models:
        acts, pictures = _captured(name, seed, n_pictures)
        trials = {
            "seeds": _trial(acts, seed, steps),
            "halves": _trial(acts, seed, steps, subset=0.5),
            "shared start": _trial(acts, seed, steps, shared=True),
        }
        for arm, trial in trials.items():
            numbers |= _numbers(f"{name}, {arm}", trial)
        numbers |= _by_frequency(name, trials["seeds"], acts)
        if pictures is not None:
            numbers |= _factors(name, trials["seeds"].saes[0], acts, pictures, seed)
    return numbers


def _captured(name: str, seed: int, n_pictures: int) -> tuple[sn.Activations, Any]:
    model = sn.load_model(name)
    if name == "tiny-vit":
        pictures = sn.data.scenes(n_pictures, seed=seed)
        inputs: Any = pictures.images
    else:
        pictures, inputs = None, list(sn.data.stories(160, seed=seed).texts)
    acts = sn.capture(model, inputs, PLACES[name], max_rows=None, progress=False)
    return acts, pictures


def _trial(
    acts: sn.Activations, seed: int, steps: int, *, subset: float = 1.0, shared: bool = False
) -> StabilityTrial:
    def make(run: int) -> sn.TopK:
        drawn_by = seed if shared else 1000 + run
        generator = torch.Generator().manual_seed(drawn_by)
        return sn.TopK(acts.d_in, N_ATOMS, K, generator=generator)

    config = sn.TrainConfig(steps=steps, batch_size=512)
    runs = (2 * seed, 2 * seed + 1)
    return stability_trial(make, acts, config, seeds=runs, subset=subset, progress=False)


def _numbers(name: str, trial: StabilityTrial) -> dict[str, float]:
    return {
        f"{name}: start": trial.initial.value,
        f"{name}: end": trial.final.value,
        f"{name}: gain": trial.gain.value,
        f"{name}: floor": float(trial.final.floor or 0.0),
        f"{name}: at random": float(trial.final.control or 0.0),
        f"{name}: end above floor": trial.final.value - float(trial.final.floor or 0.0),
    }


def _by_frequency(name: str, trial: StabilityTrial, acts: sn.Activations) -> dict[str, float]:
    rows = acts.rows(torch.arange(min(len(acts), MOST_ROWS)))
    density = trial.saes[0].encode(rows).frequency.numpy()
    live = density > 0
    middle = np.median(density[live])
    often, rare = trial.per_atom[density > middle], trial.per_atom[live & (density <= middle)]
    return {
        f"{name}: stability of frequent atoms": float(often.mean()),
        f"{name}: stability of rare atoms": float(rare.mean()),
        f"{name}: frequent − rare": float(often.mean() - rare.mean()),
    }


def _factors(
    name: str, sae: SparseAutoencoder, acts: sn.Activations, pictures: Any, seed: int
) -> dict[str, float]:
    """Measure how well atoms identify factors of whole pictures, by each picture's strongest row."""
    known = [f for f in scene_factors(pictures, acts) if f.per == "sample"]
    truth = np.stack([factor.truth for factor in known], axis=1)
    how = {"n_bootstrap": 0, "seed": seed}
    found = identifiability(sae, acts, truth, names=[f.name for f in known], **how)
    untrained = sn.TopK(acts.d_in, N_ATOMS, K, generator=torch.Generator().manual_seed(seed))
    untrained.initialise(acts.rows(torch.arange(8192)), None)
    start = identifiability(untrained.eval(), acts, truth, **how)  # type: ignore[arg-type]
    return {
        f"{name}: identifiability": found.value,
        f"{name}: identifiability, random dictionary": float(found.control or 0.0),
        f"{name}: identifiability, untrained": start.value,
        f"{name}: identifiability gained": found.value - float(found.control or 0.0),
    }
