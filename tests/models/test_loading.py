"""`load_model` says clearly what it could not find, and asks the network for nothing it need not."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch

from sae_nb.models import (
    VisionTransformer,
    VisionTransformerConfig,
    _bundled as bundled,
    load_model,
)


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
@pytest.mark.parametrize(
    ("name", "revision", "kind", "message"),
    [
        ("tiny-vit@step-7", None, ValueError, "step-100"),
        ("tiny-vit", "step-7", ValueError, "step-100"),
        ("tiny-vit-plain@step-100", None, ValueError, "it has none"),
        ("tiny_vit", None, FileNotFoundError, "Did you mean 'tiny-vit'"),
        ("tiny-vit-pain", None, FileNotFoundError, "Did you mean 'tiny-vit-plain'"),
        ("./nowhere", None, FileNotFoundError, "nowhere"),
        ("/a/b/c", None, FileNotFoundError, "/a/b/c"),
        ("someone/something", None, FileNotFoundError, "someone/something.*HF_HUB_OFFLINE"),
        ("gpt2", None, FileNotFoundError, "'gpt2'.*HF_HUB_OFFLINE"),
        ("", None, TypeError, "got ''"),
        (None, None, TypeError, "got None"),
    ],
)
def test_unknown_names_say_what_there_is(weights, name, revision, kind, message) -> None:
    """Near names, the checkpoints there are, and why the hub was not asked."""
    with pytest.raises(kind, match=message):
        load_model(name, revision=revision)


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


def test_device_and_dtype_are_checked_first(weights) -> None:
    """Before any weights are read."""
    with pytest.raises(ValueError, match="`dtype` must be one of float64.*got 'float99'"):
        load_model("tiny-vit", dtype="float99")
    with pytest.raises(ValueError, match="`dtype`"):
        load_model("tiny-vit", dtype=torch.int8)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="`device` .*'cuda'"):
            load_model("tiny-vit", device="cuda")


def test_a_revision_of_a_folder_is_refused(build, tmp_path) -> None:
    """It would be ignored silently otherwise."""
    build("gpt2").save_pretrained(tmp_path / "folder")
    with pytest.raises(ValueError, match="`revision` is for hub ids"):
        load_model(tmp_path / "folder", revision="main")


def test_wrong_pictures_for_a_bundled_model_are_refused(weights) -> None:
    """Size and range, with the way out."""
    model = load_model("tiny-vit", device="cpu")
    with pytest.raises(ValueError, match=r"\(3, 32, 32\).*got \(3, 28, 28\).*resize"):
        model(torch.rand(1, 3, 28, 28))
    with pytest.raises(TypeError, match="images for the vision model tiny-vit"):
        model("a cat")
