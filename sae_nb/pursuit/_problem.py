"""One checked call to a pursuit, the arrays its steps fill, and their trace."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import check_count
from sae_nb.codes import SparseCodes
from sae_nb.codes._support import index_dtype, offsets_of
from sae_nb.pursuit._small_systems import (
    GRADIENT,
    LEAST_SQUARES,
    NON_NEGATIVE,
    NON_NEGATIVE_GRADIENT,
)

PursuitName = Literal["matching_pursuit", "orthogonal_matching_pursuit", "gradient_pursuit"]
Reselect = Literal[True, False, "stop"]

ROUNDING = 8
"""A correlation below this many units in the last place of ‖x‖ is rounding: nothing is left."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A checked request."""

    x: Float[Tensor, "rows d_in"]
    """Inputs, contiguous."""

    dictionary: Float[Tensor, "n_atoms d_in"]
    """Atoms of unit norm, contiguous."""

    k: int
    """Most steps per row."""

    algorithm: PursuitName
    """Rule that chooses the coefficients."""

    nonnegative: bool = True
    """Whether coefficients must be ≥ 0."""

    reselect: Reselect = True
    """Whether an atom may be chosen again; "stop": once, and the row ends there."""

    tolerance: float | None = None
    """A row stops when ‖r‖ is at most this."""

    relative_tolerance: float | None = None
    """A row stops when ‖r‖ is at most this times ‖x‖."""

    trace: bool = False
    """Whether residual norms and coefficients of every step are kept."""

    refresh_every: int = 32
    """Steps after which correlations are recomputed from the residual."""

    @property
    def mode(self) -> int:
        """Method that solves the small system of a refitting pursuit."""
        if self.algorithm == "gradient_pursuit":
            return NON_NEGATIVE_GRADIENT if self.nonnegative else GRADIENT
        return NON_NEGATIVE if self.nonnegative else LEAST_SQUARES

    @property
    def rounds(self) -> bool:
        """Whether choices are checked, so that Gram rows may be of 16 bits."""
        return not self.refits and self.x.dtype == torch.float32 and self.x.device.type == "cpu"

    @property
    def refits(self) -> bool:
        """Whether all coefficients change at every step."""
        return self.algorithm != "matching_pursuit"

    @property
    def threshold(self) -> float:
        """Squared distance from the span of the chosen atoms below which an atom is dependent."""
        return 1e-12 if self.x.dtype == torch.float64 else 1e-6

    def floors(self) -> Float[Tensor, " rows"]:
        """Return the smallest correlation of each row that is more than rounding."""
        return ROUNDING * torch.finfo(self.x.dtype).eps * self.x.detach().norm(dim=1)

    def limits(self) -> Float[Tensor, " rows"]:
        """Return the squared residual norm at which each row stops; −1 where it does not."""
        squares = self.x.detach().norm(dim=1).double().square()
        limits = torch.full_like(squares, -1.0)
        if self.tolerance is not None:
            limits = limits.clamp_min(self.tolerance**2)
        if self.relative_tolerance is not None:
            limits = torch.maximum(limits, self.relative_tolerance**2 * squares)
        return limits.to(self.x.dtype)

    @property
    def watches(self) -> bool:
        """Whether the residual is needed after every step."""
        return self.trace or self.tolerance is not None or self.relative_tolerance is not None


@dataclass
class Steps:
    """The choices of all rows' steps; entries beyond `steps` and `sizes` are arbitrary."""

    atoms: Int[Tensor, "rows k"]
    """Atoms of each row in the order they were first chosen, each once."""

    places: Int[Tensor, "rows k"]
    """Index among them that each step chose."""

    amounts: Float[Tensor, "rows k"]
    """Matching pursuit: what the step added to the coefficient."""

    coefficients: Float[Tensor, "rows k_or_0"]
    """Refitting pursuits: coefficients of `atoms`, in float64."""

    steps: Int[Tensor, " rows"]
    """Steps taken."""

    sizes: Int[Tensor, " rows"]
    """Atoms chosen."""

    state: Int[Tensor, " rows"]
    """0 while the row is running; 1 finished; 2 finished because the best atom depends on those chosen."""

    norms: Float[Tensor, "rows k_plus_1_or_0"]
    """Residual norm before the first and after every step, where traced."""

    history: Float[Tensor, "rows k_or_0 k_or_0"]
    """Refitting pursuits: coefficients of `atoms` after every step, where traced."""

    @classmethod
    def empty(cls, problem: Problem) -> Steps:
        """Return room for every row."""
        rows, k, x = len(problem.x), problem.k, problem.x
        kind = index_dtype(len(problem.dictionary))
        traced = k if problem.trace else 0
        refit = k if problem.refits else 0

        def zeros(*shape: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=x.device)

        return cls(
            atoms=zeros(rows, k, dtype=kind),
            places=zeros(rows, k, dtype=torch.int32),
            amounts=zeros(rows, 0 if refit else k, dtype=x.dtype),
            coefficients=zeros(rows, refit, dtype=torch.float64),
            steps=zeros(rows, dtype=torch.int32),
            sizes=zeros(rows, dtype=torch.int32),
            state=zeros(rows, dtype=torch.int8),
            norms=zeros(rows, traced + 1 if traced else 0, dtype=x.dtype),
            history=zeros(rows, traced if refit else 0, traced if refit else 0, dtype=x.dtype),
        )

    def rows(self, which: slice) -> Steps:
        """Return views of some rows."""
        return Steps(**{part.name: getattr(self, part.name)[which] for part in fields(self)})

    def chosen(self) -> Bool[Tensor, "rows k"]:
        """Return a mask of the places of `atoms` in use."""
        return self._below(self.sizes)

    def taken(self) -> Bool[Tensor, "rows k"]:
        """Return a mask of the steps that were taken."""
        return self._below(self.steps)

    def _below(self, counts: Tensor) -> Tensor:
        return torch.arange(self.atoms.shape[1], device=counts.device) < counts[:, None]

    def chosen_at_steps(self) -> Int[Tensor, "rows k"]:
        """Return the atom that each step chose; arbitrary beyond `steps`."""
        return self.atoms.gather(1, self.places.long())

    def end_at_repeats(self) -> None:
        """Forget what a row did after it first took an atom that it had already."""
        # Until then every step adds an atom, so its place is the number of the step.
        counts = torch.arange(self.places.shape[1], device=self.places.device, dtype=torch.int32)
        repeats = self.taken() & (self.places != counts)
        first = repeats.int().argmax(dim=1).int()
        self.sizes = torch.where(repeats.any(dim=1), first, self.sizes)
        self.steps = torch.where(repeats.any(dim=1), first + 1, self.steps)

    def selections(self) -> Selections:
        """Return the steps of matching pursuit one after the other, and the entry that each adds to."""
        taken, offsets = self.taken(), offsets_of(self.sizes)
        entries = (offsets[:-1, None] + self.places)[taken]
        merged = self.atoms[self.chosen()]
        return Selections(
            merged[entries], offsets_of(self.steps), self.amounts[taken], entries, merged, offsets
        )


