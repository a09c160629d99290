"""MutualChoice: BatchTopK's selection, and an auxiliary loss for atoms that fire too seldom for their rank."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.architectures import BatchTopK, TrainingLoss
from sae_nb.architectures.parts import Rows
from sae_nb.checks import Share, checked
from sae_nb.codes import SparseCodes
from sae_nb_studies.architectures._zipf import ZipfLaw, fit_zipf

MEMORY_OF_RATES = 0.99
"""Share of the counted rates that a training step keeps. Ours: a hundred batches, in which an atom that fires
in one row of a thousand is counted some dozens of times."""

COUNTED = 0.5
"""Filled share of that memory before a rate is used: 69 steps. Ours."""


@checked
@dataclass(eq=False, repr=False)
class MutualChoice(BatchTopK):
    """A BatchTopK SAE whose auxiliary loss also revives atoms that fire too seldom: aux_zipf.

    Inputs and atoms choose each other: z keeps the B·k largest positive entries of a batch of B inputs,
    and a threshold replaces this at inference, as in `BatchTopK`. In training the rates of the atoms,
    shares of rows in which they fired, are counted. Sorted from frequent to rare they follow a law p(r)
    = c (r + q)^−s, which is fitted at each step to the more frequent half. An atom of rank r is
    under-used while its rate is below aux_zipf · p(r). AuxK then lets under-used atoms, not dead ones
    alone, explain what is left over.

    Parameters
    ----------
    aux_zipf
        Share of its rank's rate below which an atom is under-used, in [0, 1]; 0: dead atoms alone, which
        is BatchTopK.
    d_in, n_atoms, k, aux_k, aux_weight, revival, generator
        As in `BatchTopK`; there is no `revival="resample"`.

    Raises
    ------
    ValueError: If `revival` is "resample" where aux_zipf > 0.

    Source
    ------
    Ayonrinde, "Adaptive Sparse Allocation with Mutual Choice & Feature Choice Sparse Autoencoders",
    arXiv 2411.02124. We know the abstract: an auxiliary loss that generalises AuxK to under-used atoms.
    Half of the law's rate as the line, and how the law is fitted, are ours.

    Example
    -------
    >>> sae = MutualChoice(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> sae.fired = torch.tensor([0.8, 0.4, 0.27, 0.2, 0.16, 0.13, 0.01, 0.1])
    >>> sae.seen = torch.tensor(1.0)
    >>> law = sae.law()
    >>> round(law.exponent, 1), law.offset, sae.under_used().nonzero().flatten().tolist()
    (1.0, 0.0, [6])
    """

    fixed_codes = False

    _: KW_ONLY
    aux_zipf: Share = 0.5

    fired: Tensor = field(init=False)
    seen: Tensor = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.aux_zipf:
            why = "under-used atoms are still in use"
            self._check_reaches(why, "Leave it out, or set aux_zipf=0.")
        # Both float: where several processes train, buffers are averaged.
        self.register_buffer("fired", torch.zeros(self.n_atoms))
        self.register_buffer("seen", torch.zeros(()))

    @property
    def rates(self) -> Float[Tensor, " n_atoms"]:
        """Share of the rows in which each atom fired, over about the last hundred batches."""
        return self.fired / self.seen.clamp_min(torch.finfo(self.seen.dtype).tiny)

    def law(self) -> ZipfLaw | None:
        """Return the law that the rates follow, as exponent s, offset q and scale c; None before there
        are rates.

        `FeatureChoice(…, exponent=law.exponent, offset=law.offset)` takes it as its shares.
        """
        return fit_zipf(self.rates)

    def under_used(self) -> Bool[Tensor, " n_atoms"]:
        """Return a mask of the atoms that fire less often than aux_zipf times the rate of their rank."""
        law = self.law() if self.aux_zipf and float(self.seen) >= COUNTED else None
        if law is None:
            return torch.zeros(self.n_atoms, dtype=torch.bool, device=self.device)
        rank = self.rates.argsort(descending=True, stable=True).argsort() + 1
        return self.rates < self.aux_zipf * law.at(rank)

    def training_loss(
        self, x: Rows, silent_tokens: Int[Tensor, " n_atoms"], dead_after: int, step_fraction: float
    ) -> TrainingLoss:
        """Return as BatchTopK's, with under-used atoms among the dead; how often atoms fired is counted."""
        loss = super().training_loss(x, silent_tokens, dead_after, step_fraction)
        if self.training and torch.is_grad_enabled():
            self._count(loss.codes)
        return loss

    @torch.no_grad()
    def _count(self, codes: SparseCodes) -> None:
        self.fired.lerp_(codes.frequency.to(self.fired.dtype), 1 - MEMORY_OF_RATES)
        self.seen.lerp_(torch.ones_like(self.seen), 1 - MEMORY_OF_RATES)

    def _to_revive(self, is_dead: Bool[Tensor, " n_atoms"]) -> Bool[Tensor, " n_atoms"]:
        return is_dead | self.under_used()
