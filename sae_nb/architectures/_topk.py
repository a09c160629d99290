"""TopK: keep the k strongest positive pre-codes of each input; AuxK revives dead atoms."""

from __future__ import annotations

from dataclasses import dataclass

from sae_nb.architectures._one_step import OneStep
from sae_nb.architectures.parts._largest import keep_largest
from sae_nb.architectures.parts._proxes import Prox
from sae_nb.checks import check_k, checked


@checked
@dataclass(eq=False, repr=False)
class TopK(OneStep):
    """A sparse autoencoder with a fixed number of atoms per input.

    u = (x − b)Eᵀ + a,  z = [TopK_k(u)]₊,  x̂ = zD + b, with ‖d_j‖ = 1. Trained on
    ‖x − x̂‖² / E‖x − μ‖² + α·AuxK. It is one ISTA step with a learned adjoint E.

    Parameters
    ----------
    d_in
        Width of an activation.
    n_atoms
        Rows of the dictionary.
    k
        Most atoms per input, 1 ≤ k ≤ n_atoms. May differ at inference: `encode(x, k=…)`.
    aux_k
        Most dead atoms per input in the auxiliary loss. None: half of d_in.
    aux_weight
        α, weight of the auxiliary loss; 0 leaves it out.
    revival
        How dead atoms return: by the auxiliary loss ("auxk" or "push-up", weighted by `aux_weight`),
        or as residuals of inputs ("resample").
    generator
        Draws the first dictionary; None is torch's global generator.

    Source
    ------
    Gao et al., "Scaling and evaluating sparse autoencoders", arXiv 2406.04093. Half of d_in for
    aux_k: saprmarks/dictionary_learning. Ours scales E at the start by least squares on the first
    activations, where openai/sparse_autoencoder uses 256 random vectors.

    Example
    -------
    >>> import torch
    >>> sae = TopK(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> codes = sae.encode(torch.ones(3, 5, 4))
    >>> codes.shape, bool((codes.l0 <= 2).all()), sae.decode(codes).shape
    ((3, 5, 8), True, torch.Size([3, 5, 4]))
    """

    k: int

    live_numbers = ("k", "aux_weight")
    fixed_codes = True

    def __post_init__(self) -> None:
        check_k(self.k, self.n_atoms)
        super().__post_init__()

    def _prox(self, k: int | None) -> Prox:
        return keep_largest(self.k if k is None else k)
