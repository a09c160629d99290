"""Classical: a fixed dictionary with the inference rule of the factorisation it came from."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures import AbsTopKProx, SparseAutoencoder, sparse_code
from sae_nb.architectures._base import Untrained
from sae_nb.architectures.parts._operators import FreeOperator
from sae_nb.checks import Count, check_k, checked
from sae_nb.codes import SparseCodes

Method = Literal["PCA", "KMeans", "NMF", "SemiNMF", "ConvexNMF", "ArchetypalAnalysis"]

STEPS = 200
"""Steps of non-negative or simplex least squares. Ours: enough for a relative change below 1e-3 on the
bundled models' activations with up to 256 atoms."""

TOLERANCE = 1e-5


@checked
class Classical(Untrained, SparseAutoencoder):
    """A dictionary found by a classical factorisation, x̂ = zD + b, with its own way to find z.

    PCA: z = (x − b)Dᵀ, signed, the k largest |z|. KMeans: z = 1 at the nearest centroid. NMF, SemiNMF,
    ConvexNMF: min ‖x − zD‖ with z ≥ 0, at most k of them if k is given. ArchetypalAnalysis: the same
    with z ≥ 0 and Σ z = 1. Atoms have any norm, except PCA's. Made by `fit_classical`.

    Parameters
    ----------
    d_in, n_atoms
        Sizes.
    method
        Name of the factorisation.
    k
        Most atoms per input; None uses the number that the method does.

    Example
    -------
    >>> model = Classical(4, 3, method="KMeans")
    >>> model.encode(torch.ones(2, 4)).l0.tolist()
    [1, 1]
    """

    no_training = (
        "A classical factorisation must be fitted, not trained. Use fit_classical(acts, method, "
        "n_atoms), or train an SAE such as sn.TopK."
    )
    operator: FreeOperator
    unit_atoms = False

    def __init__(
        self, d_in: Count, n_atoms: Count, *, method: Method, k: int | None = None
    ) -> None:
        super().__init__(FreeOperator(d_in, n_atoms, generator=torch.Generator().manual_seed(0)))
        self.method: Method = method
        self.k = None if k is None else check_k(k, n_atoms)

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild it."""
        return {"d_in": self.d_in, "n_atoms": self.n_atoms, "method": self.method, "k": self.k}

    @torch.no_grad()
    def hold_(
        self, dictionary: Float[Tensor, "n_atoms d_in"], bias: Float[Tensor, " d_in"] | None = None
    ) -> Classical:
        """Take over a dictionary and a bias, and leave training mode."""
        self.operator.weight.copy_(dictionary)
        if bias is not None:
            self.pre_bias.copy_(bias)
        self.initialised.fill_(value=True)
        return self.eval()

    @torch.no_grad()
    def _encode(self, x: Float[Tensor, "rows d_in"], k: int | None) -> SparseCodes:
        atoms = self.operator.atoms().detach()
        if self.method == "PCA":
            return AbsTopKProx(self.n_atoms if k is None else k).of_affine(
                x, atoms, None, self.bias.detach()
            )
        if self.method == "KMeans":
            found, offsets = nearest(x, atoms), torch.arange(len(x) + 1, device=x.device)
            return SparseCodes(x.new_ones(len(x)), found, offsets, self.n_atoms)
        if self.method == "ArchetypalAnalysis":
            return self._solved(x, atoms, prox="simplex")
        if k is None:
            return self._solved(x, atoms, prox="soft+", weight=0.0)
        return self._solved(x, atoms, prox="top-k", k=k)

    def _solved(self, x: Tensor, atoms: Tensor, **penalty: Any) -> SparseCodes:
        bias = self.bias.detach()
        return sparse_code(x, atoms, bias=bias, n_steps=STEPS, tolerance=TOLERANCE, **penalty)


def nearest(
    x: Float[Tensor, "rows d_in"], centroids: Float[Tensor, "k d_in"]
) -> Int[Tensor, " rows"]:
    """Return the centroid nearest to each row.

    Around their mean: distances by products round as ‖x‖² does, which may be far more than they are.
    """
    centre = centroids.mean(dim=0)
    return torch.cdist(x - centre, centroids - centre).argmin(dim=1)
