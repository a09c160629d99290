"""The definition of every pursuit in plain torch: all correlations at every step, differentiable.

Slow and hungry on purpose; the other backends are tested against it. The choices of atoms are
constants; gradients flow through the coefficients and the residual chain.
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.pursuit._problem import Problem, Steps


def pursue(problem: Problem) -> tuple[Steps, Float[Tensor, "rows k"]]:
    """Run all steps."""
    pursuit = _Pursuit(problem)
    for step in range(problem.k):
        atoms = pursuit.choose()
        if not pursuit.running.any():
            break
        pursuit.take(step, atoms)
    return pursuit.finish()


class _Pursuit:
    """All rows side by side; a row that stopped is masked."""

    def __init__(self, problem: Problem) -> None:
        x = problem.x
        self.problem, self.r, self.steps = problem, x, Steps.empty(problem)
        self.running = torch.ones(len(x), dtype=torch.bool, device=x.device)
        self.rows = torch.arange(len(x), device=x.device)
        self.floors, self.limits = problem.floors(), problem.limits()
        self.amounts: list[Tensor] = []
        self.z = x.new_zeros(len(x), problem.k)
        self._note(0)

    def choose(self) -> Int[Tensor, " rows"]:
        """Return the atom each row wants next; rows that want none stop."""
        scores = self.r.detach() @ self.problem.dictionary.detach().T
        scores = scores if self.problem.nonnegative else scores.abs()
        if not self.problem.reselect:
            chosen = self.steps.chosen()
            scores[
                self.rows[:, None].expand_as(chosen)[chosen], self.steps.atoms[chosen].long()
            ] = 0
        top, atoms = scores.max(dim=1)
        unfinished = self.r.detach().square().sum(dim=1) > self.limits
        # Not in place: the graph of earlier steps holds on to the mask.
        self.running = self.running & unfinished & (top > self.floors)
        return atoms

    def take(self, step: int, atoms: Tensor) -> None:
        """Take one step of the rows that are still running."""
        places = self._places(atoms)
        if self.problem.refits:
            self._refit()
        else:
            chosen = self.problem.dictionary[atoms]
            amounts = (self.r * chosen).sum(dim=1) * self.running
            self.r = self.r - amounts[:, None] * chosen
            self.amounts.append(amounts)
            self.steps.amounts[:, step] = amounts.detach()
        self.steps.places[self.running, step] = places[self.running].int()
        self.steps.steps[self.running] = step + 1
        self._note(step + 1)

    def _places(self, atoms: Tensor) -> Tensor:
        """Index of each atom among those chosen; new ones are added."""
        known = (self.steps.atoms == atoms[:, None]) & self.steps.chosen()
        new = self.running & ~known.any(dim=1)
        places = torch.where(known.any(dim=1), known.long().argmax(dim=1), self.steps.sizes.long())
        self.steps.atoms[self.rows[new], places[new]] = atoms[new].to(self.steps.atoms.dtype)
        self.steps.sizes[new] += 1
        return places

    def _refit(self) -> None:
        chosen = self.problem.dictionary[self.steps.atoms.long().clone()]
        chosen = chosen * self.steps.chosen()[:, :, None]
        if self.problem.algorithm == "gradient_pursuit":
            z = gradient_step(self.r, chosen, self.z, nonnegative=self.problem.nonnegative)
        else:
            free = _dependent(chosen.detach(), self.problem.threshold)
            self._leave(self.running & free)
            chosen = chosen * self.steps.chosen()[:, :, None]
            used = self.steps.chosen()
            if self.problem.nonnegative:
                used = used & _non_negative_support(self.problem.x, chosen)
            z = _least_squares(self.problem.x, chosen, used)
        self.z = torch.where(self.running[:, None], z, self.z)
        self.r = self.problem.x - (self.z[:, :, None] * chosen).sum(dim=1)

    def _leave(self, dependent: Tensor) -> None:
        """Rows whose newest atom depends on the others stop without it."""
        self.steps.sizes[dependent] -= 1
        explained = self.r.detach().norm(dim=1) <= 1e2 * self.floors
        self.steps.state[dependent & ~explained] = 2
        self.running = self.running & ~dependent

    def _note(self, step: int) -> None:
        if not self.problem.trace:
            return
        self.steps.norms[:, step] = self.r.detach().norm(dim=1)
        if step and self.problem.refits:
            self.steps.history[:, step - 1] = self.z.detach()

    def finish(self) -> tuple[Steps, Tensor]:
        if not self.problem.refits:
            missing = self.problem.k - len(self.amounts)
            empty = [torch.zeros_like(self.floors)] * missing
            return self.steps, torch.stack([*self.amounts, *empty], dim=1)
        self.steps.coefficients.copy_(self.z.detach())
        return self.steps, self.z


def _dependent(chosen: Tensor, threshold: float) -> Tensor:
    """Rows whose last non-zero atom lies (almost) in the span of the others."""
    gram = (chosen.double() @ chosen.double().mT).diagonal_scatter(
        chosen.double().square().sum(dim=2).where(chosen.abs().sum(dim=2) > 0, 1.0), 0, 1, 2
    )
    factor, _info = torch.linalg.cholesky_ex(gram)
    pivots = factor.diagonal(dim1=1, dim2=2).square()
    return cast(Tensor, ~(pivots > threshold).all(dim=1))


def _least_squares(x: Tensor, chosen: Tensor, used: Tensor) -> Tensor:
    """argmin_z ‖x − Σ_i z_i d_i‖² over the slots in use, zero elsewhere."""
    atoms = (chosen * used[:, :, None]).double()
    gram = atoms @ atoms.mT + torch.diag_embed((~used).double())
    right = (atoms @ x.double()[:, :, None]) * used[:, :, None]
    return (torch.linalg.solve(gram, right)[:, :, 0] * used).to(x.dtype)


def _non_negative_support(x: Tensor, chosen: Tensor) -> Tensor:
    """Slots that are positive in argmin_{z ≥ 0} ‖x − Σ_i z_i d_i‖²."""
    from scipy.optimize import nnls

    pairs = zip(chosen.detach().double().cpu(), x.detach().double().cpu(), strict=True)
    codes = [torch.from_numpy(nnls(d.T.numpy(), row.numpy())[0]) for d, row in pairs]
    return torch.stack(codes).to(x.device) > 0


def gradient_step(r: Tensor, chosen: Tensor, z: Tensor, *, nonnegative: bool) -> Tensor:
    """Move along g: z + α g with g = D_Γ r and the best α that keeps the signs allowed."""
    g = (chosen @ r[:, :, None])[:, :, 0]
    if nonnegative:
        g = torch.where((z <= 0) & (g < 0), torch.zeros_like(g), g)
    direction = (g[:, :, None] * chosen).sum(dim=1)
    curvature = direction.square().sum(dim=1)
    step = g.square().sum(dim=1) / torch.where(curvature > 0, curvature, 1.0)
    if not nonnegative:
        return z + step[:, None] * g
    falling = g < 0
    room = torch.where(falling, -z / torch.where(falling, g, -1.0), torch.inf)
    tightest, blocking = room.min(dim=1)
    blocked = tightest <= step
    moved = z + torch.where(blocked, tightest, step)[:, None] * g
    places = torch.arange(z.shape[1], device=z.device)
    stopped = blocked[:, None] & (places == blocking[:, None])
    return torch.where(stopped, torch.zeros_like(moved), moved)
