"""The Minkowski view of tiny-vit's final states: the decision pair, paths, blocks, geometry, position.

Patches of the last layer beside Gaussians of the same covariance; dictionaries of a TopK, an Archetypal and
the ready-made SAE of layer 6 beside random and spread-out frames.

The paper gives few numbers: bounds follow its statements, and were set after one short pilot of seed 0.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder
from sae_nb.evaluation.reconstruction import explained_variance
from sae_nb.minkowski import (
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
from sae_nb.proofs.claims import Claim, Line, Shown
from sae_nb.proofs.final_states import (
    GRID,
    LAST,
    N_ATOMS,
    N_PREFIX,
    Seen,
    show_pictures,
    trained_sae,
)

TITLE = "Are tiny-vit's final states a sum of small hulls?"
SHORT = {"pictures": 200, "steps": 150, "rows": 300, "fit_steps": 80}
PAPER = "arXiv 2510.08638"
MIDDLE, READY_MADE = "resid_post.6", "tiny-vit/resid_post.6"
TILES = (4, 4, 4, 4)
PER_PICTURE = 10
N_PICTURES = 8


def run(
    seed: int, *, pictures: int = 400, steps: int = 500, rows: int = 600, fit_steps: int = 200
) -> dict[str, float]:
    """Fit hulls to patches, train both SAEs, measure each beside its floor.

    Parameters
    ----------
    seed
        Of pictures, trainings and fits.
    pictures
        To train on; half as many are judged.
    steps
        Of each training.
    rows
        Patches that hulls are fitted to.
    fit_steps
        Of each fit.
    """
    seen = show_pictures(seed, pictures=pictures)
    saes = {n: trained_sae(seen, n, steps=steps, seed=seed) for n in ("TopK", "Archetypal")}
    numbers = _hulls(_some(seen.patches(seen.train), rows, seed), fit_steps, seed)
    numbers |= _pictures(seen, saes["TopK"], seed)
    return numbers | _geometry(seen, saes, seed) | _positions(seen) | _heads(seen)


def _hulls(patches: Tensor, fit_steps: int, seed: int) -> dict[str, float]:
    """The decision pair, path support and coefficient blocks, each beside a Gaussian."""
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
def _pictures(seen: Seen, sae: SparseAutoencoder, seed: int) -> dict[str, float]:
    """Ten archetypes per picture against the SAE, and against as many tokens of many pictures."""
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
def _geometry(seen: Seen, saes: dict[str, SparseAutoencoder], seed: int) -> dict[str, float]:
    """Statistics of every dictionary and of the floors; only atoms that fire count."""
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


def _positions(seen: Seen) -> dict[str, float]:
    """How well row and column can be read at three depths, and in how many directions they lie."""
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


def _heads(seen: Seen) -> dict[str, float]:
    """How much of the last layer's attention its mixtures leave over, trained and hardly trained."""
    few = seen.pictures[:32]
    numbers = {}
    for name, model in (("trained", seen.model), ("step 250", sn.load_model("tiny-vit@step-250"))):
        found = head_mixtures(model, few, 11)
        numbers[f"heads rest, {name}"] = found.rest
        numbers[f"heads mix, {name}"] = float(found.n_used.mean())
    return numbers


