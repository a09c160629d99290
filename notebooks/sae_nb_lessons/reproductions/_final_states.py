"""What experiments on tiny-vit's last layer share: pictures with and without digit, states, two SAEs.

Rows are the outputs of the final LayerNorm, which the three linear heads read: digit and texture from
cls, foreground from each patch. Pictures judged have handwriting that was not trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.architectures import SparseAutoencoder
from sae_nb.data import Scenes
from sae_nb.models import LiveModel

LAST = "norm"
N_PREFIX = 5
"""Tokens before the first patch: cls and four registers."""

GRID = (8, 8)
N_ATOMS, K = 256, 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """Pictures shown to tiny-vit, and the states its heads read."""

    model: LiveModel
    """tiny-vit."""

    train: Activations
    """Final states of the pictures trained on."""

    trained_on: Scenes
    """The pictures trained on."""

    pictures: Scenes
    """The pictures judged."""

    test: Activations
    """Their final states, all tokens."""

    blank: Activations
    """The same with the digit painted over."""

    @property
    def patch(self) -> Bool[Tensor, " n"]:
        """Which rows of `test` are patches."""
        return self.test.position >= N_PREFIX

    def patches(self, acts: Activations) -> Float[Tensor, "n d_in"]:
        """Patch states alone, picture by picture."""
        return acts.x[acts.position >= N_PREFIX]


def show_pictures(seed: int = 0, *, pictures: int = 200) -> Seen:
    """Show pictures to tiny-vit and keep its final states.

    `pictures`: to train on; half as many to judge.
    """
    model = sn.load_model("tiny-vit")
    shown = sn.data.scenes(pictures, seed=2 * seed + 500)
    n, other = max(pictures // 2, 2), 2 * seed + 501
    fresh = sn.data.scenes(n, other, "test")
    blank = sn.data.scenes_without_digit(n, other, "test")
    train, test, gone = (
        sn.capture(model, part, LAST, progress=False) for part in (shown, fresh, blank)
    )
    return Seen(model=model, train=train, trained_on=shown, pictures=fresh, test=test, blank=gone)


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
