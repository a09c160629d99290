"""PolySAE: atoms that also write together, by low-rank products of their strengths."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.architectures import TopK
from sae_nb.architectures.parts import AtomRows, LossTerms, Rows, normal_rows
from sae_nb.checks import Count, check_count, checked
from sae_nb.codes import SparseCodes
from sae_nb.kernels import decode

if TYPE_CHECKING:
    import pandas as pd

RANK = 64
"""Default rank of squares and of cubes (the paper's for GPT-2)."""

FIRST_SHARE = 1e-2
"""Size of the first squares and cubes, small so that training begins as TopK's. Ours."""


@checked
@dataclass(eq=False, repr=False)
class PolySAE(TopK):
    """A TopK SAE whose decoder also has products of strengths: what two atoms write only together.

    z as in TopK,  a = zU / ℓ,  x̂ = zD + b + ℓ (a² C₂ + a³ C₃), powers entry by entry, with ‖d_j‖ = 1,
    UᵀU = 1 and ℓ = (E‖x − μ‖²)^½. A pair (i, j) adds 2 z_i z_j / ℓ · Σ_r U_ir U_jr C₂_r and cubes add
    triples, where the number of parameters grows by rank · (n_atoms + 2 d_in) only. `dictionary` is D;
    `decode` gives x̂ with its products.

    Parameters
    ----------
    rank
        Columns of U, at most n_atoms. None: 64, or n_atoms if that is less.
    d_in, n_atoms, k, aux_k, aux_weight, revival, generator
        As in `TopK`.

    Source
    ------
    "PolySAE", arXiv 2602.01322. There x̂ = b + aC₁ᵀ + λ₂(a²)C₂ᵀ + λ₃(a³)C₃ᵀ with one U for all three,
    of d_in columns in its published runs. Ours leaves the linear part to D, of which D = UC₁ᵀ is the case
    where the columns of U span those of D; so atoms stay unit vectors, λ are part of C, and the
    orthonormalisation of each step is of a narrow matrix. ℓ makes units irrelevant. C begins near 0.

    Example
    -------
    >>> sae = PolySAE(d_in=4, n_atoms=8, k=2, rank=2, generator=torch.Generator().manual_seed(0))
    >>> codes = sae.encode(torch.ones(3, 4))
    >>> sae.decode(codes).shape, list(sae.interactions(3).columns)
    (torch.Size([3, 4]), ['atom', 'other', 'score'])
    """

    fixed_codes = False

    _: KW_ONLY
    rank: int | None = None

    additive = False

    def __post_init__(self) -> None:
        self.rank = min(RANK, self.n_atoms) if self.rank is None else self.rank
        rank = check_count(self.rank, name="rank", at_most=self.n_atoms)
        generator = self.generator
        super().__post_init__()
        size = FIRST_SHARE / math.sqrt(2 * rank)
        self.mixing = nn.Parameter(orthonormal(normal_rows(self.n_atoms, rank, generator)))
        self.squares = nn.Parameter(size * normal_rows(rank, self.d_in, generator))
        self.cubes = nn.Parameter(size * normal_rows(rank, self.d_in, generator))

    def decode(self, codes: SparseCodes) -> Float[Tensor, "*batch d_in"]:
        """Add up the atoms of each row, the bias, and what atoms write together."""
        x_hat = super().decode(codes)
        together = self._together(codes.with_values(codes.values.to(self.dtype)))
        return x_hat + together.reshape(x_hat.shape)

    @checked
    @torch.no_grad()
    def interactions(self, n: Count = 10) -> pd.DataFrame:
        """Return the pairs of atoms whose product writes most, strongest first.

        Parameters
        ----------
        n
            Number of pairs; all of them if there are fewer.

        Returns
        -------
        pandas.DataFrame
            `atom` and `other`, and `score`: the length that the pair adds to x̂, as a share of ℓ, when
            both strengths are ℓ, the typical length of x − μ. That is 2 ‖Σ_r U_ir U_jr C₂_r‖. It is
            read off the weights, so it ignores how often the two are active together; cubes, which join
            three atoms, are left out.

        Example
        -------
        >>> sae = PolySAE(d_in=3, n_atoms=5, k=2, rank=1)
        >>> _ = sae.mixing.data.copy_(torch.tensor([[0.0], [0.8], [0.0], [0.6], [0.0]]))
        >>> _ = sae.squares.data.copy_(torch.tensor([[0.0, 2.0, 0.0]]))
        >>> [round(number, 2) for number in sae.interactions(1).loc[0]]
        [1.0, 3.0, 1.92]
        """
        import pandas as pd

        atom, other, score = strongest_pairs(self.mixing.detach(), self.squares.detach(), n)
        columns = {"atom": atom.tolist(), "other": other.tolist(), "score": (2 * score).tolist()}
        return pd.DataFrame(columns)

    def learning_rate_shares(self) -> dict[nn.Parameter, float]:
        """Return a share for U by which its columns turn as fast as atoms: its entries are about
        1/√n_atoms.
        """
        return {self.mixing: math.sqrt(self.d_in / self.n_atoms)}

    @torch.no_grad()
    def after_optimiser_step(self) -> None:
        """Return the atoms to the sphere, and make the columns of U orthonormal."""
        super().after_optimiser_step()
        self.mixing.copy_(orthonormal(self.mixing))

    def _together(self, codes: SparseCodes) -> Rows:
        """ℓ (a² C₂ + a³ C₃): what products of strengths write."""
        length = self.scaling.variance.sqrt()
        a = decode(codes, self.mixing) / length
        square = a.square()
        return length * (square @ self.squares + (square * a) @ self.cubes)

    def _reconstruction(self, target: Rows, codes: SparseCodes) -> tuple[LossTerms, Tensor, Tensor]:
        together = self._together(codes)
        parts, x_hat, residual = super()._reconstruction(target - together, codes)
        return parts, x_hat + together.detach(), residual

    def _atom_rows(self) -> tuple[AtomRows, ...]:
        return (*super()._atom_rows(), AtomRows(self.mixing, 0.0))


@torch.no_grad()
def orthonormal(columns: Float[Tensor, "n rank"]) -> Float[Tensor, "n rank"]:
    """Return Q of QR with a positive diagonal of R: the columns orthonormal, each turned as little as
    may be.
    """
    q, r = torch.linalg.qr(columns)
    return q * torch.where(r.diagonal() < 0, -1.0, 1.0).to(q)


def strongest_pairs(
    mixing: Float[Tensor, "n_atoms rank"], squares: Float[Tensor, "rank d_in"], n: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the n pairs i < j with the largest ‖Σ_r U_ir U_jr C_r‖, and those norms, exactly.

    Atoms are in the order of ‖U_i‖. As ‖(U_i ∘ U_j) C‖ ≤ ‖C‖ max_r |U_ir| ‖U_j‖, of each atom's
    partners only the first can be among the n, and most pairs are never computed.
    """
    # ‖vC‖ = ‖vRᵀ‖ with Cᵀ = QR, which is narrower where rank < d_in.
    narrow = torch.linalg.qr(squares.T).R.T
    order = mixing.norm(dim=1).argsort(descending=True, stable=True)
    rows = mixing[order]
    norms, largest = rows.norm(dim=1), rows.abs().amax(dim=1)
    most = torch.linalg.matrix_norm(narrow, 2)
    score = mixing.new_zeros(0)
    pairs = order.new_zeros(0, 2)
    for i in range(len(rows) - 1):
        worst = score[-1] if len(score) == n else score.new_tensor(-1.0)
        end = i + 1 + int((most * largest[i] * norms[i + 1 :] >= worst).sum())
        if end == i + 1:
            continue
        found = (rows[i] * rows[i + 1 : end] @ narrow).norm(dim=1)
        new = torch.stack([order[i].expand(end - i - 1), order[i + 1 : end]], dim=1)
        score, pairs = torch.cat([score, found]), torch.cat([pairs, new])
        best = score.topk(min(n, len(score))).indices
        score, pairs = score[best], pairs[best]
    atom, other = pairs.sort(dim=1).values.unbind(dim=1)
    return atom, other, score