CLAIMS = (
    Claim(
        name="by construction",
        text="A head's output is a mixture of its values",
        paper=PAPER,
        notebook="08 §3",
        lines=(
            Line(
                number="heads rest, trained",
                label="largest rest of attention's output, share of its largest entry",
                at_most=1e-4,
                short=1e-4,
            ),
        ),
        shown=(
            Shown(number="heads mix, trained", label="values a head mixes, of 69, last layer"),
            Shown(number="heads mix, step 250", label="the same, hardly trained"),
        ),
        control=Shown(number="heads rest, step 250", label="rest, hardly trained"),
    ),
    Claim(
        name="minkowski",
        text="Patch states are a Minkowski sum of a few small hulls",
        paper=f"{PAPER}; the statistic is inferred",
        notebook="08 §3",
        lines=(
            Line(number="accepted", label="accepted (1 = yes)", at_least=1.0),
            Line(
                number="paths beyond null",
                label="q(line) − q(neighbours), patches − Gaussian",
                at_least=0.1,
            ),
            Line(
                number="modularity beyond null",
                label="modularity of coefficients above shuffled, patches − Gaussian",
                at_least=0.05,
            ),
        ),
        shown=(
            Shown(number="hull block r2", label="held-out R², block 4 × 4"),
            Shown(number="hull free AA r2", label="held-out R², free AA"),
            Shown(number="hull TopK r2", label="held-out R², TopK, as many atoms active"),
            Shown(number="hull block off-support", label="off-support, block"),
            Shown(number="off-support / null", label="of that of a Gaussian"),
        ),
        floor=Shown(number="null off-support", label="off-support, Gaussian of that covariance"),
        control=Shown(number="gaussian modularity", label="modularity above shuffled, Gaussian"),
    ),
    Claim(
        name="one picture",
        text="Ten archetypes of one picture reconstruct it as well as the SAE",
        paper=PAPER,
        notebook="08 §3",
        lines=(
            Line(
                number="archetypes − TopK",
                label="R², ten archetypes of a picture's own patches − TopK",
                at_least=-0.01,
                short=-0.01,
            ),
        ),
        shown=(
            Shown(number="10 archetypes, one picture r2", label="R², ten archetypes"),
            Shown(number="TopK per picture r2", label="R², TopK, the same patches"),
        ),
        control=Shown(
            number="10 archetypes, many pictures r2",
            label="R², ten archetypes of as many patches of many pictures",
        ),
    ),
    Claim(
        name="tails",
        text="Learned atoms are less spread out than random ones, and use fewer directions",
        paper=PAPER,
        notebook="08 §5",
        lines=(
            Line(
                number="heavier tails",
                label="99th percentile of |cos|, TopK − random",
                at_least=0.05,
                short=0.02,
            ),
            Line(number="TopK effective rank", label="effective rank of 64, TopK", at_most=54.0),
        ),
        shown=(
            Shown(number="TopK 99 %", label="99th percentile, TopK (unconstrained)"),
            Shown(number="Archetypal 99 %", label="99th percentile, Archetypal"),
            Shown(number="tails of the constraint", label="Archetypal − TopK: what the hull adds"),
            Shown(number="TopK antipodal", label="antipodal share, TopK"),
            Shown(
                number="ready-made antipodal", label="antipodal share, ready-made SAE of layer 6"
            ),
            Shown(number="TopK hoyer", label="Hoyer, TopK"),
            Shown(number="random hoyer", label="Hoyer, random"),
            Shown(number="near-Grassmannian largest", label="largest |cos|, spread-out frame"),
            Shown(number="welch", label="the least that could be (Welch)"),
        ),
        floor=Shown(number="random 99 %", label="99th percentile, random directions"),
        control=Shown(number="near-Grassmannian 99 %", label="99th percentile, spread-out frame"),
    ),
    Claim(
        name="co-activation",
        text="Atoms that fire together point the same way",
        paper=PAPER,
        notebook="08 §5",
        lines=(
            Line(
                number="TopK co-activation beyond permuted",
                label="corr(ZᵀZ, D Dᵀ) − atoms permuted, TopK",
                at_least=0.1,
                short=0.1,
            ),
        ),
        shown=(
            Shown(number="TopK co-activation", label="corr, TopK (the paper: 0.28)"),
            Shown(number="Archetypal co-activation", label="corr, Archetypal"),
        ),
        floor=Shown(number="TopK co-activation, permuted", label="corr, atoms permuted"),
    ),
    Claim(
        name="position",
        text="Position ends up in two directions",
        paper=PAPER,
        notebook="08 §5",
        lines=(
            Line(
                number="position rank, last",
                label="effective rank of mean states per position, last layer",
                at_most=2.5,
            ),
        ),
        shown=(
            Shown(number="position rank, first", label="rank after the first block"),
            Shown(number="position rank, middle", label="rank after the seventh"),
            Shown(number="position r2, first", label="R² of (row, column), first"),
            Shown(number="position r2, last", label="R² of (row, column), last"),
            Shown(number="position energy, last", label="share of variance there (random: 0.031)"),
        ),
    ),
)
