"""The common parts of dictionaries whose codes are found by steps of FISTA, and that learn through all
of them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures import (
    FixedOperator,
    Penalty,
    SolverTrace,
    SparseAutoencoder,
    TrainingDefaults,
    fista,
)
from sae_nb.architectures.parts import Encodable, MatrixOperator, row_tiles
from sae_nb.codes import SparseCodes
from sae_nb.training import train

Rows = Float[Tensor, "rows d_in"]
Atoms = Float[Tensor, "n_atoms d_in"]


class Unrolled(SparseAutoencoder):
    """min_z ½‖x − zW‖² + g(z), by `n_steps` of FISTA from zero."""

    n_steps: int

    def fit(self, x: Encodable, *, steps: int = 200, batch_size: int = 128, seed: int = 0) -> Self:
        """Learn the atoms in place, through all steps of the solver; `sn.train` for small data.

        Parameters
        ----------
        x
            Points, one per row, or activations.
        steps
            Of Adam.
        batch_size
            Rows per step.
        seed
            Draws first atoms and batches.
        """
        train(self, x, steps=steps, batch_size=batch_size, seed=seed, progress=False)
        return self

    def steps(self, x: Encodable) -> tuple[SparseCodes, SolverTrace]:
        """Return codes and every step of the solver on the way, for a few inputs: what `PursuitStepper`
        shows.

        Parameters
        ----------
        x
            Rows in the model's units; `trace.residual_norms` are in units of the atoms' scale.
        """
        return self._solve(self._scaled_rows(self._rows(x)), trace=True)

    def recipe(self) -> TrainingDefaults:
        """Return the rate of the published code's size of problem: hundreds of steps over points in
        scaled units.
        """
        return TrainingDefaults(learning_rate=2e-2)

    def _encode(self, x: Rows, k: int | None) -> SparseCodes:
        scaled = self._scaled_rows(x)
        tiles = row_tiles(len(x), self.n_atoms)
        return self._in_units(SparseCodes.concatenate(self._solve(scaled[rows]) for rows in tiles))

    def _solve(self, scaled: Rows, **options: Any) -> Any:
        atoms = self._atoms()
        penalty = self._penalty(scaled, atoms)
        return fista(FixedOperator(atoms), scaled, penalty, n_steps=self.n_steps, **options)

    @abstractmethod
    def _atoms(self) -> Atoms:
        """The atoms in the solver's units."""

    @abstractmethod
    def _penalty(self, scaled: Rows, atoms: Atoms) -> Penalty:
        """The penalty of a tile of rows."""

    @abstractmethod
    def _scaled_rows(self, x: Rows) -> Rows:
        """Rows in the units in which atoms are kept."""

    @abstractmethod
    def _in_units(self, codes: SparseCodes) -> SparseCodes:
        """Codes in the model's units."""


class UnitAtoms(Unrolled):
    """Atoms of unit norm; inputs around their mean, in units of their root mean square norm."""

    def _begin(self, operator: MatrixOperator) -> None:
        """Begin as a module; the mean is all the bias there is."""
        SparseAutoencoder.__init__(self, operator)
        del self.pre_bias
        self.register_buffer("pre_bias", torch.zeros(self.d_in))

    def recipe(self) -> TrainingDefaults:
        """Return a smaller rate than for landmarks: entries of unit atoms are small."""
        return TrainingDefaults(learning_rate=5e-3)

    @property
    def _unit(self) -> Float[Tensor, ""]:
        """Root mean square of ‖x − μ‖, in the model's units."""
        return math.sqrt(self.d_in) / self.scaling.scale

    @torch.no_grad()
    def _scale(self, x: Rows, generator: torch.Generator | None) -> None:
        super()._scale(x, generator)
        self.pre_bias.zero_()

    def _scaled_rows(self, x: Rows) -> Rows:
        return (x - self.scaling.mean) / self._unit

    def _in_units(self, codes: SparseCodes) -> SparseCodes:
        return codes.with_values(codes.values * self._unit)
