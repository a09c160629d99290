"""Maps of activations that can be inverted: units in another order, a rotation, a network of couplings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

N_COUPLINGS, WIDTH = 6, 8
"""Of the invertible network: coupling layers, and how many times wider than the activations theirs are."""


class Units(nn.Module):
    """Each variable has the units of which it explains most, within groups of equal value."""

    def __init__(
        self, x: Float[Tensor, "n d"], values: Sequence[tuple[Any, ...]], size: int
    ) -> None:
        super().__init__()
        shares = [_explained(x, [value[v] for value in values]) for v in range(len(values[0]))]
        free, order = set(range(x.shape[1])), list[int]()
        for share in shares:
            mine = [
                unit
                for unit in share.argsort(descending=True, stable=True).tolist()
                if unit in free
            ][:size]
            free -= set(mine)
            order += mine
        self.order = torch.tensor([*order, *sorted(free)])

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return coordinates."""
        return x[:, self.order]

    def inverse(self, h: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return activations."""
        return h[:, self.order.argsort()]


def _explained(x: Float[Tensor, "n d"], values: Sequence[Any]) -> Float[Tensor, " d"]:
    """Share of each unit's variance that lies between groups of equal value."""
    groups = {value: i for i, value in enumerate(dict.fromkeys(values))}
    group = torch.tensor([groups[value] for value in values], device=x.device)
    centred = (x - x.mean(dim=0)).double()
    sums = centred.new_zeros(len(groups), x.shape[1]).index_add_(0, group, centred)
    between_groups = (sums.square() / group.bincount()[:, None]).sum(dim=0)
    return between_groups / centred.square().sum(dim=0).clamp(min=1e-30)


class Rotation(nn.Module):
    """An orthogonal matrix."""

    def __init__(self, d: int) -> None:
        super().__init__()
        layer = nn.Linear(d, d, bias=False)
        nn.init.orthogonal_(layer.weight)
        self.turn = nn.utils.parametrizations.orthogonal(layer, orthogonal_map="cayley")

    @property
    def weight(self) -> Float[Tensor, "d d"]:
        """The matrix."""
        return cast(Tensor, self.turn.weight)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return coordinates."""
        return x @ self.weight.T

    def inverse(self, h: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return activations."""
        return h @ self.weight


class Couplings(nn.Module):
    """A learned rotation, then additive couplings, (x₁, x₂) → (x₁, x₂ + m(x₁)), turned at random in between."""

    def __init__(self, x: Float[Tensor, "n d"]) -> None:
        super().__init__()
        d = x.shape[1]
        self.n_first = d // 2
        self.mean, self.scale = x.mean(dim=0), x.std().clamp(min=1e-6)
        self.first = Rotation(d).to(x)
        drawn = [nn.init.orthogonal_(torch.empty(d, d)).to(x) for _ in range(N_COUPLINGS - 1)]
        self.turns = [torch.eye(d).to(x), *drawn]
        self.moves = nn.ModuleList(
            nn.Sequential(
                nn.Linear(self.n_first, WIDTH * d),
                nn.GELU(),
                nn.Linear(WIDTH * d, d - self.n_first),
            )
            for _ in range(N_COUPLINGS)
        ).to(x)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return coordinates."""
        h = self.first((x - self.mean) / self.scale)
        for turn, move in zip(self.turns, self.moves, strict=True):
            a, b = (h @ turn).tensor_split([self.n_first], dim=1)
            h = torch.cat([a, b + move(a)], dim=1)
        return h

    def inverse(self, h: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return activations."""
        for turn, move in zip(reversed(self.turns), reversed(self.moves), strict=True):
            a, b = h.tensor_split([self.n_first], dim=1)
            h = torch.cat([a, b - move(a)], dim=1) @ turn.T
        return self.first.inverse(h) * self.scale + self.mean
