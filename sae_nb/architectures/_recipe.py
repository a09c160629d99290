"""An SAE as its training sees it: recipe, loss, the scale and the centre of its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sae_nb.architectures.parts._proxes import Rows
from sae_nb.checks import Positive, Share, checked
from sae_nb.codes import SparseCodes


@checked
@dataclass(frozen=True, kw_only=True)
class TrainingDefaults:
    """Optimiser settings of one architecture at one size.

    Example
    -------
    >>> TrainingDefaults(learning_rate=1e-3).warmup_steps(400)
    20
    """

    learning_rate: Positive
    """Adam step size between warm-up and decay."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's memories of gradient and squared gradient. Adam's own (openai/sparse_autoencoder)."""

    epsilon: float = 6.25e-10
    """Adam's guard against division by zero (openai/sparse_autoencoder, train.py)."""

    weight_decay: float = 0.0
    """L2 pull per step. None of the published SAE recipes uses one."""

    warmup_fraction: Share = 0.05
    """Share of the steps over which the learning rate rises. Ours, for runs of hundreds of steps."""

    longest_warmup_steps: int = 1000
    """Warm-up never takes more steps (saprmarks/dictionary_learning)."""

    decay_fraction: Share = 0.2
    """Last share of the steps, over which the learning rate falls to 0 (mpsae/MP-SAE)."""

    gradient_clip: float = 1.0
    """Largest global norm of the gradient (saprmarks/dictionary_learning, overcomplete)."""

    grow_k: bool = False
    """Whether k grows along the training, 1 → 2 → 4 … Ours; see `TrainConfig.grow_k`."""

    def warmup_steps(self, steps: int) -> int:
        """Return steps of warm-up in a run of `steps`."""
        return min(self.longest_warmup_steps, round(self.warmup_fraction * steps))


Recipe = TrainingDefaults
"""Its name until 0.2."""


def ramp(step_fraction: Fraction, over: float) -> Fraction:
    """Return how far a term of the loss has set in: 0 at the start of the run, 1 once `over` of it is past."""
    if isinstance(step_fraction, Tensor):
        return (step_fraction / over).clamp(max=1)
    return 1.0 if step_fraction >= over else step_fraction / over


Fraction = float | Float[Tensor, ""]
"""Share of a run that is over; on a card a tensor, where a recorded step reads it anew."""

Silence = Int[Tensor, " n_atoms"]
"""Rows since each atom last fired."""


LossTerms = dict[str, tuple[float | Tensor, Tensor]]
"""Terms of a loss by name: their weight, and the term before its weight."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingLoss:
    """The loss of one batch, and what was computed on the way."""

    total: Float[Tensor, ""]
    """The minimised value; carries the gradient."""

    parts: dict[str, Float[Tensor, ""]]
    """Terms of the total before their weights, by name."""

    codes: SparseCodes
    """Codes of the batch, constant."""

    x_hat: Rows
    """Reconstruction of the batch, constant."""

    @classmethod
    def of(cls, parts: LossTerms, codes: SparseCodes, x_hat: Tensor) -> TrainingLoss:
        """Return the weighted sum of some terms."""
        return cls(
            total=reduce(torch.add, (weight * term for weight, term in parts.values())),
            parts={name: term.detach() for name, (_, term) in parts.items()},
            codes=codes.detach(),
            x_hat=x_hat,
        )


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
    def fit_(self, x: Rows) -> None:
        """Read μ and s off some activations."""
        self.mean.copy_(x.mean(dim=0))
        power = (x - self.mean).square().sum(dim=1).mean()
        scale = (x.shape[1] / power).sqrt()
        self.scale.copy_(torch.where(power > 0, scale, torch.ones_like(scale)))


@torch.no_grad()
def geometric_median(
    x: Rows, *, tolerance: float = 1e-5, most_iterations: int = 100
) -> Float[Tensor, " d_in"]:
    """Return the point with the smallest sum of distances to all rows; a robust mean.

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
