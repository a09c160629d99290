"""Are atoms made of fewer meta-atoms? A BatchTopK dictionary of the dictionary's own rows.

High R² says that atoms are compositions; what random atoms reach under the same recipe says how high is
high.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_count, check_matrix
from sae_nb.evaluation.report._measurement import (
    Measurement,
    Resampling,
    chance_generator,
    measured,
)

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.codes import SparseCodes


RATIO, K, STEPS, BATCH, LEARNING_RATE = 0.25, 4, 1500, 1024, 5e-4
"""SAEBench's recipe (evals/meta_structure); the learning rate is scaled up where steps are fewer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MetaDictionary(Measurement):
    """Atoms written as sums of meta-atoms."""

    sae: SparseAutoencoder
    """Of the atoms."""

    codes: SparseCodes
    """Which meta-atoms each atom is made of."""


def meta_dictionary(
    sae: Any,
    *,
    ratio: float = RATIO,
    k: int = K,
    steps: int = STEPS,
    seed: int = 0,
    n_bootstrap: int = 1000,
    progress: bool = True,
) -> MetaDictionary:
    """Train a dictionary of a dictionary, and one of random atoms to compare with.

    Costs two trainings of `steps` steps on n_atoms rows: about 10 s at 1024 atoms of width 64.

    Parameters
    ----------
    sae
        An SAE or a dictionary.
    ratio
        Meta-atoms per atom.
    k
        Meta-atoms each atom is made of, on average.
    steps
        Of training.
    seed
        Of the meta-dictionary, the random atoms, and the bootstrap.
    n_bootstrap
        Resamples of atoms.
    progress
        Whether a bar is shown.

    Returns
    -------
    MetaDictionary
        R² of the unit atoms; the control is the same for random atoms.

    Raises
    ------
    ValueError: If there are too few atoms for k meta-atoms each, or they are all one.

    Source
    ------
    Leask et al., "Sparse autoencoders do not find canonical units of analysis", arXiv 2502.04878;
    SAEBench, evals/meta_structure.

    Example
    -------
    >>> atoms = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    >>> found = meta_dictionary(atoms, k=2, steps=20, progress=False, n_bootstrap=10)
    >>> found.sae.n_atoms, found.codes.shape
    (10, (40,))
    """
    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    rows = sae if isinstance(sae, Tensor) else sae.dictionary
    rows = check_matrix(rows, name="dictionary").detach().float().cpu()
    unit = torch.nn.functional.normalize(rows, dim=1)
    n_meta, k = round(ratio * len(unit)), check_count(k, name="k")
    if n_meta < k:
        raise ValueError(
            f"`ratio` × n_atoms must be at least k={k} meta-atoms, got {n_meta} of {len(unit)} atoms. "
            f"{round(k / ratio)} atoms are needed."
        )
    if float((unit - unit.mean(dim=0)).norm(dim=1).max()) < 1e-6:
        raise ValueError("`sae` must have atoms that differ, got one direction for all of them.")
    how = {"n_meta": n_meta, "k": k, "steps": steps, "seed": seed}
    meta, explained = _trained(unit, **how, progress=progress)
    random = torch.nn.functional.normalize(
        torch.randn(unit.shape, generator=chance_generator(seed)), dim=1
    )
    total = (unit - unit.mean(dim=0)).square().sum(dim=1).double()
    shares = 1 - explained / total.mean()
    _, of_random = _trained(random, **how, progress=progress)
    spread = (random - random.mean(dim=0)).square().sum(dim=1).double().mean()
    return MetaDictionary.of(
        measured(
            "meta_r2",
            shares.mean(),
            floor=0.0,
            control=1 - of_random.mean() / spread,
            interval=resampling.spread(shares.numpy()),
            n=len(unit),
            unit="atoms",
        ),
        seconds=time.perf_counter() - start,
        sae=meta,
        codes=meta.encode(unit).detach(),
    )


def _trained(
    unit: Float[Tensor, "n_atoms d_in"],
    *,
    n_meta: int,
    k: int,
    steps: int,
    seed: int,
    progress: bool,
) -> tuple[SparseAutoencoder, Float[Tensor, " n_atoms"]]:
    """A dictionary of the rows, and the squared error of each row."""
    from sae_nb.architectures import BatchTopK
    from sae_nb.training import TrainConfig, train

    generator = torch.Generator().manual_seed(seed)
    meta = BatchTopK(unit.shape[1], n_meta, k, generator=generator)
    train(meta, unit, TrainConfig(steps=steps, batch_size=BATCH, seed=seed), progress=progress)
    with torch.no_grad():
        return meta, (unit - meta(unit)).square().sum(dim=1).double()
