"""Raptor: the tied network told exactly by its own blocks, the teacher's heads kept, bad teachers refused."""

from __future__ import annotations

import pytest
import torch

from sae_nb.data import scenes
from sae_nb.dynamics import capture_states
from sae_nb.models import LiveModel, load_model, wrap
from sae_nb_studies.dynamics import (
    BlockSizes,
    Raptor,
    RaptorConfig,
    raptor_accuracy,
    raptor_fit,
    sizes_of,
    start_from_teacher,
    train_raptor,
)
from sae_nb_studies.dynamics.raptor._loop import token_weights
from tests.refusing import refused

SIZES = BlockSizes(d_model=8, n_heads=2, hidden=16)
CUTS = (0, 4, 8, 12)


@pytest.fixture(scope="module")
def tied() -> LiveModel:
    return load_model("tiny-vit-tied")


@pytest.mark.slow
def test_the_tied_network_is_a_raptor(tied: LiveModel) -> None:
    pictures = scenes(3, seed=0).images
    raptor = start_from_teacher(Raptor.from_model(tied, CUTS), tied)
    states = capture_states(tied, pictures)
    own = raptor.roll_out(states[:, 0])
    torch.testing.assert_close(own, states + 0, atol=1e-4, rtol=1e-4)
    found = raptor_fit(raptor, states)
    assert (found.r2 > 0.9999).all()
    assert (found.relative_error < 1e-3).all()
    assert set(found.by_kind) == {"cls", "register", "patch"}
    before = tied(pictures)
    with raptor.replacing(tied):
        torch.testing.assert_close(tied(pictures), before, atol=1e-3, rtol=1e-3)
    assert raptor_accuracy(raptor, tied, pictures, before.argmax(1)).kept == 1.0


@pytest.mark.slow
def test_in_its_place_an_untrained_raptor_answers_otherwise(tied: LiveModel) -> None:
    """`replacing` changes every head, by both doors, and takes itself away."""
    pictures, raptor = scenes(2, seed=1).images, Raptor.from_model(tied, CUTS)
    before = tied(pictures)
    last = raptor.roll_out(capture_states(tied, pictures)[:, 0])[:, -1].detach()
    with raptor.replacing(tied):
        assert not torch.allclose(tied(pictures), before, atol=0.1)
        for backend in ("nnsight", "hooks"):
            seen = capture_states(tied, pictures, backend=backend)[:, -1]
            torch.testing.assert_close(seen, last, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tied(pictures), before)
    assert not tied.interventions


def test_r2_and_error_are_what_they_say() -> None:
    raptor, x = Raptor(SIZES, (0, 1, 2)), torch.randn(6, 3, 4, 8)
    found = raptor_fit(raptor, x, batch_size=4)
    own = raptor.roll_out(x[:, 0]).detach()
    for layer in (1, 2):
        residual = (x[:, layer] - own[:, layer]).square().sum()
        spread = (x[:, layer] - x[:, layer].mean(dim=(0, 1))).square().sum()
        assert float(found.r2[layer - 1]) == pytest.approx(float(1 - residual / spread), abs=1e-4)
        error = float((residual / x[:, layer].square().sum()).sqrt())
        assert float(found.relative_error[layer - 1]) == pytest.approx(error, abs=1e-4)


def test_token_kinds_share_their_weight() -> None:
    """One cls weighs as much as all patches; kinds that are missing leave theirs to the others."""
    kinds = ("cls", *["register"] * 2, *["patch"] * 8)
    weights = token_weights(kinds, (0.45, 0.10, 0.45))
    assert float(weights[0]) == pytest.approx(0.45)
    assert float(weights[1:3].sum()) == pytest.approx(0.10)
    without = token_weights(("cls", "patch"), (0.45, 0.10, 0.45))
    assert without.tolist() == pytest.approx([0.5, 0.5])


def test_it_survives_saving(tmp_path) -> None:
    raptor, x = Raptor(SIZES, (0, 2, 5), seed=3), torch.randn(2, 3, 8)
    raptor.save(tmp_path / "r")
    again = Raptor.load(tmp_path / "r")
    assert again.cuts == raptor.cuts
    assert torch.equal(again.roll_out(x), raptor.roll_out(x))


