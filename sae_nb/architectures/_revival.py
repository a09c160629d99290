"""Ways to revive dead atoms, one record each: a loss that reaches them, or resampling from input residuals.

A `Revival` names the term of the loss it adds or the atoms it resets. An SAE declares its per-atom
tensors as `AtomRows`, each with the start of a resampled atom: optimisers, checkpoints and shards take
the rows of an atom from there. To add a revival, write its record in `REVIVALS`.

Dead atoms become residuals of different inputs, r_i in proportion to ‖r_i‖². A push along the mean
residual instead (the term −10⁻² mean(r Dᵀ) in circulation) moves all of them one way: in a long run
seventeen became collinear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sae_nb.architectures.parts._operators import LearnedAdjoint
from sae_nb.architectures.parts._proxes import Centre, Matrix, Rows
from sae_nb.codes import SparseCodes
from sae_nb.kernels import squared_error, topk_encode
from sae_nb.kernels._backends import takes_triton
from sae_nb.kernels._coding import topk_among

LAST_RESAMPLING = 0.6
"""Share of the run after which no atom is resampled, so that the last ones settle. Ours: Gated on a vision
transformer (d_in 64, 512 atoms, 1000 steps) explains 0.937 of the variance so, 0.929 with resampling to the
end, 0.935 without any."""

Marked = tuple[Int[Tensor, " n_resampled"], Float[Tensor, "n_resampled d_in"]]
"""Atoms that are reset after a step, and the directions that replace them; on a card with Triton a mask of all
atoms, and a direction for each."""

# -------------------------------------------------------------------------------------------------
# What is kept per atom.


@dataclass(frozen=True)
class AtomRows:
    """A tensor with one row per atom, and what a resampled atom begins with in it."""

    rows: Tensor
    begins: Callable[[Tensor, Bool[Tensor, " n_atoms"]], Tensor | float] | float
    """(new directions, which atoms live on) → their rows, or one number for all."""

    @classmethod
    def at_median(cls, rows: Tensor) -> AtomRows:
        """Begin a number per atom at the median over all atoms."""
        return cls(rows, lambda *_: rows.median() if takes_triton(rows) else float(rows.median()))


def parameters_of(kept: Iterable[AtomRows]) -> list[nn.Parameter]:
    """Return those rows that are learned."""
    return [one.rows for one in kept if isinstance(one.rows, nn.Parameter)]


def as_directions(directions: Tensor, _alive: Bool[Tensor, " n_atoms"]) -> Tensor:
    """Begin an atom as its direction."""
    return directions


def as_long_as_others(rows: Tensor, share: float) -> AtomRows:
    """Begin a row as its direction, at a share of the mean length of the rows that live on."""

    def begins(directions: Tensor, alive: Bool[Tensor, " n_atoms"]) -> Tensor:
        if takes_triton(rows):
            total, n = (rows.norm(dim=1) * alive).sum(), alive.sum()
            return share * torch.where(n > 0, total / n.clamp(min=1), 1.0) * directions
        length = rows[alive].norm(dim=1).mean() if bool(alive.any()) else 1.0
        return share * length * directions

    return AtomRows(rows, begins)


@torch.no_grad()
def set_anew(kept: Iterable[AtomRows], marked: Marked, n_atoms: int) -> None:
    """Give resampled atoms the rows they begin with."""
    atoms, directions = marked
    if atoms.dtype == torch.bool:
        for one in kept:
            begins = one.begins(directions, ~atoms) if callable(one.begins) else one.begins
            here = atoms.view(-1, *[1] * (one.rows.ndim - 1))
            one.rows.copy_(torch.where(here, begins, one.rows))
        return
    alive = torch.ones(n_atoms, dtype=torch.bool, device=atoms.device)
    alive[atoms] = False
    for one in kept:
        begins = one.begins(directions, alive) if callable(one.begins) else one.begins
        if isinstance(begins, Tensor):
            one.rows.index_copy_(0, atoms, begins)
        else:
            one.rows.index_fill_(0, atoms, begins)


# -------------------------------------------------------------------------------------------------
# Terms of the loss.


class Dead:
    """The dead atoms of a batch, and sums over them; a shard of a training adds other workers'."""

    def __init__(self, atoms: Int[Tensor, " n_dead"]) -> None:
        self.atoms, self.n = atoms, len(atoms)

    def of(self, rows: Tensor) -> Tensor:
        """Return the rows of these atoms."""
        return rows.index_select(0, self.atoms)

    def share(self, aux_k: int) -> float | Tensor:
        """Return min(n / aux_k, 1)."""
        return min(self.n / aux_k, 1.0)

    def codes(self, x: Rows, weight: Matrix, bias: Tensor, centre: Centre, k: int) -> SparseCodes:
        """Return the k largest positive pre-codes of each row."""
        return topk_encode(x, weight, bias, k=k, centre=centre)

    def error(self, codes: SparseCodes, atoms: Matrix, residual: Rows) -> Float[Tensor, ""]:
        """Σ‖residual − ê‖²."""
        error, *_ = squared_error(codes, atoms, None, residual)
        return error

    def mean(self, values: Float[Tensor, " n_dead"]) -> Float[Tensor, ""]:
        """Return the mean over the dead atoms."""
        return values.mean()


