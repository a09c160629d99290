"""Depth, the Minkowski view and recruitment once more, on vision transformers that learned photographs.

Twelve blocks of width 96, trained on CIFAR-10 by `python -m sae_nb_studies.recipes.photo_vit`. Seed s takes
network s mod n of the folder, and its own photographs, SAEs and perturbations: with a single network, seeds
differ only in these. Without a folder (a short run), tiny-vit and its drawn scenes take its place.

Every claim comes from another experiment and is tested with the same bounds. Claims that need masks or rendered
pairs (borders, elsewhere atoms) cannot be tested on photographs.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder
from sae_nb.dynamics import capture_states, layer_similarity, phase_evidence
from sae_nb.models import VisionTransformer, wrap
from sae_nb_studies.minkowski import place_strengths
from sae_nb_studies.reproductions._final_states import (
    Seen,
    photo_networks,
    show_photos,
    show_pictures,
    trained_sae,
)
from sae_nb_studies.reproductions.experiments.depth_dynamics import numbers_of_vision
from sae_nb_studies.reproductions.experiments.minkowski_vit import (
    numbers_of_geometry,
    numbers_of_heads,
    numbers_of_hulls,
    numbers_of_pictures,
    numbers_of_positions,
)
from sae_nb_studies.reproductions.experiments.recruitment_vit import numbers_of_tasks

SHORT = {"networks": "", "pictures": 60, "steps": 60, "rows": 200, "fit_steps": 30}
OF_TINY_VIT = ("ready-made", "step 250")
"""Parts of the names of tiny-vit's own measures, which are left out here."""


def run(
    seed: int,
    *,
    networks: str = "photo_vits",
    photos: str = "photos",
    pictures: int = 400,
    steps: int = 500,
    rows: int = 600,
    fit_steps: int = 200,
) -> dict[str, float]:
    """Measure one network as the experiments on drawn scenes do.

    `networks`: folder of photo ViTs, or an empty string for tiny-vit; `photos`: folder of CIFAR-10;
    `pictures`: to train SAEs on, half as many more to judge on; `rows`: patches that hulls are fitted to.
    """
    known = photo_networks(networks) if networks else [sn.load_model("tiny-vit")]
    model = known[seed % len(known)]
    if networks:
        seen = show_photos(model, photos, seed, pictures=pictures)
        label = seen.pictures.label
    else:
        seen = show_pictures(seed, pictures=pictures)
        label = seen.pictures.digit
    answers = model(seen.pictures.images, batch_size=200).argmax(dim=1)
    numbers = {
        "networks": float(len(known)),
        "accuracy": float((answers == label).double().mean()),
    }
    numbers |= _depth(seen, label, seed)
    saes = {n: trained_sae(seen, n, steps=steps, seed=seed) for n in ("TopK", "Archetypal")}
    patches = seen.patches(seen.train)
    order = torch.randperm(len(patches), generator=torch.Generator().manual_seed(seed))
    numbers |= numbers_of_hulls(patches[order[:rows]], fit_steps, seed)
    numbers |= numbers_of_pictures(seen, saes["TopK"], seed) | numbers_of_positions(seen)
    of_both = numbers_of_geometry(seen, saes, seed) | numbers_of_heads(seen)
    numbers |= {k: v for k, v in of_both.items() if not any(name in k for name in OF_TINY_VIT)}
    for name, sae in saes.items():
        numbers |= {f"{name} {k}": v for k, v in numbers_of_tasks(seen, sae, seed).items()}
    return numbers | _registers(seen, saes["TopK"])


def _depth(seen: Seen, label: Tensor, seed: int) -> dict[str, float]:
    """Measure trajectories here and in an untrained network of the same size, and count the phases claimed."""
    images = seen.pictures.images
    numbers = numbers_of_vision(seen.model, images, label, seed)
    config = cast(VisionTransformer, seen.model.module).config
    drawn = VisionTransformer(config, generator=torch.Generator().manual_seed(seed))
    untrained = numbers_of_vision(wrap(drawn.eval()), images, label, seed)
    similarity = layer_similarity(capture_states(seen.model, images, dtype=torch.float16))
    claimed = [
        phase_evidence(similarity, k, reading=reading, seed=seed).supported
        for reading in ("raw", "centred")
        for k in (2, 3)
    ]
    return (
        numbers
        | {f"untrained {what}": value for what, value in untrained.items()}
        | {"phases claimed": float(sum(claimed))}
    )


def _registers(seen: Seen, sae: SparseAutoencoder) -> dict[str, float]:
    """Count the atoms with more than 95 % of their strength on cls, or on registers."""
    place = torch.where(seen.test.position == 0, 0, torch.where(seen.patch, 2, 1))
    strengths = place_strengths(sae.encode(seen.test.x), place, 3)
    only = strengths > 0.95 * strengths.sum(dim=0)
    return {
        "atoms on registers only": float(only[1].sum()),
        "atoms on cls only": float(only[0].sum()),
    }
