"""What a pursuit records of its steps: which atom, how much, and what was left."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_count
from sae_nb.codes import SparseCodes, offsets_of
from sae_nb.pursuit._problem import Problem, Steps


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
        """The codes as they were after some step; 0 is before the first one.

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
        atoms = torch.where(taken, steps.atoms.gather(1, steps.places.long()), nothing)
        last = steps.steps.long()[:, None]
        reached = torch.arange(problem.k + 1, device=last.device).minimum(last)
        history = _history(problem, steps, taken)
        now = reached[:, 1:, None].sub(1).clamp_min(0).expand_as(history)
        coefficients = history.gather(1, now).mul(chosen[:, None, :]).mul(last[:, :, None] > 0)
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
