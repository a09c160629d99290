"""Dictionaries trained on the same rows, to be measured on others: one loop over dictionaries and seeds.

For builders of comparisons: `sn.sweep`, `compare_dictionaries` and `stability_trial` say what is built; here it
is trained, several in one pass over the rows or each alone.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.checks import check_matrix, is_array

if TYPE_CHECKING:
    from pathlib import Path

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.training import TrainConfig


SPLIT_SEED, TRAIN_SHARE = 0, 0.8
FIRST_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One dictionary that is to be trained, and on what."""

    build: Callable[[], SparseAutoencoder]
    """Gives it untrained, or as it is to be measured."""

    rows: Activations
    seed: int | None = None
    """Of the order of the rows, in place of the config's; only where it is trained alone."""

    notes_start: bool = False
    """Whether its atoms before the first step are kept; then it is trained even where it was before."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A dictionary after its training."""

    sae: SparseAutoencoder
    seconds: float
    """Of the training; NaN where there was none, because it was ready."""

    start: Float[Tensor, "n_atoms d_in"] | None = None
    """Its atoms before the first step, where they were to be kept."""


def train_runs(
    runs: Sequence[TrainingRun],
    config: TrainConfig,
    *,
    at_once: int = 1,
    progress: bool,
    checkpoint: Callable[[int], Path] | None = None,
) -> Iterator[Trained]:
    """Build and train dictionaries, `at_once` of them on one pass over the rows of the first.

    `checkpoint` names the folder in which the pass that begins with a run keeps its steps. Ctrl-C ends all of
    it: a dictionary whose training was cut short is not handed on.
    """
    from sae_nb.training import train

    for first in range(0, len(runs), at_once):
        group = runs[first : first + at_once]
        saes = [run.build() for run in group]
        todo = [sae for sae, run in zip(saes, group) if run.notes_start or not is_trained(sae)]
        starts = [
            initialised_atoms(sae, run.rows, run.seed or 0) if run.notes_start else None
            for sae, run in zip(saes, group)
        ]
        seconds = dict.fromkeys(map(id, saes), math.nan)
        if todo:
            seed = group[0].seed
            how = config if seed is None else replace(config, seed=seed)
            if checkpoint is not None:
                how = replace(how, checkpoint=checkpoint(first))
            results = train(todo, group[0].rows, how, progress=progress)
            seconds |= {id(sae): one.seconds for sae, one in zip(todo, results, strict=True)}
        for sae, start in zip(saes, starts, strict=True):
            yield Trained(sae=sae, seconds=seconds[id(sae)], start=start)


def is_trained(given: object) -> bool:
    """Return whether a dictionary was trained or fitted before."""
    return bool(getattr(given, "initialised", False))


def build_from_seed(build: Any, seed: int, *sizes: int, **settings: Any) -> SparseAutoencoder:
    """Build a dictionary whose first weights are drawn from a seed, where its constructor draws any."""
    if "generator" in inspect.signature(build.__init__).parameters:
        settings["generator"] = torch.Generator().manual_seed(seed)
    sae: SparseAutoencoder = build(*sizes, **settings)
    return sae


@torch.no_grad()
def initialised_atoms(sae: SparseAutoencoder, rows: Activations, seed: int) -> Tensor:
    """Let an SAE look at its first rows, as training would, and return its atoms."""
    if not bool(sae.initialised):
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
        x = rows.rows(chosen[:FIRST_ROWS]).to(sae.dictionary)
        generator = torch.Generator(device=x.device).manual_seed(seed)
        sae.initialise(x, generator)
    return sae.dictionary.detach().clone()


def held_out(data: object, test: object | None) -> tuple[Activations, Activations]:
    """Return rows to train on and rows to measure on: those given, or a fifth of the samples."""
    rows = _as_activations(data, "data")
    if test is None:
        return rows.split(TRAIN_SHARE, seed=SPLIT_SEED)
    return rows, _as_activations(test, "test")


def _as_activations(rows: object, name: str) -> Activations:
    if isinstance(rows, Activations):
        return rows
    if is_array(rows):
        return Activations.from_tensor(check_matrix(rows, name=name))
    raise TypeError(
        f"`{name}` must be Activations or a tensor of shape (n, d_in), got {type(rows).__name__}. "
        "Streams cannot be held out; capture first."
    )