@dataclass(frozen=True)
class Selections:
    """Every selection (atom, amount) of matching pursuit, row after row, step after step."""

    atoms: Int[Tensor, " n_selections"]
    offsets: Int[Tensor, " rows_plus_1"]
    amounts: Float[Tensor, " n_selections"]
    entries: Int[Tensor, " n_selections"]
    """Entry of the merged codes that the selection adds to."""

    merged_atoms: Int[Tensor, " nnz"]
    merged_offsets: Int[Tensor, " rows_plus_1"]

    def merge(self, amounts: Float[Tensor, " n_selections"]) -> Float[Tensor, " nnz"]:
        """Return the strength of every entry: amounts of an atom chosen twice are added up."""
        if len(amounts) == len(self.merged_atoms):
            return amounts
        start = amounts.new_zeros(len(self.merged_atoms))
        return start.index_add(0, self.entries, amounts)


@dataclass(frozen=True, eq=False)
class PursuitTrace:
    """The steps of every row, as the kernel took them.

    Example
    -------
    >>> from sae_nb.pursuit import matching_pursuit
    >>> codes, trace = matching_pursuit(torch.tensor([[3.0, 4.0]]), torch.eye(2), 2, trace=True)
    >>> trace.atoms.tolist(), trace.residual_norms.tolist()
    ([[1, 0]], [[5.0, 3.0, 0.0]])
    >>> trace.codes_at(1).to_dense().tolist()
    [[0.0, 4.0]]
    """

    atoms: Int[Tensor, "rows k"]
    """Atom chosen at each step; −1 where the row had stopped."""

    n_steps: Int[Tensor, " rows"]
    """Steps taken by each row."""

    residual_norms: Float[Tensor, "rows k_plus_1"]
    """‖r‖ before the first step and after every step; constant after the last one."""

    support: Int[Tensor, "rows k"]
    """Atoms of each row in the order they were first chosen; −1 where there are fewer."""

    coefficients: Float[Tensor, "rows k k"]
    """coefficients[i, t] are the strengths of support[i] after step t + 1."""

    n_atoms: int
    """Rows of the dictionary."""

    def codes_at(self, step: int) -> SparseCodes:
        """Return the codes as they were after some step; 0 is before the first one.

        Parameters
        ----------
        step
            Between 0 and k. Rows that had stopped keep their last code.

        Raises
        ------
        ValueError: If there is no such step.
        """
        step = check_count(step, name="step", at_least=0)
        if step > self.atoms.shape[1]:
            raise ValueError(
                f"`step` must be between 0 and {self.atoms.shape[1]}, got {step}. Run the pursuit "
                "with a larger `k`."
            )
        z = (
            torch.zeros_like(self.coefficients[:, 0])
            if step == 0
            else self.coefficients[:, step - 1]
        )
        used = (z != 0) & (self.support >= 0)
        atoms = self.support[used]
        return SparseCodes(z[used], atoms, offsets_of(used.sum(dim=1)), self.n_atoms)

    @classmethod
    def of(cls, problem: Problem, steps: Steps) -> PursuitTrace:
        """Read the trace off what the kernel filled."""
        taken, chosen = steps.taken(), steps.chosen()
        nothing = torch.full_like(steps.atoms, -1)
        atoms = torch.where(taken, steps.chosen_at_steps(), nothing)
        last = steps.steps.long()[:, None]
        reached = torch.arange(problem.k + 1, device=last.device).minimum(last)
        history = _history(problem, steps, taken)
        now = reached[:, 1:, None].sub(1).clamp_min(0).expand_as(history)
        coefficients = history.gather(1, now).mul(chosen[:, None, :])
        return cls(
            atoms=atoms,
            n_steps=steps.steps.clone(),
            residual_norms=steps.norms.gather(1, reached),
            support=torch.where(chosen, steps.atoms, nothing),
            coefficients=coefficients,
            n_atoms=len(problem.dictionary),
        )


def _history(problem: Problem, steps: Steps, taken: Tensor) -> Tensor:
    if problem.refits:
        return steps.history
    rows, k = steps.places.shape
    amounts = steps.amounts * taken
    added = amounts.new_zeros(rows, k, k).scatter_(
        2, steps.places.long()[:, :, None], amounts[:, :, None]
    )
    return added.cumsum(dim=1)
