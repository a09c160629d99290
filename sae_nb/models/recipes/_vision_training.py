"""One training run of a small vision transformer: its settings, its loss, one step, its checkpoint.

loss = CE(digit) + ¼ CE(texture) + ½ BCE(foreground) + ½ CE(digit read from foreground patches)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sae_nb.models._vision_transformer import VisionTransformer, VisionTransformerConfig
from sae_nb.models.recipes._run_checkpoints import read_record, restore_run, save_run

VARIANTS: dict[str, VisionTransformerConfig] = {
    "tiny-vit": VisionTransformerConfig(),
    "tiny-vit-plain": VisionTransformerConfig(residual_drop=0.0),
    "tiny-vit-tied": VisionTransformerConfig(shared_blocks=(4, 4, 4)),
}


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """How one bundled vision model is trained; defaults are ours, from probes of 150 s."""

    variant: str = "tiny-vit"
    """Key of `VARIANTS`."""

    steps: int = 3_200
    """Optimiser steps in all."""

    batch: int = 64
    """Pictures per step. Small batches win: the run is limited by its number of updates."""

    muon_learning_rate: float = 0.01
    """Peak step size of Muon, scaled to match AdamW's. Ten times AdamW's usual one is stable here."""

    adam_learning_rate: float = 2e-3
    """Peak step size of AdamW."""

    weight_decay: float = 0.05
    """Decoupled decay of every parameter."""

    warmup_steps: int = 200
    """Linear warm-up."""

    decay_steps: int = 700
    """Last steps, in which the step size falls linearly to zero; before, it is constant."""

    smoothing: float = 0.05
    """Label smoothing of every cross-entropy."""

    seed: int = 0
    """Initial weights, dropped branches and renderings."""

    log_every: int = 250
    """Steps between checkpoints, each with a line of the log."""

    n_held_out: int = 1_000
    """Held-out pictures judged for a line of the log."""

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"`variant` must be one of {list(VARIANTS)}, got {self.variant!r}.")
        for name in ("steps", "batch", "warmup_steps", "log_every", "n_held_out"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if not 1 <= self.decay_steps <= self.steps:
            raise ValueError(
                f"`decay_steps` must be between 1 and steps={self.steps}, got {self.decay_steps}."
            )


@dataclass(frozen=True)
class Batch:
    """Pictures and what the heads should say; photographs have no texture and no foreground."""

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


class TrainingState:
    """Everything a step changes: the model, the throw-away head, the optimisers, the counters.

    Muon moves the matrices inside the blocks, AdamW the rest. The throw-away head reads the digit
    from every foreground patch; it makes patches learn shapes early and is not part of the model.
    """

    def __init__(self, config: RecipeConfig, data: str = "scenes") -> None:
        generator = torch.Generator().manual_seed(config.seed)
        self.config, self.data, self.step, self.seconds = config, data, 0, 0.0
        self.loss = float("nan")
        self.model = VisionTransformer(VARIANTS[config.variant], generator=generator)
        d_model, n_digits = self.model.config.d_model, self.model.config.n_digits
        self.patch_digit = nn.Linear(d_model, n_digits)
        with torch.no_grad():
            self.patch_digit.weight.normal_(0, d_model**-0.5, generator=generator)
            self.patch_digit.bias.zero_()
        named = dict(self.model.named_parameters())
        inside = {n: p for n, p in named.items() if n.startswith("blocks.") and p.ndim == 2}
        rest = [p for n, p in named.items() if n not in inside]
        rest += list(self.patch_digit.parameters())
        self.parameters = [*inside.values(), *rest]
        decay = config.weight_decay
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "muon": torch.optim.Muon(
                inside.values(), weight_decay=decay, adjust_lr_fn="match_rms_adamw"
            ),
            "adamw": torch.optim.AdamW(rest, weight_decay=decay, betas=(0.9, 0.99)),
        }

    def advance(self, batch: Batch) -> None:
        """Take one optimiser step."""
        # Dropped branches are drawn from a seed of this step alone: nothing to restore on resume.
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)
        self._set_learning_rates()
        loss = self._loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimiser in self.optimisers.values():
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.loss = float(loss.detach())

    def save(self, folder: Path) -> None:
        """Write a checkpoint; the JSON goes last and names the tensors that belong to it."""
        record = {
            "config": asdict(self.config),
            "data": self.data,
            "seconds": self.seconds,
            "loss": self.loss if self.step else None,
        }
        save_run(folder, self.step, self._modules(), self.optimisers, record)

    def restore(self, folder: Path) -> None:
        """Continue from a checkpoint of the same recipe."""
        record = read_record(folder)
        begun = {**record["config"], "data": record["data"]}
        given = {**asdict(self.config), "data": self.data}
        settled = record["step"] > min(r["steps"] - r["decay_steps"] for r in (begun, given))
        free = {"log_every", "n_held_out"} | (set() if settled else {"steps", "decay_steps"})
        if any(given[name] != begun[name] for name in given.keys() - free):
            raise ValueError(
                f"A run must continue with the recipe it was begun with, {begun}, got {given}."
                " Give the same options, or another folder to begin anew."
            )
        restore_run(folder, self._modules(), self.optimisers)
        self.step, self.seconds = int(record["step"]), float(record["seconds"])
        self.loss = float("nan") if record["loss"] is None else float(record["loss"])

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "patch_digit": self.patch_digit}

    def _loss(self, batch: Batch) -> Tensor:
        smoothing = self.config.smoothing
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

    def _set_learning_rates(self) -> None:
        c = self.config
        rise = min(1.0, (self.step + 1) / c.warmup_steps)
        fall = min(1.0, (c.steps - self.step) / c.decay_steps)
        peaks = {"muon": c.muon_learning_rate, "adamw": c.adam_learning_rate}
        for name, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = peaks[name] * rise * fall


@torch.no_grad()
def accuracies(model: VisionTransformer, batch: Batch) -> dict[str, float]:
    """Fraction right per head; for the foreground, of patches."""
    model.eval()
    parts = [model.forward_heads(images) for images in torch.split(batch.images, 250)]
    heads = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    right = {"digit": heads["digit"].argmax(dim=1) == batch.digit}
    if batch.texture is not None:
        right["texture"] = heads["texture"].argmax(dim=1) == batch.texture
    if batch.patch_mask is not None:
        right["foreground"] = (heads["foreground"] > 0) == batch.patch_mask
    return {name: round(value.float().mean().item(), 4) for name, value in right.items()}
