"""Shared parts of case studies: an SAE and, of the same size and sparsity, PCA, NMF and random directions.

Every method has `n_atoms` atoms (PCA no more than there are dimensions) and uses at most k in a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder
from sae_nb_studies.uses._text_dimension import column_correlations

METHODS = ("SAE", "PCA", "NMF", "random")


def fitted(
    x: Tensor, n_atoms: int, k: int, *, steps: int, seed: int, batch_size: int = 512
) -> dict[str, SparseAutoencoder]:
    """Fit each method to rows ≥ 0, so that NMF can; "random" is the SAE before its training.

    `steps` are the SAE's.
    """
    draws = torch.Generator().manual_seed(seed)
    untrained = sn.TopK(x.shape[1], n_atoms, k, generator=draws)
    draws = torch.Generator().manual_seed(seed)
    sae = sn.TopK(x.shape[1], n_atoms, k, generator=draws)
    config = sn.TrainConfig(steps=steps, batch_size=batch_size, seed=seed)
    sn.train(sae, x, config, progress=False)
    return {
        "SAE": sae.eval(),
        "PCA": sn.fit_classical(x, "PCA", min(n_atoms, x.shape[1]), k=k, seed=seed),
        "NMF": sn.fit_classical(x, "NMF", n_atoms, k=k, seed=seed),
        "random": untrained.eval(),
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class Read:
    """A method's codes of rows, and R² of the reconstruction."""

    codes: csr_matrix
    r2: float

    def of_samples(self, sample: np.ndarray) -> csr_matrix:
        """Return the mean strength of every atom over the rows of a sample, (samples, n_atoms).

        `sample`: the number of each row's sample, 0 to n − 1.
        """
        n = int(sample.max()) + 1
        share = 1 / np.bincount(sample, minlength=n)[sample]
        averages = csr_matrix((share, (sample, np.arange(len(sample)))), shape=(n, len(sample)))
        return averages @ self.codes


@torch.no_grad()
def read(method: SparseAutoencoder, x: Tensor) -> Read:
    """Encode rows once; NMF solves a problem for each."""
    codes = method.encode(x)
    r2 = sn.evaluation.explained_variance(x, method.decode(codes))
    return Read(codes=codes.to_scipy(), r2=r2)


def best(codes: csr_matrix, target: np.ndarray) -> tuple[int, float]:
    """Return the atom with the largest |r| with a number per sample, and its r."""
    r = column_correlations(codes, target)
    atom = int(np.abs(r).argmax())
    return atom, float(r[atom])
