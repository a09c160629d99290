"""Shards: a dictionary too large for one worker, cut by atoms.

Every worker sees the whole batch and holds n_atoms / size atoms: their rows of D and E, their biases and
thresholds, Adam's moments, their silence. With z_w D_w what worker w adds,

    x̂ = b + Σ_w z_w D_w   and   ∂‖x − x̂‖² / ∂(z_w D_w) = ∂‖x − x̂‖² / ∂x̂,

so one sum of rows · d_in numbers is all a worker needs to differentiate the whole loss by its own
atoms: it takes ‖(x − what the others add) − z_w D_w − b‖², whose value and gradient are those of the
whole. The k largest entries are found by an exchange of every worker's own k largest; codes never leave
their worker. Only the bias is in every worker: its gradient is a sum, the decoder's part counted once.
Pursuits ask all workers at each of their steps: `sharded_pursuit`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sae_nb.architectures._revival import REVIVALS, Dead, reaching
from sae_nb.codes import SparseCodes
from sae_nb.codes._support import offsets_of
from sae_nb.kernels import decode, squared_error
from sae_nb.training._process_group import Team
from sae_nb.training._sharded_pursuit import pursuit_loss

if TYPE_CHECKING:
    from sae_nb.architectures import (
        MatchingPursuit,
        OrthogonalMatchingPursuit,
        SparseAutoencoder,
        TrainingLoss,
    )
    from sae_nb.architectures._one_step import OneStep
    from sae_nb.architectures._recipe import LossTerms


class Shard:
    """The atoms of one SAE that are this worker's, and what it exchanges with those that have the others.

    Between `cut` and `make_whole` the tensors of `sae` with one row per atom hold this worker's rows
    only, and its own `encode` sees no others.
    """

    def __init__(self, sae: SparseAutoencoder, team: Team) -> None:
        from sae_nb.architectures._one_step import OneStep

        found = check_can_shard(sae, team)
        self.pursuit = None if isinstance(found, OneStep) else found
        # The two have in common what is used of both.
        self.sae = cast("OneStep", found)
        self.team = team
        self.mine = team.part(sae.n_atoms)
        self.is_cut = False

    @property
    def n_atoms(self) -> int:
        """Number of this worker's atoms."""
        return self.mine.stop - self.mine.start

    # Cutting and joining

    @torch.no_grad()
    def cut(self) -> None:
        """Keep this worker's rows of its SAE, or those that were made, and let go of the others."""
        for parameter in self.sae.atom_parameters():
            if len(parameter) != self.n_atoms:
                parameter.grad, parameter.data = None, self.part(parameter)
        self.sae.over_atoms = self.whole  # type: ignore[method-assign]
        self.is_cut = True

    @torch.no_grad()
    def initialise(self, rows: Float[Tensor, "n d_in"], generator: torch.Generator) -> None:
        """Let the SAE look at its first rows; what it asks of all its atoms is asked of all workers."""
        asked = {"_candidates": self._candidates, "_highest": self._highest}
        asked |= {"fit_threshold": self._fit_threshold, "over_atoms": self.team.sum}
        vars(self.sae).update(asked)
        try:
            self.sae.initialise(rows, generator)
        finally:
            for name in asked:
                del vars(self.sae)[name]
            self.sae.over_atoms = self.whole  # type: ignore[method-assign]
        own = set(self.sae.atom_parameters())  # the others are one for all
        self.team.share([p for p in self.sae.parameters() if p not in own] + [*self.sae.buffers()])

    @torch.no_grad()
    def make_whole(self) -> None:
        """Give every worker all atoms."""
        for parameter in self.sae.atom_parameters():
            parameter.grad, parameter.data = None, self._everywhere(parameter.data)
        del self.sae.over_atoms
        self.is_cut = False
        self.team.share([*self.sae.parameters(), *self.sae.buffers()])

    def let_go(self) -> None:
        """Leave the SAE without weights: its atoms are elsewhere, and what it has is a part of it."""
        del self.sae.over_atoms
        self.is_cut = False
        self.sae.to("meta")

    def part(self, rows: Tensor) -> Tensor:
        """Copy the rows of this worker's atoms."""
        return rows.detach()[self.mine].clone()

    def _everywhere(self, part: Tensor) -> Tensor:
        whole = part.new_empty(self.sae.n_atoms, *part.shape[1:])
        for rank in range(self.team.size):
            rows = whole[Team(rank, self.team.size).part(len(whole))]
            if rank == self.team.rank:
                rows.copy_(part)
            self.team.send(rows, source=rank)
        return whole

    # A step

    def training_loss(
        self,
        x: Float[Tensor, "rows d_in"],
        silent_tokens: Int[Tensor, " n_mine"],
        dead_after: int,
        step_fraction: float,
    ) -> TrainingLoss:
        """Return the loss of the whole SAE, with the gradient of this worker's atoms; see `OneStep`.

        `silent_tokens`: Rows since each of this worker's atoms last fired.
        """
        from sae_nb.architectures import TrainingLoss

        own = (silent_tokens, dead_after, step_fraction)
        if self.pursuit is not None:
            return self._alike(pursuit_loss(self.pursuit, self.mine, self.team, x, *own))
        sae = self.sae
        candidates = self._candidates(x)
        codes = sae._strengths(candidates)
        bias = sae.bias if self.team.is_first else sae.bias.detach()
        error, x_hat = self._error(codes, sae.operator.atoms(), bias, x)
        parts: LossTerms = {"reconstruction": (1.0, sae._share(error, len(x)))}
        parts |= sae._terms(x, candidates, codes, step_fraction)
        sae._revive(parts, x, x - x_hat, *own, partial(_DeadInAll, self))
        return self._alike(TrainingLoss.of(parts, codes, x_hat))

    def _alike(self, loss: TrainingLoss) -> TrainingLoss:
        """The loss with one value in all workers.

        They round differently; what is decided by the loss must be decided alike.
        """
        own = loss.total.detach()
        return replace(loss, total=loss.total + (self.team.sum(own) / self.team.size - own))

    def whole(self, number: Tensor) -> Tensor:
        """Return a sum over this worker's atoms as the sum over all: the others' part is a constant."""
        local = number.detach()
        return number + (self.team.sum(local) - local)

    def sum_gradients(self) -> None:
        """Sum the gradients of what every worker has."""
        own = set(self.sae.atom_parameters())
        self.team.sum_gradients([p for p in self.sae.parameters() if p not in own])

    def norm(self, gradients_of: list[nn.Parameter]) -> Tensor:
        """Return norm of the whole gradient, what every worker has counted once."""
        own = set(self.sae.atom_parameters())
        held = [p for p in gradients_of if p.grad is not None]
        counted = [p.grad for p in held if p in own or self.team.is_first]
        squares = [grad.square().sum() for grad in counted if grad is not None]
        return self.team.sum(torch.stack(squares).sum()).sqrt()

    # Which entries count

    def _candidates(self, x: Tensor) -> SparseCodes:
        from sae_nb.architectures import BatchTopK, BatchTopKProx, TopK, TopKProx

        sae = self.sae
        if isinstance(sae, TopK):
            own = sae._with(TopKProx(min(sae.k, self.n_atoms)), x)
            return self._largest_by_row(own, sae.k)
        if not isinstance(sae, BatchTopK):
            return type(sae)._candidates(sae, x)
        own = sae._with(BatchTopKProx(min(sae.k, self.n_atoms)), x)
        codes, ends = self._largest_of_all(own, max(1, round(sae.k * len(x))))
        if ends is not None:
            sae._remember(*ends)
        return codes

    def _largest_by_row(self, codes: SparseCodes, k: int) -> SparseCodes:
        """Entries of this worker that are among the k largest of their row in all workers."""
        rows = codes.support.rows
        place = torch.arange(codes.nnz, device=rows.device) - codes.offsets[rows]
        padded = codes.values.new_zeros(codes.n_rows, k)
        padded[rows, place] = codes.values.detach()
        # Workers in order, lower atoms first within each: of equal values the lower atom comes first.
        every = torch.cat(self.team.exchange(padded), dim=1)
        smallest = every.topk(k, dim=1).values[:, -1:]
        above, tie = every > smallest, every == smallest
        room = k - above.sum(dim=1, keepdim=True)
        selected = (above | (tie & (tie.cumsum(dim=1) <= room))) & (every > 0)
        return codes.only(selected[rows, self.team.rank * k + place])

    def _largest_of_all(
        self, codes: SparseCodes, n: int
    ) -> tuple[SparseCodes, tuple[Tensor, Tensor] | None]:
        """The n largest entries of the batch in all workers; the smallest and the largest of them."""
        with torch.no_grad():
            padded = codes.values.new_zeros(n)
            padded[: codes.nnz] = codes.values
            rows = torch.zeros(n, dtype=torch.int32, device=padded.device)
            rows[: codes.nnz] = codes.support.rows.int()
            every = torch.cat(self.team.exchange(padded))
            of_row = torch.cat(self.team.exchange(rows))
            smallest = every.topk(n).values[-1]
            selected = every > smallest
            ties = ((every == smallest) & (every > 0)).nonzero().flatten()
            # As in one process: of equal ones, those in earlier rows, then at lower atoms.
            in_order = ties[of_row[ties].argsort(stable=True)]
            selected[in_order[: n - int(selected.sum())]] = True
            ends = (every[selected].min(), every.max()) if bool(selected.any()) else None
            start = self.team.rank * n
        return codes.only(selected[start : start + codes.nnz]), ends

    def _highest(self, x: Float[Tensor, "rows d_in"], per_row: float) -> Float[Tensor, " n"]:
        """The highest pre-codes in all workers, before there are biases."""
        n, own = max(1, round(per_row * len(x))), min(per_row, self.n_atoms)
        found = type(self.sae)._highest(self.sae, x, own)[:n]
        padded = torch.cat([found, x.new_zeros(n - len(found))])
        every = torch.cat(self.team.exchange(padded)).topk(n).values
        return every[every > 0]

    def _fit_threshold(self, x: Float[Tensor, "rows d_in"]) -> None:
        sae: Any = self.sae
        sae.threshold.copy_(sae._first_threshold(x, sae.k))

    # What they explain

    def _error(
        self, codes: SparseCodes, atoms: Tensor, bias: Tensor | None, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Σ‖target − x̂‖² with the gradient of this worker's part, and x̂ as a constant."""
        with torch.no_grad():
            own = decode(codes.detach(), atoms.detach(), None)
            total = self.team.sum(own)
            others = total - own
        error, *_ = squared_error(codes, atoms, bias, target - others)
        return error, total if bias is None else total + bias.detach()


class _DeadInAll(Dead):
    """The dead atoms of all workers; every worker must call what another calls."""

    def __init__(self, shard: Shard, atoms: Int[Tensor, " n_mine"]) -> None:
        super().__init__(atoms)
        self._shard = shard
        self.n = sum(shard.team.gather(len(atoms)))

    def codes(
        self, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor | None, k: int
    ) -> SparseCodes:
        """Return those of this worker's pre-codes that are among the k largest of their row in all workers."""
        if len(weight):
            own = super().codes(x, weight, bias, centre, min(k, len(weight)))
        else:
            nothing = torch.zeros(len(x), dtype=torch.int64, device=x.device)
            own = SparseCodes(x.new_zeros(0), nothing[:0], offsets_of(nothing), 0)
        return self._shard._largest_by_row(own, k)

    def error(self, codes: SparseCodes, atoms: Tensor, residual: Tensor) -> Tensor:
        """Σ‖residual − ê‖² with the gradient of this worker's part."""
        return self._shard._error(codes, atoms, None, residual)[0]

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the dead atoms of all workers."""
        return self._shard.whole(values.sum() / self.n)


def check_can_shard(
    sae: SparseAutoencoder, team: Team
) -> OneStep | MatchingPursuit | OrthogonalMatchingPursuit:
    """Return the SAE if its atoms can be spread over workers."""
    from sae_nb.architectures import (
        BatchTopK,
        JumpReLU,
        MatchingPursuit,
        OrthogonalMatchingPursuit,
        ReLU,
        TopK,
    )
    from sae_nb.architectures._one_step import OneStep

    name = type(sae).__name__
    can = (TopK, BatchTopK, ReLU, JumpReLU, MatchingPursuit, OrthogonalMatchingPursuit)
    # Not by isinstance alone: a subclass may compare codes with x in a way of its own.
    if not isinstance(sae, can) or type(sae) not in can:
        raise ValueError(
            f"`shard_atoms` must be False for {name}: only "
            f"{', '.join(one.__name__ for one in can)} find their codes by exchanging candidates. Leave "
            "it out, and the workers share the rows of each batch instead."
        )
    if isinstance(sae, OneStep) and REVIVALS[sae.revival].resamples:
        raise ValueError(
            f"`revival` must be {reaching()} with `shard_atoms`, got {sae.revival!r}, which draws new "
            "atoms for all workers from one residual. Build the SAE with revival='auxk'."
        )
    if sae.n_atoms < team.size:
        raise ValueError(
            f"`n_atoms` must be at least the number of workers, {team.size}, got {sae.n_atoms}. Start "
            "fewer workers."
        )
    return sae
