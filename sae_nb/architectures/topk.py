"""TopK: keep the k strongest positive pre-codes of each input; AuxK revives dead atoms."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures.auxiliary import auxk_loss
from sae_nb.architectures.base import SparseAutoencoder, TrainingLoss
from sae_nb.architectures.encoders import LearnedAdjoint
from sae_nb.architectures.initialisation import best_gain
from sae_nb.architectures.operators import DenseOperator
from sae_nb.architectures.proxes import TopKProx
from sae_nb.architectures.recipe import Recipe
from sae_nb.architectures.solvers import ista_step
from sae_nb.checks import check_count, check_k
from sae_nb.codes import SparseCodes

TURN_PER_STEP = 0.08
"""Radians an atom may turn in one Adam step. Ours: best of 0.008 … 0.3 at 300–400 steps of 2048 rows
on a vision transformer (d_in 64, 1024 atoms), SmolLM2-135M (576, 2048) and planted data."""


class TopK(SparseAutoencoder):
    """A sparse autoencoder with a fixed number of atoms per input.

    u = (x − b)Eᵀ + a,  z = [TopK_k(u)]₊,  x̂ = zD + b, with ‖d_j‖ = 1. Trained on
    ‖x − x̂‖² / E‖x − μ‖² + α·AuxK. It is one ISTA step with a learned adjoint E.

    Parameters
    ----------
    d_in
        Width of an activation.
    n_atoms
        Rows of the dictionary.
    k
        Most atoms per input, 1 ≤ k ≤ n_atoms. May differ at inference: `encode(x, k=…)`.
    aux_k
        Most dead atoms per input in the auxiliary loss. None: half of d_in.
    aux_weight
        α, weight of the auxiliary loss; 0 leaves it out.
    generator
        Draws the first dictionary; None is torch's global generator.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is out of range.

    Source
    ------
    Gao et al., "Scaling and evaluating sparse autoencoders", arXiv 2406.04093. Half of d_in for
    aux_k: saprmarks/dictionary_learning. Ours scales E at the start by least squares on the first
    activations, where openai/sparse_autoencoder uses 256 random vectors.

    Example
    -------
    >>> sae = TopK(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> codes = sae.encode(torch.ones(3, 5, 4))
    >>> codes.shape, bool((codes.l0 <= 2).all()), sae.decode(codes).shape
    ((3, 5), True, torch.Size([3, 5, 4]))
    """

    live_numbers = ("k", "aux_weight")

    def __init__(
        self,
        d_in: int,
        n_atoms: int,
        k: int,
        *,
        aux_k: int | None = None,
        aux_weight: float = 1 / 32,
        generator: torch.Generator | None = None,
    ) -> None:
        d_in = check_count(d_in, name="d_in")
        n_atoms = check_count(n_atoms, name="n_atoms")
        self_k = check_k(k, n_atoms)
        if not aux_weight >= 0:
            raise ValueError(f"`aux_weight` must not be negative, got {aux_weight}.")
        super().__init__(DenseOperator(d_in, n_atoms, generator=generator))
        self.encoder = LearnedAdjoint(self.operator)
        self.k = self_k
        default = max(1, min(d_in // 2, n_atoms))
        self.aux_k = default if aux_k is None else check_k(aux_k, n_atoms, name="aux_k")
        self.aux_weight = float(aux_weight)

    def settings(self) -> dict[str, Any]:
        """Constructor arguments that rebuild an SAE of this size."""
        names = ("d_in", "n_atoms", "k", "aux_k", "aux_weight")
        return {name: getattr(self, name) for name in names}

    def recipe(self) -> Recipe:
        """Defaults for training, made for hundreds to thousands of steps.

        Entries of a unit atom are about 1/√d_in and Adam moves each by one learning rate, so
        0.08 / √d_in turns an atom by 0.08 radians. The published 2e-4·(n_atoms / 2¹⁴)^−½
        (dictionary_learning, sparsify) suits runs a hundred times as long.
        """
        return Recipe(learning_rate=TURN_PER_STEP / math.sqrt(self.d_in))

    @torch.no_grad()
    def initialise(self, x: Float[Tensor, "rows d_in"], generator: torch.Generator | None) -> None:
        """Read scaling, bias and the encoder's gain off the first activations.

        Parameters
        ----------
        x
            The first rows; 8192 are enough.
        generator
            Not used: TopK draws nothing here.
        """
        super().initialise(x, generator)
        rows = self._rows(x)
        x_hat = self.operator.synthesise(self._encode(rows, self.k))
        self.encoder.rescale_(best_gain(rows - self.bias, x_hat))

    def training_loss(
        self,
        x: Float[Tensor, "rows d_in"],
        silent_tokens: Int[Tensor, " n_atoms"],
        dead_after: int,
        step_fraction: float,  # noqa: ARG002
    ) -> TrainingLoss:
        """Unexplained share of variance, and AuxK once atoms are dead.

        Parameters
        ----------
        x
            Activations in the model's units.
        silent_tokens
            Rows since each atom last fired.
        dead_after
            Silent for this many, an atom is dead.
        step_fraction
            Not used: nothing is scheduled.
        """
        codes = self._encode(x, self.k)
        error, x_hat, residual = self.operator.squared_error(codes, self.bias, x)
        reconstruction = error / (len(x) * self.scaling.variance)
        auxiliary = self._auxiliary(x, residual, silent_tokens >= dead_after)
        return TrainingLoss(
            total=reconstruction + self.aux_weight * auxiliary,
            parts={"reconstruction": reconstruction.detach(), "auxiliary": auxiliary.detach()},
            codes=codes.detach(),
            x_hat=x_hat,
        )

    def _auxiliary(self, x: Tensor, residual: Tensor, is_dead: Tensor) -> Tensor:
        dead = is_dead.nonzero().flatten()
        if len(dead) == 0 or self.aux_weight == 0:
            return x.new_zeros(())
        return auxk_loss(
            x,
            residual,
            self.encoder,
            self.operator,
            dead=dead,
            aux_k=self.aux_k,
            centre=self.bias,
            scale=self.scaling.scale,
        )

    def _encode(self, x: Float[Tensor, "rows d_in"], k: int | None) -> SparseCodes:
        prox = TopKProx(self.k if k is None else k)
        return ista_step(x, self.encoder, prox, centre=self.bias, scale=self.scaling.scale)
