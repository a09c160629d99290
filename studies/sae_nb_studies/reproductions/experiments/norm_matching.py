"""Does the length of an input predict that of its code, so that k need not be chosen?

Planted: 128 concepts in 64 dimensions, pushed apart, each on with chance 0.03 and a strength in [1, 2]; the
true codes are known. tiny-vit: layer 6, 512 atoms. TopAFA with its default settings, and with at most a
quarter as many atoms as dimensions, is compared with TopK and BatchTopK at the mean L0 that TopAFA reached;
everything is measured on held-out rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder
from sae_nb_studies.reproductions.experiments.shrinkage import repelled

SHORT = {"steps": 8, "planted_steps": 10, "n_images": 20}
N_CONCEPTS, D, CHANCE, N_TRAIN, N_TEST = 128, 64, 0.03, 30_000, 8_000
N_ATOMS, PLACE, BATCH = 512, "resid_post.6", 512
FOUND = 0.9


def run(
    seed: int, *, steps: int = 600, planted_steps: int = 1200, n_images: int = 300
) -> dict[str, float]:
    """Train every kind once on both kinds of data and measure what the claims ask for.

    `steps` and `planted_steps` of 512 and 256 rows; `n_images`: scenes, of which a fifth is held out.
    """
    return planted(seed, planted_steps) | vision(seed, steps, n_images)


def planted(seed: int, steps: int) -> dict[str, float]:
    """Measure the lengths of true codes, and how much of the truth TopAFA and TopK find."""
    generator = torch.Generator().manual_seed(seed)
    concepts = repelled(N_CONCEPTS, D, generator)
    on = torch.rand(N_TRAIN + N_TEST, N_CONCEPTS, generator=generator) < CHANCE
    z = on * (1 + torch.rand(on.shape, generator=generator))
    x = z @ concepts
    train, test = x[:N_TRAIN], x[N_TRAIN:]
    count = on[N_TRAIN:].sum(dim=1).double()
    lengths = torch.stack([test.norm(dim=1), z[N_TRAIN:].norm(dim=1)])
    numbers = {
        "planted: truth missed": missed(*lengths),
        "planted: truth missed, shuffled": missed(lengths[0].roll(1), lengths[1]),
        "planted: truth correlation": correlation(*lengths),
        "planted: true L0": float(count.mean()),
    }
    for name, sae in kinds(D, N_CONCEPTS, seed).items():
        fitted(sae, name, train, steps=steps, batch_size=256, seed=seed)
        numbers |= of_planted(f"planted, {name}", sae, test, concepts, count)
        numbers[f"planted, {name}: bound"] = sae.bound(test)
    for name, l0 in (("topk", numbers["planted, afa: L0"]), ("topk, true k", count.mean())):
        topk = sn.TopK(D, N_CONCEPTS, max(1, round(float(l0))), generator=drawn(seed))
        fitted(topk, name, train, steps=steps, batch_size=256, seed=seed)
        numbers |= of_planted(f"planted, {name}", topk, test, concepts, count)
    l0 = numbers["planted, afa: L0"] / numbers["planted: true L0"]
    return numbers | {
        "planted: L0 over the true": l0,
        "planted: R² ahead of topk": numbers["planted, afa: R²"] - numbers["planted, topk: R²"],
        "planted: found ahead of topk": numbers["planted, afa: found"]
        - numbers["planted, topk: found"],
    }


def vision(seed: int, steps: int, n_images: int) -> dict[str, float]:
    """Measure the lengths of codes, and R² of each SAE at the L0 that TopAFA reaches."""
    images = sn.data.scenes(n_images, seed=seed).images
    acts = sn.capture(sn.load_model("tiny-vit"), images, PLACE, progress=False)
    train, test = acts.split(0.8, seed)
    how: dict[str, Any] = {"steps": steps, "batch_size": BATCH, "seed": seed}
    numbers: dict[str, float] = {}
    for name, sae in kinds(acts.d_in, N_ATOMS, seed).items():
        fitted(sae, name, train, **how)
        numbers |= of_rows(name, sae, test.x)
        numbers[f"{name}: bound"] = sae.bound(test.x)
    l0 = numbers["afa: L0"]
    topk = sn.TopK(acts.d_in, N_ATOMS, max(1, round(l0)), generator=drawn(seed))
    batch = sn.BatchTopK(acts.d_in, N_ATOMS, l0, generator=drawn(seed))
    others: dict[str, SparseAutoencoder] = {"topk": topk, "batch topk": batch}
    for name, other in others.items():
        fitted(other, name, train, **how)
    batch.fit_threshold(test.x, l0)
    for name, other in others.items():
        numbers |= of_rows(name, other, test.x)
        numbers[f"R² ahead of {name}"] = numbers["afa: R²"] - numbers[f"{name}: R²"]
    return numbers


def kinds(d_in: int, n_atoms: int, seed: int) -> dict[str, sn.TopAFA]:
    """Create TopAFA by default, with a lower k_max, and one to stay untrained, from the same random atoms."""
    most = {"afa": None, "few": d_in // 4, "untrained": None}
    return {
        name: sn.TopAFA(d_in, n_atoms, k_max, generator=drawn(seed)) for name, k_max in most.items()
    }


def fitted(sae: SparseAutoencoder, name: str, train: Any, **how: Any) -> None:
    """Train the SAE, or only initialise it if `name` is "untrained"."""
    if name == "untrained":
        sae.initialise(train, torch.Generator().manual_seed(0))
    else:
        sn.train(sae, train, progress=False, **how)
    sae.eval()


def drawn(seed: int) -> torch.Generator:
    """Return the generator that draws the first atoms."""
    return torch.Generator().manual_seed(1000 + seed)


@torch.no_grad()
def of_rows(name: str, sae: SparseAutoencoder, x: Tensor) -> dict[str, float]:
    """Return R², L0, the share of dead atoms, and how well code lengths match input lengths."""
    codes, angles = sae.encode(x), sn.studies.evaluation.quasi_orthogonality(sae, x)
    return {
        f"{name}: R²": sn.evaluation.explained_variance(x, sae.decode(codes)),
        f"{name}: L0": codes.nnz / len(x),
        f"{name}: dead": float((codes.frequency == 0).double().mean()),
        f"{name}: missed": angles.missed,
        f"{name}: correlation": angles.correlation,
        f"{name}: mean cosine": angles.mean,
        f"{name}: largest cosine": angles.largest,
    }


def of_planted(
    name: str, sae: SparseAutoencoder, x: Tensor, concepts: Tensor, count: Tensor
) -> dict[str, float]:
    """Return the same, the share of concepts found, and whether inputs with more concepts use more atoms."""
    *_, cosines = sn.evaluation.match_atoms(concepts, sae.dictionary)
    l0 = sae.encode(x).l0.double()
    return of_rows(name, sae, x) | {
        f"{name}: found": float((cosines >= FOUND).mean()),
        f"{name}: follows the count": correlation(l0, count) if float(l0.std()) > 0 else 0.0,
    }


def missed(lengths: Tensor, true: Tensor) -> float:
    """Return the mean absolute difference as a share of the mean true length."""
    return float((lengths - true).abs().mean() / true.mean())


def correlation(a: Tensor, b: Tensor) -> float:
    """Return the correlation over rows."""
    return float(torch.corrcoef(torch.stack([a, b]).double())[0, 1])
