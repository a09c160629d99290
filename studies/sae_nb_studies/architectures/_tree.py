"""TreeSAE: every atom below the first level has a parent, and fires only where its parent does."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import accumulate, pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb import kernels
from sae_nb.architectures import BatchTopK, Prox, TopKProx, TrainingLoss
from sae_nb.architectures.parts import (
    Bias,
    Centre,
    Dense,
    LossTerms,
    Matrix,
    Rows,
    affine,
    check_groups,
    row_tiles,
)
from sae_nb.checks import Count, Share, check_k, checked
from sae_nb.codes import SparseCodes

FIRST, OF_K = 1 / 4, 26 / 32
"""Shares of the atoms and of k that the first level has by default (tue147/tree-sae, two layers)."""

ROOT = -1
"""Parent of an atom that may fire anywhere."""

SETTLED = -1.0
"""Count of steps since the last change of a tree that stays."""


@checked
@dataclass(eq=False, repr=False)
class TreeSAE(BatchTopK):
    """A sparse autoencoder whose atoms form a tree: a child may fire only where its parent fires.

    The dictionary is cut into levels. An atom of level l > 1 has one parent among the atoms of the levels
    above it, or the root, which always fires. Level by level, z keeps the B·k_l largest positive pre-codes
    of a batch of B among the atoms whose parent fires; at inference a threshold per level replaces that.
    Trained on the mean over levels of ‖x − x̂_l‖² / E‖x − μ‖², with x̂_l = z_{:m_l} D_{:m_l} + b of the
    atoms down to level l, + α·AuxK on the first level. So a parent cannot be silent under its child, and
    has to reconstruct without it. Every `every` steps dead children move to parents that could use them, in
    proportion to the error that is left in the rows where a parent fires; from half of the run on
    the tree stays, and children that are dead then go to the root.

    Parameters
    ----------
    k
        Atoms per input on average, over all levels.
    groups
        Sizes of the levels, which add up to n_atoms. None: a quarter and the rest.
    k_shares
        Share of k that each level has, which add up to 1. None: 26/32 for the first, the rest in equal parts.
    every
        Steps between two changes of the tree.
    settled
        Share of the run after which the tree stays as it is.
    d_in, n_atoms, aux_k, aux_weight, revival, generator
        As in `TopK`; there is no `revival="resample"`.

    Raises
    ------
    ValueError: If the groups do not add up to n_atoms, there are other shares than levels, or `revival` is
        "resample".

    Source
    ------
    Cao et al., "Tree SAE: Learning hierarchical feature structures in sparse autoencoders", arXiv
    2605.07922, equations 6–8 and 10 and algorithms 1–2; tue147/tree-sae. Ours chooses entries over a batch,
    where the published one takes the k_l largest of each row, and takes the mean over levels.

    Example
    -------
    >>> sae = TreeSAE(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> sae.widths, sae.parent.shape, sae.parent[:2].tolist()
    ((2, 8), torch.Size([8]), [-1, -1])
    >>> sae.children_of(0).tolist() == (sae.parent == 0).nonzero().flatten().tolist()
    True
    """

    fixed_codes = False

    _: KW_ONLY
    groups: Sequence[int] | None = None
    k_shares: Sequence[float] | None = None
    every: Count = 100
    settled: Share = 0.5

    parent: Tensor = field(init=False)
    capacity: Tensor = field(init=False)
    dead: Tensor = field(init=False)
    seen: Tensor = field(init=False)

    def __post_init__(self) -> None:
        if self.groups is None:
            first = max(1, min(self.n_atoms - 1, round(FIRST * self.n_atoms)))
            self.groups = (first, self.n_atoms - first) if self.n_atoms > 1 else (1,)
        self.groups = check_groups(self.groups, self.n_atoms)
        self.k_shares = _check_shares(self.k_shares, len(self.groups))
        generator = self.generator
        super().__post_init__()
        why = "an atom that is replaced would fire only where its parent does"
        self._check_reaches(why)
        self.register_buffer("threshold", torch.zeros(len(self.groups)))
        self.register_buffer("parent", _random_parents(self.widths, generator))
        # All float: where several processes train, buffers are averaged. The last capacity is the root's.
        self.register_buffer("capacity", torch.zeros(self.n_atoms + 1))
        self.register_buffer("dead", torch.zeros(self.n_atoms))
        self.register_buffer(
            "seen", torch.zeros(2)
        )  # steps since the last change, share of the run

    @property
    def widths(self) -> tuple[int, ...]:
        """The ends of the levels: atoms down to each of them."""
        return tuple(accumulate(self.groups or ()))

    @checked
    def children_of(self, atom: int) -> Int[Tensor, " children"]:
        """Return the atoms whose parent is this one; those of the root for −1."""
        return (self.parent == atom).nonzero().flatten()

    def training_loss(
        self, x: Rows, silent_tokens: Int[Tensor, " n_atoms"], dead_after: int, step_fraction: float
    ) -> TrainingLoss:
        """Return the mean over levels of the unexplained share; what parents leave over is counted."""
        loss = super().training_loss(x, silent_tokens, dead_after, step_fraction)
        if self.training and torch.is_grad_enabled():
            self._count(self.split(x)[1] - loss.x_hat, loss.codes)
            self.dead.copy_(silent_tokens >= dead_after)
            steps = float(self.seen[0])
            steps += steps > SETTLED + 0.5
            self.seen.copy_(self.seen.new_tensor([steps, step_fraction]))
        return loss

    @torch.no_grad()
    def after_optimiser_step(self) -> None:
        """Put atoms back on the sphere and, every so often, move dead children."""
        before = float(self.seen[1]) < self.settled
        super().after_optimiser_step()
        if (
            before and float(self.seen[0]) >= self.every - 0.5
        ):  # an average of workers may be rounded
            self._move_children()
            self.seen[0] = 0.0
            self.capacity.zero_()
        elif not before and float(self.seen[0]) > 0:
            self.parent[(self.dead > 0.5) & (self._level() > 0)] = ROOT
            self.seen[0] = SETTLED

    @torch.no_grad()
    def _count(self, residual: Rows, codes: SparseCodes) -> None:
        """Add to each atom's capacity the error of the rows that it fires in, and to the root's that of all."""
        error = residual.square().sum(dim=1).to(self.capacity.dtype)
        if not bool(error.isfinite().all()):
            return  # the training ends here; what was counted must stay good
        error = error / error.sum().clamp_min(torch.finfo(error.dtype).tiny)
        used = codes.values > 0
        self.capacity[-1] += error.sum()
        of_entries = error[codes.support.rows.long()] * used
        self.capacity[:-1].index_add_(0, codes.atoms.long(), of_entries)

    def _level(self) -> Int[Tensor, " n_atoms"]:
        ends = torch.tensor(self.widths, device=self.device)
        return torch.bucketize(torch.arange(self.n_atoms, device=self.device), ends, right=True)

    def _move_children(self) -> None:
        """Move dead children from parents with too many to those with too few, level by level."""
        parent, dead = self.parent.cpu(), (self.dead > 0.5).cpu()
        capacity = self.capacity.cpu()
        for start, end in pairwise(self.widths):
            own, pool = parent[start:end], torch.cat([capacity[:start], capacity[-1:]])
            own = torch.where(own == ROOT, start, own)  # the root is the last of the pool
            have = torch.bincount(own, minlength=start + 1)
            wanted = fair_shares(pool.tolist(), end - start)
            missing = torch.repeat_interleave(
                torch.arange(start + 1), (torch.tensor(wanted) - have).clamp_min(0)
            )
            spare = (have - torch.tensor(wanted)).clamp_min(0)
            movers: list[int] = []
            for child in dead[start:end].nonzero().flatten().tolist():
                if spare[own[child]] > 0:
                    spare[own[child]] -= 1
                    movers.append(child)
            moved = movers[: len(missing)]
            own[moved] = missing[: len(moved)]
            parent[start:end] = torch.where(own == start, ROOT, own)
        self.parent.copy_(parent)

    def _reconstruction(self, target: Rows, codes: SparseCodes) -> tuple[LossTerms, Tensor, Tensor]:
        return self._nested_reconstruction(target, codes, self.widths)

    def _to_revive(self, is_dead: Bool[Tensor, " n_atoms"]) -> Bool[Tensor, " n_atoms"]:
        return is_dead & (self._level() == 0)

    def _smallest_kept(self, codes: SparseCodes, k: float) -> Tensor:
        level = self._level()[codes.atoms.long()]
        smallest = torch.full_like(self.threshold, torch.inf)
        smallest.scatter_reduce_(0, level, codes.values.detach().to(smallest.dtype), "amin")
        return torch.where(smallest.isfinite(), smallest, self.threshold)

    def _largest_left_out(self, codes: SparseCodes, x: Rows) -> Tensor:
        kept = torch.bincount(self._level()[codes.atoms.long()], minlength=len(self.threshold))
        left_out = torch.zeros_like(self.threshold)
        for level, n in enumerate(kept.tolist()):
            counts = kept.double()
            counts[level] += 1
            prox = _TreeProx(self.parent, self.widths, tuple((counts / len(x)).tolist()), None)
            more = self._with(prox, x)
            own = more.values[self._level()[more.atoms.long()] == level]
            if len(own) > n:
                left_out[level] = own.min()
        return left_out

    def _chooser(self, k: float) -> Prox:
        counts = tuple(k * share for share in self.k_shares or ())
        return _TreeProx(self.parent, self.widths, counts, None)

    def _prox(self, k: float | None) -> Prox:
        if k is None and not self.training:
            if bool(self.initialised):
                return _TreeProx(self.parent, self.widths, None, self.threshold)
            return _Gated(self.parent, TopKProx(check_k(max(1, round(self.k)), self.n_atoms)))
        return super()._prox(k)


@dataclass(frozen=True, eq=False)
class _TreeProx:
    """Of each level the largest entries of the batch, or those above a threshold, where the parent fires."""

    parent: Int[Tensor, " n_atoms"]
    ends: tuple[int, ...]
    counts: tuple[float, ...] | None
    thresholds: Float[Tensor, " levels"] | None

    def __call__(self, pre_codes: Dense) -> SparseCodes:
        rows, atoms = self._entries(lambda r, a: pre_codes[r, a], len(pre_codes), pre_codes)
        return SparseCodes.from_entries(pre_codes[rows, atoms], rows, atoms, pre_codes.shape)

    def of_affine(self, x: Rows, weight: Matrix, bias: Bias, centre: Centre) -> SparseCodes:
        def tile(rows: slice, atoms: slice) -> Dense:
            return affine(x[rows], weight[atoms], None if bias is None else bias[atoms], centre)

        with torch.no_grad():
            rows, atoms = self._entries(tile, len(x), x)
            centred = x[rows] if centre is None else x[rows] - centre
            values = (centred * weight[atoms]).sum(dim=1)
            values = values if bias is None else values + bias[atoms]
            found = SparseCodes.from_entries(values, rows, atoms, (len(x), len(weight)))
        return kernels.entries_encode(x, weight, bias, entries=found, centre=centre)

    @torch.no_grad()
    def _entries(
        self, tile: Callable[[slice, slice], Dense], n_rows: int, like: Tensor
    ) -> tuple[Int[Tensor, " nnz"], Int[Tensor, " nnz"]]:
        """Return rows and atoms of the entries that are kept, row by row."""
        rows = torch.empty(0, dtype=torch.long, device=like.device)
        atoms = rows.clone()
        for level, (start, end) in enumerate(pairwise((0, *self.ends))):
            parts = []
            for some in row_tiles(n_rows, end):
                u = tile(some, slice(start, end))
                if start:
                    u = u.masked_fill(~self._fires(rows, atoms, some, start, end), 0.0)
                parts.append(self._of_tile(u, level, some, n_rows))
            values, own_rows, own_atoms = (torch.cat(part) for part in zip(*parts, strict=True))
            if self.counts is not None:
                best = values.topk(
                    min(self._kept(level, n_rows), len(values)), sorted=False
                ).indices
                own_rows, own_atoms = own_rows[best], own_atoms[best]
            rows, atoms = torch.cat([rows, own_rows]), torch.cat([atoms, own_atoms + start])
        order = (rows * self.ends[-1] + atoms).argsort()
        return rows[order], atoms[order]

    def _kept(self, level: int, n_rows: int) -> int:
        return max(1, round((self.counts or ())[level] * n_rows))

    def _fires(
        self, rows: Tensor, atoms: Tensor, some: slice, start: int, end: int
    ) -> Bool[Tensor, "rows level"]:
        """Whether the parent of each atom of a level fires, in some rows."""
        n = some.stop - some.start
        on = torch.zeros(n, start + 1, dtype=torch.bool, device=rows.device)
        on[:, -1] = True
        here = (rows >= some.start) & (rows < some.stop)
        on[rows[here] - some.start, atoms[here]] = True
        return on[:, self.parent[start:end]]  # the root's −1 is the last column

    def _of_tile(self, u: Dense, level: int, some: slice, n_rows: int) -> tuple[Tensor, ...]:
        if self.thresholds is not None:
            rows, atoms = (u > self.thresholds[level].clamp_min(0)).nonzero(as_tuple=True)
            return u[rows, atoms], rows + some.start, atoms
        best = u.flatten().topk(min(self._kept(level, n_rows), u.numel()), sorted=False)
        best_at = best.indices[best.values > 0]
        return (
            best.values[best.values > 0],
            best_at // u.shape[1] + some.start,
            best_at % u.shape[1],
        )


@dataclass(frozen=True, eq=False)
class _Gated:
    """Another prox, without the entries whose parent is not among them."""

    parent: Int[Tensor, " n_atoms"]
    prox: Prox

    def __call__(self, pre_codes: Dense) -> SparseCodes:
        return self._gated(self.prox(pre_codes))

    def of_affine(self, x: Rows, weight: Matrix, bias: Bias, centre: Centre) -> SparseCodes:
        return self._gated(self.prox.of_affine(x, weight, bias, centre))

    def _gated(self, codes: SparseCodes) -> SparseCodes:
        while True:  # once per level: a child that goes takes its own children along
            places = codes.support.rows.long() * codes.n_atoms
            above = self.parent[codes.atoms.long()]
            kept = (above == ROOT) | torch.isin(places + above, places + codes.atoms.long())
            if bool(kept.all()):
                return codes
            codes = codes.only(kept)


def fair_shares(capacity: Sequence[float], n: int) -> list[int]:
    """Divide n children so that the smallest capacity per child is as large as can be.

    Source: Cao et al., arXiv 2605.07922, algorithm 1: each child goes where C_p / (k_p + 1) is largest.
    """
    given = [0] * len(capacity)
    heap = [(-c, p) for p, c in enumerate(capacity) if c > 0]
    heapq.heapify(heap)
    for _ in range(n if heap else 0):
        _, p = heap[0]
        given[p] += 1
        heapq.heapreplace(heap, (-capacity[p] / (given[p] + 1), p))
    return given


def _random_parents(
    widths: tuple[int, ...], generator: torch.Generator | None
) -> Int[Tensor, " n_atoms"]:
    """Draw for each atom a parent of a level above it, or the root."""
    parts = [torch.full((widths[0],), ROOT)]
    for start, end in pairwise(widths):
        drawn = torch.randint(0, start + 1, (end - start,), generator=generator)
        parts.append(torch.where(drawn == start, ROOT, drawn))
    return torch.cat(parts)


def _check_shares(shares: Sequence[float] | None, levels: int) -> tuple[float, ...]:
    if shares is None:
        rest = (1 - OF_K) / max(1, levels - 1)
        return (OF_K, *[rest] * (levels - 1)) if levels > 1 else (1.0,)
    try:
        given = tuple(float(share) for share in shares)
    except (TypeError, ValueError) as error:
        raise TypeError(f"`k_shares` must be numbers, one per level, got {shares!r}.") from error
    if len(given) != levels or any(not 0 < s <= 1 for s in given) or abs(sum(given) - 1) > 1e-6:
        raise ValueError(
            f"`k_shares` must be {levels} positive numbers that add up to 1, got {list(given)}. Give each "
            "level its share of k, the first level's first."
        )
    return given