def test_hugging_face_vision_transformers_have_raptors() -> None:
    """DINOv2 with registers, random weights: sizes read, heads kept."""
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=28,
        patch_size=14,
        num_register_tokens=2,
    )
    model = wrap(Dinov2WithRegistersModel(config).eval())
    assert sizes_of(model) == BlockSizes(d_model=16, n_heads=2, hidden=32)
    pictures = torch.rand(2, 3, 28, 28)
    states = capture_states(model, pictures)
    assert states.token_kinds == ("cls", "register", "register", *["patch"] * 4)
    with Raptor.from_model(model, (0, 1, 3)).replacing(model):
        assert model(pictures).shape == (2, 16)


class _Foreign(torch.nn.Module):
    """A vision transformer of torch's own parts, without a configuration."""

    def __init__(self, *, norm_first: bool) -> None:
        super().__init__()
        self.patches = torch.nn.Conv2d(3, 16, 8, 8)
        layer = torch.nn.TransformerEncoderLayer(
            16, 2, 24, dropout=0.0, activation="gelu", batch_first=True, norm_first=norm_first
        )
        self.encoder = torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = torch.nn.Linear(16, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        return self.head(self.encoder(tokens).mean(dim=1))


@pytest.mark.slow
@pytest.mark.parametrize("norm_first", [True, False])
def test_foreign_vision_transformers_are_teachers(norm_first: bool) -> None:
    """Anybody's module in `wrap`: sizes and kind of block read, trained from the model, put in its place."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, pictures = wrap(_Foreign(norm_first=norm_first).eval()), torch.rand(24, 3, 32, 32)
    sizes = BlockSizes(d_model=16, n_heads=2, hidden=24, post_norm=not norm_first)
    assert sizes_of(model) == sizes
    settings = RaptorConfig(steps=60, batch_size=12)
    result = train_raptor(model, (0, 3), settings, inputs=pictures, progress=False)
    assert result.raptor.sizes == sizes
    assert result.fit.mean_r2 > float(result.fit.floor.mean()) + 0.1
    with result.raptor.replacing(model):
        last = capture_states(model, pictures)[:, -1]
    states = capture_states(model, pictures)
    torch.testing.assert_close(last, result.raptor.roll_out(states[:, 0])[:, -1].detach())


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_block_is_torchs_own_layer(norm_first: bool) -> None:
    """With its weights and gains of one, before or after the sums, it computes the same."""
    module = _Foreign(norm_first=norm_first).eval()
    layer, sizes = module.encoder.layers[0], sizes_of(wrap(module))
    block = Raptor(sizes, (0, 1)).blocks[0]
    parts = {
        "qkv.weight": layer.self_attn.in_proj_weight,
        "qkv.bias": layer.self_attn.in_proj_bias,
        "gain_out.weight": torch.zeros_like(block.gain_out.weight),
        "gain_out.bias": torch.zeros_like(block.gain_out.bias),
        "gain_in.weight": block.gain_in.weight,
        "gain_in.bias": block.gain_in.bias,
    }
    same = {"out": layer.self_attn.out_proj, "up": layer.linear1, "down": layer.linear2}
    for name, part in (same | {"norm_1": layer.norm1, "norm_2": layer.norm2}).items():
        parts |= {f"{name}.weight": part.weight, f"{name}.bias": part.bias}
    block.load_state_dict(parts)
    x = torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(block(x, step=1), layer(x), atol=1e-5, rtol=1e-4)


def test_a_shallower_one_stands_for_all_blocks(tied: LiveModel) -> None:
    pictures, raptor = scenes(2, seed=2).images, Raptor(sizes_of(tied), (0, 1, 2, 3))
    last = raptor.roll_out(capture_states(tied, pictures)[:, 0])[:, -1].detach()
    with raptor.replacing(tied):
        seen = capture_states(tied, pictures)[:, -1]
    torch.testing.assert_close(seen, last, atol=1e-4, rtol=1e-4)
    refused("width 8 for this Raptor, got 64", Raptor(SIZES, (0, 2)).replacing(tied).__enter__)