class Masked(Dead):
    """The same on a card with Triton, where their number stays: tables hold all atoms, and a mask which."""

    def __init__(self, is_dead: Bool[Tensor, " n_atoms"]) -> None:
        self.is_dead, self.n = is_dead, len(is_dead)

    def of(self, rows: Tensor) -> Tensor:
        """Return the rows of all atoms."""
        return rows

    def share(self, aux_k: int) -> float | Tensor:
        """Return min(n / aux_k, 1)."""
        return (self.is_dead.sum() / aux_k).clamp(max=1)

    def codes(self, x: Rows, weight: Matrix, bias: Tensor, centre: Centre, k: int) -> SparseCodes:
        """Return the k largest positive pre-codes of each row among dead atoms."""
        return topk_among(x, weight, bias, k=k, among=self.is_dead, centre=centre)

    def mean(self, values: Float[Tensor, " n_atoms"]) -> Float[Tensor, ""]:
        """Return the mean over the dead atoms; 0 where there are none."""
        return (values * self.is_dead).sum() / self.is_dead.sum().clamp(min=1)


def auxk_loss(
    x: Rows,
    residual: Rows,
    adjoint: LearnedAdjoint,
    atoms: Matrix,
    *,
    dead: Dead,
    aux_k: int,
    centre: Centre,
    scale: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """‖e − ê‖² / Var(e) · min(n_dead / k_aux, 1), with ê = TopK_{k_aux}(u of dead atoms) D, no bias.

    `atoms` are the dead ones. Only their pre-codes are computed. Gradients reach dead atoms (and the
    centre) alone: the residual e is a constant. Codes are positive even where the SAE's own have signs
    (see `AbsTopK`).

    Source: Gao et al., "Scaling and evaluating sparse autoencoders", arXiv 2406.04093; the factor
    min(n_dead / k_aux, 1) is EleutherAI/sparsify's and SAELens's.
    """
    weight, bias = dead.of(adjoint.weight), dead.of(adjoint.bias) / scale
    codes = dead.codes(x, weight, bias, centre, min(aux_k, dead.n))
    error = dead.error(codes, atoms, residual)
    spread = (residual - residual.mean(dim=0)).square().sum()
    # A residual without spread has nothing to teach; the division would give NaN.
    share = torch.where(spread > 0, error / spread.clamp_min(torch.finfo(x.dtype).tiny), 0 * error)
    return share * dead.share(aux_k)


def push_up_loss(
    x: Rows,
    adjoint: LearnedAdjoint,
    *,
    dead: Dead,
    centre: Centre,
    scale: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """−mean u over rows and dead atoms, in scaled units: lifts their pre-codes until they fire.

    The mean over rows is the pre-code of the mean row, so no pre-codes are computed. All dead atoms
    are moved along the same mean row, which can make them collinear: let it fade out.

    Source: KempnerInstitute/overcomplete, docs/saes/dead_codes.md.
    """
    weight, bias = dead.of(adjoint.weight), dead.of(adjoint.bias)
    mean = x.mean(dim=0)
    mean_row = (mean if centre is None else mean - centre.detach()) * scale
    return -dead.mean(weight @ mean_row + bias)


# -------------------------------------------------------------------------------------------------
# Resampling.


def due(
    silent_tokens: Int[Tensor, " n_atoms"], dead_after: int, rows: int
) -> Bool[Tensor, " n_atoms"]:
    """Return which atoms are dead, and get another try with this batch: one every `dead_after` rows.

    The counts alone decide, so a resumed run revives the same atoms.

    `silent_tokens`: Rows since each atom last fired.
    """
    return (silent_tokens >= dead_after) & (silent_tokens % dead_after < rows)


@torch.no_grad()
def resampled_atoms(
    residual: Rows, dead: Int[Tensor, " n_dead"]
) -> tuple[Int[Tensor, " n_resampled"], Float[Tensor, "n_resampled d_in"]]:
    """Return atoms to replace, and the unit residuals of different rows that replace them.

    Rows lie on a line, each as long as ‖r_i‖²; the line is cut in n equal parts and the row in the
    middle of each is taken. Batches come in random order, so this is a draw without a generator.

    Source: Rows in proportion to their loss: resampling in saprmarks/dictionary_learning,
    trainers/standard.py. Ours takes residuals, not inputs: what a greedy encoder still looks for
    when the other atoms are used up.
    """
    line = residual.double().square().sum(dim=1).cumsum(dim=0)
    n = min(len(dead), len(residual))
    if n == 0 or not bool(line[-1] > 0):
        return dead[:0], residual[:0]
    middle = (torch.arange(n, device=line.device, dtype=line.dtype) + 0.5) / n * line[-1]
    rows = torch.unique(torch.searchsorted(line, middle).clamp_max(len(line) - 1))
    return dead[: len(rows)], torch.nn.functional.normalize(residual[rows], dim=1)


@torch.no_grad()
def resampled_by_mask(
    residual: Rows, is_due: Bool[Tensor, " n_atoms"]
) -> tuple[Bool[Tensor, " n_atoms"], Float[Tensor, "n_atoms d_in"]]:
    """Return the same choice as a mask, with a direction for every atom; nothing waits for a number."""
    line = residual.double().square().sum(dim=1).cumsum(dim=0)
    n = is_due.sum().clamp(max=len(residual))
    place = torch.arange(min(len(is_due), len(residual)), device=line.device)
    row = torch.searchsorted(line, (place + 0.5) / n * line[-1]).clamp_max(len(line) - 1)
    is_new = (place < n) & (line[-1] > 0)
    is_new &= row != torch.cat([row.new_full((1,), -1), row[:-1]])
    # Different rows move up; the others go behind the end.
    at = torch.where(is_new, is_new.cumsum(dim=0) - 1, len(place))
    rows = row.new_zeros(len(place) + 1).scatter_(0, at, row)
    rank = is_due.cumsum(dim=0) - 1
    takes = is_due & (rank < is_new.sum())
    chosen = rows[rank.clamp(0, len(place) - 1)]
    return takes, torch.nn.functional.normalize(residual[chosen], dim=1)


# -------------------------------------------------------------------------------------------------
# The records.


@dataclass(frozen=True, kw_only=True)
class Revival:
    """One way in which dead atoms return."""

    term: Callable[..., Float[Tensor, ""]] | None = None
    """A term of the loss that reaches dead atoms, called as `auxk_loss`. None: they are resampled."""

    gone_by: float = math.inf
    """Share of the run by which the term has faded out."""

    until: float = math.inf
    """Share of the run after which no atom is resampled."""

    forgets: bool = True
    """Whether an optimiser forgets what it knew of an atom that is resampled."""

    @property
    def resamples(self) -> bool:
        """Whether atoms are reset; then they must be free to be set one by one."""
        return self.term is None

    def weight(self, step_fraction: float | Tensor) -> float | Tensor:
        """Return what the weight of the term is multiplied by."""
        if isinstance(step_fraction, Tensor):
            return (1 - step_fraction / self.gone_by).clamp(min=0)
        return max(0.0, 1 - step_fraction / self.gone_by)

    def marked(
        self,
        residual: Rows,
        silent_tokens: Int[Tensor, " n_atoms"],
        dead_after: int,
        step_fraction: float | Tensor,
        *,
        masked: bool = False,
    ) -> Marked | None:
        """Return which atoms are reset after this step; None if no atom is due, unless by a mask."""
        is_due = due(silent_tokens, dead_after, len(residual)) & (step_fraction < self.until)
        if masked:
            return resampled_by_mask(residual, is_due)
        dead = is_due.nonzero().flatten()
        return resampled_atoms(residual, dead) if len(dead) else None


def _push_up(
    x: Rows,
    _residual: Rows,
    adjoint: LearnedAdjoint,
    _atoms: Matrix,
    *,
    dead: Dead,
    centre: Centre,
    scale: Float[Tensor, ""],
    **_: object,
) -> Float[Tensor, ""]:
    return push_up_loss(x, adjoint, dead=dead, centre=centre, scale=scale)


REVIVALS: dict[str, Revival] = {
    "auxk": Revival(term=auxk_loss),
    # All dead atoms are moved along one row, so the term is gone by the middle of the run.
    "push-up": Revival(term=_push_up, gone_by=0.5),
    "resample": Revival(until=LAST_RESAMPLING),
}

IN_PURSUITS = Revival(forgets=False)
"""The revival of dead atoms in a pursuit, active to the end of the run."""


def reaching() -> str:
    """Name the revivals that add a term to the loss."""
    return " or ".join(repr(name) for name, way in REVIVALS.items() if not way.resamples)
