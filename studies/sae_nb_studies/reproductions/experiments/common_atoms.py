"""Are common atoms the same in two trainings, and rare ones not? (two bundled towers)

Two TopK SAEs on one set of embeddings of images and captions, from different first atoms and batches, as in
`two_towers`. Atoms are matched one to one by cosine. Of those that fire on held-out rows, the quarter that fires
most often is compared with the quarter that fires least. The control is the same of two dictionaries whose
atoms are rows of the data, as training begins.
"""

from __future__ import annotations

import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.statistics import rank_correlation
from sae_nb_studies.reproductions.experiments.two_towers import N_ATOMS, K, towers

SHORT = {"steps": 20, "n": 300}


def run(seed: int, *, steps: int = 400, n: int = 3000) -> dict[str, float]:
    """Train twice, `steps` of 256 rows; `n` pairs, of which a quarter, drawn by the seed, is held out."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    pairs = [x[order] for x in towers(n)]
    train, test = (
        torch.cat([x[part] for x in pairs]) for part in (slice(n // 4, n), slice(n // 4))
    )
    numbers: dict[str, float] = {}
    for name, its_steps in (("trained", steps), ("untrained", 0)):
        first, second = (sae_of(train, 2 * seed + i, its_steps) for i in range(2))
        numbers |= {f"{name}, {what}": v for what, v in by_frequency(first, second, test).items()}
    random = (
        torch.randn(N_ATOMS, train.shape[1], generator=drawn_by(2 * seed + i)) for i in range(2)
    )
    *_, cosines = sn.evaluation.match_atoms(*random)
    return numbers | {"random directions": float(cosines.mean())}


def sae_of(train: Tensor, seed: int, steps: int) -> sn.TopK:
    """Train an SAE, or begin one."""
    sae = sn.TopK(train.shape[1], N_ATOMS, K, generator=drawn_by(seed))
    if steps:
        sn.train(sae, train, steps=steps, batch_size=256, seed=seed, progress=False)
    else:
        sae.initialise(train, drawn_by(seed))
    return sae.eval()


def drawn_by(seed: int) -> torch.Generator:
    """Return the generator that draws the first atoms."""
    return torch.Generator().manual_seed(1000 + seed)


@torch.no_grad()
def by_frequency(first: sn.TopK, second: sn.TopK, test: Tensor) -> dict[str, float]:
    """Return the mean cosine of matched atoms, of the commonest and of the rarest quarter."""
    *_, cosines = sn.evaluation.match_atoms(
        first.dictionary, second.dictionary
    )  # in order of the first
    cosine = torch.as_tensor(cosines)
    fires = torch.bincount(first.encode(test).atoms.long(), minlength=N_ATOMS) / len(test)
    live = fires.nonzero().flatten()
    by_rarity = live[fires[live].argsort(descending=True, stable=True)]
    quarter = max(len(live) // 4, 1)
    common, rare = by_rarity[:quarter], by_rarity[-quarter:]
    return {
        "common": float(cosine[common].mean()),
        "rare": float(cosine[rare].mean()),
        "common − rare": float(cosine[common].mean() - cosine[rare].mean()),
        "common found again": float((cosine[common] > 0.9).float().mean()),
        "rare found again": float((cosine[rare] > 0.9).float().mean()),
        "rank correlation": rank_correlation(
            fires[live].numpy(), cosine[live].numpy(), undefined=0.0
        ),
        "common fires": float(fires[common].mean()),
        "rare fires": float(fires[rare].mean()),
        "live": float(len(live)) / N_ATOMS,
    }
