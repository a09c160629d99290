"""The common parts of SAEs whose encoder is a pursuit: one dictionary, no encoder weights, k free at
inference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from sae_nb.architectures._base import SparseAutoencoder
from sae_nb.architectures._recipe import Silence, TrainingDefaults, TrainingLoss
from sae_nb.architectures._revival import IN_PURSUITS, AtomRows, Revival, as_directions
from sae_nb.architectures.parts._operators import DenseOperator
from sae_nb.architectures.parts._proxes import Rows
from sae_nb.checks import Between, Count, Share, at_least, check_k, checked
from sae_nb.codes import SparseCodes
from sae_nb.codes._support import index_dtype
from sae_nb.pursuit._checking import Gradient
from sae_nb.pursuit._problem import Problem, PursuitName, Reselect
from sae_nb.pursuit._pursuits import codes_of_step, has_steps_of_one_shape

TURN_PER_STEP = 0.15
"""Radians an atom may turn in one Adam step. Ours: best of 0.016 … 0.3 over 300 steps of 256 rows on
planted data, digits (d_in 64, 256 atoms) and the concept tree (20, 20), where authors use 0.13."""

Norm = Annotated[float, at_least(0, do="None takes k steps.")]
"""Largest norm of a rest that counts as nothing."""

BETAS = (0.5, 0.9375)
"""mpsae/MP-SAE. Choices of atoms change from step to step, and a long memory averages over them: with
Adam's own (0.9, 0.999) digits need twice the steps for the same R²."""


