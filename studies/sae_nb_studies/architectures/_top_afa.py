"""TopAFA: an input uses atoms, from the strongest on, until its code is as long as it is."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures import NormProx, Prox
from sae_nb.architectures.parts import Encodable, LossTerms, OneStep, Rows
from sae_nb.checks import Weight, check_k, checked
from sae_nb.codes import SparseCodes

NORM_WEIGHT = 4.0
"""Default weight of the term of norms. The authors count the error per dimension and norms whole, so that
ours is d_in times theirs: at d_in 768 they vary it from 6 to 48. Ours."""


@checked
@dataclass(eq=False, repr=False)
class TopAFA(OneStep):
    """A sparse autoencoder without a k: an input uses atoms until its code is as long as it is.

    Of u = (x − b)Eᵀ + a the positive entries are taken from the largest on, and
    k(x) = argmin_k |‖z_{1…k}‖ − ‖x − b‖| of them are kept, one at least. x̂ = zD + b, with ‖d_j‖ = 1.
    Trained on ‖x − x̂‖² / V + c · mean (‖z‖ − ‖x − b‖)² / V + α·AuxK with V = E‖x − μ‖². The thought is that
    atoms of a large dictionary are nearly orthogonal, so that ‖zD‖ ≈ ‖z‖, and a code that explains its
    input is as long as it. An input's code does not depend on its company.

    Only the k_max largest entries of an input are considered, so codes stay sparse. If they are shorter
    than the input together, all of them are kept: k_max then decides, and `bound(x)` is the share of
    inputs for which that is so.

    Parameters
    ----------
    k_max
        Most atoms per input, 1 ≤ k_max ≤ n_atoms. None: d_in, or n_atoms if that is less.
    norm_weight
        c, weight of the term of norms; 0 leaves it out. May change in training.
    d_in, n_atoms, aux_k, aux_weight, revival, generator
        As in `TopK`.

    Source
    ------
    Lee et al., "Evaluating and Designing Sparse Autoencoders by Approximating Quasi-Orthogonality",
    arXiv 2503.24277; SewoongLee/top-afa-sae, training/sae.py. Ours has an encoder bias, looks at k_max
    entries, and measures norms from b in the loss too, as in the selection.

    Example
    -------
    >>> sae = TopAFA(d_in=4, n_atoms=8, generator=torch.Generator().manual_seed(0))
    >>> x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    >>> sae.initialise(x, None)
    >>> codes = sae.encode(x)
    >>> sae.k_max, len(set(codes.l0.tolist())) > 1, bool((codes.l0 <= 4).all())
    (4, True, True)
    """

    k_max: int | None = None
    _: KW_ONLY
    norm_weight: Weight = NORM_WEIGHT

    live_numbers = ("norm_weight", "aux_weight")

    def __post_init__(self) -> None:
        if self.k_max is None:
            self.k_max = min(self.d_in, self.n_atoms)
        check_k(self.k_max, self.n_atoms, name="k_max")
        super().__post_init__()

    @checked
    @torch.no_grad()
    def bound(self, x: Encodable) -> float:
        """Return share of inputs that keep k_max entries and are still longer than their code.

        Parameters
        ----------
        x
            Activations, (…, d_in), as `encode` takes them.
        """
        rows = self._rows(x)
        codes = self._encode(rows, None)
        is_bound = (codes.l0 == self.k_max) & (_norms(codes) < self._lengths(rows))
        return float(is_bound.double().mean())

    def _lengths(self, x: Rows) -> Float[Tensor, " rows"]:
        return (x - self.bias).norm(dim=1)

    def _prox(self, k: Any) -> Prox:
        return NormProx(int(self.k_max or 1))

    def _terms(
        self, target: Rows, candidates: SparseCodes, codes: SparseCodes, step_fraction: float
    ) -> LossTerms:
        missed = (_norms(codes) - self._lengths(target)).square().sum()
        return {"norms": (self.norm_weight, self._share(missed, len(target)))}


def _norms(codes: SparseCodes) -> Float[Tensor, " rows"]:
    """‖z‖ of each row, with a slope of 0 where it has no entry."""
    power = codes.values.new_zeros(codes.n_rows)
    power = power.index_add(0, codes.support.rows, codes.values.square())
    return torch.where(power > 0, power, 1.0).sqrt() * (power > 0)
