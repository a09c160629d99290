"""Train a vision transformer on photographs on two CPU cores; a killed run continues exactly.

    python -m sae_nb_studies.recipes.photo_vit --photos DIR --out DIR [--seed 1] [--residual-drop 0]
                                              [--resume]

Twelve blocks of width 96 learn the ten classes of CIFAR-10, read from a folder that you have: about an
hour for 73 % of the test photographs. The data have no licence to ship with, so no such model is
bundled. Several runs may share `--out`: each model's name states its residual drop and its seed.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sae_nb.checks import Between, Count, checked
from sae_nb.interrupts import ended
from sae_nb.models import VisionTransformerConfig
from sae_nb_studies.recipes._common import recipe_options
from sae_nb_studies.recipes._vision_training import (
    Batch,
    VisionRecipe,
    VisionRun,
    accuracies,
    export_model,
    photo_batches,
    progress_line,
)

logger = logging.getLogger("sae_nb.recipes.photo_vit")

D_MODEL, SHIFT = 96, 4
N_JUDGED = 10_000


@checked
@dataclass(frozen=True, kw_only=True)
class PhotoRecipe(VisionRecipe):
    """Training settings of a photo ViT; defaults are ours, those of a run that reached 73.6 %."""

    residual_drop: Annotated[float, Between(0, 1, "[)")] = 0.1
    """Chance that the last block's branches are left out per image in training; linear from 0."""

    steps: Count = 7_600
    batch: Count = 96
    warmup_steps: Count = 300
    decay_steps: Count = 3_420

    @property
    def name(self) -> str:
        """Of the model, for the folder it is written to."""
        drop = (
            ""
            if self.residual_drop == PhotoRecipe.residual_drop
            else f"-drop{self.residual_drop:g}"
        )
        return f"photo-vit{drop}-seed{self.seed}"


class PhotoTraining(VisionRun):
    """A photo ViT in training: loss = CE(class) + ½ CE(class read from the mean patch)."""

    def __init__(self, recipe: PhotoRecipe) -> None:
        config = VisionTransformerConfig(d_model=D_MODEL, residual_drop=recipe.residual_drop)
        super().__init__(recipe, config, "cifar10")

    def _loss(self, batch: Batch) -> Tensor:
        states = self.model.final_states(batch.images)
        patches = states[:, self.model.config.n_prefix_tokens :]
        read = (self.model.heads_of(states)["digit"], self.patch_digit(patches.mean(dim=1)))
        by_class, by_patches = (
            F.cross_entropy(logits, batch.digit, label_smoothing=self.recipe.smoothing)
            for logits in read
        )
        return by_class + 0.5 * by_patches


def train_photo_vit(
    recipe: PhotoRecipe, photos: Path, out: Path, *, resume: bool = False
) -> dict[str, Any]:
    """Train one model and write it, its card and its checkpoint below a folder."""
    stream, held_out = photo_batches(photos, recipe.seed, shift=SHIFT)
    state, judged = PhotoTraining(recipe), held_out(recipe.n_held_out)
    # As for tiny-vit, the math kernel of attention is the faster one here.
    with sdpa_kernel(SDPBackend.MATH):
        state.train(
            lambda step: stream(step * recipe.batch, recipe.batch),
            out / f"{recipe.name}.checkpoint",
            lambda: logger.info(progress_line(recipe.name, state, accuracies(state.model, judged))),
            resume=resume,
        )
    return export_model(
        state,
        out / recipe.name,
        held_out(N_JUDGED),
        data=("CIFAR-10 train; no licence to ship with", "CIFAR-10 test"),
        command=f"photo_vit --photos PHOTOS --residual-drop {recipe.residual_drop:g} "
        f"--steps {recipe.steps} --decay-steps {recipe.decay_steps} --seed {recipe.seed}",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    defaults = PhotoRecipe()
    parser = recipe_options(__doc__, defaults)
    parser.add_argument("--photos", type=Path, required=True, help="where CIFAR-10 lies")
    parser.add_argument("--residual-drop", type=float, default=defaults.residual_drop)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = PhotoRecipe(
        steps=given.steps,
        decay_steps=given.decay_steps,
        seed=given.seed,
        residual_drop=given.residual_drop,
    )
    train_photo_vit(recipe, given.photos, given.out, resume=given.resume)


if __name__ == "__main__":
    sys.exit(ended(main))
