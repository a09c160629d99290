"""Gated: one half of the encoder selects which atoms are used, the other how strongly."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

import torch
from torch import nn

from sae_nb.architectures._one_step import without_zeros
from sae_nb.architectures._recipe import LossTerms, ramp
from sae_nb.architectures._revival import AtomRows
from sae_nb.architectures._sparsity import RAMP, Priced
from sae_nb.architectures.parts._proxes import Rows, keep_above
from sae_nb.checks import Weight, checked
from sae_nb.codes import SparseCodes
from sae_nb.kernels import per_entry, squared_error

SPARSITY = 0.3
"""Default weight of ℓ1 on open gates. Ours: twice ReLU's, for half of its force teaches the gate to
reconstruct."""


@checked
@dataclass(eq=False, repr=False)
class Gated(Priced):
    """A sparse autoencoder that pays for using an atom, not for its strength, so nothing shrinks.

    With v = (x − b)Eᵀ: the gate is open where π = v + b_gate > 0, and then
    z = [e^r ⊙ v + b_mag]₊. Trained on ‖x − x̂‖² / V + λ Σ_j [π_j]₊ / √V + ‖x − ([π]₊ D̄ + b̄)‖² / V with
    V = E‖x − μ‖²; the last term teaches the gate, and D̄, b̄ are constants in it. Only pre-codes with
    an open gate are ever stored.

    Parameters
    ----------
    sparsity
        λ, at least 0.
    l0
        Open gates per input to aim at: λ then adapts while it trains, from `sparsity` on. None: λ
        stays.
    aux_weight
        Weight of the auxiliary loss, where `revival` asks for one; the paper has none.
    revival
        How dead atoms return: as residuals of inputs ("resample"), or by the auxiliary loss
        ("auxk" or "push-up"). AuxK sees pre-codes above 0 alone, and the gate of a dead atom is
        shut on every input: it does not reach one.
    d_in, n_atoms, aux_k, generator
        As in `TopK`.

    Source
    ------
    Rajamanoharan et al., "Improving dictionary learning with gated sparse autoencoders", arXiv
    2404.16014; constants: saprmarks/dictionary_learning, gdm.py. Ours starts with few open gates, by
    a bias read off the first activations.

    Example
    -------
    >>> sae = Gated(d_in=4, n_atoms=8, generator=torch.Generator().manual_seed(0))
    >>> bool((sae.encode(torch.ones(3, 4)).values > 0).all())
    True
    """

    _: KW_ONLY
    sparsity: Weight = SPARSITY
    revival: Literal["auxk", "push-up", "resample"] = "resample"

    def __post_init__(self) -> None:
        super().__post_init__()
        # encoder.bias is b_gate; these are e^r and b_mag.
        self.log_gain = nn.Parameter(torch.zeros(self.n_atoms))
        self.magnitude_bias = nn.Parameter(torch.zeros(self.n_atoms))

    def _atom_rows(self) -> tuple[AtomRows, ...]:
        own = (AtomRows(self.log_gain, 0.0), AtomRows(self.magnitude_bias, 0.0))
        return (*super()._atom_rows(), *own)

    def _encode(self, x: Rows, k: int | None) -> SparseCodes:
        return without_zeros(self._strengths(self._candidates(x)))

    def _candidates(self, x: Rows) -> SparseCodes:
        """V where the gate is open; the gate itself gets no gradient on this way."""
        closed_below = -self.encoder.bias.detach() / self.scaling.scale
        seen, centre = self._seen(x)
        return keep_above(closed_below).of_affine(seen, self.encoder.weight, None, centre)

    def _strengths(self, candidates: SparseCodes) -> SparseCodes:
        gain = per_entry(self.log_gain.exp(), candidates)
        offset = per_entry(self.magnitude_bias / self.scaling.scale, candidates)
        return candidates.with_values((gain * candidates.values + offset).relu())

    def _terms(
        self, target: Rows, candidates: SparseCodes, codes: SparseCodes, step_fraction: float
    ) -> LossTerms:
        gate_bias = per_entry(self.encoder.bias / self.scaling.scale, candidates)
        gates = candidates.with_values(candidates.values + gate_bias)
        opened = gates.values.sum() / (len(target) * self.scaling.variance.sqrt())
        l1_multiplier = self.price(gates, rows=len(target)) if self.training else 1.0
        atoms, bias = self.operator.atoms().detach(), self.bias.detach()
        error, *_ = squared_error(gates, atoms, bias, target)
        return {
            "l1": (self.sparsity * ramp(step_fraction, RAMP) * l1_multiplier, opened),
            "gate": (1.0, self._share(error, len(target))),
        }
