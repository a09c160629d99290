"""Stability that training earns: the same SAE trained again and again, compared before and after.

gain = stability at the end − stability at the start. Runs that share their start agree before any
training, which is not evidence (arXiv 2606.02061 on arXiv 2502.12892).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.checks import Between, Resamples, Seed, checked
from sae_nb.evaluation import Measurement, Resampling, Stability, atom_stability, stability
from sae_nb.evaluation.trainings import TrainingRun, train_runs
from sae_nb.interrupts import ending_with

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.training import TrainConfig


Make = Callable[[int], "SparseAutoencoder"]
"""Builds an untrained SAE from a seed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StabilityTrial:
    """Several trainings of one SAE, and how far they agree."""

    initial: Stability
    final: Stability
    """Before the first step, after each has read its first rows; and at the end."""

    gain: Measurement
    """Gain by training; the interval resamples atoms, each compared with itself at the start."""

    saes: tuple[SparseAutoencoder, ...]
    """One per run, trained."""

    per_atom: Float[np.ndarray, " n_atoms"]
    """For the first run: how well each atom is found again. A column for the concept map."""


@checked
def stability_trial(
    make: Make,
    data: Activations | Tensor,
    config: TrainConfig | None = None,
    *,
    seeds: Sequence[Seed] = (0, 1, 2),
    subset: Annotated[float, Between(0, 1, "(]")] = 1.0,
    signed: bool = False,
    n_bootstrap: Resamples = 1000,
    progress: bool = True,
) -> StabilityTrial:
    """Train an SAE once per seed, on the same data or on subsets, and compare start and end.

    Costs one training per seed: `len(seeds)` times what `train` takes.

    Parameters
    ----------
    make
        ``lambda seed: sn.TopK(d_in, n_atoms, k, generator=torch.Generator().manual_seed(seed))``.
    data, config
        Training data and settings; the seed is replaced by each run's.
    seeds
        Two or more, of the start, the order of the data and the subset.
    subset, signed
        Share of the samples each run is trained on; match an atom with another's negative too.

    Raises
    ------
    ValueError: If there are fewer than two seeds.

    Example
    -------
    >>> import torch
    >>> import sae_nb as sn
    >>> x = sn.data.planted_dictionary(12, 12, 400, 2).x
    >>> make = lambda seed: sn.TopK(12, 12, 2, generator=torch.Generator().manual_seed(seed))
    >>> trial = stability_trial(
    ...     make, x, sn.TrainConfig(steps=60), seeds=(0, 1), progress=False, n_bootstrap=10
    ... )
    >>> trial.final.value > trial.initial.value
    True
    """
    from sae_nb.training import TrainConfig

    every = [int(seed) for seed in seeds]
    if len(every) < 2:
        raise ValueError(
            f"`seeds` must be at least two, got {every}: one run has no other to agree with."
        )
    resampling = Resampling(n_bootstrap)
    start = time.perf_counter()
    source = data if isinstance(data, Activations) else Activations.from_tensor(data)
    saes: list[Any] = []
    first: list[Tensor] = []
    with ending_with(lambda: _left_by(saes, len(every))):
        for seed in every:
            rows = source if subset == 1 else source.split(subset, seed)[0]
            run = TrainingRun(build=partial(make, seed), rows=rows, seed=seed, notes_start=True)
            (done,) = train_runs([run], config or TrainConfig(), progress=progress)
            saes.append(done.sae)
            first.append(cast(Tensor, done.start))
    how = {"signed": signed, "n_bootstrap": n_bootstrap}
    initial, final = stability(first, **how), stability(saes, **how)  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    return StabilityTrial(
        initial=initial,
        final=final,
        gain=Measurement.measured(
            "stability_gain",
            final.value - initial.value,
            floor=0.0,
            interval=resampling.spread(_gains(first, saes, signed=signed)),
            n=final.n,
            unit="pairs",
            seconds=seconds,
        ),
        saes=tuple(saes),
        per_atom=atom_stability(saes[0], saes[1:], signed=signed),
    )


def _left_by(saes: list[Any], n: int) -> tuple[str, Any]:
    """Tell what an interrupted trial has left: the SAEs whose training is done, without a number."""
    text = f"The trial was interrupted: {len(saes)} of {n} trainings are done. "
    if not saes:
        return text + "Nothing is kept.", None
    return (
        text + "`sn.interrupted()` returns their SAEs; `evaluation.stability` compares SAEs.",
        saes,
    )


def _gains(first: list[Tensor], saes: list[Any], *, signed: bool) -> Float[np.ndarray, " atoms"]:
    """Stability of atom j of a run at the end, minus that of atom j of the same run at the start."""
    gains = []
    for i, sae in enumerate(saes):
        ends = atom_stability(sae, saes[:i] + saes[i + 1 :], signed=signed)
        starts = atom_stability(first[i], first[:i] + first[i + 1 :], signed=signed)
        gains.append(ends - starts)
    # The runs share partners, so that atoms are resampled and their runs averaged.
    one_size = len({len(gain) for gain in gains}) == 1
    every = np.nanmean(np.stack(gains), axis=0) if one_size else np.concatenate(gains)
    return every[np.isfinite(every)]
