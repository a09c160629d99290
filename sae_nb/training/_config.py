"""Every setting of a training, its unit and where its default comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import torch

from sae_nb._hints import unknown_keyword
from sae_nb.checks import (
    Between,
    Count,
    Positive,
    Seed,
    Share,
    Weight,
    at_least,
    check_device,
    checked,
)
from sae_nb.kernels._backends import Precision

OWN_BUSINESS = (
    "checkpoint", "checkpoint_every", "device", "log_every", "save_to", "shard_atoms", "steps",
    "stop_on_plateau",
)  # fmt: skip
"""Settings that leave every optimiser step as it is, so a resumed run may change them."""


@checked(leave=("checkpoint", "save_to"))
@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The length and speed of a training, and when an atom counts as dead.

    None means the architecture's own recipe (`sae.recipe()`). Several SAEs trained together share
    one config, and each still has its own recipe.

    Example
    -------
    >>> TrainConfig(steps=500, seed=1).steps
    500
    """

    steps: Count = 2000
    """Optimiser steps. Ours: enough at notebook size (n_atoms ≤ 4096)."""

    batch_size: Count = 1024
    """Rows per step; all rows when there are fewer. Ours: of 256, 1024 and 4096, at the best learning
    rate of each, 1 M rows found 512 planted atoms at cosine 0.98, 0.98, 0.95 in 15, 6, 4 CPU-seconds."""

    seed: Seed = 0
    """Order of the rows, and the randomness of `initialise`. Ours."""

    learning_rate: Positive | None = None
    """Adam step size between warm-up and decay. None: the recipe."""

    warmup_steps: Annotated[int, at_least(0)] | None = None
    """Steps over which the learning rate rises from 0. None: the recipe."""

    decay_fraction: Share | None = None
    """Last share of the steps, over which the learning rate falls to 0. None: the recipe."""

    grow_k: bool | None = None
    """Whether k grows along the training, 1 → 2 → 4 … up to its own value, for SAEs with a k: equal
    shares of the steps, each with its own warm-up and decay and Adam's memories empty. Concepts that
    occur alone are learned first, and a concept is identified at the fewest steps that reach it; long
    codes may lose a little (docs/methods/matching-pursuit.md). None: the recipe.
    """

    gradient_clip: Annotated[float, Between(0, math.inf, "(]")] | None = None
    """Largest global norm of the gradient; `math.inf` never clips. None: the recipe."""

    sparsity: Weight | None = None
    """Weight of the sparsity term, for SAEs that have one. None: the recipe."""

    dead_after_tokens: Count | None = None
    """Rows without one firing after which an atom is dead. None: 20 batches, the notebook-scale
    choice of our method notes; published runs take 10 million (arXiv 2406.04093)."""

    log_every: Count = 10
    """Steps between two records. The first and the last step are always recorded. Ours."""

    stop_on_plateau: Count | None = None
    """Records without a gain after which the training stops (`result.stopped == "plateau"`): the running
    loss has not come down by 1 % meanwhile. Several SAEs stop when all have. Looked for where the
    learning rate is constant, so a run that stops goes without its decay. None: never."""

    checkpoint: str | Path | None = None
    """Folder for checkpoints, from which the same call resumes. None: none are written."""

    checkpoint_every: Count = 200
    """Steps between two checkpoints; the last step is always one. Ours."""

    precision: Precision = "auto"
    """Of a step's products and gathered rows on a GPU. "auto": bf16 where Triton runs (which way was taken:
    `sae_nb.kernels.paths_taken()`); "float32": never. Parameters, sums, optimiser and kept codes are fp32
    either way; a CPU computes in fp32 always."""

    shard_atoms: bool = False
    """Whether several workers (`workers`) cut the dictionary by atoms and each see the whole batch, in
    place of each having the whole dictionary and a part of the batch. For dictionaries whose weights,
    gradients and moments outgrow one worker. While it trains, an SAE holds its worker's atoms only; at the
    end every worker has all of them (unless `save_to` takes them), and checkpoints always do."""

    save_to: str | Path | None = None
    """Folder in which the trained SAE is saved at the end, as `sae.save` does. With `shard_atoms` its atoms
    go there portion by portion, no worker ever has all of them, and the SAE that was passed is left without
    weights, on the device "meta": `load_sae(folder)` reads it, `sn.evaluation.evaluate_saved(folder, x)`
    measures it without holding it. One SAE only. None: it is not saved."""

    device: int | str | torch.device | None = None
    """Device to train on; the SAE stays there. None: where the SAE is."""

    def __post_init__(self) -> None:
        if self.grow_k and self.stop_on_plateau is not None:
            raise ValueError(
                "`stop_on_plateau` must be None with grow_k=True, where k grows after a plateau, got "
                f"{self.stop_on_plateau}. Leave one of them out."
            )
        for name in ("checkpoint", "save_to"):
            if not isinstance(getattr(self, name), str | Path | None):
                raise TypeError(f"`{name}` must be a folder or None, got {getattr(self, name)!r}.")
        if self.device is not None:
            object.__setattr__(self, "device", str(check_device(self.device)))

    def to_json(self) -> dict[str, Any]:
        """Return settings as plain JSON values; `math.inf` becomes the string "inf"."""
        plain = asdict(self)
        for name in ("checkpoint", "save_to"):
            plain[name] = None if plain[name] is None else str(plain[name])
        return {name: "inf" if value == math.inf else value for name, value in plain.items()}

    @classmethod
    @checked
    def from_json(cls, settings: dict[str, Any]) -> TrainConfig:
        """Read settings from the result of `to_json`.

        Raises
        ------
        TypeError: If a name is not a setting.
        """
        values: dict[str, Any] = {n: math.inf if v == "inf" else v for n, v in settings.items()}
        return cls(**values)


