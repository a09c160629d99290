"""What a toy bottleneck learned, beside the truth it was made from: the record of SuperpositionToy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures.topk import TopK
from sae_nb.data.sparse_inputs import sparse_features
from sae_nb.evaluation.matching import match_atoms
from sae_nb.evaluation.superposition import feature_dimensionality, interference
from sae_nb.models.bottleneck import Bottleneck
from sae_nb.summaries.selectivity import row_factors, summarise_selectivity
from sae_nb.training import TrainConfig, train

STORED_FROM = 0.5
"""Length of a direction from which its feature counts as stored: read back at a quarter or more."""

SILENT_BELOW = 0.05
"""A hidden vector shorter than this holds no feature worth an atom."""

JUDGED_ROWS = 4096
"""Inputs to choose detectors on, and as many to judge them on: an F1 is then known to about 0.02."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SuperpositionSummary:
    """Directions of the features, how they share the room, and who tells them apart."""

    sparsity: float
    """Chance that a feature is off."""

    loss: float
    """Held-out loss of the toy."""

    directions: Float[np.ndarray, "n_features n_hidden"]
    """Where each feature lives among the neurons."""

    gram: Float[np.ndarray, "n_features n_features"]
    """WᵀW: what is read at row i when feature j is on with strength 1."""

    dimensionality: Float[np.ndarray, " n_features"]
    """Share of a hidden dimension that each feature has to itself."""

    interference: Float[np.ndarray, " n_features"]
    """What the others say where this one is read."""

    stored: tuple[int, ...]
    """Features whose direction is longer than a half."""

    found: FoundDirections | None = None
    """What an SAE made of the hidden vectors; None before one is trained."""

    @property
    def n_hidden(self) -> int:
        """How many neurons there are."""
        return self.directions.shape[1]

    def __repr__(self) -> str:
        told = "" if self.found is None else f"; {self.found!r}"
        return (
            f"SuperpositionSummary(sparsity {self.sparsity:g}: {len(self.stored)} of "
            f"{len(self.directions)} features stored in {self.n_hidden} neurons, dimensionalities "
            f"together {self.dimensionality.sum():.2f}{told})"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundDirections:
    """Atoms of an SAE trained on hidden vectors, against the stored features and against neurons."""

    atoms: Float[np.ndarray, "n_atoms n_hidden"]
    """Dictionary of the SAE."""

    matched: tuple[int, ...]
    """For each stored feature, the atom matched with it."""

    cosine: float
    """Mean cosine between stored features and their atoms."""

    cosine_floor: float
    """The same for as many random directions."""

    cosine_neurons: float
    """The same for the neurons and their opposites; a feature left over counts with 0."""

    atom_f1: Float[np.ndarray, " n_features"]
    """F1 of the best atom as a detector of each feature, on fresh inputs."""

    neuron_f1: Float[np.ndarray, " n_features"]
    """F1 of the best neuron, either sign."""

    random_f1: Float[np.ndarray, " n_features"]
    """F1 of the best of as many random directions as there are atoms."""

    def __repr__(self) -> str:
        return (
            f"atoms find them with cosine {self.cosine:.3f} (random {self.cosine_floor:.3f}, neurons "
            f"{self.cosine_neurons:.3f}) and F1 {self.atom_f1.mean():.3f} (random "
            f"{self.random_f1.mean():.3f}, neurons {self.neuron_f1.mean():.3f})"
        )


def summarise_superposition(
    toy: Bottleneck, sae: TopK | None = None, *, seed: int = 0
) -> SuperpositionSummary:
    """Compare what a toy learned with what is known of it.

    Parameters
    ----------
    toy
        Trained, so that it knows its sparsity.
    sae
        Trained on its hidden vectors, as `fit_atoms` does; None leaves that part out.
    seed
        Draws the inputs on which detectors are judged, and the random directions.

    Raises
    ------
    ValueError
        If the toy has not been trained.

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
    stored = tuple(_stored(directions).nonzero().flatten().tolist())
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


def fit_atoms(
    toy: Bottleneck,
    *,
    n_atoms: int | None = None,
    k: int | None = None,
    steps: int = 200,
    n_starts: int = 3,
    seed: int = 0,
) -> TopK:
    """Train SAEs on a toy's hidden vectors and keep the one that rebuilds them best.

    Parameters
    ----------
    toy
        Trained.
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
    truth = toy.directions.detach()[list(stored)]
    _, matched, cosines = match_atoms(truth, sae.dictionary)
    x, fresh = (
        sparse_features(JUDGED_ROWS, toy.n_features, toy.sparsity or 0.0, seed=s)
        for s in (2 * seed + 11, 2 * seed + 12)
    )
    with torch.no_grad():
        table = summarise_selectivity(
            sae,
            toy.hidden(x),
            row_factors(x > 0),
            toy.hidden(fresh),
            row_factors(fresh > 0),
            seed=seed,
        )
    return FoundDirections(
        atoms=sae.dictionary.numpy(),
        matched=tuple(matched.tolist()),
        cosine=float(cosines.mean()),
        cosine_floor=_random_cosine(truth, sae.n_atoms, seed),
        cosine_neurons=_neuron_cosine(truth),
        atom_f1=table.atoms,
        neuron_f1=table.neurons,
        random_f1=table.random,
    )


def _stored(directions: Tensor) -> Tensor:
    return directions.norm(dim=1) > STORED_FROM


def _random_cosine(truth: Tensor, n_atoms: int, seed: int, draws: int = 16) -> float:
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(draws, n_atoms, truth.shape[1], generator=generator)
    return float(np.mean([match_atoms(truth, one)[2].mean() for one in random]))


def _neuron_cosine(truth: Tensor) -> float:
    axes = torch.eye(truth.shape[1])
    return float(match_atoms(truth, torch.cat((axes, -axes)))[2].sum()) / len(truth)
