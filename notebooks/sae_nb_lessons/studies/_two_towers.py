"""Pairs of the lesson *Images and words*: embeddings of images and captions, one SAE over both, and searches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from sae_nb.architectures import TopK
from sae_nb.data import Scenes

N_PAIRS, N_HELD_OUT, N_ATOMS, K = 1600, 400, 256, 8


@dataclass(frozen=True)
class Pairs:
    """Images and their captions, and the embedding of each; the first 400 are held out."""

    scenes: Scenes
    captions: list[str]
    image: Float[Tensor, "n d"]
    text: Float[Tensor, "n d"]

    @property
    def held_out(self) -> list[Float[Tensor, "held d"]]:
        """Embeddings of both, of pairs that no SAE is trained on."""
        return [self.image[:N_HELD_OUT], self.text[:N_HELD_OUT]]

    @property
    def training(self) -> list[Float[Tensor, "rest d"]]:
        """Embeddings of both, of the other pairs."""
        return [self.image[N_HELD_OUT:], self.text[N_HELD_OUT:]]


@cache
def paired(n: int = N_PAIRS) -> Pairs:
    """Return pairs of handwriting that the towers never saw, with unit embeddings by either tower."""
    import sae_nb as sn

    scenes = sn.data.scenes(n, seed=27, split="test")
    captions = sn.data.captions(scenes, seed=27)
    image, text = (sn.load_model(f"two-towers@{tower}") for tower in ("image", "text"))
    with torch.no_grad():
        both = image(scenes.images), text(captions, batch_size=250)
    return Pairs(scenes, captions, *(normalize(x, dim=1) for x in both))


@cache
def joint_sae(steps: int = 400) -> TopK:
    """Return one SAE over the rows of both modalities; with 0 steps, its untrained control."""
    import sae_nb as sn

    rows = torch.cat(paired().training)
    sae = sn.TopK(rows.shape[1], N_ATOMS, K, generator=torch.Generator().manual_seed(0))
    if not steps:
        sae.initialise(rows)
        return sae.eval()
    sn.train(sae, rows, steps=steps, batch_size=256, seed=0, progress=False)
    return sae.eval()


def own_found(images: Float[Tensor, "n d"], captions: Float[Tensor, "n d"]) -> float:
    """Return the share of images whose own caption, of the same row, has the largest cosine."""
    cosines = normalize(images, dim=1) @ normalize(captions, dim=1).T
    return float((cosines.argmax(dim=1) == torch.arange(len(images))).float().mean())


def sides(z: Float[Tensor, "n m"], w: Float[Tensor, "n m"]) -> Float[Tensor, " m"]:
    """Return the share of each atom's strength that lies in the first codes; ½ where it never fires."""
    first, second = z.mean(dim=0), w.mean(dim=0)
    total = first + second
    return torch.where(total > 0, first / total.clamp(min=1e-12), 0.5)


def bridges(
    z: Float[Tensor, "n m"], w: Float[Tensor, "n m"], atoms: Float[Tensor, "m d"]
) -> Float[Tensor, "m m"]:
    """Return B_ij: the mean over pairs of z_i w_j, times ⟨d_i, d_j⟩.

    Source: Papadimitriou et al., arXiv 2504.11695, as in a summary of it.
    """
    return (z.T @ w) / len(z) * (atoms @ atoms.T)


def f1_of(fires: Bool[Tensor, "n ..."], is_so: Bool[Tensor, "n ..."]) -> Float[Tensor, "..."]:
    """Return F1 of each detector: twice its hits, by its firings and the rows that are so."""
    hits = (fires & is_so).sum(dim=0)
    return 2 * hits / (fires.sum(dim=0) + is_so.sum(dim=0)).clamp(min=1)


def best_detector(z: Float[Tensor, "n m"], is_so: Bool[Tensor, " n"]) -> int:
    """Return the atom whose firing has the largest F1 for a label."""
    return int(f1_of(z > 0, is_so[:, None]).argmax())


@cache
def split_share() -> float:
    """Return the share of the SAE's atoms that serve one modality alone, on held-out pairs."""
    import sae_nb as sn

    with torch.no_grad():
        codes = [joint_sae().encode(x) for x in paired().held_out]
    return sn.studies.evaluation.modality_scores(codes, n_bootstrap=0).value
