"""E5: are archetypal dictionaries stable, or do they just start alike? Digits, 128 atoms, k = 8.

Every arm is trained twice for each seed; stability is the mean cosine of matched atoms. Arms differ in
what the two runs share: nothing, their first dictionary, their candidates, or their first encoder.
"Subsets" are draws of 90 % of the data, with k-means refitted on each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder, centroids
from sae_nb.evaluation import match_atoms, stability

SHORT = {"steps": 150}
N_ATOMS, K = 128, 8
SUBSET = 0.9


def run(seed: int, *, steps: int = 500, n_runs: int = 2) -> dict[str, float]:
    """Train every arm `n_runs` times and compare its dictionaries.

    `seed` decides everything: seed s takes the runs n_runs · s, n_runs · s + 1, …; `steps` of 256 rows.
    """
    train, test = (sn.data.digits(split).images.flatten(1) for split in ("train", "test"))
    runs = [n_runs * seed + i for i in range(n_runs)]
    shared = centroids(train, N_ATOMS, _generator(seed))
    numbers: dict[str, float] = {}
    for name, arm in _arms(shared).items():
        saes = [_trained(*arm(i, train), i, steps) for i in runs]
        numbers |= _measured(saes, train, test, name)
    subsets = [_subset(train, i) for i in runs]
    raw = [centroids(x, N_ATOMS, _generator(i)) - train.mean(dim=0) for x, i in zip(subsets, runs)]
    numbers["raw centroids of subsets stability"] = stability(raw).value
    random = [torch.randn(N_ATOMS, train.shape[1], generator=_generator(i)) for i in runs]
    numbers["random directions stability"] = stability(random).value
    return numbers | _differences(numbers)


def look(
    seed: int = 0,
    *,
    arms: Sequence[str] = ("TopK", "TopK shared start"),
    steps: int = 150,
) -> dict[str, Float[np.ndarray, " n_atoms"]]:
    """Train some arms twice, for a few steps, and measure how similar matched atoms are.

    `arms`: names as in the numbers of `run`; `steps` of 256 rows; returns cosines in falling order, by
    arm; the last arm is "random directions".
    """
    train = sn.data.digits("train").images.flatten(1)
    runs, known = [2 * seed, 2 * seed + 1], _arms(centroids(train, N_ATOMS, _generator(seed)))
    pairs = {
        name: [_trained(*known[name](i, train), i, steps).dictionary.detach() for i in runs]
        for name in arms
    }
    pairs["random directions"] = [
        torch.randn(N_ATOMS, train.shape[1], generator=_generator(i)) for i in runs
    ]
    return {name: np.sort(match_atoms(*pair)[2])[::-1] for name, pair in pairs.items()}


Arm = Callable[[int, Tensor], tuple[SparseAutoencoder, Tensor]]


def _arms(shared: Tensor) -> dict[str, Arm]:
    """Return the arms by name: each gives the SAE of run i and the rows that it is trained on."""

    def topk(i: int, x: Tensor) -> tuple[SparseAutoencoder, Tensor]:
        return sn.TopK(x.shape[1], N_ATOMS, K, generator=_generator(i)), x

    def topk_shared(i: int, x: Tensor) -> tuple[SparseAutoencoder, Tensor]:
        return _begin_as(topk(i, x)[0], shared - x.mean(dim=0)), x

    def topk_own(i: int, x: Tensor) -> tuple[SparseAutoencoder, Tensor]:
        rows = _subset(x, i)
        points = centroids(rows, N_ATOMS, _generator(i))
        return _begin_as(topk(i, x)[0], points - rows.mean(dim=0)), rows

    def held(delta: float, *, tied: bool, permuted: bool = False) -> Arm:
        def arm(i: int, x: Tensor) -> tuple[SparseAutoencoder, Tensor]:
            order = torch.randperm(N_ATOMS, generator=_generator(i))
            points = shared[order] if permuted else shared
            return _held(i, x.shape[1], delta, tied=tied, candidates=points), x

        return arm

    def held_own(delta: float, *, tied: bool) -> Arm:
        def arm(i: int, x: Tensor) -> tuple[SparseAutoencoder, Tensor]:
            rows = _subset(x, i)
            points = centroids(rows, N_ATOMS, _generator(i))
            return _held(i, x.shape[1], delta, tied=tied, candidates=points), rows

        return arm

    return {
        "TopK": topk,
        "TopK shared start": topk_shared,
        "TopK start from own subset": topk_own,
        "A-SAE shared C, random E": held(0.0, tied=False),
        "RA-SAE shared C, random E": held(1.0, tied=False),
        "RA-SAE shared C permuted, random E": held(1.0, tied=False, permuted=True),
        "RA-SAE shared C, E from C": held(1.0, tied=True),
        "A-SAE own C, random E": held_own(0.0, tied=False),
        "RA-SAE own C, E from C": held_own(1.0, tied=True),
    }


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _subset(x: Tensor, i: int) -> Tensor:
    chosen = torch.randperm(len(x), generator=_generator(100_000 + i))
    return x[chosen[: round(SUBSET * len(x))]]


def _held(i: int, d_in: int, delta: float, *, tied: bool, candidates: Tensor) -> SparseAutoencoder:
    return sn.Archetypal(
        d_in, N_ATOMS, K, delta=delta, candidates=candidates, tied=tied, generator=_generator(i)
    )


@torch.no_grad()
def _begin_as(sae: SparseAutoencoder, points: Float[Tensor, "n_atoms d_in"]) -> SparseAutoencoder:
    """Start the dictionary and encoder of a TopK at the directions of some points."""
    directions = torch.nn.functional.normalize(points, dim=1)
    for name, parameter in sae.named_parameters():
        if name.endswith("weight"):
            parameter.copy_(directions)
    return sae


def _trained(sae: SparseAutoencoder, x: Tensor, i: int, steps: int) -> SparseAutoencoder:
    sn.train(sae, x, sn.TrainConfig(steps=steps, batch_size=256, seed=i), progress=False)
    return sae


@torch.no_grad()
def _measured(
    saes: list[SparseAutoencoder], train: Tensor, test: Tensor, name: str
) -> dict[str, float]:
    r2 = [sn.evaluation.explained_variance(test, sae(test)) for sae in saes]
    numbers = {
        f"{name} stability": stability(saes).value,
        f"{name} r2": sum(r2) / len(r2),
        f"{name} ood": sum(out_of_distribution(sae, train) for sae in saes) / len(saes),
        f"{name} stable rank": sum(stable_rank(sae.dictionary) for sae in saes) / len(saes),
    }
    if name.startswith("A-SAE"):
        held = [sae for sae in saes if isinstance(sae, sn.Archetypal)]
        numbers[f"{name} off the hull"] = max(
            hull_residual(sae.archetypes, sae.candidates) for sae in held
        )
    return numbers


def out_of_distribution(sae: SparseAutoencoder, x: Float[Tensor, "n d_in"]) -> float:
    """Return 1 − mean_j max_i cos(d_j, x_i − mean): how far atoms are from the data."""
    centred = torch.nn.functional.normalize(x - x.mean(dim=0), dim=1)
    return 1 - float((sae.dictionary @ centred.T).max(dim=1).values.mean())


def stable_rank(dictionary: Float[Tensor, "n_atoms d_in"]) -> float:
    """‖D‖_F² / ‖D‖₂²."""
    return float(dictionary.square().sum() / torch.linalg.matrix_norm(dictionary, 2) ** 2)


def hull_residual(
    points: Float[Tensor, "n d_in"], candidates: Float[Tensor, "n_candidates d_in"]
) -> float:
    """Return the largest distance of a point to the convex hull of candidates, as a share of their spread.

    Non-negative least squares with one additional row, which holds the sum of the weights at 1.

    `candidates`: corners of the hull, and points inside it.
    """
    from scipy.optimize import nnls

    middle, spread = candidates.mean(dim=0), float(candidates.std())
    corners, targets = ((part - middle).double() / spread for part in (candidates, points))
    hold = 100.0
    system = torch.cat([corners.T, torch.full((1, len(corners)), hold)]).numpy()
    ones = torch.full((len(targets), 1), hold)
    return max(float(nnls(system, row)[1]) for row in torch.cat([targets, ones], dim=1).numpy())


def _differences(numbers: dict[str, float]) -> dict[str, float]:
    def less(what: str, arm: str, other: str) -> float:
        return numbers[f"{arm} {what}"] - numbers[f"{other} {what}"]

    held, relaxed = "A-SAE shared C, random E", "RA-SAE shared C, random E"
    return {
        "gain of the constraint alone": less("stability", "A-SAE own C, random E", "TopK"),
        "gain of a shared start alone": less("stability", "TopK shared start", "TopK"),
        "ood saved by the hull": less("ood", "TopK", held),
        "r2 gained by delta": less("r2", relaxed, held),
        "off the hull": max(v for name, v in numbers.items() if name.endswith("off the hull")),
    }
