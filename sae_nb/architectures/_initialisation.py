"""What an SAE reads off its first activations: where they lie, how large they are, how to begin."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.architectures.parts._operators import LearnedAdjoint
from sae_nb.kernels import batch_topk_encode


class InputScaling(nn.Module):
    """Mean and one scalar: x ↦ (x − μ)·s with s = √(d_in / E‖x − μ‖²).

    Scaled activations have unit mean square per coordinate. Weights that are learned in these units
    get steps of one size whatever the model; the SAE folds μ and s back, so that codes, atoms and
    reconstructions are in the model's own units.

    Source: Sai-Sumedh/SaeConceptDuality-SpaDE, functions/get_data.py.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, d_in: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(d_in))
        self.register_buffer("scale", torch.ones(()))

    @property
    def variance(self) -> Float[Tensor, ""]:
        """E‖x − μ‖² in the model's units: what no reconstruction but the mean would leave."""
        return len(self.mean) / self.scale.square()

    @torch.no_grad()
    def fit_(self, x: Float[Tensor, "rows d_in"]) -> None:
        """Read μ and s off some activations."""
        self.mean.copy_(x.mean(dim=0))
        power = (x - self.mean).square().sum(dim=1).mean()
        scale = (x.shape[1] / power).sqrt()
        self.scale.copy_(torch.where(power > 0, scale, torch.ones_like(scale)))


@torch.no_grad()
def geometric_median(
    x: Float[Tensor, "rows d_in"], *, tolerance: float = 1e-5, most_iterations: int = 100
) -> Float[Tensor, " d_in"]:
    """The point with the smallest sum of distances to all rows; a robust mean.

    Weiszfeld's iteration: m ← Σ x_i / ‖x_i − m‖ / Σ 1 / ‖x_i − m‖.

    Source: Used for the pre-bias by openai/sparse_autoencoder (train.py) and
    saprmarks/dictionary_learning (trainers/top_k.py), whose limits these are.
    """
    median = x.mean(dim=0)
    for _ in range(most_iterations):
        distance = (x - median).norm(dim=1)
        typical = distance.mean()
        if typical == 0:
            break
        # A row at the median itself would get infinite weight.
        weight = typical / distance.maximum(1e-6 * typical)
        new = weight @ x / weight.sum()
        moved = (new - median).norm()
        median = new
        if moved <= tolerance * typical:
            break
    return median


def best_gain(x: Float[Tensor, "rows d_in"], x_hat: Float[Tensor, "rows d_in"]) -> float:
    """The number c that minimises ‖x − c x̂‖², or 1 where x̂ is zero or points away."""
    power = float(x_hat.square().sum())
    gain = float((x * x_hat).sum()) / power if power > 0 else 1.0
    return gain if gain > 0 else 1.0


@torch.no_grad()
def first_threshold(
    x: Float[Tensor, "rows d_in"],
    adjoint: LearnedAdjoint,
    centre: Float[Tensor, " d_in"],
    per_row: float,
) -> Float[Tensor, ""]:
    """The threshold above which an untrained encoder has so many pre-codes per row, on average."""
    values = batch_topk_encode(x, adjoint.weight, k=per_row, centre=centre).values
    return values.min() if len(values) else x.new_zeros(())
