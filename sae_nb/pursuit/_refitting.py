"""Refitting where there is no dictionary to look atoms up in: rows bring the vectors of the atoms they take.

A step has the data of the CPU kernel, S = D_Γ D_Γᵀ and b = D_Γ x of each row, and uses the same small
systems (`_small_systems`). The products are taken where the rows are; the systems, k² numbers a row,
are solved on the CPU.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.kernels._compiling import compiled
from sae_nb.pursuit._cpu import solve_small
from sae_nb.pursuit._problem import Problem

AT_ONCE = 2**22
"""Numbers of chosen atoms that are in float64 at a time."""


@compiled()
def enter_slots(mode, rows, S, b, z, L, work, passive, active, sizes, threshold, floors, entered):
    """Let slot sizes[i] of each of some rows i enter its system; `entered` marks those that could."""
    for at in range(len(rows)):
        i = rows[at]
        m = sizes[i]
        z[i, m] = 0.0
        p = solve_small(
            mode, S[i], b[i], z[i], L[i], passive[i], active[i], m + 1, m, threshold, floors[i],
            work[i],
        )  # fmt: skip
        entered[at] = p >= 0
        if p >= 0:
            active[i], sizes[i] = p, m + 1


class Refitting:
    """Coefficients and residuals of rows whose atoms arrive one by one.

    Of those of a row that stay, slot i is the i-th that it took.
    """

    def __init__(self, problem: Problem) -> None:
        rows, k, x = len(problem.x), problem.k, problem.x
        self.problem = problem
        self.atoms: Float[Tensor, "rows k d_in"] = x.new_zeros(rows, k, x.shape[1])
        self.residual: Float[Tensor, "rows d_in"] = x.clone()
        self._S = torch.zeros(rows, k, k, dtype=torch.float64)
        self._b = torch.zeros(rows, k, dtype=torch.float64)
        self._L, self._z, self._work = (torch.zeros_like(s) for s in (self._S, self._b, self._b))
        self._passive = torch.zeros(rows, k, dtype=torch.int32)
        self.sizes = torch.zeros(rows, dtype=torch.int32)
        """Atoms each row has."""
        self._active = torch.zeros_like(self.sizes)
        self._floors = problem.floors().cpu()

    @property
    def coefficients(self) -> Float[Tensor, "rows k"]:
        """Of each row's slots; 0 of those that it does not use."""
        return self._z.to(self.problem.x)

    def take(self, rows: Int[Tensor, " n"], atoms: Float[Tensor, "n d_in"]) -> Bool[Tensor, " n"]:
        """Give each of some rows one more atom; False where it lies in the span of those it has."""
        slots = self.sizes[rows.cpu()].long().to(rows.device)
        self.atoms[rows, slots] = atoms
        portion = max(1, AT_ONCE // self.atoms[0].numel())
        for some in torch.arange(len(rows), device=rows.device).split(portion):
            own = rows[some]
            beside = torch.stack([atoms[some], self.problem.x[own]], dim=1).double()
            products = (beside @ self.atoms[own].double().mT).cpu()
            at, slot = own.cpu(), slots[some].cpu()
            self._S[at, slot] = products[:, 0]
            self._b[at, slot] = products[:, 1].gather(1, slot[:, None])[:, 0]
        entered = torch.zeros(len(rows), dtype=torch.bool)
        systems = (self._S, self._b, self._z, self._L, self._work, self._passive, self._active)
        enter_slots(
            self.problem.mode,
            rows.cpu().numpy(),
            *(part.numpy() for part in (*systems, self.sizes)),
            self.problem.threshold,
            self._floors.numpy(),
            entered.numpy(),
        )
        entered = entered.to(rows.device)
        z = self.coefficients[rows]
        self.residual[rows] = self.problem.x[rows] - (z[:, None, :] @ self.atoms[rows])[:, 0]
        return entered
