"""Sisters of an SAE: the same recipe trained again, from other seeds and on halves of the samples.

Each sister has the SAE's class and settings, its own first atoms and its own order of the rows. Of an SAE from
another library a sister is our architecture of the same rule.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.architectures import ARCHITECTURES, SparseAutoencoder
from sae_nb.checks import shown
from sae_nb.evaluation.trainings import TrainingRun, build_from_seed, initialised_atoms, train_runs
from sae_nb.files import read_json, write_json
from sae_nb.progress import progress_bar
from sae_nb.training import TrainConfig
from sae_nb_studies.evaluation import frozen_decoder

FEWEST_STEPS = 100
"""Optimiser steps below which a sister is not trained: it would return nothing. Ours."""

TRIED, TRIES = 10, 3
"""Steps that the cost of a sister is measured on, and how often: other work comes in bursts."""

SHARE_OF_BUDGET = 0.7
"""Part of the time that trainings may take; measuring has the rest. Ours."""

_UNITS = {
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
}
_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+?)s?", re.IGNORECASE)
_PLAN = "plan.json"


class SisterDivergedError(ValueError):
    """A sister's training diverged, so the SAE cannot be compared with it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sisters:
    """Dictionaries that an SAE's atoms are looked for in, and the controls that show what chance does."""

    seeds: tuple[Any, ...]
    """Trainings on the same rows from other seeds, or the sisters that were given."""

    halves: tuple[Any, ...] = ()
    """Trainings on one half of the samples each; none where sisters were given."""

    frozen: Any = None
    """A trained encoder over random atoms that stay as they are; None where sisters were given."""

    untrained: Tensor | None = None
    """The atoms with which a training of the same recipe begins; None where that is not known."""

    steps: int | None = None
    """Optimiser steps of each."""


def seconds_of(budget: float | str) -> float:
    """Return a time such as "5 min" or 300 in seconds."""
    if isinstance(budget, str):
        found = _BUDGET.fullmatch(budget.strip())
        if found is None or found[2].lower() not in _UNITS:
            raise ValueError(
                f'`budget` must be a time such as "5 min", got {budget!r}. Use s, min or h.'
            )
        seconds = float(found[1]) * _UNITS[found[2].lower()]
    elif isinstance(budget, int | float) and not isinstance(budget, bool):
        seconds = float(budget)
    else:
        raise TypeError(f'`budget` must be a time such as "5 min", got {shown(budget)}.')
    if not 0 < seconds < float("inf"):
        raise ValueError(f"`budget` must be a time above 0, got {budget!r}.")
    return seconds


def check_given(sae: SparseAutoencoder, sisters: Any) -> tuple[Any, ...]:
    """Return sisters that were trained before, of the width of the SAE and not the SAE itself."""
    if isinstance(sisters, str | Tensor) or not isinstance(sisters, Sequence) or not len(sisters):
        raise TypeError(
            '`sisters` must be "train" or a list of SAEs of other seeds, got '
            f"{shown(sisters)}. Train the same SAE from another seed."
        )
    for i, sister in enumerate(sisters):
        atoms = getattr(sister, "dictionary", None)
        if not isinstance(atoms, Tensor) or atoms.ndim != 2:
            raise TypeError(
                f"`sisters[{i}]` must be an SAE, got {shown(sister)}. Use sn.load_sae(folder)."
            )
        if atoms.shape[1] != sae.dictionary.shape[1]:
            raise ValueError(
                f"`sisters[{i}]` must have atoms of width {sae.dictionary.shape[1]}, got {atoms.shape[1]}. "
                "Train it on the same activations, from another seed."
            )
        if atoms.shape == sae.dictionary.shape and torch.equal(
            atoms.to(sae.dictionary), sae.dictionary
        ):
            raise ValueError(
                f"`sisters[{i}]` must be another training, got the SAE itself. Train it from another seed."
            )
    return tuple(sisters)


def trained_sisters(
    sae: SparseAutoencoder,
    acts: Activations,
    config: TrainConfig | None,
    seconds: float,
    *,
    n_seeds: int,
    seed: int,
    folder: Path | None,
    progress: bool,
) -> Sisters:
    """Train sisters from other seeds, one on each half of the samples, and a frozen-decoder control."""
    l0 = float(
        sae.encode(acts.rows(torch.arange(min(len(acts), 4096))).to(sae.dictionary))
        .l0.float()
        .mean()
    )
    build = _builder(sae, l0)
    steps = int((getattr(sae, "measured", None) or {}).get("steps", TrainConfig.steps))
    how = _settings(build, steps, acts, config, seconds, n_seeds + 3, folder, seed)

    first, second = acts.split(0.5, seed=seed)
    rows = [acts] * n_seeds + [first, second]
    done: list[Any] = []
    with progress_bar(len(rows) + 1, "sisters", "training", enabled=progress) as bar:
        for i, part in enumerate(rows):
            done.append(_sister(build, part, how, seed + 1 + i, _place(folder, i)))
            bar.update()
        k = min(max(round(l0), 1), sae.n_atoms)
        whole = replace(how, checkpoint=_place(folder, len(rows)))
        frozen = frozen_decoder(acts, sae.n_atoms, k, whole, seed=seed, progress=False)
        bar.update()
    return Sisters(
        seeds=tuple(done[:n_seeds]),
        halves=tuple(done[n_seeds:]),
        frozen=frozen,
        untrained=initialised_atoms(build(seed + 100), acts, seed + 100),
        steps=how.steps,
    )


