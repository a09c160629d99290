"""BatchTopK: keep k pre-codes per input on average, the strongest of the whole batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures._one_step import OneStep, below, between
from sae_nb.architectures.parts._largest import BatchTopKProx, TopKProx
from sae_nb.architectures.parts._proxes import Prox, Rows, keep_above
from sae_nb.checks import check_k, checked
from sae_nb.codes import SparseCodes
from sae_nb.kernels._coding import check_average_k

MEMORY = 0.9
"""Share of the threshold that a training step keeps (overcomplete, mpsae/MP-SAE). dictionary_learning's
0.999 does not settle in the hundreds of steps of a notebook: 0.98 already leaves L0 at 4.9 for k = 3
after 30 steps."""


@checked
@dataclass(eq=False, repr=False)
class BatchTopK(OneStep):
    """A sparse autoencoder that spends k atoms per input on average, more where more are needed.

    In training z keeps the B·k largest positive entries of u = (x − b)Eᵀ + a over the whole batch of
    B inputs. At inference an input must not depend on its company: z_j = u_j where u_j > θ, with θ the
    running mean of the smallest kept pre-code, so that k per input remain on average. x̂ = zD + b.
    Trained on ‖x − x̂‖² / E‖x − μ‖² + α·AuxK.

    In eval mode `encode` uses the threshold. With `encode(x, k=…)`, and in training mode, the rows of
    that one call compete for rows · k entries. Before the first batch there is no θ yet, and each row
    keeps its own k largest.

    Parameters
    ----------
    k
        Atoms per input on average, 0 < k ≤ n_atoms; need not be whole.
    d_in, n_atoms, aux_k, aux_weight, revival, generator
        As in `TopK`.

    Source
    ------
    Bussmann et al., "BatchTopK sparse autoencoders", arXiv 2412.06410; the threshold as a running
    mean: saprmarks/dictionary_learning and KempnerInstitute/overcomplete.

    Example
    -------
    >>> sae = BatchTopK(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    >>> sae.initialise(x, None)
    >>> sae.encode(x, k=1).nnz, sae.eval().encode(x).nnz, sae.encode(x[:1]).shape
    (50, 100, (1, 8))
    """

    k: float

    live_numbers: ClassVar[tuple[str, ...]] = ("k", "aux_weight")
    fixed_codes = True

    threshold: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.k = check_average_k(self.k, self.n_atoms)
        super().__post_init__()
        self.register_buffer("threshold", torch.zeros(()))

    def _fit_encoder(self, rows: Rows) -> None:
        """Read the encoder's gain and the threshold off the first training rows."""
        super()._fit_encoder(rows)
        self.fit_threshold(self.split(rows)[0])

    @checked
    @torch.no_grad()
    def fit_threshold(self, x: Float[Tensor, "*batch d_in"], k: float | None = None) -> float:
        """Set the threshold of inference so that k entries per row remain on these activations.

        Training keeps a running mean, which is as good where the data stay the same; on other data,
        or for another k, this is exact.

        Parameters
        ----------
        x
            Activations, a representative sample.
        k
            Entries per row on average; None is the SAE's own.
        """
        k = self.k if k is None else check_average_k(k, self.n_atoms)
        rows = self._rows(x)
        codes = self._with(self._chooser(k), rows)
        if codes.nnz:
            smallest = self._smallest_kept(codes, k)
            lowest = below(smallest, codes.values.max(), self.d_in)
            self.threshold.copy_(between(smallest, self._largest_left_out(codes, rows), lowest))
        return float(self.threshold.mean())

    def _candidates(self, x: Rows) -> SparseCodes:
        codes = self._with(self._training_prox(), x)
        if codes.nnz:
            found = codes.detach()
            self._remember(self._smallest_kept(found, self.k), found.values.max())
        return codes

    def _smallest_kept(self, codes: SparseCodes, k: float) -> Tensor:
        """The smallest pre-code that was kept: what was left out lies below."""
        fills = codes.support.fills
        return (codes.values if fills is None else codes.values.masked_fill(fills, torch.inf)).min()

    def _largest_left_out(self, codes: SparseCodes, x: Rows) -> Tensor:
        """The largest pre-code that was not kept, or 0: the smallest where one more is kept."""
        more = self._with(BatchTopKProx(min((codes.nnz + 1) / len(x), self.n_atoms)), x)
        return more.values.min() if more.nnz > codes.nnz else codes.values.new_zeros(())

    def _remember(self, smallest: Tensor, largest: Tensor) -> None:
        """Move the threshold to just below the smallest pre-code that a training batch kept."""
        if self.training and torch.is_grad_enabled():
            # A loss that overflows ends the training; the threshold must stay good.
            passed = below(smallest, largest, self.d_in)
            finite = torch.where(passed.isfinite(), passed, self.threshold)
            self.threshold.lerp_(finite.to(self.threshold.dtype), 1 - MEMORY)

    def _chooser(self, k: float) -> Prox:
        """Return the prox that chooses k entries per row of one call, on average."""
        return BatchTopKProx(k)

    def _training_prox(self) -> Prox:
        return self._chooser(self.k)

    def _checked_k(self, k: float | None) -> int | None:
        # Left out, k does not decide in eval mode: the threshold does.
        return None if k is None else check_average_k(k, self.n_atoms)  # type: ignore[return-value]

    def _prox(self, k: float | None) -> Prox:
        if k is not None:
            return self._chooser(k)
        if self.training:
            return self._training_prox()
        if bool(self.initialised):
            return keep_above(self.threshold)
        return TopKProx(check_k(max(1, round(self.k)), self.n_atoms))
