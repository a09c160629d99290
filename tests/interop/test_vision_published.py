"""SAEs of vision models by name: the list, and each format by its formulas, from files made from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.interop import read_prisma, read_sae_for_vlm, read_visaebench
from tests.interop.made import draw
from tests.interop.test_published import COMMIT, A, B, D, E, N, W, X, at, hub

assert hub  # a fixture
THETA = 0.4
ROWS = X.abs() + 0.2


def visaebench_file(folder: Path, *, simple: bool = True, **config: Any) -> Path:
    """A folder in VISAEBench's format, by either of its conventions."""
    folder.mkdir(parents=True)
    encoder, decoder = ("encoder", "decoder.weight")
    if not simple:
        encoder, decoder = "encoder.final_block.0", "dictionary._weights"
    tensors = {f"{encoder}.weight": E.T.contiguous(), f"{encoder}.bias": A, decoder: W}
    tensors |= {"decoder.bias": B} if simple else {"dictionary.multiplier": torch.tensor(0.3)}
    extra = config.pop("tensors", {})
    torch.save(tensors | extra, folder / "sae.pt")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def relu(x: Tensor) -> Tensor:
    return torch.relu(x @ E + A)


@pytest.mark.parametrize("simple", [True, False])
def test_visaebench_batchtopk_keeps_what_reaches_the_threshold(
    simple: bool, tmp_path: Path
) -> None:
    """An entry equal to it stays; the bias is not taken off; a multiplier stretches the atoms."""
    z = relu(ROWS)
    limit = float(z[z > 0].median())
    where = visaebench_file(
        tmp_path / "s", simple=simple, activation="batchtopk", threshold=limit, k=4
    )
    sae = read_visaebench(where)
    expected = torch.where(z >= limit, z, 0.0)
    assert float((z == limit).sum()) >= 1
    assert torch.allclose(sae.encode(ROWS).detach().to_dense(), expected, atol=1e-6)
    x_hat = expected @ W + B if simple else expected @ W * torch.tensor(0.3).exp()
    assert torch.allclose(sae(ROWS).detach(), x_hat, atol=1e-5)
    assert type(sn.load_sae(where)) is type(sae)
    assert "standard deviation" in sae.origin.notes[0]


def test_visaebench_other_activations(tmp_path: Path) -> None:
    """The running threshold of the state, thresholds per atom, and the k largest."""
    z = relu(ROWS)
    running: dict[str, Any] = {"tensors": {"_running_threshold": torch.tensor(THETA)}}
    found = read_visaebench(visaebench_file(tmp_path / "a", activation="batchtopk", **running))
    assert torch.allclose(found.encode(ROWS).detach().to_dense(), z * (z >= THETA), atol=1e-6)
    limits = draw(N, seed=5).abs()
    jumps: dict[str, Any] = {"tensors": {"jump_thresholds": limits}}
    found = read_visaebench(visaebench_file(tmp_path / "b", sae_type="JumpReLU", **jumps))
    assert torch.allclose(found.encode(ROWS).detach().to_dense(), z * (z > limits), atol=1e-6)
    found = read_visaebench(visaebench_file(tmp_path / "c", activation="topk", k=2))
    kept = torch.zeros_like(z).scatter(1, z.topk(2).indices, z.topk(2).values)
    assert torch.allclose(found.encode(ROWS).detach().to_dense(), kept, atol=1e-6)


def vlm_file(path: Path, *, nested: bool) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    common = {"b_dec": B, "threshold": torch.tensor(THETA), "k": torch.tensor(20)}
    if nested:
        sizes = {"group_sizes": torch.tensor([4, N - 4])}
        tensors = {"W_enc": E, "b_enc": A, "W_dec": W, **sizes}
    else:
        tensors = {
            "encoder.weight": E.T.contiguous(),
            "encoder.bias": A,
            "decoder.weight": W.T.contiguous(),
        }
    torch.save(tensors | common, path)
    return path


@pytest.mark.parametrize("nested", [False, True])
def test_sae_for_vlm(nested: bool, tmp_path: Path) -> None:
    """relu((x − b)E + a) where it is above the threshold, and + b again."""
    sae = read_sae_for_vlm(vlm_file(tmp_path / "ae_100000.pt", nested=nested))
    z = torch.relu((ROWS - B) @ E + A)
    z = z * (z > THETA)
    assert torch.allclose(sae.encode(ROWS).detach().to_dense(), z, atol=1e-6)
    assert torch.allclose(sae(ROWS).detach(), z @ W + B, atol=1e-5)


