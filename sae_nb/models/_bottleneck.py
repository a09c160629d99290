"""Toy model of superposition: n sparse features through m < n hidden numbers, x̂ = ReLU(WᵀWx + b)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.background import checkpoint
from sae_nb.checks import Between, Count, Seed, as_tensor, check_matrix, checked
from sae_nb.data.planted._dictionaries import Sparsity
from sae_nb.progress import progress_bar

HELD_OUT_ROWS = 16384
"""Inputs on which restarts are compared: the standard error of a loss is then about 1 %. Ours."""


@checked
class Bottleneck(nn.Module):
    """A linear layer to m hidden numbers and its transpose back, with a ReLU.

    h = Wx, x̂ = ReLU(Wᵀh + b). Column i of W, row i of `directions`, is where feature i lives; with
    more features than hidden numbers the rows cannot all be orthogonal.

    Source
    ------
    Elhage et al., "Toy models of superposition", 2022, arXiv 2209.10652, section 2.

    Example
    -------
    >>> toy = Bottleneck(5, 2, generator=torch.Generator().manual_seed(0))
    >>> toy(torch.rand(3, 5)).shape, toy.hidden(torch.rand(3, 5)).shape
    (torch.Size([3, 5]), torch.Size([3, 2]))
    """

    sparsity: float | None = None
    """Chance that a feature is off in what it was trained on."""

    loss: float | None = None
    """Held-out loss after training, per input: Σᵢ Iᵢ (xᵢ − x̂ᵢ)²."""

    importance: Tensor

    def __init__(
        self, n_features: Count, n_hidden: Count, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.n_features = n_features
        self.n_hidden = n_hidden
        first = torch.randn(n_features, n_hidden, generator=generator) / math.sqrt(n_features)
        self.directions = nn.Parameter(first)
        self.bias = nn.Parameter(torch.zeros(n_features))
        self.register_buffer("importance", torch.ones(n_features))

    @checked
    def hidden(self, x: Float[Tensor, "*n n_features"]) -> Float[Tensor, "*n n_hidden"]:
        """Return the hidden activations, h = Wx."""
        x = as_tensor(x)
        if x.shape[-1:] != (self.n_features,) or x.dtype != self.directions.dtype:
            raise ValueError(
                f"`x` must have last dimension n_features={self.n_features} and type "
                f"{self.directions.dtype}, got shape {tuple(x.shape)} and type {x.dtype}."
            )
        return x @ self.directions

    def forward(self, x: Float[Tensor, "*n n_features"]) -> Float[Tensor, "*n n_features"]:
        """Return the features as reconstructed from the hidden activations."""
        return torch.relu(self.hidden(x) @ self.directions.T + self.bias)

    def extra_repr(self) -> str:
        """Return sizes, and the training data."""
        trained = "untrained" if self.sparsity is None else f"trained at sparsity {self.sparsity:g}"
        return f"n_features={self.n_features}, n_hidden={self.n_hidden}, {trained}"


@checked
def train_bottlenecks(
    sparsities: Sequence[Sparsity],
    *,
    n_features: Count = 5,
    n_hidden: Count = 2,
    importance: Float[Tensor, " n_features"] | None = None,
    steps: Count = 600,
    batch_size: Count = 512,
    learning_rate: Annotated[float, Between(0, 1e3, "(]")] = 0.03,
    n_restarts: Count = 4,
    seed: Seed = 0,
    progress: bool = False,
) -> list[Bottleneck]:
    """Train one toy per sparsity, all in the same matrix products; seconds on one core.

    L = E Σᵢ Iᵢ (xᵢ − x̂ᵢ)². Of several first draws per sparsity the one with the lowest held-out loss
    is kept: the loss has local minima (four directions in a cross where five in a pentagon fit).

    Parameters
    ----------
    sparsities, importance
        Chances S that a feature is off, each in [0, 1); Iᵢ > 0, None is 0.9ⁱ as in the paper.
    learning_rate
        Peak of a cosine schedule with 50 steps of warm-up. Ours: 600 steps at 0.03 end where 1500 at
        0.01 do.

    Source
    ------
    Elhage et al., "Toy models of superposition", 2022, arXiv 2209.10652.

    Example
    -------
    >>> (toy,) = train_bottlenecks([0.97], steps=200, n_restarts=2)
    >>> bool((toy.directions.norm(dim=1) > 0.5).all())  # five features in two neurons
    True
    """
    chances = [float(sparsity) for sparsity in sparsities]
    if not chances:
        raise ValueError("`sparsities` must name at least one, got none. Use [0.9] for one toy.")
    if importance is None:
        weights = 0.9 ** torch.arange(n_features)
    else:
        weights = check_matrix(importance[None], name="importance", d_in=n_features)[0].float()
        weights = weights.detach()
        if not bool((weights > 0).all()):
            raise ValueError(f"`importance` must be positive, got a smallest of {weights.min():g}.")
    shape = (len(chances), n_restarts, n_features, n_hidden)
    at_once = _Toys(shape, chances, weights, torch.Generator().manual_seed(seed))
    at_once.descend(steps, batch_size, learning_rate, progress)
    losses = at_once.losses(at_once.inputs(HELD_OUT_ROWS))
    toys = []
    for i, chance in enumerate(chances):
        best = int(losses[i].argmin())
        toy = Bottleneck(n_features, n_hidden, generator=torch.Generator())
        with torch.no_grad():
            toy.directions.copy_(at_once.directions[i, best])
            toy.bias.copy_(at_once.bias[i, best, 0])
            toy.importance.copy_(weights)
        toy.sparsity, toy.loss = chance, float(losses[i, best])
        toys.append(toy.eval())
    return toys


class _Toys:
    """Toys of every sparsity, several draws of each; axes are those two, then the toy's own."""

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        chances: Sequence[float],
        weights: Tensor,
        generator: torch.Generator,
    ) -> None:
        n_sparsities, n_restarts, self.n_features, _ = shape
        self.weights, self.generator = weights, generator
        self.density = 1 - torch.tensor(chances)[:, None, None, None]
        self.directions = torch.randn(shape, generator=generator) / math.sqrt(self.n_features)
        self.bias = torch.zeros(n_sparsities, n_restarts, 1, self.n_features)

    def inputs(self, rows: int) -> Tensor:
        """Draw fresh inputs of every sparsity, shared by its restarts."""
        shape = (len(self.density), 1, rows, self.n_features)
        on = torch.rand(shape, generator=self.generator) < self.density
        return torch.rand(shape, generator=self.generator) * on

    def losses(self, x: Tensor) -> Tensor:
        x_hat = torch.relu((x @ self.directions) @ self.directions.mT + self.bias)
        return ((x - x_hat).square() * self.weights).sum(dim=-1).mean(dim=-1)

    def descend(self, steps: int, batch_size: int, learning_rate: float, progress: bool) -> None:
        """Run Adam on all toys at once."""
        parameters = [self.directions.requires_grad_(), self.bias.requires_grad_()]
        optimiser = torch.optim.Adam(parameters, lr=learning_rate)

        def rate(step: int) -> float:
            return min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
        with (
            torch.enable_grad(),
            progress_bar(steps, "toy models", "step", enabled=progress) as bar,
        ):
            for _ in range(steps):
                checkpoint()
                # A sparse input has little to lose: divided by the density, all toys learn alike.
                loss = (self.losses(self.inputs(batch_size)) / self.density[..., 0, 0]).sum()
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
                schedule.step()
                bar.update()
        self.directions, self.bias = self.directions.detach(), self.bias.detach()
