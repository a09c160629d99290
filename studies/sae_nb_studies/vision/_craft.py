"""CRAFT: concepts of an image model by non-negative factorisation of its patches, with heatmaps."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Count, Seed, check_count, checked
from sae_nb.findings import Finding
from sae_nb_studies.vision._heads import ConceptHead, Split

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.models import LiveModel

MOST_ROWS = 4096
"""Patches that concepts are learned from, drawn at random from more."""


class Craft(Finding):
    """Concepts found in some images, where each is, and the rest of the model as a function of them."""

    HEADLINE = (
        "{concepts.len} concepts at {head.hook_point}, r2={r2:.3f} (random {random_r2:.3f}), "
        "{codes.len} images"
    )

    concepts: Float[Tensor, "n_concepts d_in"]
    """Directions at the hook point."""

    codes: Float[Tensor, "n places n_concepts"]
    """Strength of every concept at every patch, ≥ 0."""

    grid: tuple[int, int] | None
    """Rows and columns of patches."""

    r2: float
    random_r2: float
    """Explained variance of the patches: by the concepts, by the same number of random directions."""

    signed: bool
    """Whether activations were signed and had to be split into their two signs."""

    head: ConceptHead
    """Codes in, logits out: for `sobol` and `concept_curves`."""

    @property
    def heatmaps(self) -> Float[Tensor, "n n_concepts rows columns"]:
        """Strength of every concept over every image.

        Raises
        ------
        ValueError: If the model's patches lie on no known grid.
        """
        n, places, r = self.codes.shape
        if self.grid is None or self.grid[0] * self.grid[1] != places:
            raise ValueError(
                f"`model` must know the grid of its {places} patches for heatmaps, got "
                f"{self.grid}. Wrap it with patch_grid=."
            )
        return self.codes.transpose(1, 2).reshape(n, r, *self.grid)

    @checked
    def strongest(self, concept: int, n: Count = 5) -> list[tuple[int, int]]:
        """Return (image, patch) where a concept is strongest, one patch of an image, strongest first."""
        r = self.codes.shape[-1]
        check_count(concept, name="concept", at_least=0, at_most=r - 1)
        values, patch = self.codes[..., concept].max(dim=1)
        order = values.argsort(descending=True, stable=True)[:n].tolist()
        return [(i, int(patch[i])) for i in order]

    @property
    def table(self) -> pd.DataFrame:
        """One row per concept: share of all patches' strength, of patches where it fires, strongest image."""
        import pandas as pd

        flat = self.codes.flatten(0, 1)
        strength = flat.sum(dim=0) * self.concepts.norm(dim=1)
        columns = {
            "share": (strength / strength.sum().clamp_min(1e-12)).tolist(),
            "fires": (flat > 0).double().mean(dim=0).tolist(),
            "image": [self.strongest(i, 1)[0][0] for i in range(flat.shape[1])],
        }
        return pd.DataFrame(columns).rename_axis("concept")

    def plot(self, image: int = 0, n: int = 4) -> Any:
        """Draw the heatmaps of the n concepts that are strongest in an image."""
        from sae_nb.figures import heatmaps

        maps = self.heatmaps[
            check_count(image, name="image", at_least=0, at_most=len(self.codes) - 1)
        ]
        order = maps.sum(dim=(1, 2)).argsort(descending=True, stable=True)[:n].tolist()
        # Rows of an image run down, those of a plot up.
        drawn = {f"concept {i}": maps[i].flip(0).cpu().numpy() for i in order}
        top = max(float(maps[order].max()), 1e-12)
        return heatmaps(drawn, ends=(0.0, top), hover="%{z:.3g}", bar="strength", height=240)


