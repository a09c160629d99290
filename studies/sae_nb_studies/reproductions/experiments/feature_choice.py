"""Atoms that choose inputs: do any die, and what does it cost? tiny-vit, 512 atoms, 16 per patch.

FeatureChoice compared with TopK and BatchTopK, both with and without AuxK. Thresholds are set on training
rows so that held-out rows use 16 atoms on average, as TopK's do; everything is measured on held-out rows.
"""

from __future__ import annotations

import torch

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder
from sae_nb.codes import SparseCodes

SHORT = {"steps": 12, "n_images": 60}
K, N_ATOMS, PLACE, BATCH = 16, 512, "resid_post.6", 512


def run(seed: int, *, steps: int = 600, n_images: int = 300) -> dict[str, float]:
    """Train every kind once and measure the numbers of the claims.

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
        numbers |= {f"{name}: {what}": value for what, value in measured(sae, test).items()}
    return numbers | compared(numbers)


def kinds(d_in: int, seed: int) -> dict[str, SparseAutoencoder]:
    """Build every dictionary by name, all from the same random atoms."""

    def made(kind: type[sn.TopK] | type[sn.BatchTopK], **settings: float) -> SparseAutoencoder:
        return kind(d_in, N_ATOMS, K, generator=_drawn(seed), **settings)  # type: ignore[arg-type]

    return {
        "feature choice": made(sn.FeatureChoice, aux_weight=0.0),
        "zipf": made(sn.FeatureChoice, aux_weight=0.0, exponent=0.7, offset=5.0),
        "topk": made(sn.TopK),
        "topk, no auxk": made(sn.TopK, aux_weight=0.0),
        "batch topk": made(sn.BatchTopK),
        "batch topk, no auxk": made(sn.BatchTopK, aux_weight=0.0),
        "untrained": made(sn.TopK),
    }


def _drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + seed)


def settle(sae: SparseAutoencoder, train: sn.Activations, test: sn.Activations) -> None:
    """Set thresholds on training rows, at the number of entries for which held-out rows have K on average."""
    if not isinstance(sae, sn.BatchTopK):
        return
    k = float(K)
    for _ in range(4):
        sae.fit_threshold(train.x, k)
        k *= K / float(sae.encode(test).l0.double().mean())


@torch.no_grad()
def measured(sae: SparseAutoencoder, test: sn.Activations) -> dict[str, float]:
    """Return the shares of dead and useless atoms, R², L0, and the frequency of the most frequent atom."""
    codes = sae.encode(test)
    x_hat = sae.decode(codes)
    return {
        "dead": float((codes.frequency == 0).double().mean()),
        "useless": float((gained(codes, test.x - x_hat, sae.dictionary) <= 0).double().mean()),
        "R²": sn.evaluation.explained_variance(test.x, x_hat),
        "L0": codes.nnz / len(test),
        "most frequent": float(codes.frequency.max()),
    }


def gained(codes: SparseCodes, left: torch.Tensor, dictionary: torch.Tensor) -> torch.Tensor:
    """Return the growth of the squared error without each atom: Σ 2 z ⟨r, d⟩ + z² over its rows."""
    along = (left[codes.support.rows] * dictionary[codes.atoms.long()]).sum(dim=1)
    growth = codes.values * (2 * along + codes.values)
    return growth.new_zeros(codes.n_atoms).index_add_(0, codes.atoms.long(), growth)


def compared(numbers: dict[str, float]) -> dict[str, float]:
    """Return R² minus that of TopK and of BatchTopK, both with AuxK."""
    return {
        f"{name}: R² ahead of {other}": numbers[f"{name}: R²"] - numbers[f"{other}: R²"]
        for name in ("feature choice", "zipf")
        for other in ("topk", "batch topk")
    }
