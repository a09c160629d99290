"""Quasi-orthogonality: how near to a right angle atoms are, and whether codes are as long as their inputs.

‖zD‖² = ‖z‖² + Σ_{i≠j} z_i z_j ⟨d_i, d_j⟩ for unit atoms, so that atoms with |⟨d_i, d_j⟩| ≤ ε give

    |‖zD‖² − ‖z‖²| ≤ ε (‖z‖₁² − ‖z‖²).

If zD is the input, its length fixes how long its code must be, whatever the code.
"""

from __future__ import annotations

import math
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations, acts_for, written_codes
from sae_nb.checks import checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import atom_geometry, encoded_rows
from sae_nb.findings import Finding, column
from sae_nb_studies.evaluation.dictionary._merging import summed_atoms

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

_BATCH = 4096


class QuasiOrthogonality(Finding):
    """Lengths of inputs and their codes, and how far atoms are from orthogonal; `plot()` is the ZF plot."""

    HEADLINE = (
        "{lengths.len} rows: ‖z‖ / ‖x − b‖ {ratio:.3g}, missed by {missed:.1%}, correlation "
        "{correlation:.3f}; |cosine| of atoms: mean {mean:.3f} (random {random_mean:.3f}), largest "
        "{largest:.3f} (at least {welch:.3f})"
    )

    lengths: Float[np.ndarray, " rows"] = field(metadata=column("‖x − b‖"))
    code_lengths: Float[np.ndarray, " rows"] = field(metadata=column("‖z‖"))
    """‖x − b‖ and ‖z‖ of each row, z_j times ‖d_j‖."""

    epsilon: Float[np.ndarray, " rows"] = field(metadata=column("ε"))
    """|‖zD‖² − ‖z‖²| / (‖z‖₁² − ‖z‖²) of each row: some two of the atoms that it uses have a |cosine| of at
    least this. NaN where fewer than two atoms are used."""

    largest: float
    mean: float
    """|⟨d_i, d_j⟩| over pairs of atoms: the largest, which is ε, and the mean."""

    welch: float
    random_mean: float
    """The least that `largest` can be for this number of atoms and dimensions; what `mean` is for random
    directions."""

    @property
    def missed(self) -> float:
        """Mean of |‖z‖ − ‖x − b‖| over the mean of ‖x − b‖: 0 where codes are as long as their inputs, NaN
        where all inputs are the bias.
        """
        length = self.lengths.mean()
        away = np.abs(self.code_lengths - self.lengths).mean()
        return float(away / length) if length > 0 else math.nan

    @property
    def ratio(self) -> float:
        """Median of ‖z‖ / ‖x − b‖: above 1 codes are longer than their inputs, below 1 shorter."""
        return float(np.median(self.code_lengths / np.maximum(self.lengths, 1e-30)))

    @property
    def correlation(self) -> float:
        """Correlation of ‖z‖ with ‖x − b‖ over rows; NaN where one of them is the same in all."""
        pair = np.stack([self.lengths, self.code_lengths])
        if len(pair[0]) < 2 or not pair.std(axis=1).all():
            return math.nan
        return float(np.corrcoef(pair)[0, 1])

    def plot(self) -> Any:
        """Draw ‖z‖ over ‖x − b‖, one point per row (the ZF plot), and where they are equal."""
        from sae_nb.figures import lengths_of_codes

        return lengths_of_codes(self.lengths, self.code_lengths)


@checked(leave=("acts",))
@torch.no_grad()
def quasi_orthogonality(
    sae: SparseAutoencoder, acts: Activations | Float[Tensor, "n d_in"]
) -> QuasiOrthogonality:
    """Compare the length of codes with that of their inputs, and measure the angles between atoms.

    The other terms of an SAE's output (the bias, a prediction, a skip connection) are subtracted from
    the input first: it is b here.

    Parameters
    ----------
    sae
        Of any architecture that writes one place.
    acts
        Activations in its units; both places, where it writes another than it reads.

    Raises
    ------
    ValueError: If there are fewer than two atoms.

    Source
    ------
    Lee et al., "Evaluating and Designing Sparse Autoencoders by Approximating Quasi-Orthogonality",
    arXiv 2503.24277; SewoongLee/top-afa-sae, visualization/zf-plot.ipynb. There ε of a row is
    |‖x‖² − ‖z‖²| / ((n_atoms − 1) ‖z‖²), with b as one more atom; as ‖z‖₁² is far below n_atoms ‖z‖² where
    codes are sparse, it is far below any cosine. Ours counts the atoms in use, and takes zD for x, so
    that what the SAE misses does not pass for cosines.

    Example
    -------
    >>> import sae_nb as sn
    >>> sae = sn.TopK(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0)).eval()
    >>> x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    >>> found = quasi_orthogonality(sae, x)
    >>> len(found.lengths), bool((found.epsilon <= found.largest + 1e-6).all())
    (20, True)
    """
    acts = acts_for(sae, acts, target=getattr(sae, "writes", None) is not None)
    _check_one_target(sae)
    atoms = sae.dictionary.double()
    geometry = atom_geometry(atoms)
    found = [
        _of_batch(_written(sae, codes, target), target.double(), x_hat.double(), atoms)
        for _, target, codes, x_hat in encoded_rows(sae, acts, _BATCH)
    ]
    lengths, code_lengths, epsilon = torch.cat(found, dim=1).cpu().numpy()
    return QuasiOrthogonality(
        lengths=lengths,
        code_lengths=code_lengths,
        epsilon=epsilon,
        largest=geometry.coherence,
        mean=geometry.mean_cosine,
        welch=geometry.welch,
        random_mean=_random_mean(atoms.shape[1]),
    )


def _written(sae: SparseAutoencoder, codes: SparseCodes, x: Tensor) -> SparseCodes:
    """Codes in the model's units, of an SAE; a transcoder's norm is of what it reads."""
    made: SparseCodes = codes if sae.writes is not None else written_codes(sae, codes, x)
    return made.detach().to("cpu")


def _of_batch(
    codes: SparseCodes, target: Tensor, x_hat: Tensor, atoms: Tensor
) -> Float[Tensor, "3 rows"]:
    """‖x − b‖, ‖z‖ and ε of some rows."""
    written = summed_atoms(codes.to(atoms.device), atoms)
    strengths = codes.values.double() * atoms.norm(dim=1)[codes.atoms.long()]
    zeros, rows = strengths.new_zeros(codes.n_rows), codes.support.rows
    power = zeros.index_add(0, rows, strengths.square())
    pairs = zeros.index_add(0, rows, strengths.abs()).square() - power
    several = codes.l0 > 1
    epsilon = (written.square().sum(dim=1) - power).abs() / torch.where(several, pairs, 1.0)
    left = target - (x_hat - written)
    return torch.stack([left.norm(dim=1), power.sqrt(), epsilon.where(several, math.nan)])


def _check_one_target(sae: SparseAutoencoder) -> None:
    if sae.by_site or len(sae.writes or ()) > 1:
        raise ValueError(
            f"`sae` must write one place here, got {type(sae).__name__}, whose atoms have a length in each of "
            "several. Use an SAE, such as sn.TopK, or a Transcoder."
        )


def _random_mean(d: int) -> float:
    """Mean |cosine| of two random directions: Γ(d/2) / (√π Γ((d + 1)/2))."""
    return math.exp(math.lgamma(d / 2) - math.lgamma((d + 1) / 2)) / math.sqrt(math.pi)
