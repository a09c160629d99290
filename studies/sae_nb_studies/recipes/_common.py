"""Shared parts of recipes: settings of a run, command line, batches drawn in chunks, and written files."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from sae_nb.checks import Count, Positive, Seed, Weight, between
from sae_nb.files import write_tensors


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Training settings that every recipe has; the defaults of each are ours, from short probes."""

    steps: Count
    muon_learning_rate: Positive = 0.01
    adam_learning_rate: Positive
    """Peak step sizes of Muon, scaled to match AdamW's, and of AdamW."""

    weight_decay: Weight
    """Decoupled decay of every matrix."""

    warmup_steps: Count
    decay_steps: Count
    """Linear rise at the beginning, linear fall to zero at the end; constant in between."""

    seed: Seed = 0
    """Initial weights, the data of every step, and what is dropped."""

    log_every: Count
    """Steps between checkpoints, each with a line of the log."""

    def __post_init__(self) -> None:
        between(self.decay_steps, 1, self.steps, name="decay_steps", high_name="steps")


def recipe_options(doc: str | None, defaults: Recipe) -> argparse.ArgumentParser:
    """Return the command line that all recipes share."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for everything written")
    for name in ("steps", "decay_steps", "seed"):
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=int, default=getattr(defaults, name))
    parser.add_argument("--resume", action="store_true", help="continue what --out holds")
    return parser


Part = TypeVar("Part", bound="Sliced", covariant=True)


class Sliced(Protocol):
    """Samples of which a stretch can be taken."""

    def __getitem__(self: Part, rows: slice) -> Part: ...


def in_chunks(draw: Callable[[int, int], Part], batch: int, *, steps: int) -> Callable[[int], Part]:
    """Return the batch of every step, drawn for several steps at once: (first sample, how many) → samples."""
    held: dict[int, Part] = {}

    def batch_at(step: int) -> Part:
        begin, within = step - step % steps, step % steps
        if begin not in held:
            held.clear()
            held[begin] = draw(begin * batch, steps * batch)
        return held[begin][within * batch : (within + 1) * batch]

    return batch_at


def write_language_model(module: Any, tokenizer: Any, folder: Path) -> nn.Module:
    """Write fp16 weights, settings and tokenizer as transformers does, and return what is read back."""
    from transformers import AutoModelForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    # A matrix that is shared is named once, and stored once.
    halves = {name: p.detach().half() for name, p in module.named_parameters()}
    write_tensors(folder / "model.safetensors", halves, {"format": "pt"})
    module.config.architectures = [type(module).__name__]
    module.config.dtype = torch.float16
    module.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    loaded: nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return loaded


def filled(text: str, mark: str = "") -> str:
    """Return a paragraph of a card in lines of 100 characters."""
    return textwrap.fill(
        text, 100, initial_indent=mark, subsequent_indent=" " * len(mark), break_on_hyphens=False
    )
