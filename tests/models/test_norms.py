"""Norms are known by what they do: each against its own formula, typed again, and no other module is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sae_nb.models._norms import norm_of


class Power(nn.Module):
    """An RMS norm whose root is a power, and whose name says nothing."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(d))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x * torch.pow(x.pow(2).mean(-1, keepdim=True) + 1e-6, -0.5)


class Unit(nn.Module):
    """Without weights: of length 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x / x.norm(dim=-1, keepdim=True)


def hugging_face(module: str, name: str) -> Callable[[int], nn.Module]:
    import importlib

    kind = getattr(importlib.import_module(f"transformers.models.{module}.modeling_{module}"), name)
    return lambda d: kind(d)


NORMS: dict[str, tuple[Callable[[int], nn.Module], bool, Callable[[Any], Any]]] = {
    "layer norm": (nn.LayerNorm, True, lambda n: (n.weight, n.bias)),
    "rms": (nn.RMSNorm, False, lambda n: (n.weight, 0 * n.weight)),
    "plain": (
        lambda d: nn.LayerNorm(d, elementwise_affine=False), True, lambda _: (torch.ones(6), torch.zeros(6))
    ),
    "power": (Power, False, lambda n: (n.scale, 0 * n.scale)),
    "unit": (lambda _: Unit(), False, lambda _: (torch.full((6,), 6**-0.5), torch.zeros(6))),
    "cohere": (
        hugging_face("cohere", "CohereLayerNorm"), True, lambda n: (n.weight, 0 * n.weight)
    ),
    "olmo": (hugging_face("olmo", "OlmoLayerNorm"), True, lambda _: (torch.ones(6), torch.zeros(6))),
    "gemma": (hugging_face("gemma", "GemmaRMSNorm"), False, lambda n: (1 + n.weight, 0 * n.weight)),
    "qwen3_next": (
        hugging_face("qwen3_next", "Qwen3NextRMSNorm"), False, lambda n: (1 + n.weight, 0 * n.weight)
    ),
    "nemotron": (
        hugging_face("nemotron", "NemotronLayerNorm1P"), True, lambda n: (1 + n.weight, n.bias)
    ),
    "t5": (hugging_face("t5", "T5LayerNorm"), False, lambda n: (n.weight, 0 * n.weight)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NORMS)
def test_gain_bias_and_centring_are_found(name: str, dtype: torch.dtype) -> None:
    make, centres, parts = NORMS[name]
    torch.manual_seed(0)
    norm = make(6).to(dtype)
    with torch.no_grad():
        for weight in norm.parameters():
            weight.copy_(torch.randn(weight.shape))
    found, (gain, bias) = norm_of(norm, 6), parts(norm)
    assert found is not None
    assert found.centres is centres
    close = 1e-5 if dtype == torch.float32 else 0.02
    assert torch.allclose(found.gain, gain.float(), atol=close)
    assert torch.allclose(found.bias, bias.float(), atol=close)
    x, y = torch.randn(3, 6), torch.randn(2, 6)
    by_hand = (x - x.mean(dim=1, keepdim=True) * centres) * found.gain
    assert torch.allclose(found.through(x), by_hand)
    assert torch.allclose(y @ found.through(x).T, found.before(y) @ x.T, atol=1e-5)


@pytest.mark.parametrize(
    "other",
    [
        nn.Identity(), nn.GELU(), nn.Tanh(), nn.Softmax(dim=-1), nn.Linear(6, 6), nn.BatchNorm1d(2).eval(),
        nn.Dropout(0.1).eval(), nn.Embedding(6, 6), nn.LayerNorm([2, 6]), nn.GroupNorm(1, 2), nn.LayerNorm(4),
    ],
    ids=lambda one: type(one).__name__,
)  # fmt: skip
def test_nothing_else_is_a_norm_of_each_state(other: nn.Module) -> None:
    assert norm_of(other, 6) is None
