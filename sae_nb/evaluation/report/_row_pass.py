"""The passes over the rows: means first, then the SAE, then floor and control on a part of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.activations._sites import reconstruction
from sae_nb.checks import check_finite, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.report._measurement import RandomDictionary, decode, encode
from sae_nb.evaluation.report._reconstruction import Moments, ReconstructionSums
from sae_nb.evaluation.report._sparsity import SparsitySums
from sae_nb.statistics import group_rows
from sae_nb.temporal._decomposition import sequence_groups

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder, Temporal


_BATCH = 4096


@checked
@torch.no_grad()
def codes_of(
    sae: SparseAutoencoder, acts: Activations, codes: SparseCodes | None = None
) -> SparseCodes:
    """Return the codes of all rows on the CPU: those given, checked, or encoded now, some rows at a time.

    Raises
    ------
    ValueError: If given codes are of other rows or another dictionary, nothing fires in them, or none are given
        for an SAE whose codes depend on the rows before.

    Example
    -------
    >>> import sae_nb as sn
    >>> codes_of(sn.TopK(4, 8, 2), Activations.from_tensor(torch.randn(5, 4))).shape
    (5, 8)
    """
    if codes is None and getattr(sae, "reads_sequences", False):
        raise ValueError(
            f"`codes` must be given for {type(sae).__name__}, whose codes depend on the rows before. "
            "Encode whole sequences, and pass codes=."
        )
    if codes is None:
        parts = [sae.encode(part).detach().to("cpu") for part in torch.split(acts.x, _BATCH)]
        codes = SparseCodes.concatenate(parts)
    check_codes(codes, len(acts), sae.n_atoms)
    return codes.detach().to("cpu")


def check_codes(codes: SparseCodes, n_rows: int, n_atoms: int) -> None:
    """Refuse codes of other rows or another dictionary, and codes in which nothing is active."""
    if (codes.n_rows, codes.n_atoms) != (n_rows, n_atoms):
        raise ValueError(
            f"`codes` must be those of these rows and this dictionary, {n_rows} × {n_atoms}, got "
            f"{codes.n_rows} × {codes.n_atoms}. Encode the same rows with the same SAE."
        )
    if not bool((codes.values != 0).any()):
        raise ValueError(
            f"`sae` must have an atom that fires, but all {n_atoms} are dead in all {n_rows} rows. "
            "Check that it belongs to these activations: sn.evaluation.check_fit(model, sae)."
        )


CONTROL_ROWS = 65_536
"""The floor and the random dictionary are measured on at most so many rows."""

_NEAR_ROWS = 8192  # rows that every atom is compared with: the time is theirs
_FIT_ROWS = 4096  # rows the random dictionary's one gain is fitted on
_LOOKED_AT = 4096  # rows on which the L0 of an SAE is measured, for random atoms like it
_PAIRS = 2**26  # pairs of active atoms whose meetings are counted: a quarter of a second


class CodeSample:
    """Codes of some rows, kept for what needs them together; the rows are drawn, not the first ones."""

    def __init__(self, rank: Int[np.ndarray, " n"]) -> None:
        self.rank = rank
        self.most: int | None = None
        self._parts: list[SparseCodes] = []
        self._rows: list[Int[np.ndarray, " kept"]] = []

    def update(self, codes: SparseCodes, rows: Int[np.ndarray, " batch"]) -> None:
        """Take in a chunk; how many rows are kept in all is decided by the first one's L0."""
        if self.most is None:
            pairs = float(codes.l0.double().square().mean())
            self.most = min(CONTROL_ROWS, max(int(_PAIRS / max(pairs, 1.0)), 64))
        kept = np.flatnonzero(self.rank[rows] < self.most)
        self._parts.append(codes.detach().rows(torch.from_numpy(kept).to(codes.device)).to("cpu"))
        self._rows.append(rows[kept])

    def codes(self) -> SparseCodes:
        """Return all that was kept."""
        if len(self._parts) > 1:
            self._parts = [SparseCodes.concatenate(self._parts)]
        return self._parts[0]

    def of(self, rows: Int[np.ndarray, " some"]) -> SparseCodes:
        """Return those of some rows among them, in their order."""
        held = np.concatenate(self._rows)
        order = np.argsort(held)
        return self.codes().rows(torch.from_numpy(order[np.searchsorted(held[order], rows)]))


