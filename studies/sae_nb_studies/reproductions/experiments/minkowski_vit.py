"""The Minkowski view of tiny-vit's final states: the decision pair, paths, blocks, geometry, position.

Patches of the last layer are compared with Gaussians of the same covariance; the dictionaries of a TopK, an
Archetypal and the pretrained SAE of layer 6 with random and spread-out frames.

The paper gives few numbers: the bounds follow its statements, and were set after one short pilot with seed 0.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder
from sae_nb.evaluation import explained_variance
from sae_nb_studies.minkowski import (
    BlockConfig,
    DictionaryGeometry,
    coactivation,
    coefficient_blocks,
    decide,
    dictionary_geometry,
    fit_block_archetypes,
    gaussian_like,
    geometry_floors,
    head_mixtures,
    hull_of_rows,
    path_support,
    position_subspace,
)
from sae_nb_studies.reproductions._final_states import (
    GRID,
    LAST,
    N_ATOMS,
    N_PREFIX,
    Seen,
    show_pictures,
    trained_sae,
)

SHORT = {"pictures": 200, "steps": 150, "rows": 300, "fit_steps": 80}
MIDDLE, READY_MADE = "resid_post.6", "tiny-vit/resid_post.6"
TILES = (4, 4, 4, 4)
PER_PICTURE = 10
N_PICTURES = 8


def run(
    seed: int, *, pictures: int = 400, steps: int = 500, rows: int = 600, fit_steps: int = 200
) -> dict[str, float]:
    """Fit hulls to patches, train both SAEs, and measure each next to its floor.

    `pictures`: to train on; half as many more to judge on; `rows`: patches that hulls are fitted to.
    """
    seen = show_pictures(seed, pictures=pictures)
    saes = {n: trained_sae(seen, n, steps=steps, seed=seed) for n in ("TopK", "Archetypal")}
    numbers = numbers_of_hulls(_some(seen.patches(seen.train), rows, seed), fit_steps, seed)
    numbers |= numbers_of_pictures(seen, saes["TopK"], seed)
    return (
        numbers
        | numbers_of_geometry(seen, saes, seed)
        | numbers_of_positions(seen)
        | numbers_of_heads(seen)
    )


def numbers_of_hulls(patches: Tensor, fit_steps: int, seed: int) -> dict[str, float]:
    """Measure the decision pair, path support and coefficient blocks, each compared with a Gaussian."""
    config = BlockConfig(n_steps=fit_steps, seed=seed)
    found = decide(patches, TILES, config, n_nulls=2, topk_steps=fit_steps)
    numbers = {"accepted": float(found.accepted), "null off-support": found.null_off_support}
    for name in ("block", "free AA", "AA of rows", "TopK"):
        score = found.scores[name]
        numbers[f"hull {name} r2"] = score.r2
        if score.off_support is not None:
            numbers[f"hull {name} off-support"] = score.off_support
    null = gaussian_like(patches, seed=seed)
    other = fit_block_archetypes(null, TILES, config)
    numbers["off-support / null"] = numbers["hull block off-support"] / found.null_off_support
    for name, x, block in (("patches", patches, found.block), ("gaussian", null, other)):
        paths = path_support(x, block, seed=seed)
        numbers[f"{name} line"] = float(paths.straight.mean())
        numbers[f"{name} line − neighbours"] = paths.gain
        blocks = coefficient_blocks(block.encode(x).mixtures, seed=seed)
        numbers[f"{name} modularity"] = blocks.excess
    numbers["paths beyond null"] = (
        numbers["patches line − neighbours"] - numbers["gaussian line − neighbours"]
    )
    numbers["modularity beyond null"] = (
        numbers["patches modularity"] - numbers["gaussian modularity"]
    )
    return numbers


@torch.no_grad()
def numbers_of_pictures(seen: Seen, sae: SparseAutoencoder, seed: int) -> dict[str, float]:
    """Compare ten archetypes per picture with the SAE, and with ten for mixed tokens of many pictures."""
    x = seen.patches(seen.test).view(-1, 64, seen.test.d_in)[:N_PICTURES]
    order = torch.randperm(x.shape[0] * 64, generator=torch.Generator().manual_seed(seed))
    mixed = x.flatten(0, 1)[order].view_as(x)
    numbers = {}
    for name, sets in (("one picture", x), ("many pictures", mixed)):
        fits = [hull_of_rows(tokens, PER_PICTURE, n_steps=10, seed=seed) for tokens in sets]
        r2 = [explained_variance(t, fit(t)) for t, fit in zip(sets, fits, strict=True)]
        numbers[f"10 archetypes, {name} r2"] = float(np.mean(r2))
    rebuilt = [explained_variance(tokens, sae(tokens)) for tokens in x]
    numbers["TopK per picture r2"] = float(np.mean(rebuilt))
    numbers["archetypes − TopK"] = numbers["10 archetypes, one picture r2"] - float(
        np.mean(rebuilt)
    )
    return numbers


def _some(x: Tensor, n: int, seed: int) -> Tensor:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return x[order[:n]]


@torch.no_grad()
def numbers_of_geometry(
    seen: Seen, saes: dict[str, SparseAutoencoder], seed: int
) -> dict[str, float]:
    """Measure the geometry of every dictionary and of the floors; of trained SAEs, the atoms that fire."""
    numbers: dict[str, float] = {}
    for name, sae in saes.items():
        codes = sae.encode(seen.test.x)
        alive = codes.frequency > 0
        numbers |= _statistics(dictionary_geometry(sae.dictionary[alive]), name)
        together = coactivation(codes, sae.dictionary, seed=seed)
        numbers[f"{name} co-activation"] = together.correlation
        numbers[f"{name} co-activation, permuted"] = together.floor
        numbers[f"{name} co-activation beyond permuted"] = together.correlation - together.floor
    ready = sn.load_sae(READY_MADE)
    numbers |= _statistics(dictionary_geometry(ready.dictionary), "ready-made")
    for name, floor in geometry_floors(N_ATOMS, seen.test.d_in, seed=seed).items():
        numbers |= _statistics(floor, name)
    numbers["welch"] = floor.welch
    numbers["heavier tails"] = numbers["TopK 99 %"] - numbers["random 99 %"]
    numbers["tails of the constraint"] = numbers["Archetypal 99 %"] - numbers["TopK 99 %"]
    return numbers


def _statistics(found: DictionaryGeometry, name: str) -> dict[str, float]:
    return {
        f"{name} largest": found.largest,
        f"{name} 99 %": found.percentile_99,
        f"{name} antipodal": found.antipodal_fraction,
        f"{name} effective rank": found.effective_rank,
        f"{name} hoyer": found.hoyer,
    }


def numbers_of_positions(seen: Seen) -> dict[str, float]:
    """Measure at three depths how well row and column can be read, and from how many directions."""
    points = {"first": "resid_post.0", "middle": MIDDLE, "last": LAST}
    found = sn.capture(seen.model, seen.pictures, list(points.values()), progress=False)
    numbers = {}
    for name, point in points.items():
        acts = found[point]
        on = acts.position >= N_PREFIX
        place = position_subspace(acts.x[on], acts.position[on] - N_PREFIX, GRID)
        numbers[f"position r2, {name}"] = place.r2
        numbers[f"position rank, {name}"] = place.rank
        numbers[f"position energy, {name}"] = place.energy_fraction
    return numbers


def numbers_of_heads(seen: Seen) -> dict[str, float]:
    """Measure what the last layer's mixtures leave of its attention, and how many values a head mixes.

    Both in the trained model and in the same model after 250 steps.
    """
    few = seen.pictures[:32]
    numbers = {}
    for name, model in (("trained", seen.model), ("step 250", sn.load_model("tiny-vit@step-250"))):
        found = head_mixtures(model, few, 11)
        numbers[f"heads rest, {name}"] = found.rest
        numbers[f"heads mix, {name}"] = float(found.n_used.mean())
    return numbers