_OPTIONS = ("callbacks", "progress", "resume")  # of `train` itself


def chosen_config(
    config: TrainConfig | None, settings: Mapping[str, Any], data: object
) -> TrainConfig:
    """Return the settings of a training on `data`, given as a config or as keywords."""
    if config is not None and not isinstance(config, TrainConfig):
        raise TypeError(
            f"`config` must be a TrainConfig, got {config!r}. Settings are keywords, such as "
            "train(sae, data, steps=500)."
        )
    if config is not None and settings:
        raise TypeError(
            f"Settings must be keywords or a `config`, got both: config=… and {', '.join(settings)}. "
            "Use dataclasses.replace(config, …), or leave `config` out."
        )
    names = [field.name for field in fields(TrainConfig)]
    unknown = [word for word in settings if word not in names]
    if unknown:
        sentences = (
            _no_epochs(word, settings, data)
            if "epochs" in word
            else unknown_keyword(word, (*names, *_OPTIONS), "train")
            for word in unknown
        )
        raise TypeError(" ".join(sentences))
    return TrainConfig(**settings) if config is None else config


def _no_epochs(word: str, settings: Mapping[str, Any], data: object) -> str:
    """Say how many steps `settings[word]` epochs of these data are."""
    batch_size, epochs = settings.get("batch_size", TrainConfig.batch_size), settings[word]
    rule = f"The length of a training must be given in `steps`, got `{word}`."
    shape: Any = getattr(data, "shape", None)  # a stream has none
    if not shape or not all(isinstance(n, int) and n > 0 for n in (batch_size, epochs)):
        return f"{rule} One step reads a batch of {batch_size} rows."
    n_rows = shape[0]
    steps = math.ceil(n_rows / batch_size)
    return (
        f"{rule} These {n_rows} rows are {steps} step{'s' * (steps > 1)} of batch_size={batch_size}, so "
        f"{word}={epochs} is steps={epochs * steps}."
    )