@dataclass(frozen=True, kw_only=True, eq=False)
class RowPass:
    """Sums of every row under the SAE, the mean predictor and the random dictionary."""

    mean: Float[Tensor, " d_in"]  # μ, on the SAE's device and in its precision
    reconstruction: ReconstructionSums
    floor: ReconstructionSums
    control: ReconstructionSums
    sparsity: SparsitySums
    control_sparsity: SparsitySums
    random: RandomDictionary  # the control itself
    codes: CodeSample
    control_codes: CodeSample  # codes of a part of the rows, for what atoms do together
    near: Float[Tensor, "rows d_in"]  # a part of the rows themselves
    order: Int[np.ndarray, " n"]  # in which rows are drawn, the same for codes, control and `near`
    group: Int[np.ndarray, " n"]  # of the bootstrap, of each row

    def drawn(
        self, most: int
    ) -> tuple[Int[np.ndarray, " m"], Float[Tensor, "m d_in"], SparseCodes, SparseCodes]:
        """Return rows, at most so many: which, as they are, coded, and coded by the random dictionary."""
        for held in (self.codes.most, self.control_codes.most, len(self.near)):
            most = min(most, held or 0)
        rows, near = (np.sort(self.order[:size]) for size in (most, len(self.near)))
        x = self.near[torch.from_numpy(np.searchsorted(near, rows))]
        return rows, x, self.codes.of(rows), self.control_codes.of(rows)

    def products_at_random(self) -> SparseCodes | None:
        """Return the strongest products of `near`, less the mean, with random atoms; None if not known."""
        if (self.control_codes.most or 0) < len(self.near) or self.random.gain <= 0:
            return None
        codes = self.control_codes.of(np.sort(self.order[: len(self.near)]))
        return codes.with_values(codes.values / self.random.gain)


def pass_over_rows(
    sae: SparseAutoencoder, acts: Activations, *, batch_size: int, seed: int
) -> RowPass:
    """Read all rows twice, and a part of them once more; only codes in CSR are ever held.

    The target is compared: the rows themselves, or the written rows if they differ.
    """
    target, moments = acts.target, _moments(acts, batch_size)
    group, n_groups = group_rows(acts.sample.numpy(), len(acts), seed=seed)
    recovered = ReconstructionSums(moments, n_groups)
    norms = sae.dictionary.detach().double().norm(dim=1).cpu().numpy()
    sparsity = SparsitySums(sae.n_atoms, n_groups, norms)
    order = np.random.default_rng(seed).permutation(len(acts))
    part, rank = order[:CONTROL_ROWS], np.argsort(order)
    kept, control_kept = CodeSample(rank), CodeSample(rank)
    with torch.no_grad():
        for rows, y, codes, y_hat in encoded_rows(sae, acts, batch_size):
            recovered.update(y, y_hat, group[rows])
            sparsity.update(codes, group[rows])
            kept.update(codes, rows)
    mean = moments.mean.to(sae.dictionary)
    random = RandomDictionary.like(sae, sparsity.l0, mean=mean, seed=seed, signed=sparsity.signed)
    floor, control = ReconstructionSums(moments, n_groups), ReconstructionSums(moments, n_groups)
    control_sparsity = SparsitySums(sae.n_atoms, n_groups)
    for rows, y, codes in _coded_at_random(random, target, part, batch_size):
        floor.update(y, random.mean.expand_as(y), group[rows])
        control.update(y, decode(random, codes), group[rows])
        control_sparsity.update(codes, group[rows])
        control_kept.update(codes, rows)
    return RowPass(
        mean=mean,
        reconstruction=recovered,
        floor=floor,
        control=control,
        sparsity=sparsity,
        control_sparsity=control_sparsity,
        random=random,
        codes=kept,
        control_codes=control_kept,
        near=target.rows(torch.from_numpy(np.sort(part[:_NEAR_ROWS]))).to(sae.dictionary),
        order=order,
        group=group,
    )


def _coded_at_random(
    random: RandomDictionary, target: Activations, part: Int[np.ndarray, " m"], batch_size: int
) -> Iterator[tuple[Int[np.ndarray, " batch"], Tensor, SparseCodes]]:
    """Yield rows and their codes by random atoms, whose gain is fitted on the first ones."""
    first, rest = np.sort(part[:_FIT_ROWS]), np.sort(part[_FIT_ROWS:])
    y = target.rows(torch.from_numpy(first)).to(random.mean)
    codes = random.fit_codes(y, encode(random, y))
    for start in range(0, len(first), batch_size):
        some = slice(start, start + batch_size)
        yield first[some], y[some], codes.rows(some)
    for rows, y in _chunks(target, rest, batch_size, random.mean):
        yield rows, y, encode(random, y)


