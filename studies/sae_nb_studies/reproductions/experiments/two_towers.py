"""Two bundled towers: which dictionaries of paired embeddings split by modality, and which bridge the pairs?

Unit-length embeddings of images and of their captions, by `two-towers@image` and `two-towers@text`, of
handwriting that the towers never saw. TopK and matching pursuit have one dictionary over the rows of both
modalities; GroupSparse reads pairs. All have 256 atoms and are trained with k = 8; at inference, k is then
lowered for each that reconstructs better than the worst, so that all are compared at one R². R² is taken around
each modality's own mean, and averaged over the two.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

import sae_nb as sn
from sae_nb.codes import SparseCodes

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

SHORT = {"steps": 20, "n": 300}
N_ATOMS, K = 256, 8


def run(seed: int, *, steps: int = 400, n: int = 3000) -> dict[str, float]:
    """Train every kind once and measure what the claims ask for.

    `steps` of 256 rows; `n` pairs, of which a quarter, drawn by the seed, is held out.
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    pairs = [x[order] for x in towers(n)]
    train, test = [x[n // 4 :] for x in pairs], [x[: n // 4] for x in pairs]
    gap = sn.studies.evaluation.modality_gap(test, n_bootstrap=0)
    numbers = {"gap": gap.value, "gap floor": float(gap.floor or 0.0)}
    kinds = trained(train, seed, steps)
    target = min(explained(kinds[name], test, K) for name in ("topk", "mp", "group"))
    for name, sae in kinds.items():
        k = K if name == "untrained" else lowest_k(sae, test, target)
        numbers |= measured(name, sae, test, k)
    for name in ("mp", "group"):
        numbers[f"topk − {name} split"] = numbers["topk split"] - numbers[f"{name} split"]
    numbers["untied − group split"] = numbers["untied split"] - numbers["group split"]
    return numbers


@cache
def towers(n: int) -> list[Tensor]:
    """Return unit embeddings of images and of their captions."""
    drawn = sn.data.scenes(n, seed=100, split="test")
    image, text = (sn.load_model(f"two-towers@{tower}", "cpu") for tower in ("image", "text"))
    with torch.no_grad():
        both = image(drawn.images), text(sn.data.captions(drawn, 100), batch_size=250)
    return [normalize(x, dim=1) for x in both]


def trained(train: list[Tensor], seed: int, steps: int) -> dict[str, Any]:
    """Train every dictionary, and return them by name."""
    width = train[0].shape[1]
    settings: dict[str, Any] = {"steps": steps, "seed": seed, "progress": False}

    def one(kind: Any) -> Any:
        sae = kind(width, N_ATOMS, K, generator=drawn_by(seed))
        sn.train(sae, torch.cat(train), batch_size=256, **settings)
        return sae.eval()

    def group(**terms: float) -> Any:
        g = sn.GroupSparse(width, width, N_ATOMS, K, generator=drawn_by(seed), **terms)
        sn.train(g, tuple(train), batch_size=128, **settings)
        return g.eval()

    untrained = sn.TopK(width, N_ATOMS, K, generator=drawn_by(seed))
    untrained.initialise(torch.cat(train))
    return {
        "topk": one(sn.TopK),
        "mp": one(sn.MatchingPursuit),
        "group": group(),
        "untied": group(penalty=0.0, mask=0.0),
        "untrained": untrained.eval(),
    }


def drawn_by(seed: int) -> torch.Generator:
    """Return the generator that draws the first atoms."""
    return torch.Generator().manual_seed(1000 + seed)


@torch.no_grad()
def codes_of(sae: SparseAutoencoder, x: list[Tensor], k: int) -> list[SparseCodes]:
    """Encode both modalities, each without the other."""
    if isinstance(sae, sn.GroupSparse):
        return [sae.encode(one, k, reads=m) for m, one in enumerate(x)]
    return [sae.encode(one, k) for one in x]


@torch.no_grad()
def explained(sae: SparseAutoencoder, x: list[Tensor], k: int) -> float:
    """Return R² around each modality's mean, averaged over both."""
    r2 = 0.0
    for m, (one, codes) in enumerate(zip(x, codes_of(sae, x, k), strict=True)):
        x_hat = sae.decode(codes)
        x_hat = x_hat[m] if isinstance(x_hat, list) else x_hat
        r2 += sn.evaluation.explained_variance(one, x_hat) / 2
    return r2


def lowest_k(sae: SparseAutoencoder, x: list[Tensor], target: float) -> int:
    """Return the smallest k that reaches an R², or the k of training if none does."""
    return next((k for k in range(1, K + 1) if explained(sae, x, k) >= target), K)


@torch.no_grad()
def measured(name: str, sae: SparseAutoencoder, x: list[Tensor], k: int) -> dict[str, float]:
    """Return R², split and dead atoms and the bridge, of split and bridge also their floors."""
    codes = codes_of(sae, x, k)
    atoms = sae.dictionaries if isinstance(sae, sn.GroupSparse) else sae.dictionary
    split = sn.studies.evaluation.modality_scores(codes, n_bootstrap=0)
    bridge = sn.studies.evaluation.bridge_score(codes, atoms, n_bootstrap=0)
    return {
        f"{name} k": float(k),
        f"{name} r2": explained(sae, x, k),
        f"{name} split": split.value,
        f"{name} split floor": float(split.floor or 0.0),
        f"{name} dead": 1 - split.n / N_ATOMS,
        f"{name} bridge": bridge.value,
        f"{name} bridge floor": float(bridge.floor or 0.0),
        f"{name} bridge ahead": bridge.value - float(bridge.floor or 0.0),
        f"{name} same atom": bridge.same,
    }
