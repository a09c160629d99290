"""Shared parts of experiments on a vision transformer's last layer: images, its states, two SAEs.

Rows are the outputs of the final LayerNorm, which the three linear heads read: digit and texture from
cls, foreground from each patch. tiny-vit sees drawn scenes with and without their digit, judged on
handwriting that was not trained on; a photo ViT sees photographs, judged on those of the test split.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.architectures import SparseAutoencoder
from sae_nb.data import Photos, cifar10
from sae_nb.models import LiveModel

LAST = "norm"
N_PREFIX = 5
"""Tokens before the first patch: cls and four registers."""

GRID = (8, 8)
N_ATOMS, K = 256, 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """Images shown to a vision transformer, and the states its heads read."""

    model: LiveModel
    """The vision transformer."""

    train: Activations
    """Final states of the pictures trained on."""

    trained_on: Any
    """The pictures trained on: `Scenes`, or `Photos`, of which neither masks nor textures are known."""

    pictures: Any
    """The pictures judged, of the same kind."""

    test: Activations
    """Their final states, all tokens."""

    without_digit: Activations | None = None
    """The same with the digit painted over; None for photographs."""

    @property
    def blank(self) -> Activations:
        """States of the pictures without their digit."""
        if self.without_digit is None:
            raise ValueError("`blank` needs drawn scenes: the object of a photograph is not known.")
        return self.without_digit

    @property
    def patch(self) -> Bool[Tensor, " n"]:
        """True for rows of `test` that are patches."""
        return self.test.position >= N_PREFIX

    def patches(self, acts: Activations) -> Float[Tensor, "n d_in"]:
        """Return the patch states alone, picture by picture."""
        return acts.x[acts.position >= N_PREFIX]


def show_pictures(seed: int = 0, *, pictures: int = 200) -> Seen:
    """Show pictures to tiny-vit and keep its final states.

    `pictures`: number to train on; half as many are used to judge.
    """
    model = sn.load_model("tiny-vit")
    shown = sn.data.scenes(pictures, seed=2 * seed + 500)
    n, other = max(pictures // 2, 2), 2 * seed + 501
    fresh = sn.data.scenes(n, other, "test")
    blank = sn.data.scenes_without_digit(n, other, "test")
    train, test, gone = (
        sn.capture(model, part, LAST, progress=False) for part in (shown, fresh, blank)
    )
    return Seen(
        model=model, train=train, trained_on=shown, pictures=fresh, test=test, without_digit=gone
    )


def photo_networks(folder: str) -> list[LiveModel]:
    """Load the vision transformers that `recipes.photo_vit` wrote to a folder, in the order of their names.

    Raises
    ------
    FileNotFoundError: If the folder is not there, or holds none.
    """
    found = sorted(path.parent for path in Path(folder).glob("*/card.json"))
    if not found:
        raise FileNotFoundError(
            f"No vision transformers in {folder!r}. Make one with `python -m "
            "sae_nb_studies.recipes.photo_vit --photos DIR --out FOLDER`."
        )
    return [sn.load_model(path) for path in found]


def show_photos(model: LiveModel, folder: str, seed: int = 0, *, pictures: int = 200) -> Seen:
    """Show photographs of a folder, as `cifar10` reads it, to a photo ViT; as `show_pictures`."""
    shown = some_photos(folder, "train", pictures, seed)
    fresh = some_photos(folder, "test", max(pictures // 2, 2), seed)
    train, test = (sn.capture(model, part, LAST, progress=False) for part in (shown, fresh))
    return Seen(model=model, train=train, trained_on=shown, pictures=fresh, test=test)


def some_photos(folder: str, split: Literal["train", "test"], n: int, seed: int) -> Photos:
    """Draw photographs of a split."""
    photos = cifar10(folder, split)
    return photos[torch.randperm(len(photos), generator=torch.Generator().manual_seed(seed))[:n]]


def trained_sae(
    seen: Seen, name: str = "TopK", *, steps: int = 150, seed: int = 0
) -> SparseAutoencoder:
    """Train an SAE of 256 atoms, k = 16, on the final states.

    `steps` of 1024 rows.
    """
    kind = {"TopK": sn.TopK, "Archetypal": sn.Archetypal}[name]
    generator = torch.Generator().manual_seed(seed)
    sae = kind(seen.train.d_in, N_ATOMS, K, generator=generator)
    sn.train(sae, seen.train, sn.TrainConfig(steps=steps, seed=seed), progress=False)
    return sae
