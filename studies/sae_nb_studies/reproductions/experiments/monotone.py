"""E2, on real handwritten digits: each step of a matching-pursuit SAE helps, even those beyond training.

Digits of scikit-learn (64 pixels, 1400 to train, 397 to test), 256 atoms, trained with k = 2, 5, 10;
encoded with k, 2k, 4k and 64 selections. TopK at the same k is the comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder
from sae_nb.evaluation import babel, coactive_babel, distinct_atoms
from sae_nb.pursuit import matching_pursuit

SHORT = {"ks": [5], "steps": 300}
N_ATOMS, MOST = 256, 64


def run(seed: int, *, ks: Sequence[int] = (2, 5, 10), steps: int = 800) -> dict[str, float]:
    """Train both kinds at each k and measure what the claims ask for.

    `ks`: selections in training; the claims are about the worst of them; `steps` of 256 rows.
    """
    train, test = (sn.data.digits(split).images.flatten(1) for split in ("train", "test"))
    numbers: dict[str, float] = {}
    for k in ks:
        saes = {"mp": _trained("MatchingPursuit", k, train, seed, steps)}
        saes["topk"] = _trained("TopK", k, train, seed, steps)
        generator = torch.Generator().manual_seed(1000 + seed)
        saes["random"] = sn.MatchingPursuit(64, N_ATOMS, k, generator=generator)
        saes["random"].initialise(train, generator)
        for name, sae in saes.items():
            numbers |= {f"{name} {what} k={k}": v for what, v in _measured(sae, test, k).items()}
    return numbers | _worst(numbers, ks)


def look(seed: int = 0, *, k: int = 5, steps: int = 300) -> dict[str, Steps]:
    """Train both kinds once, for fewer steps; return R² by number of selections, and the Babel function.

    `steps` of 256 rows; the keys are "MP" and "TopK".
    """
    train, test = (sn.data.digits(split).images.flatten(1) for split in ("train", "test"))
    kinds = {"MP": "MatchingPursuit", "TopK": "TopK"}
    return {
        name: _looked_at(_trained(kind, k, train, seed, steps), test)
        for name, kind in kinds.items()
    }


@dataclass(frozen=True)
class Steps:
    """Measures of one SAE on unseen digits."""

    ks: tuple[int, ...]
    """Numbers of selections at inference."""

    r2: tuple[float, ...]
    """Explained variance with each of these numbers."""

    sizes: tuple[int, ...]
    """Sizes r of the Babel function."""

    babel: tuple[float, ...]
    """μ₁(r) of the live atoms, without copies."""

    coactive: float
    """Mean Babel number of the atoms used together."""


@torch.no_grad()
def _looked_at(sae: SparseAutoencoder, test: Tensor) -> Steps:
    ks, sizes = (1, 2, 3, 5, 8, 12, 20, 32, 64), (1, 2, 4, 8, 16, 32)
    codes, dictionary = sae.encode(test), sae.dictionary
    live = (codes.frequency > 0).nonzero().flatten()
    kept = live[distinct_atoms(dictionary[live])]
    return Steps(
        ks=ks,
        r2=tuple(_r2(sae, test, k) for k in ks),
        sizes=sizes,
        babel=tuple(babel(dictionary[kept], sizes)),
        coactive=float(coactive_babel(codes, dictionary).mean()),
    )


def _trained(name: str, k: int, x: Tensor, seed: int, steps: int) -> SparseAutoencoder:
    generator = torch.Generator().manual_seed(seed)
    sae: SparseAutoencoder = getattr(sn, name)(64, N_ATOMS, k, generator=generator)
    config = sn.TrainConfig(steps=steps, batch_size=256, seed=seed)
    sn.train(sae, x, config, progress=False)
    return sae


@torch.no_grad()
def _measured(sae: SparseAutoencoder, test: Tensor, k: int) -> dict[str, float]:
    r2 = [_r2(sae, test, steps) for steps in (k, 2 * k, 4 * k, MOST)]
    steps = torch.tensor(r2).diff()
    codes, dictionary = sae.encode(test), sae.dictionary
    live = (codes.frequency > 0).nonzero().flatten()
    kept = live[distinct_atoms(dictionary[live])]
    found = {
        "r2": r2[0],
        "r2 at 64": r2[-1],
        "smallest gain": float(steps.min()),
        "largest gain": float(steps.max()),
        "live": len(live) / N_ATOMS,
        "l0": float((codes.values != 0).sum()) / len(test),
        "co-active Babel": float(coactive_babel(codes, dictionary).mean()),
        "Babel r=4": babel(dictionary[kept], [4])[0],
    }
    if isinstance(sae, sn.MatchingPursuit):
        found["grew"] = _share_that_grew(test - sae.bias, dictionary)
    return found


def _r2(sae: SparseAutoencoder, x: Tensor, k: int) -> float:
    return sn.evaluation.explained_variance(x, sae.decode(sae.encode(x, k=k)))


def _share_that_grew(x: Tensor, dictionary: Tensor) -> float:
    """Return the share of (row, step) pairs whose residual is longer after the step, beyond rounding."""
    _, trace = matching_pursuit(x, dictionary, MOST, trace=True)
    norms = trace.residual_norms
    return float((norms[:, 1:] > norms[:, :-1] * (1 + 1e-6)).double().mean())


def _worst(numbers: dict[str, float], ks: Sequence[int]) -> dict[str, float]:
    """Take the worst k of each measure, which the claims are about."""

    def all_k(what: str) -> list[float]:
        return [numbers[f"{what} k={k}"] for k in ks]

    def paired(what: str) -> list[tuple[float, float]]:
        return list(zip(all_k(f"mp {what}"), all_k(f"topk {what}"), strict=True))

    return {
        "grew, trained": max(all_k("mp grew")),
        "grew, random": max(all_k("random grew")),
        "r2 ahead of TopK": min(mp - topk for mp, topk in paired("r2")),
        "r2 ahead of random": min(
            mp - r for mp, r in zip(all_k("mp r2"), all_k("random r2"), strict=True)
        ),
        "mp smallest gain": min(all_k("mp smallest gain")),
        "topk largest gain": max(all_k("topk largest gain")),
        "topk lost by 64": min(
            a - b for a, b in zip(all_k("topk r2"), all_k("topk r2 at 64"), strict=True)
        ),
        "co-active ratio": max(mp / topk for mp, topk in paired("co-active Babel")),
        "global ratio": min(mp / topk for mp, topk in paired("Babel r=4")),
        "live, mp": min(all_k("mp live")),
        "live, topk": min(all_k("topk live")),
        "random r2": max(all_k("random r2")),
        "random smallest gain": min(all_k("random smallest gain")),
    }
