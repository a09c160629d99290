"""What a solver tells about its steps; read like a pursuit's trace, so panels draw both."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_count
from sae_nb.codes import SparseCodes


@dataclass(frozen=True, eq=False)
class SolverTrace:
    """The codes of every row after every step, and how good they were. For small inputs.

    Example
    -------
    >>> from sae_nb.architectures.sparse_coding import sparse_code
    >>> x, dictionary = torch.tensor([[3.0, 4.0]]), torch.eye(2)
    >>> codes, trace = sparse_code(x, dictionary, weight=1.0, n_steps=2, trace=True)
    >>> trace.codes_at(1).to_dense().tolist(), trace.objective.tolist()
    ([[2.0, 3.0]], [[12.5, 6.0, 6.0]])
    """

    steps: list[SparseCodes]
    """Codes before the first step and after every one."""

    residual_norms: Float[Tensor, "rows n_steps_plus_1"]
    """‖x − μ(A z + b)‖ before the first step and after every one; constant after the last."""

    objective: Float[Tensor, "rows n_steps_plus_1"]
    """nll + g likewise; ∞ where the penalty does not allow the codes (at the start, on a simplex)."""

    n_steps: Int[Tensor, " rows"]
    """Steps each row took before it had converged."""

    n_atoms: int
    """Width of a code."""

    def codes_at(self, step: int) -> SparseCodes:
        """The codes as they were after some step; 0 is before the first one.

        Parameters
        ----------
        step
            Between 0 and the number of steps. Rows that had stopped keep their last code.

        Raises
        ------
        ValueError
            If there is no such step.
        """
        step = check_count(step, name="step", at_least=0)
        if step >= len(self.steps):
            raise ValueError(
                f"`step` must be between 0 and {len(self.steps) - 1}, got {step}. Solve with a larger "
                "`n_steps`."
            )
        return self.steps[step]

    @classmethod
    def concatenate(cls, parts: list[SolverTrace]) -> SolverTrace:
        """The traces of several tiles as one; tiles that stopped early keep their last step.

        Parameters
        ----------
        parts
            One per tile, rows in order.
        """
        longest = max(len(part.steps) for part in parts)
        padded = [part._padded(longest) for part in parts]
        return cls(
            steps=[SparseCodes.concatenate(codes) for codes in zip(*(p.steps for p in padded))],
            residual_norms=torch.cat([part.residual_norms for part in padded]),
            objective=torch.cat([part.objective for part in padded]),
            n_steps=torch.cat([part.n_steps for part in padded]),
            n_atoms=padded[0].n_atoms,
        )

    def _padded(self, n: int) -> SolverTrace:
        missing = n - len(self.steps)
        return SolverTrace(
            steps=[*self.steps, *[self.steps[-1]] * missing],
            residual_norms=_repeat_last(self.residual_norms, missing),
            objective=_repeat_last(self.objective, missing),
            n_steps=self.n_steps,
            n_atoms=self.n_atoms,
        )


def _repeat_last(columns: Tensor, n: int) -> Tensor:
    return torch.cat([columns, columns[:, -1:].expand(-1, n)], dim=1)
