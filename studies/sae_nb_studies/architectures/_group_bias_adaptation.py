"""GroupBiasAdaptation: a ReLU without a penalty, whose biases a controller sets by how often atoms fire."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures import LearnedAdjoint, Prox, ThresholdProx, TrainingLoss
from sae_nb.architectures.parts import Centre, MatrixOperator, OneStep, Rows, row_tiles
from sae_nb.checks import Between, Count, Weight, check_count, checked
from sae_nb.codes import SparseCodes


@checked
@dataclass(eq=False, repr=False)
class GroupBiasAdaptation(OneStep):
    """A sparse autoencoder whose atoms have a frequency to fire at, and biases that keep them to it.

    z = [(x − b)Eᵀ + a]₊,  x̂ = zD + b, with ‖d_j‖ = 1, trained on ‖x − x̂‖² / E‖x − μ‖² alone: there is
    no penalty and no k. Atoms are in groups of one size; group g = 0, 1, … should fire in p_g = highest_rate
    · ratio^g of the rows. The biases a ≤ 0 get no gradient. Every `every` steps the bias of an atom that
    fired more often than its p_g goes down by `step` · its largest code since the last time, and that of
    a dead atom up by `step` · the mean of those largest codes in its group. So a dead atom returns by
    itself, and a concept can be found by the group whose frequency is near its own.

    Parameters
    ----------
    n_groups
        Groups of atoms, 1 … n_atoms.
    highest_rate
        p_0, share of rows in which an atom of the first group may fire, in (0, 1).
    ratio
        p_{g+1} / p_g, in (0, 1].
    every
        Steps between two changes of the biases.
    step
        γ, size of a change as a share of the largest code, in (0, 1).
    d_in, n_atoms, aux_k, aux_weight, revival, generator
        As in `TopK`; there is no auxiliary loss by default.

    Raises
    ------
    ValueError: If `revival` is "resample".

    Source
    ------
    "Taming Polysemanticity in LLMs: Provable Feature Recovery via Sparse Autoencoders", arXiv
    2506.14002. We know its mechanism, not its constants. Ours starts each bias where its atom
    fires at its p_g on the first activations, and counts an atom as dead as every other SAE here does.

    Example
    -------
    >>> sae = GroupBiasAdaptation(d_in=4, n_atoms=6, n_groups=3, generator=torch.Generator().manual_seed(0))
    >>> [round(rate, 3) for rate in sae.target_rates.tolist()]
    [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    """

    _: KW_ONLY
    n_groups: int = 6
    highest_rate: Annotated[float, Between(0, 1, "()")] = 0.1
    ratio: Annotated[float, Between(0, 1, "(]")] = 0.5
    every: Count = 5
    step: Annotated[float, Between(0, 1, "()")] = 0.05
    aux_weight: Weight = 0.0

    fired: Tensor = field(init=False)
    largest: Tensor = field(init=False)
    seen: Tensor = field(init=False)
    dead: Tensor = field(init=False)

    def __post_init__(self) -> None:
        check_count(self.n_groups, name="n_groups", at_most=self.n_atoms)
        super().__post_init__()
        self._check_reaches("controller brings dead atoms back")
        # Since the last change, all float: where several processes train, buffers are averaged.
        self.register_buffer("fired", torch.zeros(self.n_atoms))
        self.register_buffer("largest", torch.zeros(self.n_atoms))
        self.register_buffer("dead", torch.zeros(self.n_atoms))
        self.register_buffer("seen", torch.zeros(2))  # rows, steps

    @property
    def group(self) -> Int[Tensor, " n_atoms"]:
        """The group of each atom, from 0, which may fire most often."""
        return torch.arange(self.n_atoms, device=self.device) * self.n_groups // self.n_atoms

    @property
    def target_rates(self) -> Float[Tensor, " n_atoms"]:
        """p_g of each atom: the share of rows in which it may fire."""
        return self.highest_rate * self.ratio ** self.group.to(self.dtype)

    def _new_encoder(self) -> LearnedAdjoint:
        return _Controlled(self.operator)

    @torch.no_grad()
    def _begin(self, x: Rows) -> None:
        """Put each bias where its atom fires in its share of the first rows."""
        seen, centre = self._seen(x)
        quantiles = _quantiles(seen, self.encoder.weight, centre, self.target_rates)
        self.encoder.bias.copy_(-(quantiles * self.scaling.scale).clamp_min(0))

    def training_loss(
        self, x: Rows, silent_tokens: Int[Tensor, " n_atoms"], dead_after: int, step_fraction: float
    ) -> TrainingLoss:
        """Return unexplained share of variance; how often atoms fired is counted."""
        loss = super().training_loss(x, silent_tokens, dead_after, step_fraction)
        if self.training:
            self._count(loss.codes, silent_tokens >= dead_after)
        return loss

    @torch.no_grad()
    def after_optimiser_step(self) -> None:
        """Put atoms back on the sphere and, every so often, change the biases."""
        super().after_optimiser_step()
        if float(self.seen[1]) >= self.every - 0.5:  # an average of workers may be rounded
            self._adapt()
            for counter in (self.fired, self.largest, self.dead, self.seen):
                counter.zero_()

    @torch.no_grad()
    def _count(self, codes: SparseCodes, dead: Tensor) -> None:
        atoms, values = codes.atoms.long(), codes.values.to(self.dtype)
        used = values > 0
        self.fired.index_add_(0, atoms, used.to(self.dtype))
        self.largest.scatter_reduce_(0, atoms, values, "amax")
        self.dead.copy_(dead)
        self.seen += self.seen.new_tensor([len(codes), 1])

    def _adapt(self) -> None:
        """Lower the biases of atoms that fired too often, raise those of dead ones."""
        bias = self.encoder.bias
        largest = self.largest * self.scaling.scale
        fires = self.fired > 0
        too_often = self.fired > self.target_rates * self.seen[0]
        raised = (self.dead > 0.5) & ~fires
        change = raised * self._over_group(largest, fires) - too_often * largest
        # Below −‖x‖‖e‖ of a typical x nothing is left to shut off.
        lowest = -math.sqrt(self.d_in) * self.encoder.weight.norm(dim=1)
        finite = torch.where(change.isfinite(), bias + self.step * change, bias)
        bias.copy_(finite.maximum(lowest).clamp_max(0))

    def _over_group(self, largest: Tensor, fires: Tensor) -> Float[Tensor, " n_atoms"]:
        """Mean of the largest codes of the atoms that fired, by group; of all where none of it did."""
        sums, counts = (
            largest.new_zeros(self.n_groups).index_add_(0, self.group, part)
            for part in (largest * fires, fires.to(largest.dtype))
        )
        overall = sums.sum() / counts.sum().clamp_min(1)
        return torch.where(counts > 0, sums / counts.clamp_min(1), overall)[self.group]

    def _prox(self, k: Any) -> Prox:
        return ThresholdProx(0.0)


class _Controlled(LearnedAdjoint):
    """A learned adjoint whose offsets no gradient reaches."""

    def __init__(self, operator: MatrixOperator) -> None:
        super().__init__(operator)
        offsets = self.bias.detach().clone()
        del self.bias
        self.register_buffer("bias", offsets)


def _quantiles(
    x: Rows, weight: Tensor, centre: Centre, rates: Float[Tensor, " n_atoms"]
) -> Float[Tensor, " n_atoms"]:
    """Of each atom the pre-code that it exceeds in its share of the rows, some atoms at a time."""
    centred = x if centre is None else x - centre
    parts = []
    for atoms in row_tiles(len(weight), len(x)):
        ordered = (centred @ weight[atoms].T).sort(dim=0, descending=True).values
        place = (rates[atoms] * len(x)).long().clamp_max(len(x) - 1)
        parts.append(ordered.gather(0, place[None])[0])
    return torch.cat(parts)
