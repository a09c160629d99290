"""Pushes: nothing at size 0, the right size at the layer, the same network after it, both model kinds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import sae_nb as sn
from sae_nb.data import scenes
from sae_nb.dynamics import capture_states, pushed_states, self_correction
from sae_nb.models import LiveModel


@pytest.fixture(scope="module")
def model() -> LiveModel:
    return sn.load_model("tiny-vit")


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return scenes(3, seed=1).images


@pytest.mark.parametrize("layer", [0, 4, 12])
def test_the_push_has_its_size_where_it_happens(
    model: LiveModel, pictures: torch.Tensor, layer: int
) -> None:
    """‖pushed − state‖ = ε‖state‖ for every token there, and nothing before."""
    fading = self_correction(model, pictures, layer=layer, size=0.1)
    states = capture_states(model, pictures, backend="hooks")[:, layer]
    sizes = (fading.states[:, layer] - states).norm(dim=-1) / states.norm(dim=-1)
    assert torch.allclose(sizes, torch.tensor(0.1), atol=1e-4)
    assert float(fading.angles[:, :layer].sum()) == 0.0
    assert float(fading.mean_angle[layer]) == pytest.approx(math.atan(0.1), rel=0.02)


def test_the_rest_of_the_same_network_runs_on_it(model: LiveModel, pictures: torch.Tensor) -> None:
    pushed = pushed_states(model, pictures, layer=9, size=0.2, seed=3)
    x = pushed[:, 9]
    with torch.no_grad():
        for number in (9, 10, 11):
            x = model.module.blocks[number](x)
            assert torch.allclose(x, pushed[:, number + 1], atol=1e-4)


class Contraction(nn.Module):
    """A block that pulls every state half the way to a fixed point, or only adds to it."""

    def __init__(self, pull: float) -> None:
        super().__init__()
        self.pull = pull
        self.norm_1, self.attn = nn.Identity(), nn.Identity()
        self.goal = nn.Parameter(torch.tensor([1.0, 0.0, 0.0, 0.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.pull * (self.goal - x) if self.pull else x + self.goal


class Stack(nn.Module):
    """Six such blocks."""

    def __init__(self, pull: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Contraction(pull) for _ in range(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def test_a_push_of_size_zero_changes_no_bit_and_no_model() -> None:
    x, model = torch.rand(2, 3, 4) + 0.1, sn.wrap(Stack(0.5))
    states = capture_states(model, x, backend="hooks")
    same = pushed_states(model, x, layer=2, size=0.0)
    assert torch.equal(same, states.as_subclass(torch.Tensor))
    fading = self_correction(model, x, layer=2, size=0.0, states=states)
    assert float(fading.angles.max()) == 0.0
    assert fading.ratio == 1.0
    with pytest.raises(ValueError, match="of these inputs"):
        self_correction(model, x, layer=2, size=0.5, states=states[:1])
    assert model.interventions == []


def test_angles_after_a_push_are_those_of_the_two_states() -> None:
    """A contraction halves the push in each block; the other angle is that of the same push throughout."""
    x = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0)) + 0.1
    model = sn.wrap(Stack(0.5))
    plain = capture_states(model, x, backend="hooks").as_subclass(torch.Tensor)
    fading = self_correction(model, x, layer=2, size=0.3)
    push = fading.states[:, 2] - plain[:, 2]
    for layer in range(7):
        here = plain[:, layer]
        for found, moved in (
            (fading.angles, here + push * 0.5 ** (layer - 2)),
            (fading.norm_only, here + push),
        ):
            wanted = torch.cosine_similarity(moved, here, dim=-1).clamp(max=1).acos()
            wanted = wanted if layer >= 2 else torch.zeros_like(wanted)
            torch.testing.assert_close(found[:, layer], wanted, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("pull", [0.5, 0.0])
def test_correction_is_told_from_longer_states(pull: float) -> None:
    """A contraction beats norm growth; blocks that add a constant shrink angles by length alone."""
    x = torch.tensor([[[1.0, 0.0, 0.0, 0.0], [0.9, 0.1, 0.0, 0.0]]])
    fading = self_correction(sn.wrap(Stack(pull)), x, layer=1, size=0.1)
    assert fading.ratio < 0.9
    if pull:
        assert fading.ratio == pytest.approx(0.5**5, rel=0.2)
        assert fading.norm_only_ratio > 0.8
    else:
        assert fading.ratio == pytest.approx(fading.norm_only_ratio, rel=1e-3)


@pytest.mark.slow
def test_texts_are_pushed_token_by_token() -> None:
    """A causal model feels a push of the kept tokens, aligned with the captured states."""
    model = sn.load_model("tiny-gpt")
    ids = torch.arange(40, 52).reshape(2, 6)
    states = capture_states(model, ids, backend="hooks")
    fading = self_correction(model, ids, layer=2, size=0.1, states=states)
    assert fading.angles.shape == states.shape[:3]
    assert float(fading.mean_angle[2]) == pytest.approx(math.atan(0.1), rel=0.05)
    assert torch.allclose(fading.states[:, :2], states[:, :2].float(), atol=1e-5)
