"""What a toy bottleneck learned, compared with the truth it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from sae_nb.architectures import TopK
from sae_nb.checks import Seed, checked
from sae_nb.data import sparse_features
from sae_nb.evaluation.concepts._selectivity import row_factors, summarise_selectivity
from sae_nb.findings import Finding, column
from sae_nb.geometry._dimension import feature_dimensionality, interference
from sae_nb.geometry._matching import match_atoms
from sae_nb.models import Bottleneck
from sae_nb.training import TrainConfig, train

if TYPE_CHECKING:
    pass


STORED_FROM = 0.5
"""Length of a direction from which its feature counts as stored: read back at a quarter or more."""

SILENT_BELOW = 0.05
"""A hidden vector shorter than this holds no feature worth an atom."""

N_RANDOM = 16
"""Random dictionaries behind the floor of the cosine."""

JUDGED_ROWS = 4096
"""Inputs to choose detectors on, and the same number to judge them on: F1 is then known to about 0.02."""


class SuperpositionSummary(Finding):
    """Directions of the features, how they share the dimensions, and which units detect them."""

    sparsity: float
    """Chance that a feature is off."""

    loss: float
    """Held-out loss of the toy."""

    directions: Float[np.ndarray, "n_features n_hidden"]
    """Direction of each feature among the neurons."""

    gram: Float[np.ndarray, "n_features n_features"]
    """WᵀW: what is read at row i when feature j is on with strength 1."""

    dimensionality: Float[np.ndarray, " n_features"] = field(metadata=column())
    """Share of a hidden dimension that each feature has to itself."""

    interference: Float[np.ndarray, " n_features"] = field(metadata=column())
    """Contribution of the other features where this one is read."""

    stored: tuple[int, ...]
    """Features whose direction is longer than a half."""

    found: FoundDirections | None = None
    """Directions that an SAE found in the hidden vectors; None before one is trained."""

    @property
    def n_hidden(self) -> int:
        """Number of neurons."""
        return self.directions.shape[1]

    @property
    def headline(self) -> str:
        """Stored features, number of neurons, and the result of an SAE."""
        atoms = "" if self.found is None else f"; {self.found.headline}"
        return (
            f"sparsity {self.sparsity:g}: {len(self.stored)} of {len(self.directions)} features stored in "
            f"{self.n_hidden} neurons, dimensionalities together {self.dimensionality.sum():.2f}{atoms}"
        )


class FoundDirections(Finding):
    """Atoms of an SAE trained on hidden vectors, against the stored features and against neurons."""

    HEADLINE = (
        "atoms find them with cosine {cosine:.3f} (random {cosine_floor:.3f}, neurons "
        "{cosine_neurons:.3f}) and F1 {atom_f1.mean:.3f} (random {random_f1.mean:.3f}, neurons "
        "{neuron_f1.mean:.3f})"
    )

    atoms: Float[np.ndarray, "n_atoms n_hidden"]
    matched: tuple[int, ...]
    """For each stored feature, the atom matched with it."""

    cosine: float
    """Mean cosine between stored features and their atoms."""

    cosine_floor: float
    """The same for random directions, one per atom."""

    cosine_neurons: float
    """The same for the neurons and their opposites; a feature left over counts with 0."""

    atom_f1: Float[np.ndarray, " n_features"] = field(metadata=column("atom F1"))
    """F1 of the best atom as a detector of each feature, on fresh inputs."""

    neuron_f1: Float[np.ndarray, " n_features"] = field(metadata=column("neuron F1"))
    """F1 of the best neuron, either sign."""

    random_f1: Float[np.ndarray, " n_features"] = field(metadata=column("random F1"))
    """F1 of the best of the same number of random directions as atoms."""


@checked
def summarise_superposition(
    toy: Bottleneck, sae: TopK | None = None, *, seed: Seed = 0
) -> SuperpositionSummary:
    """Compare what a trained toy learned with what is known of it.

    Parameters
    ----------
    sae
        Trained on its hidden vectors, as `fit_atoms` does; None leaves that part out.
    seed
        Draws the inputs on which detectors are judged, and the random directions.

    Raises
    ------
    ValueError: If the toy has not been trained.

    Example
    -------
    >>> from sae_nb.models import train_bottlenecks
    >>> (toy,) = train_bottlenecks([0.97], steps=300)
    >>> summarise_superposition(toy).stored
    (0, 1, 2, 3, 4)
    """
    if toy.sparsity is None or toy.loss is None:
        raise ValueError(
            "`toy` must be trained, got one that is not. Make it with `train_bottlenecks([0.9])`."
        )
    directions = toy.directions.detach()
    stored = tuple((directions.norm(dim=1) > STORED_FROM).nonzero().flatten().tolist())
    return SuperpositionSummary(
        sparsity=toy.sparsity,
        loss=toy.loss,
        directions=directions.numpy(),
        gram=(directions @ directions.T).numpy(),
        dimensionality=feature_dimensionality(directions).numpy(),
        interference=interference(directions).numpy(),
        stored=stored,
        found=None if sae is None else _found(toy, sae, stored, seed),
    )


@checked
def fit_atoms(
    toy: Bottleneck,
    *,
    n_atoms: int | None = None,
    k: int | None = None,
    steps: int = 200,
    n_starts: int = 3,
    seed: Seed = 0,
) -> TopK:
    """Train SAEs on a toy's hidden vectors and keep the one that rebuilds them best.

    Parameters
    ----------
    n_atoms
        Rows of the dictionary; None is half again as many as features: spare atoms keep one start
        from getting stuck with two atoms on one feature.
    k
        Atoms per hidden vector; None is the number of features that are on together on average,
        at least 1.
    steps
        Optimiser steps of 256 hidden vectors.
    n_starts
        First dictionaries to try; only reconstruction decides among them, never the truth.
    seed
        Of inputs and first dictionaries.

    Example
    -------
    >>> from sae_nb.models import train_bottlenecks
    >>> (toy,) = train_bottlenecks([0.97], steps=200)
    >>> fit_atoms(toy, steps=20, n_starts=1).dictionary.shape
    torch.Size([8, 2])
    """
    sparsity = 0.0 if toy.sparsity is None else toy.sparsity
    x = sparse_features(20_000, toy.n_features, sparsity, seed=seed)
    with torch.no_grad():
        hidden = toy.hidden(x)
    hidden = hidden[hidden.norm(dim=1) > SILENT_BELOW]
    together = round(toy.n_features * (1 - sparsity))
    size = -(-3 * toy.n_features // 2) if n_atoms is None else n_atoms
    k = max(1, min(together, toy.n_hidden - 1)) if k is None else k
    draws = [torch.Generator().manual_seed(1000 * seed + start) for start in range(n_starts)]
    saes = [TopK(toy.n_hidden, size, k, generator=draw) for draw in draws]
    train(saes, hidden, TrainConfig(steps=steps, batch_size=256, seed=seed), progress=False)
    with torch.no_grad():
        errors = [float((hidden - sae(hidden)).square().mean()) for sae in saes]
    return saes[int(np.argmin(errors))]


def _found(toy: Bottleneck, sae: TopK, stored: Sequence[int], seed: int) -> FoundDirections:
    truth, axes = toy.directions.detach()[list(stored)], torch.eye(toy.n_hidden)
    _, matched, cosines = match_atoms(truth, sae.dictionary)
    x, fresh = (
        sparse_features(JUDGED_ROWS, toy.n_features, toy.sparsity or 0.0, seed=s)
        for s in (2 * seed + 11, 2 * seed + 12)
    )
    with torch.no_grad():
        sides = (toy.hidden(x), row_factors(x > 0), toy.hidden(fresh), row_factors(fresh > 0))
        table = summarise_selectivity(sae, *sides, seed=seed)
    draws = torch.Generator().manual_seed(seed)
    random = torch.randn(N_RANDOM, sae.n_atoms, truth.shape[1], generator=draws)
    return FoundDirections(
        atoms=sae.dictionary.numpy(),
        matched=tuple(matched.tolist()),
        cosine=float(cosines.mean()),
        cosine_floor=float(np.mean([match_atoms(truth, one)[2].mean() for one in random])),
        cosine_neurons=float(match_atoms(truth, torch.cat((axes, -axes)))[2].sum()) / len(truth),
        atom_f1=table.atoms,
        neuron_f1=table.neurons,
        random_f1=table.random,
    )