@checked
class PursuitAutoencoder(SparseAutoencoder):
    """z = pursuit(x − b, D, k),  x̂ = zD + b.  The dictionary is all there is to learn.

    Trained on ‖x − x̂‖² / E‖x − μ‖², without a sparsity term: k and the tolerances say when to stop.
    Atoms that stay dead are resampled from residuals of inputs (`revival`).
    """

    live_numbers = ("k",)
    operator: DenseOperator
    dropout_seed: Tensor

    def __init__(
        self,
        d_in: Count,
        n_atoms: Count,
        k: int,
        *,
        tolerance: Norm | None = None,
        relative_tolerance: Share | None = None,
        nonnegative: bool = True,
        dropout: Annotated[float, Between(0, 1, "[)")] = 0.0,
        revive: bool = True,
        bias: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        check_k(k, n_atoms)
        super().__init__(DenseOperator(d_in, n_atoms, generator=generator))
        self.k, self.tolerance, self.relative_tolerance = k, tolerance, relative_tolerance
        self.nonnegative, self.revive, self.dropout = nonnegative, revive, dropout
        self.pre_bias.requires_grad_(bias)
        self.register_buffer("dropout_seed", torch.zeros((), dtype=torch.int64))

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild an SAE of this size."""
        sizes = ("d_in", "n_atoms", "k", "tolerance", "relative_tolerance")
        names = (*sizes, "nonnegative", "dropout", "revive")
        return {name: getattr(self, name) for name in names} | {"bias": self.has_bias}

    @property
    def has_bias(self) -> bool:
        """Whether b is learned; without one it is 0."""
        return self.pre_bias.requires_grad

    def recipe(self) -> TrainingDefaults:
        """Return defaults for training, made for hundreds to thousands of steps.

        Entries of a unit atom are about 1/√d_in and Adam moves each by one learning rate.
        """
        return TrainingDefaults(learning_rate=TURN_PER_STEP / math.sqrt(self.d_in), betas=BETAS)

    def _scale(self, x: Rows, generator: torch.Generator | None) -> None:
        """Read scaling and bias off the first activations."""
        super()._scale(x, generator)
        self.dropout_seed.random_(2**31, generator=generator)
        if not self.has_bias:
            self.scaling.mean.zero_()
            self.pre_bias.zero_()

    def training_loss(
        self, x: Rows, silent_tokens: Silence, dead_after: int, step_fraction: float
    ) -> TrainingLoss:
        """Return the unexplained share of variance; dead atoms are marked for resampling after the step."""
        codes = self._training_codes(x, step_fraction)
        error, x_hat, residual = self.operator.squared_error(codes, self.bias, x)
        if self.revive:
            when = (residual.detach(), silent_tokens, dead_after, step_fraction)
            self.to_resample = self._way_back.marked(*when, masked=self.has_one_shape)
        share = error / (len(x) * self.scaling.variance)
        return TrainingLoss.of({"reconstruction": (1.0, share)}, codes, x_hat)

    @property
    def has_one_shape(self) -> bool:
        """Whether a training step has one shape here and asks the host nothing: on a card with Triton.

        With dropout the host draws atoms.
        """
        whole = self.fixed_codes and self.dropout == 0
        return whole and has_steps_of_one_shape(self.operator.weight)

    @property
    def _way_back(self) -> Revival:
        return IN_PURSUITS

    def _atom_rows(self) -> tuple[AtomRows, ...]:
        return (AtomRows(self.operator.weight, as_directions),)

    def _training_codes(self, x: Tensor, step_fraction: float) -> SparseCodes:
        """Codes of a batch, with only some of the atoms where there is dropout."""
        atoms = self.operator.atoms()
        if self.has_one_shape:
            centred = x - self.bias
            problem = self.pursuit_problem(centred.detach().contiguous(), atoms.detach())
            wanted = self._training_gradient == "full"
            return codes_of_step(problem, (centred, atoms) if wanted else None)
        if self.dropout == 0:
            return self._codes(x, atoms, self.k, self._training_gradient)
        kept = self._kept(step_fraction)
        some = atoms.index_select(0, kept)
        codes = self._codes(x, some, min(self.k, len(kept)), self._training_gradient)
        full = kept.to(index_dtype(self.n_atoms))[codes.atoms.long()]
        return SparseCodes(codes.values, full, codes.offsets, self.n_atoms, codes.leading_shape)

    def _kept(self, step_fraction: float) -> Int[Tensor, " n_kept"]:
        """Atoms that a batch may use; a function of the step, so that a resumed run repeats it."""
        seed = int(self.dropout_seed) + round(step_fraction * 2**32)
        drawn = torch.rand(self.n_atoms, generator=torch.Generator().manual_seed(seed))
        kept = (drawn >= self.dropout).nonzero().flatten()
        # With few atoms all may be drawn; a batch without any would end the training.
        return (kept if len(kept) else torch.arange(self.n_atoms)).to(self.device)

    def _encode(self, x: Rows, k: int | None) -> SparseCodes:
        # A parameter and its detached view are one dictionary to the cache of Gram matrices.
        return self._codes(x, self.operator.atoms(), self.k if k is None else k, "full")

    _training_gradient: Gradient = "full"
    """Gradient of the codes that the loss needs."""

    algorithm: PursuitName = "matching_pursuit"
    reselect: Reselect = True

    def pursuit_problem(self, x: Tensor, atoms: Tensor) -> Problem:
        """Return the problem of a pursuit of centred rows over some atoms, by this SAE's rules."""
        return Problem(
            x=x,
            dictionary=atoms,
            k=self.k,
            algorithm=self.algorithm,
            nonnegative=self.nonnegative,
            reselect=self.reselect,
            tolerance=self.tolerance,
            relative_tolerance=self.relative_tolerance,
        )

    def _codes(self, x: Rows, atoms: Tensor, k: int, gradient: Gradient) -> SparseCodes:
        """Codes of rows over some unit atoms."""
        return self._pursue(
            x - self.bias,
            atoms,
            k,
            tolerance=self.tolerance,
            relative_tolerance=self.relative_tolerance,
            nonnegative=self.nonnegative,
            gradient=gradient,
            **self._own_rules(),
        )

    _pursue: ClassVar[Callable[..., SparseCodes]]
    """The pursuit of centred rows."""

    def _own_rules(self) -> dict[str, Any]:
        """Return options of this pursuit alone."""
        return {}