@torch.no_grad()
def reconstruction_of(
    sae: SparseAutoencoder, acts: Activations, *, batch_size: int, seed: int
) -> ReconstructionSums:
    """Return what the reconstruction of all rows is measured by, and nothing else."""
    group, n_groups = group_rows(acts.sample.numpy(), len(acts), seed=seed)
    sums = ReconstructionSums(_moments(acts, batch_size), n_groups)
    for rows, y, _, y_hat in encoded_rows(sae, acts, batch_size):
        sums.update(y, y_hat, group[rows])
    return sums


def _moments(acts: Activations, batch_size: int) -> Moments:
    """Return mean and spread of the target; refuse rows that are not finite."""
    moments = Moments(acts.target.d_in)
    for rows, y in _chunks(acts.target, np.arange(len(acts)), batch_size):
        check_finite(y, name="acts", row_name=partial(_row_name, acts, int(rows[0])))
        moments.update(y)
    return moments


def _row_name(acts: Activations, first: int, i: int) -> str:
    return f"row {first + i} of the whole: {acts.where(first + i)}"


def encoded_rows(
    sae: SparseAutoencoder, acts: Activations, size: int, *, first: int = 0
) -> Iterator[tuple[Int[np.ndarray, " batch"], Tensor, SparseCodes, Tensor]]:
    """Yield row numbers, targets, codes and reconstructions, `size` rows at a time.

    Whole sequences where the SAE reads those. `first`: rows of whole batches that are left out.
    """
    if getattr(sae, "reads_sequences", False):
        done = 0
        for rows, x, codes, x_hat in sequence_groups(cast("Temporal", sae), acts, size):
            if done >= first and x is not None:
                yield rows.numpy(), x, codes, x_hat
            done += len(rows)
        return
    for chosen, x in _chunks(acts, np.arange(first, len(acts)), size, sae.dictionary):
        codes = sae.encode(x)
        x_hat = reconstruction(sae, codes, x)
        target = x if acts.target is acts else acts.target.rows(torch.from_numpy(chosen)).to(x)
        yield chosen, target, codes, x_hat


@torch.no_grad()
def codes_of_rows(
    sae: SparseAutoencoder | RandomDictionary, acts: Activations
) -> Iterator[tuple[Int[np.ndarray, " batch"], Tensor, SparseCodes]]:
    """Yield row numbers, rows and codes, some rows at a time, of anything that encodes; nothing is decoded."""
    if getattr(sae, "reads_sequences", False):
        for rows, x, codes, _ in encoded_rows(cast("Temporal", sae), acts, _BATCH):
            yield rows, x, codes
        return
    for chosen, x in _chunks(acts, np.arange(len(acts)), _BATCH, sae.dictionary):
        yield chosen, x, sae.encode(x).detach()


def all_codes(sae: SparseAutoencoder, acts: Activations) -> SparseCodes:
    """Return the codes of all rows, on the CPU, encoded a few thousand rows at a time."""
    return SparseCodes.concatenate(codes.to("cpu") for _, _, codes in codes_of_rows(sae, acts))


@torch.no_grad()
def random_like(sae: SparseAutoencoder, acts: Activations, *, seed: int) -> RandomDictionary:
    """Return fitted random atoms, the same number as an SAE has, with the L0 that it has on the first rows.

    What an SAE is measured against as control, where `acts` are what it is measured on.
    """
    few = acts.subset(torch.arange(len(acts)) < _LOOKED_AT)
    codes = [codes for _, _, codes in codes_of_rows(sae, few)]
    l0 = sum(int(part.l0.sum()) for part in codes) / len(few)
    signed = any(bool((part.values < 0).any()) for part in codes)
    rows = few.target.rows(torch.arange(len(few)))
    mean = rows.double().mean(dim=0).to(sae.dictionary)
    return RandomDictionary.like(sae, l0, mean=mean, seed=seed, signed=signed).fit(rows)


def _chunks(
    acts: Activations, rows: Int[np.ndarray, " m"], size: int, like: Tensor | None = None
) -> Iterator[tuple[Int[np.ndarray, " batch"], Tensor]]:
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        x = acts.rows(torch.from_numpy(chosen))
        yield chosen, x if like is None else x.to(like)
