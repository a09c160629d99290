"""The common parts of training runs of small vision transformers: settings, batches, optimisers, card
and log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sae_nb.checks import Count, OneOf, Positive, Share, Weight, checked
from sae_nb.data import cifar10
from sae_nb.files import write_json
from sae_nb.models import VisionTransformer, VisionTransformerConfig
from sae_nb_studies.recipes._common import Recipe
from sae_nb_studies.recipes._training_run import Run

VARIANTS: dict[str, VisionTransformerConfig] = {
    "tiny-vit": VisionTransformerConfig(),
    "tiny-vit-plain": VisionTransformerConfig(residual_drop=0.0),
    "tiny-vit-tied": VisionTransformerConfig(shared_blocks=(4, 4, 4)),
}


@dataclass(frozen=True, kw_only=True)
class VisionRecipe(Recipe):
    """Training settings of a vision transformer; defaults are ours, from probes of 150 s."""

    steps: Count = 3_200
    batch: Count = 64
    """Images of a step. Small batches win: the run is limited by its number of updates."""

    muon_learning_rate: Positive = 0.01  # ten times AdamW's usual one is stable here
    adam_learning_rate: Positive = 2e-3
    weight_decay: Weight = 0.05  # of every parameter
    warmup_steps: Count = 200
    decay_steps: Count = 700
    log_every: Count = 250
    smoothing: Share = 0.05
    """Label smoothing of every cross-entropy."""

    n_held_out: Count = 1_000
    """Held-out pictures of a line of the log."""


@checked
@dataclass(frozen=True, kw_only=True)
class RecipeConfig(VisionRecipe):
    """Training settings of one bundled vision model."""

    variant: Annotated[str, OneOf(VARIANTS)] = "tiny-vit"


@dataclass(frozen=True)
class Batch:
    """Images and what the heads should predict; photographs have no texture and no foreground."""

    images: Float[Tensor, "n 3 32 32"]
    digit: Int[Tensor, " n"]
    texture: Int[Tensor, " n"] | None = None
    patch_mask: Bool[Tensor, "n 64"] | None = None

    def __len__(self) -> int:
        return int(self.digit.shape[0])

    def __getitem__(self, rows: slice) -> Batch:
        texture = None if self.texture is None else self.texture[rows]
        mask = None if self.patch_mask is None else self.patch_mask[rows]
        return Batch(self.images[rows], self.digit[rows], texture, mask)


Stream = Callable[[int, int], Batch]  # (first image, how many) → images, always the same ones
HeldOut = Callable[[int], Batch]  # how many → the first images of the test split


def photo_batches(folder: Path, seed: int, *, shift: int) -> tuple[Stream, HeldOut]:
    """Yield batches of CIFAR-10, each training photograph mirrored at random and moved by up to `shift`
    pixels.
    """
    photos, test = cifar10(folder, split="train"), cifar10(folder, split="test")

    def stream(start: int, n: int) -> Batch:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + start)
        rows = torch.randint(len(photos), (n,), generator=generator)
        padded = F.pad(photos.pixels[rows].float() / 255, (shift,) * 4, mode="reflect")
        moved = torch.randint(2 * shift + 1, (n, 2), generator=generator)
        y, x = (moved[:, axis, None] + torch.arange(32) for axis in (0, 1))
        mirrored = torch.rand(n, generator=generator) < 0.5
        x = torch.where(mirrored[:, None], x.flip(1), x)
        images = padded[torch.arange(n)[:, None, None], :, y[:, :, None], x[:, None, :]]
        return Batch(images.permute(0, 3, 1, 2).contiguous(), photos.label[rows])

    def held_out(n: int) -> Batch:
        few = test[:n]
        return Batch(few.images, few.label)

    return stream, held_out


class VisionRun(Run):
    """A vision transformer in training, with a throw-away head that is not part of the model.

    It reads the digit, or the class of a photograph, from patches: they learn shapes early.
    """

    settings_key = "config"
    free = frozenset({"log_every", "n_held_out"})

    def __init__(self, recipe: VisionRecipe, config: VisionTransformerConfig, data: str) -> None:
        super().__init__(recipe, data)
        generator = torch.Generator().manual_seed(recipe.seed)
        self.model = VisionTransformer(config, generator=generator)
        d_model, n_digits = self.model.config.d_model, self.model.config.n_digits
        self.patch_digit = nn.Linear(d_model, n_digits)
        with torch.no_grad():
            self.patch_digit.weight.normal_(0, d_model**-0.5, generator=generator)
            self.patch_digit.bias.zero_()
        self.modules = {"model": self.model, "patch_digit": self.patch_digit}
        named = dict(self.model.named_parameters())
        inside = {n: p for n, p in named.items() if n.startswith("blocks.") and p.ndim == 2}
        rest = [p for n, p in named.items() if n not in inside]
        rest += list(self.patch_digit.parameters())
        self.parameters = [*inside.values(), *rest]
        self._optimise(list(inside.values()), rest)


class TrainingState(VisionRun):
    """A bundled model in training.

    loss = CE(digit) + ¼ CE(texture) + ½ BCE(foreground) + ½ CE(digit read from foreground patches)
    """

    def __init__(self, recipe: RecipeConfig, data: str = "scenes") -> None:
        super().__init__(recipe, VARIANTS[recipe.variant], data)

    def _loss(self, batch: Batch) -> Tensor:
        smoothing = self.recipe.smoothing
        states = self.model.final_states(batch.images)
        heads = self.model.heads_of(states)
        loss = F.cross_entropy(heads["digit"], batch.digit, label_smoothing=smoothing)
        if batch.texture is not None:
            texture = F.cross_entropy(heads["texture"], batch.texture, label_smoothing=smoothing)
            loss = loss + 0.25 * texture
        if batch.patch_mask is not None:
            mask = batch.patch_mask
            foreground = F.binary_cross_entropy_with_logits(heads["foreground"], mask.float())
            logits = self.patch_digit(states[:, self.model.config.n_prefix_tokens :][mask])
            target = batch.digit[:, None].expand_as(mask)[mask]
            patches = F.cross_entropy(logits, target, label_smoothing=smoothing)
            loss = loss + 0.5 * foreground + 0.5 * patches
        return loss


@torch.no_grad()
def accuracies(model: VisionTransformer, batch: Batch) -> dict[str, float]:
    """Return the fraction right per head; for the foreground, of patches."""
    model.eval()
    parts = [model.forward_heads(images) for images in torch.split(batch.images, 250)]
    heads = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    right = {"digit": heads["digit"].argmax(dim=1) == batch.digit}
    if batch.texture is not None:
        right["texture"] = heads["texture"].argmax(dim=1) == batch.texture
    if batch.patch_mask is not None:
        right["foreground"] = (heads["foreground"] > 0) == batch.patch_mask
    return {name: round(value.float().mean().item(), 4) for name, value in right.items()}


def progress_line(name: str, state: VisionRun, accuracy: dict[str, float]) -> str:
    """Return a line of the log."""
    seen = state.step * state.recipe.batch
    return (
        f"{name} step {state.step}/{state.recipe.steps}, {seen} images, loss {state.loss:.3f}, "
        f"{' '.join(f'{head} {value:.3f}' for head, value in accuracy.items())}, "
        f"{state.seconds / 60:.1f} min, {seen / max(state.seconds, 1e-9):.0f} images/s"
    )


def export_model(
    state: VisionRun, folder: Path, held_out: Batch, *, data: tuple[str, str], command: str
) -> dict[str, Any]:
    """Save fp16 weights, read them back, judge what was read; `data`: trained on, judged on."""
    state.model.save(folder)
    loaded = VisionTransformer.from_folder(folder)
    card: dict[str, Any] = {
        "name": folder.name,
        "data": data[0],
        "pictures_seen": state.step * state.recipe.batch,
        "held_out": {
            "data": data[1],
            "pictures": len(held_out),
            "weights": "fp16 file as loaded",
            "accuracy": accuracies(loaded, held_out),
        },
        **state.facts(loaded),
        "command": f"python -m sae_nb_studies.recipes.{command} --out DIR",
    }
    write_json(folder / "card.json", card)
    return card
