"""JumpReLU: a threshold for every atom, learned by straight-through gradients."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from sae_nb.architectures._one_step import OneStep
from sae_nb.architectures._recipe import LossTerms, ramp
from sae_nb.architectures._revival import AtomRows
from sae_nb.architectures._sparsity import check_l0
from sae_nb.architectures.parts._proxes import Prox, Rows, keep_above
from sae_nb.checks import Between, Weight, checked
from sae_nb.codes import SparseCodes
from sae_nb.kernels import per_entry

# -------------------------------------------------------------------------------------------------
# Derivatives lent to a step: only pre-codes within half a window of their threshold feel it.
#
# With K = 1[|u − θ| < ε/2] and ε = bandwidth · θ held constant:
# jump(u, θ) = u H(u − θ),  ∂u = H,  ∂θ = −(θ/ε) K;   step(u, θ) = H(u − θ),  ∂u = 0,  ∂θ = −(1/ε) K.


def jump(
    u: Float[Tensor, " nnz"], theta: Float[Tensor, " nnz"], bandwidth: float
) -> Float[Tensor, " nnz"]:
    """Return u where u > θ, else 0, with a pseudo-derivative to θ.

    Source: Rajamanoharan et al., arXiv 2407.14435, equation 11.
    """
    return _Jump.apply(u, theta, bandwidth)  # type: ignore[no-untyped-call]


def step(
    u: Float[Tensor, " nnz"], theta: Float[Tensor, " nnz"], bandwidth: float
) -> Float[Tensor, " nnz"]:
    """1 where u > θ, else 0, with a pseudo-derivative to θ.

    Source: Rajamanoharan et al., arXiv 2407.14435, equation 12.
    """
    return _Step.apply(u, theta, bandwidth)  # type: ignore[no-untyped-call]


class _Kept(FunctionCtx):
    saved_tensors: tuple[Tensor, ...]
    bandwidth: float


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Kept, u: Tensor, theta: Tensor, bandwidth: float) -> Tensor:
        above = u > theta
        ctx.save_for_backward(above, _window(u, theta, bandwidth))
        ctx.bandwidth = bandwidth
        return u * above

    @staticmethod
    @once_differentiable
    def backward(ctx: _Kept, g: Tensor) -> tuple[Tensor | None, ...]:
        above, near = ctx.saved_tensors
        return g * above, g * near * (-1 / ctx.bandwidth), None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Kept, u: Tensor, theta: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(_window(u, theta, bandwidth), theta)
        ctx.bandwidth = bandwidth
        return (u > theta).to(u.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Kept, g: Tensor) -> tuple[Tensor | None, ...]:
        near, theta = ctx.saved_tensors
        return None, g * near / (-ctx.bandwidth * theta), None


def _window(u: Tensor, theta: Tensor, bandwidth: float) -> Tensor:
    return (u - theta).abs() < bandwidth / 2 * theta


L0 = 20.0
"""Default target (saprmarks/dictionary_learning, jumprelu.py); a quarter of n_atoms if that is less."""

SPARSITY = 1.0
"""Default weight of the target (dictionary_learning). A third of it leaves L0 a quarter above a target
of 2 on planted data (ours, measured); this, a tenth."""

RAMP = 0.05
"""Share of the run over which the target sets in."""


@checked
@dataclass(eq=False, repr=False)
class JumpReLU(OneStep):
    """A sparse autoencoder with learned thresholds: z_j = u_j H(u_j − θ_j),  u = (x − b)Eᵀ + a.

    Trained on ‖x − x̂‖² / E‖x − μ‖² + λ (L0 / L0* − 1)², with L0 = Σ_j H(u_j − θ_j). The step H has no
    derivative, so a window of width ε_j around the threshold lends it one:
    ∂z_j/∂θ_j = −(θ_j/ε_j) 1[|u_j − θ_j| < ε_j/2] and ∂H/∂θ_j = −(1/ε_j) 1[…]. Only pre-codes above
    θ_j − ε_j/2 matter to the loss or to any gradient: they alone are ever stored.

    Parameters
    ----------
    l0
        L0*, atoms per input on average to aim at. None: 20, or n_atoms / 4 if that is less.
    sparsity
        λ, how strictly.
    bandwidth
        ε_j as a share of θ_j, in (0, 2).
    d_in, n_atoms, aux_k, aux_weight, revival, generator
        As in `TopK`.

    Source
    ------
    Rajamanoharan et al., "Jumping ahead: improving reconstruction fidelity with JumpReLU sparse
    autoencoders", arXiv 2407.14435; the target form of the penalty: saprmarks/dictionary_learning,
    jumprelu.py. Ours ties ε_j to θ_j, so that units do not matter, and starts θ where the first
    activations have L0* entries, so that codes are sparse from the first step.

    Example
    -------
    >>> sae = JumpReLU(d_in=4, n_atoms=8, l0=2, generator=torch.Generator().manual_seed(0))
    >>> x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    >>> sae.initialise(x, None)
    >>> sae.encode(x).nnz, sae.thresholds.shape
    (100, torch.Size([8]))
    """

    l0: float | None = None
    _: KW_ONLY
    sparsity: Weight = SPARSITY
    bandwidth: Annotated[
        float,
        Between(
            0,
            2,
            "()",
            do="It is the width of the window around a threshold, as a share of the threshold.",
        ),
    ] = 0.5

    live_numbers = ("l0", "sparsity", "aux_weight")
    fixed_codes = True

    def __post_init__(self) -> None:
        self.l0 = check_l0(min(L0, self.n_atoms / 4) if self.l0 is None else self.l0, self.n_atoms)
        super().__post_init__()
        # θ = exp(t) in scaled units; 1 until the first activations are seen.
        self.log_threshold = nn.Parameter(torch.zeros(self.n_atoms))

    @property
    def thresholds(self) -> Float[Tensor, " n_atoms"]:
        """θ of every atom, in the model's units, with its gradient."""
        return self.log_threshold.exp() / self.scaling.scale

    def _begin(self, x: Rows) -> None:
        theta = self._first_threshold(x, self.l0)  # type: ignore[arg-type]
        tiny = torch.finfo(theta.dtype).tiny
        self.log_threshold.fill_(float((theta * self.scaling.scale).clamp_min(tiny).log()))

    def _rescale(self, gain: float) -> None:
        super()._rescale(gain)
        self.log_threshold.add_(torch.tensor(gain).log().to(self.log_threshold))

    def _atom_rows(self) -> tuple[AtomRows, ...]:
        return (*super()._atom_rows(), AtomRows.at_median(self.log_threshold))

    def _prox(self, k: int | None) -> Prox:
        return keep_above(self.thresholds)

    def _candidates(self, x: Rows) -> SparseCodes:
        limits = self.thresholds * (1 - self.bandwidth / 2)
        return self._with(keep_above(limits), x)

    def _strengths(self, candidates: SparseCodes) -> SparseCodes:
        theta = per_entry(self.thresholds, candidates)
        return candidates.with_values(jump(candidates.values, theta, self.bandwidth))

    def _terms(
        self, target: Rows, candidates: SparseCodes, codes: SparseCodes, step_fraction: float
    ) -> LossTerms:
        theta = per_entry(self.thresholds, candidates)
        fired = self.over_atoms(step(candidates.values, theta, self.bandwidth).sum())
        active = fired / len(target)
        missed = (active / self.l0 - 1).square()  # type: ignore[operator]
        return {"l0 target": (self.sparsity * ramp(step_fraction, RAMP), missed)}