def prisma_file(folder: Path, around: Any = None, **config: Any) -> Path:
    folder.mkdir(parents=True)
    tensors = {"W_enc": E, "b_enc": A, "W_dec": W, "b_dec": B}
    torch.save(around(tensors) if around else tensors, folder / "weights.pt")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_prisma_with_its_norm_and_its_place(tmp_path: Path) -> None:
    """x less its mean over its deviation, then relu((n − b)E + a), and both back."""
    where = prisma_file(
        tmp_path / "s",
        around=lambda tensors: {"cfg": {"lr": 1.0}, "state_dict": tensors},
        normalize_activations="layer_norm",
        activation_fn_str="relu",
        hook_point="blocks.{layer}.hook_resid_post",
        hook_point_layer=3,
    )
    sae = sn.load_sae(where)
    centred = ROWS - ROWS.mean(dim=1, keepdim=True)
    spread = centred.std(dim=1, keepdim=True)
    z = torch.relu((centred / (spread + 1e-5) - B) @ E + A)
    assert torch.allclose(sae.encode(ROWS).detach().to_dense(), z, atol=1e-4)
    x_hat = (z @ W + B) * spread + ROWS.mean(dim=1, keepdim=True)
    assert torch.allclose(sae(ROWS).detach(), x_hat, atol=1e-3)
    assert sae.hook_point == "resid_post.3"


def test_prisma_keeps_the_k_largest(tmp_path: Path) -> None:
    """As its settings say."""
    sae = read_prisma(
        prisma_file(tmp_path / "s", activation_fn_str="topk", activation_fn_kwargs={"k": 3})
    )
    u = (ROWS - B) @ E + A
    kept = torch.relu(torch.zeros_like(u).scatter(1, u.topk(3).indices, u.topk(3).values))
    assert torch.allclose(sae.encode(ROWS).detach().to_dense(), kept, atol=1e-5)


def test_prisma_gated_by_its_formulas(tmp_path: Path) -> None:
    """Its state dict also holds the biases of the plain kind, which it does not use."""
    gate, magnitude, bias = draw(N, seed=6), draw(N, seed=7), draw(N, seed=8)
    more = {"b_gate": gate, "r_mag": magnitude, "b_mag": bias}
    where = prisma_file(tmp_path / "s", around=lambda t: t | more, activation_fn_str="relu")
    u = (ROWS - B) @ E
    z = (u + gate > 0) * torch.relu(u * magnitude.exp() + bias)
    sae = read_prisma(where)
    assert torch.allclose(sae.encode(ROWS).detach().to_dense(), z, atol=1e-5)
    assert torch.allclose(sae(ROWS).detach(), z @ W + B, atol=1e-5)


NAMES = {
    "visaebench-mae-vitb16/layer_11/batchtopk_8x_k64": ("facebook/vit-mae-base", "resid_post.11"),
    "sae-for-vlm-clip-vit-large-patch14-336/layer_22/batch_top_k_20_x8": (
        "openai/clip-vit-large-patch14-336",
        "resid_post.22",
    ),
    "prisma-dino-b-16/blocks.4.hook_resid_post": ("facebook/dino-vitb16", "resid_post.4"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_reads_what_the_cache_holds(name: str, hub: Path) -> None:
    """With its model and place; and it is listed as cached."""
    place = at(hub, name)
    if name.startswith("vis"):
        visaebench_file(place, activation="batchtopk", threshold=0.1, k=2)
    elif name.startswith("sae"):
        vlm_file(place, nested=False)
    else:
        prisma_file(place, activation_fn_str="relu")
    sae = sn.load_sae(name)
    assert (sae.model_name, sae.hook_point) == NAMES[name]
    assert sae.encode(torch.ones(2, D)).shape == (2, N)
    table = sn.published(name.partition("/")[0])
    assert table.name[table.cached].tolist() == [name]


def test_a_folder_of_maira_2_is_read_and_its_name_says_how(hub: Path) -> None:
    """dictionary_learning's Matryoshka: relu((x − b)E + a) above one threshold; groups are prefixes."""
    folder = hub / "models--microsoft--maira-2-sae" / "snapshots" / COMMIT / "x4"
    vlm_file(folder / "ae.pt", nested=True)
    trainer = {"dict_class": "MatryoshkaBatchTopKSAE", "layer": 15, "lm_name": "microsoft/maira-2"}
    (folder / "config.json").write_text(json.dumps({"trainer": {**trainer, "k": 20}}))
    refs = folder.parents[2] / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    sae = sn.load_sae("hf:microsoft/maira-2-sae/x4")
    z = torch.relu((ROWS - B) @ E + A)
    z = z * (z > THETA)
    assert torch.allclose(sae.encode(ROWS).detach().to_dense(), z, atol=1e-6)
    assert torch.allclose(sae(ROWS).detach(), z @ W + B, atol=1e-5)
    assert (sae.model_name, sae.hook_point) == ("microsoft/maira-2", "resid_post.15")
    table = sn.published("maira-2")
    assert table.width.tolist() == [8192, 16384, 32768]
    assert set(table.hook_point) == {sae.hook_point}
    assert not table.readable.any()
    with pytest.raises(ValueError, match=r"hf:microsoft/maira-2-sae/folder"):
        sn.load_sae(table.name[0])
