"""`load_model` says clearly what it could not find, and asks the network for nothing it need not."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch

from sae_nb.models import _checkpoint_files as bundled, load_model
from sae_nb.models._vision_transformer import VisionTransformer, VisionTransformerConfig


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of small bundled models with checkpoints, in place of the real ones."""
    config = VisionTransformerConfig(n_blocks=2, d_model=16, n_heads=2)
    for seed, name in enumerate(["tiny-vit", "tiny-vit-plain", "tiny-vit@step-100"]):
        generator = torch.Generator().manual_seed(seed)
        VisionTransformer(config, generator=generator).save(tmp_path / name)
    (tmp_path / "tiny-vit" / "card.json").write_text('{"digit accuracy": 0.95}')
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path)
    return tmp_path


def test_a_bundled_model_is_loaded_by_name(weights) -> None:
    """Its layout, classes, heads and card; float32 although stored in half."""
    model = load_model("tiny-vit", device="cpu")
    assert (model.name, model.kind, model.dtype) == ("tiny-vit", "vision", torch.float32)
    assert (model.prefix_tokens, model.patch_grid) == (5, (8, 8))
    assert model.class_names == tuple("0123456789")
    assert model.card == {"digit accuracy": 0.95}
    pictures = torch.rand(3, 3, 32, 32)
    heads = model.heads(pictures)
    assert {name: tuple(h.shape) for name, h in heads.items()} == {
        "digit": (3, 10),
        "texture": (3, 8),
        "foreground": (3, 64),
    }
    assert torch.equal(model(pictures), heads["digit"])
    stored = VisionTransformer.from_folder(weights / "tiny-vit")
    assert torch.equal(model(pictures), stored(pictures).detach())
    assert not model.module.training


def test_a_checkpoint_has_two_spellings(weights) -> None:
    """tiny-vit@step-100, or revision="step-100"."""
    pictures = torch.rand(1, 3, 32, 32)
    one, other = load_model("tiny-vit@step-100"), load_model("tiny-vit", revision="step-100")
    assert one.name == other.name == "tiny-vit@step-100"
    assert torch.equal(one(pictures), other(pictures))
    assert not torch.equal(one(pictures), load_model("tiny-vit")(pictures))


@pytest.mark.slow
def test_nothing_is_asked_of_the_network_for_local_names(
    weights, build, tmp_path, monkeypatch
) -> None:
    """Not even a host name is looked up for bundled models, folders and misspelt names."""

    def refuse(*args: object, **_kwargs: object) -> None:
        raise AssertionError(f"the network was asked: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    build("gpt2").save_pretrained(tmp_path / "folder")
    load_model("tiny-vit", device="cpu")
    load_model(tmp_path / "folder", device="cpu")
    load_model(str(tmp_path / "folder"), device="cpu")
    for name in ("tiny-vti", "./nowhere", tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError):
            load_model(name)
