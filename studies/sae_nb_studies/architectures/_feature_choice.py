"""FeatureChoice: atoms choose the inputs in which they fire, so that each has its share of a batch."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures import BatchTopK, ColumnTopKProx
from sae_nb.architectures.parts import AtomRows, Rows
from sae_nb.checks import Weight, checked
from sae_nb.codes import SparseCodes
from sae_nb_studies.architectures._zipf import zipf_rates


@checked
@dataclass(eq=False, repr=False)
class FeatureChoice(BatchTopK):
    """A sparse autoencoder whose atoms choose inputs: atom j fires in a share p_j of them, Σ_j p_j = k.

    In training, of u = (x − b)Eᵀ + a over a batch of B inputs, atom j keeps its m_j = B·p_j largest
    positive entries. With the default every p_j is k / n_atoms; with an exponent s, p_j ∝ (j + 1 + q)^−s,
    at most 1. So no atom loses all its inputs to others; an input gets the atoms that choose it. At
    inference an input must not depend on its company: z_j = u_j where u_j > θ_j, with θ_j the running mean
    of the smallest pre-code that atom j kept. x̂ = zD + b. Trained on ‖x − x̂‖² / E‖x − μ‖² + α·AuxK.

    A batch should have n_atoms / k inputs or more: an atom keeps at least one, and in smaller batches
    more than k per input are kept. Before a first batch was seen there is no θ yet, and each row keeps
    its own k largest.

    Parameters
    ----------
    k
        Atoms per input on average, 0 < k ≤ n_atoms; need not be whole.
    exponent
        s, how fast shares fall from atom to atom; 0: all alike.
    offset
        q, how many of the highest ranks are left out.
    d_in, n_atoms, aux_k, aux_weight, revival, generator
        As in `TopK`.

    Source
    ------
    Ayonrinde, "Adaptive Sparse Allocation with Mutual Choice & Feature Choice Sparse Autoencoders",
    arXiv 2411.02124. We know the abstract: uniform shares and how thresholds are found are ours.

    Example
    -------
    >>> sae = FeatureChoice(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    >>> sae.initialise(x, None)
    >>> (sae.encode(x).frequency * 40).tolist()
    [10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0]
    """

    fixed_codes = False

    _: KW_ONLY
    exponent: Weight = 0.0
    offset: Weight = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.threshold = torch.zeros(self.n_atoms)

    @property
    def target_rates(self) -> Float[Tensor, " n_atoms"]:
        """p_j of each atom: the share of a batch in which it fires."""
        return self._rates(self.k).to(self.device, self.dtype)

    def _rates(self, k: float) -> Float[Tensor, " n_atoms"]:
        return zipf_rates(self.n_atoms, k, self.exponent, self.offset)

    def _chooser(self, k: float) -> ColumnTopKProx:
        return ColumnTopKProx(self._rates(k))

    def _smallest_kept(self, codes: SparseCodes, k: float) -> Tensor:
        """Of each atom; 0 where it had room for more, so that nothing positive was left out."""
        counts = self._chooser(k).counts(codes.n_rows)
        return torch.where(_fired(codes) >= counts.to(codes.values.device), _smallest(codes), 0.0)

    def _largest_left_out(self, codes: SparseCodes, x: Rows) -> Tensor:
        one_more = (_fired(codes) + 1).double() / len(x)
        more = self._with(ColumnTopKProx(one_more), x)
        return torch.where(_fired(more) > _fired(codes), _smallest(more), 0.0)

    def _checked_k(self, k: float | None) -> int | None:
        if k is not None:
            raise ValueError(
                f"`k` must be None for FeatureChoice, whose atoms have a threshold each, got {k}. Leave it "
                "out, or call fit_threshold(x, k) first."
            )
        return None

    def _atom_rows(self) -> tuple[AtomRows, ...]:
        return (*super()._atom_rows(), AtomRows.at_median(self.threshold))


def _fired(codes: SparseCodes) -> Int[Tensor, " n_atoms"]:
    return torch.bincount(codes.atoms.long(), minlength=codes.n_atoms)


def _smallest(codes: SparseCodes) -> Float[Tensor, " n_atoms"]:
    """Of each atom; ∞ where it does not fire."""
    smallest = codes.values.new_full((codes.n_atoms,), torch.inf)
    return smallest.scatter_reduce_(0, codes.atoms.long(), codes.values, "amin")