def _builder(sae: SparseAutoencoder, l0: float) -> Callable[[int], SparseAutoencoder]:
    """Return what draws an untrained SAE of the same recipe from a seed, or refuse one that cannot be trained.

    Of an SAE from another library it is our architecture of the same rule, fresh, at the `l0` of the SAE.
    """
    if not isinstance(sae, SparseAutoencoder):
        raise TypeError(
            f'`sisters="train"` needs an SAE that can be trained here, got {shown(sae)}. Pass sisters=[…], '
            "SAEs of the same recipe from other seeds."
        )
    like = sae.trained_as()
    kind, settings = type(like), like.settings()
    if like is not sae:
        kind = ARCHITECTURES[kind.__name__]
        if "l0" in settings:
            settings["l0"] = l0
        if settings.get("k") is not None and settings["k"] >= sae.n_atoms:  # the file has none
            settings["k"] = l0
    return lambda seed: build_from_seed(kind, seed, **settings)


def _settings(
    build: Callable[[int], SparseAutoencoder],
    wanted: int,
    acts: Activations,
    config: TrainConfig | None,
    seconds: float,
    n_trainings: int,
    folder: Path | None,
    seed: int,
) -> TrainConfig:
    """Return the settings given, or as many steps as the SAE had and the time allows."""
    if config is not None:
        return config
    plan = None if folder is None else folder / _PLAN
    if plan is not None and plan.is_file():
        return TrainConfig(steps=int(read_json(plan)["steps"]))
    step = _step_seconds(build(seed), acts)
    steps = min(wanted, int(SHARE_OF_BUDGET * seconds / n_trainings / step))
    if steps < min(FEWEST_STEPS, wanted):
        needed = n_trainings * step * FEWEST_STEPS / SHARE_OF_BUDGET
        raise ValueError(
            f"`budget` must allow {FEWEST_STEPS} steps of each of {n_trainings} trainings, about "
            f"{needed:.0f} s here, got {seconds:g} s. Raise it, pass fewer activations, or pass sisters=[…]."
        )
    if plan is not None:
        write_json(plan, {"steps": steps})
    return TrainConfig(steps=steps)


def _step_seconds(sister: SparseAutoencoder, acts: Activations) -> float:
    """Return what an optimiser step takes: by the clock or the CPU, whichever is less, the least of some tries.

    Other work on the machine costs time by the clock, threads cost several times the CPU.
    """
    run = TrainingRun(build=lambda: sister, rows=acts, notes_start=True)
    list(
        train_runs([run], TrainConfig(steps=1), progress=False)
    )  # loops are compiled, data looked at
    tries = []
    for _ in range(TRIES):
        clock, cpu = time.perf_counter(), time.process_time()
        list(train_runs([run], TrainConfig(steps=TRIED), progress=False))
        tries += [time.perf_counter() - clock, time.process_time() - cpu]
    return min(tries) / TRIED


def _place(folder: Path | None, i: int) -> Path | None:
    return None if folder is None else folder / f"training-{i}"


def _sister(
    build: Any, rows: Activations, how: TrainConfig, seed: int, checkpoint: Path | None
) -> SparseAutoencoder:
    run = TrainingRun(build=partial(build, seed), rows=rows, seed=seed)
    where = None if checkpoint is None else (lambda _: checkpoint)
    try:
        (done,) = train_runs([run], how, progress=False, checkpoint=where)
    except FloatingPointError as error:
        raise SisterDivergedError(
            f"Every sister must train to its end, and the one of seed {seed} diverged: {error} Pass "
            "config=sn.TrainConfig(steps=…, learning_rate=…) with a smaller step size."
        ) from error
    atoms = done.sae.dictionary
    if not bool(torch.isfinite(atoms).all()):
        raise SisterDivergedError(
            f"Every sister must train to its end, and the one of seed {seed} has atoms that are not finite. "
            "Pass config=sn.TrainConfig(steps=…, learning_rate=…) with a smaller step size."
        )
    return done.sae.eval()


@torch.no_grad()
def random_twin(acts: Activations, n_atoms: int, seed: int) -> Tensor:
    """Draw unit atoms from a Gaussian with the mean and the covariance of the rows: what chance finds."""
    x = acts.target.rows(torch.from_numpy(_some_rows(len(acts), seed))).double()
    mean, centred = x.mean(dim=0), x - x.mean(dim=0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(x))
    drawn = torch.randn(
        n_atoms, x.shape[1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    rows = mean + drawn * values.clamp_min(0).sqrt() @ vectors.T
    return torch.nn.functional.normalize(rows, dim=1).float()


def _some_rows(n: int, seed: int, most: int = 65_536) -> np.ndarray:
    """Some rows, in order."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:most])
