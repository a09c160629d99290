"""SpaDE: an input belongs to the prototypes near it; codes are memberships that sum to 1."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Generator, Tensor, nn

from sae_nb.architectures._base import SparseAutoencoder
from sae_nb.architectures._recipe import LossTerms, Silence, TrainingDefaults, TrainingLoss
from sae_nb.architectures.parts._operators import FreeOperator
from sae_nb.architectures.parts._proxes import Matrix, Rows, SimplexProx
from sae_nb.checks import Count, Weight, checked
from sae_nb.codes import SparseCodes
from sae_nb.kernels import decode


class Memberships(SparseAutoencoder):
    """x̂ = μ + zD with z on the simplex: atoms of any norm, in scaled units, that begin at points of the data.

    Memberships sum to 1, so atoms carry any offset: apart from μ there is no bias to learn.
    """

    operator: FreeOperator
    unit_atoms = False

    def _make_atoms(self, d_in: int, n_atoms: int, generator: Generator | None) -> None:
        """Begin as a module, with atoms that are drawn."""
        super().__init__(FreeOperator(d_in, n_atoms, generator=generator))
        del self.pre_bias
        self.register_buffer("pre_bias", torch.zeros(d_in))

    @torch.no_grad()
    def _scale(self, x: Rows, generator: Generator | None) -> None:
        """Read the scaling off the first activations; atoms become some of them."""
        super()._scale(x, generator)
        self.pre_bias.zero_()
        self.operator.unit.copy_(1 / self.scaling.scale)
        where = x.device if generator is None else generator.device
        n_drawn = math.ceil(self.n_atoms / len(x))
        drawn = [torch.randperm(len(x), generator=generator, device=where) for _ in range(n_drawn)]
        chosen = x[torch.cat(drawn)[: self.n_atoms].to(x.device)]
        self.operator.weight.copy_(self._scaled(chosen))

    def _scaled(self, x: Tensor) -> Tensor:
        return (x - self.scaling.mean) * self.scaling.scale


@checked
@dataclass(eq=False, repr=False)
class SpaDE(Memberships):
    """A sparse autoencoder whose latents are regions around prototypes.

    z = sparsemax(−λ‖x − a_j‖²),  x̂ = μ + zD. Codes are ≥ 0 and sum to 1, so that they carry no
    magnitude: atoms have any norm, and `dictionary` is not of unit norm here. Trained on
    ‖x − x̂‖² + γ Σ_j z_j ‖x − a_j‖². It is one simplex-prox step of K-Deep Simplex from zero: ‖x‖² drops out
    of the projection, so pre-codes are affine, 2λ⟨x, a_j⟩ − λ‖a_j‖².

    Parameters
    ----------
    d_in
        Width of an activation.
    n_atoms
        Rows of the dictionary, and prototypes.
    sparsity
        γ ≥ 0, weight of the distance to the prototypes used; larger is sparser. May change in
        training. The default (ours) uses about 15 of 512 on a vision transformer's activations.
    generator
        Draws the first prototypes; None is torch's global generator.

    Source
    ------
    "Projecting Assumptions: The Duality Between Sparse Autoencoders and Concept Geometry", arXiv
    2503.01822 (Sai-Sumedh/SaeConceptDuality-SpaDE, functions/models.py and train_test.py).

    Example
    -------
    >>> sae = SpaDE(d_in=4, n_atoms=8, generator=torch.Generator().manual_seed(0))
    >>> codes = sae.encode(torch.randn(5, 4, generator=torch.Generator().manual_seed(1)))
    >>> codes.to_dense().sum(dim=1).round(decimals=4).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """

    operator: FreeOperator = field(init=False)
    live_numbers = ("sparsity",)

    d_in: Count
    n_atoms: Count
    _: KW_ONLY
    sparsity: Weight = 0.1
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        self._make_atoms(self.d_in, self.n_atoms, self.generator)
        self.generator = None  # what it draws is drawn
        self.prototypes = nn.Parameter(self.operator.weight.detach().clone())
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(math.expm1(1 / (2 * self.d_in)))))

    @property
    def sharpness(self) -> Float[Tensor, ""]:
        """λ in scaled units: how fast membership falls with squared distance; larger is sparser."""
        return F.softplus(self.log_sharpness)

    def recipe(self) -> TrainingDefaults:
        """Return defaults for training, made for hundreds to thousands of steps.

        Prototypes and atoms live in scaled units, where entries are about 1 whatever the model, so the
        rate does not depend on the width. The published one is 1e-2, falling over the whole of a
        run ten times as long.
        """
        return TrainingDefaults(learning_rate=2e-2, decay_fraction=0.8)

    @torch.no_grad()
    def _scale(self, x: Rows, generator: torch.Generator | None) -> None:
        """Read the scaling off the first activations; atoms and prototypes become some of them."""
        super()._scale(x, generator)
        self.prototypes.copy_(self.operator.weight)

    def training_loss(
        self, x: Rows, silent_tokens: Silence, dead_after: int, step_fraction: float
    ) -> TrainingLoss:
        """Return the unexplained share of variance, and the distance to the prototypes used, in the
        same unit.
        """
        codes = self._encode(x, None)
        error, x_hat, _ = self.operator.squared_error(codes, self.bias, x)
        reconstruction = error / (len(x) * self.scaling.variance)
        spread = distance_to_used(self._scaled(x), codes, self.prototypes)
        distance = spread / (len(x) * self.d_in)
        parts: LossTerms = {
            "reconstruction": (1.0, reconstruction),
            "distance": (self.sparsity, distance),
        }
        return TrainingLoss.of(parts, codes, x_hat)

    def _encode(self, x: Rows, k: int | None) -> SparseCodes:
        sharpness = self.sharpness
        weight = 2 * sharpness * self.scaling.scale * self.prototypes
        bias = -sharpness * self.prototypes.square().sum(dim=1)
        return SimplexProx().of_affine(x, weight, bias, self.scaling.mean)


def distance_to_used(x: Rows, codes: SparseCodes, points: Matrix) -> Tensor:
    """Σ_ij z_ij ‖x_i − p_j‖², from what the codes touch alone."""
    centre = decode(codes, points)
    norms, lengths = points.square().sum(dim=1), x.square().sum(dim=1)
    apart = norms[codes.atoms.long()] + lengths[codes.support.rows]
    return (codes.values * apart).sum() - 2 * (x * centre).sum()
