"""The tuned lens: per layer an affine map h → h + A h + b that brings the lens's answer to the model's.

Minimises KL(model ‖ lens) over places of inputs. Source: Belrose et al. 2023, arXiv 2303.08112, eq. 5;
there by SGD with momentum, here by Adam with a learning rate that falls linearly to zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.lenses._head import Head
from sae_nb.lenses._rows import Rows

BETAS, EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True, kw_only=True, eq=False)
class TunedState:
    """Maps in training after whole steps; a step makes another one, so that none is ever half done."""

    step: int
    maps: Float[Tensor, "layers kinds d d1"]
    """A and, as the last column, b."""

    mean: Float[Tensor, "layers kinds d d1"]
    square: Float[Tensor, "layers kinds d d1"]
    """Adam's running moments of the gradient."""

    @classmethod
    def fresh(cls, n_layers: int, n_kinds: int, d: int) -> TunedState:
        """Return maps that change nothing."""
        zeros = torch.zeros(n_layers, n_kinds, d, d + 1)
        return cls(step=0, maps=zeros, mean=zeros.clone(), square=zeros.clone())


def tuned(maps: Float[Tensor, "kinds d d1"], x: Tensor, kind: Tensor) -> Tensor:
    """Return h + A h + b of rows, each by the map of its kind of place."""
    moved = x
    for number in range(len(maps)):
        change = x @ maps[number, :, :-1].T + maps[number, :, -1]
        moved = moved + (change if len(maps) == 1 else change * (kind == number)[:, None].to(x))
    return moved


def tune_once(
    head: Head,
    state: TunedState,
    rows: Rows,
    *,
    n_steps: int,
    learning_rate: float,
    rows_per_step: int,
    seed: int,
) -> TunedState:
    """Return the maps after one more step, on rows that follow from the seed and the step alone."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + state.step)
    which = torch.randint(len(rows), (min(rows_per_step, len(rows)),), generator=generator)
    some = rows.chosen(which)
    rate = learning_rate * (1 - state.step / n_steps)
    device = head.device
    with torch.no_grad():
        own = head.log_probabilities(some.last.to(device))
    slopes = []
    for i in range(len(state.maps)):
        maps = state.maps[i].to(device).detach().clone().requires_grad_()
        with torch.enable_grad():
            x, kind = some.states[i].to(device), some.kind.to(device)
            seen = head.log_probabilities(tuned(maps, x, kind))
            loss = (own.exp() * (own - seen)).sum(dim=1).mean()
        slopes.append(torch.autograd.grad(loss, maps)[0].cpu())
    slope, n = torch.stack(slopes), state.step + 1
    mean = BETAS[0] * state.mean + (1 - BETAS[0]) * slope
    square = BETAS[1] * state.square + (1 - BETAS[1]) * slope.square()
    size = (square / (1 - BETAS[1] ** n)).sqrt() + EPSILON
    maps = state.maps - rate * (mean / (1 - BETAS[0] ** n)) / size
    return replace(state, step=n, maps=maps, mean=mean, square=square)


@torch.no_grad()
def mean_kl(head: Head, maps: Tensor, rows: Rows) -> Float[Tensor, " layers"]:
    """Return KL(model ‖ lens) per layer over rows, nats."""
    device = head.device
    own = head.log_probabilities(rows.last.to(device))
    found = []
    for i in range(len(maps)):
        moved = tuned(maps[i].to(device), rows.states[i].to(device), rows.kind.to(device))
        seen = head.log_probabilities(moved)
        found.append((own.exp() * (own - seen)).sum(dim=1).mean().cpu())
    return torch.stack(found)