@checked
@torch.no_grad()
def craft(
    model: LiveModel,
    images: Any,
    hook_point: str,
    n_concepts: Count = 20,
    *,
    outcome: int | None = None,
    seed: Seed = 0,
) -> Craft:
    """Find the concepts of some images: A ≈ U W with U, W ≥ 0 over the patches at a hook point.

    A patch's activation is the crop's here: a transformer's patch tokens, or the pixels of a convolution's
    map. Signed activations are split first, x = x⁺ − x⁻, both ≥ 0 and side by side; a concept is then the
    difference of its two halves.

    Parameters
    ----------
    images
        As the model reads them, of one size; a few dozen of one class for that class's concepts.
    hook_point
        Hook point at which the model is split. The rest need not be linear; it must read the patches,
        so for a model that answers from its class token the last block is too late.
    n_concepts
        Number of concepts.
    outcome
        Logit that `head` gives; None: of each image the one that the model finds likeliest.
    seed
        Of the patches drawn and the factorisation.

    Returns
    -------
    Craft
        `.concepts`, `.codes`, `.heatmaps`, `.head` for `sobol`, `.r2` with that of random concepts.

    Raises
    ------
    ValueError: If the model reads text, sizes of images differ, there are fewer patches than concepts, or
        nothing behind the hook point reads the patches (the message names a layer that can be split).

    Source
    ------
    CRAFT, arXiv 2211.10154, by scikit-learn's NMF. Ours: patches for crops, the split by sign, the rest of
    the model as it is where theirs is linear on mean activations, and the error held.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, images = sn.load_model("tiny-vit"), sn.data.scenes(4).images
    >>> found = craft(model, images, "resid_post.8", n_concepts=3)
    >>> found.heatmaps.shape, found.r2 > found.random_r2
    (torch.Size([4, 3, 8, 8]), True)
    """
    split = Split(model, images, hook_point)
    places = split.places
    x = places.flatten(0, 1).double().cpu()
    if len(x) < n_concepts:
        raise ValueError(
            f"`n_concepts` must be at most the number of patches, {len(x)}, got {n_concepts}. Pass more "
            "images."
        )
    signed = bool((x < 0).any())
    a = torch.cat((x.clamp_min(0), (-x).clamp_min(0)), dim=1) if signed else x
    halves, codes = factorised(a.numpy(), n_concepts, seed)
    concepts = _joined(halves, signed)
    drawn = np.abs(np.random.default_rng(seed).standard_normal(halves.shape))
    random_codes = _coded(a.numpy(), drawn)
    shaped = torch.from_numpy(codes).to(places).view(*places.shape[:2], -1)
    return Craft(
        concepts=concepts.to(places),
        codes=shaped,
        grid=split.grid,
        r2=_explained(x, torch.from_numpy(codes) @ concepts),
        random_r2=_explained(x, torch.from_numpy(random_codes) @ _joined(drawn, signed)),
        signed=signed,
        head=ConceptHead(
            split, shaped, concepts.to(places), atoms=tuple(range(n_concepts)), outcome=outcome
        ),
    )


def _joined(halves: Float[np.ndarray, "r width"], signed: bool) -> Float[Tensor, "r d_in"]:
    whole = torch.from_numpy(halves)
    if not signed:
        return whole
    up, down = whole.chunk(2, dim=1)
    return up - down


def factorised(
    a: np.ndarray, r: int, seed: int, *, learn_on: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return W from some rows (of those in a mask, if there is one), U of all of them."""
    from sklearn.decomposition import NMF

    rows = a if learn_on is None else a[learn_on]
    if len(rows) > MOST_ROWS:
        rows = rows[np.random.default_rng(seed).choice(len(rows), MOST_ROWS, replace=False)]
    start = "nndsvda" if r <= min(rows.shape) else "random"
    model = NMF(r, init=start, random_state=seed, max_iter=200, tol=1e-3)
    with warnings.catch_warnings():  # a few more steps would change nothing that is reported
        warnings.simplefilter("ignore")
        codes = model.fit_transform(rows)
    w = model.components_
    return w, (codes if rows is a else _coded(a, w))


def _coded(a: np.ndarray, w: np.ndarray) -> np.ndarray:
    """U ≥ 0 for given W."""
    from sklearn.decomposition import non_negative_factorization

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = np.full((len(a), len(w)), np.sqrt(a.mean() / max(len(w), 1)))
        codes, _, _ = non_negative_factorization(
            a, W=start, H=w, init="custom", update_H=False, n_components=len(w), tol=1e-3
        )
    return codes


def _explained(x: Tensor, x_hat: Tensor) -> float:
    total = float((x - x.mean(dim=0)).square().sum())
    return 1 - float((x - x_hat).square().sum()) / max(total, 1e-300)
