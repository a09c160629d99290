"""One SAE's dictionary, several encoders: how much of an activation do k atoms explain?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb import pursuit
from sae_nb.checks import check_k, check_matrix
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import explained_variance
from sae_nb.kernels import decode, topk_encode

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    import pandas as pd


OWN, TIED, MP, OMP = (
    "the SAE's encoder",
    "one step, tied",
    "matching pursuit",
    "orthogonal matching pursuit",
)
ENCODERS = (OWN, TIED, MP, OMP)
CLEARLY = 1e-4
"""Relative difference of two errors from which one counts as larger, in fp32."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EncoderStudy:
    """R² by encoder and k, all with the same dictionary and bias."""

    ks: tuple[int, ...]
    """Atoms per input."""

    r2: Float[np.ndarray, "encoders ks"]
    """Pooled R², in the order of `ENCODERS`."""

    omp_worse: Float[np.ndarray, " ks"]
    """Share of inputs of which orthogonal matching pursuit leaves more than matching pursuit."""

    trained_k: int | None
    """k that the SAE was trained with, if it has one."""

    n: int
    """Inputs."""

    def of(self, encoder: str) -> Float[np.ndarray, " ks"]:
        """Return the R² of one encoder.

        Parameters
        ----------
        encoder
            One of `ENCODERS`.

        Raises
        ------
        ValueError: If there is no encoder of that name.
        """
        if encoder not in ENCODERS:
            raise ValueError(f"`encoder` must be one of {', '.join(ENCODERS)}, got {encoder!r}.")
        return self.r2[ENCODERS.index(encoder)]

    @property
    def gap(self) -> Float[np.ndarray, " ks"]:
        """Amortisation gap: R² of the better pursuit minus that of the SAE's own encoder, at each k."""
        return np.maximum(self.of(MP), self.of(OMP)) - self.of(OWN)

    @property
    def table(self) -> pd.DataFrame:
        """One row per encoder, one column per k."""
        import pandas as pd

        columns = [f"k = {k}" for k in self.ks]
        return pd.DataFrame(self.r2.round(3), index=list(ENCODERS), columns=columns)


def study_encoders(
    sae: SparseAutoencoder, x: Float[Tensor, "n d_in"], ks: Sequence[int] = (1, 2, 4, 8, 16, 32)
) -> EncoderStudy:
    """Encode activations with an SAE's own encoder, and with pursuits on its dictionary.

    Parameters
    ----------
    sae
        With `encode(x, k)`, unit `dictionary` and `bias`.
    x
        Activations that it was not trained on.
    ks
        Atoms per input.

    Raises
    ------
    TypeError, ValueError: If the activations or a k do not fit.

    Source
    ------
    Amortisation gap: Cremer, Li and Duvenaud, "Inference suboptimality in variational autoencoders",
    2018; of SAEs: "Compute optimal inference and provable amortisation gap in sparse autoencoders",
    arXiv 2411.13117.

    Example
    -------
    >>> from sae_nb.architectures import TopK
    >>> sae = TopK(4, 8, k=2, generator=torch.Generator().manual_seed(0)).eval()
    >>> x = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))
    >>> study = study_encoders(sae, x, ks=(2,))
    >>> bool(study.of("orthogonal matching pursuit") >= study.of("the SAE's encoder"))
    True
    """
    rows = check_matrix(x, d_in=sae.d_in).detach()
    for k in ks:
        check_k(k, sae.n_atoms)
    r2, worse = np.zeros((len(ENCODERS), len(ks))), np.zeros(len(ks))
    for i, k in enumerate(ks):
        x_hats = _reconstructions(sae, rows, k)
        r2[:, i] = [explained_variance(rows, x_hat) for x_hat in x_hats.values()]
        left = {name: (rows - x_hat).square().sum(dim=1) for name, x_hat in x_hats.items()}
        worse[i] = float((left[OMP] > (1 + CLEARLY) * left[MP]).float().mean())
    return EncoderStudy(
        ks=tuple(ks), r2=r2, omp_worse=worse, trained_k=getattr(sae, "k", None), n=len(rows)
    )


@torch.no_grad()
def _reconstructions(sae: SparseAutoencoder, x: Tensor, k: int) -> dict[str, Tensor]:
    dictionary, bias = sae.dictionary, sae.bias.detach()
    centred = x - bias
    codes: dict[str, SparseCodes] = {
        TIED: topk_encode(centred, dictionary, k=k),
        MP: pursuit.matching_pursuit(centred, dictionary, k),
        OMP: pursuit.orthogonal_matching_pursuit(centred, dictionary, k),
    }
    found = {name: decode(code, dictionary, bias) for name, code in codes.items()}
    return {OWN: sae.decode(sae.encode(x, k=k)), **found}
