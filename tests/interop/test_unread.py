"""What a file holds or states and no reader computes with: read rightly, refused, or noted; by every reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import sae_nb as sn
from sae_nb.interop import (
    read_dictionary_learning,
    read_gemma_scope,
    read_openai,
    read_overcomplete,
    read_prisma,
    read_sae_for_vlm,
    read_saelens,
    read_sparsify,
    read_temporal,
    read_visaebench,
)
from sae_nb.interop._scopes import read_llama_scope

D, N = 6, 10


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Numbers of one seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X = draw(40, D, seed=9)
W_ENC, B_ENC, W_DEC, B_DEC = (
    draw(D, N, seed=1),
    draw(N, seed=2),
    draw(N, D, seed=3),
    draw(D, seed=4),
)
THETA = draw(N, seed=5).abs()
PLAIN = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
U = (X - B_DEC) @ W_ENC + B_ENC


def saelens(folder: Path, tensors: dict[str, Tensor] | None = None, **config: Any) -> Path:
    """Write a folder as SAELens does, of its plain architecture."""
    folder.mkdir(exist_ok=True)
    metadata = {"sae_lens_version": "6.0.0", "hook_name": "blocks.2.hook_resid_pre"}
    base = {"architecture": "standard", "d_in": D, "d_sae": N, "apply_b_dec_to_input": True}
    (folder / "cfg.json").write_text(json.dumps({**base, "metadata": metadata, **config}))
    held = {name: t.contiguous() for name, t in (PLAIN | (tensors or {})).items()}
    save_file(held, folder / "sae_weights.safetensors")
    return folder


def codes(sae: Any) -> Tensor:
    return sae.encode(X).to_dense()


def test_a_threshold_in_a_plain_file_is_used(tmp_path: Path) -> None:
    """It is a JumpReLU, whatever it calls itself, and says so; with and without its name for the tensor."""
    for i, more in enumerate(({"threshold": THETA}, {"log_threshold": THETA.log()})):
        sae: Any = read_saelens(saelens(tmp_path / str(i), more))
        z = U * (U > THETA)
        assert torch.allclose(codes(sae), z, atol=1e-5)
        assert torch.allclose(sae(X), z @ W_DEC + B_DEC, atol=1e-4)
        assert "jumprelu" in sae.origin.notes[0]


def test_gates_in_a_plain_file_are_used(tmp_path: Path) -> None:
    """All three: it is a gated SAE. Some of them: it is refused."""
    gates = {"b_gate": draw(N, seed=6), "b_mag": draw(N, seed=7), "r_mag": 0.1 * draw(N, seed=8)}
    sae: Any = read_saelens(saelens(tmp_path / "all", gates))
    pre = (X - B_DEC) @ W_ENC
    z = (pre + gates["b_gate"] > 0) * torch.relu(pre * gates["r_mag"].exp() + gates["b_mag"])
    assert torch.allclose(codes(sae), z, atol=1e-5)
    assert "gated" in sae.origin.notes[0]
    for name in gates:
        with pytest.raises(ValueError, match=name):
            read_saelens(saelens(tmp_path / name, {name: gates[name]}))


def test_factors_of_codes_are_folded_into_the_atoms(tmp_path: Path) -> None:
    """Codes are the encoder's; x̂ = (z · s) D + b. Written back, the file is as it was."""
    s = draw(N, seed=6).abs() + 0.5
    folder = saelens(tmp_path / "s", {"scaling_factor": s}, finetuning_scaling_factor=True)
    sae: Any = read_saelens(folder)
    z = torch.relu(U)
    assert torch.allclose(codes(sae), z, atol=1e-5)
    assert torch.allclose(sae(X), (z * s) @ W_DEC + B_DEC, atol=1e-4)
    assert sae.origin.notes == []
    again = sn.interop.write_saelens(sae, tmp_path / "again")
    old, new = (load_file(at / "sae_weights.safetensors") for at in (folder, again))
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_a_linear_map_beside_a_plain_sae_is_refused(tmp_path: Path) -> None:
    """What reads and what writes is not known; named as what it is, it is read."""
    skip = {"W_skip": draw(D, D, seed=6)}
    with pytest.raises(ValueError, match="W_skip"):
        read_saelens(saelens(tmp_path / "s", skip))
    whole = saelens(
        tmp_path / "t", skip, architecture="skip_transcoder", apply_b_dec_to_input=False
    )
    expected = torch.relu(X @ W_ENC + B_ENC) @ W_DEC + B_DEC + X @ skip["W_skip"].T
    assert torch.allclose(read_saelens(whole)(X), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("activation_fn", "gelu"),
        ("activation_fn_str", "tanh-relu"),
        ("activation_fn", "jumprelu"),  # without thresholds
        ("normalize_activations", "dataset_std"),
        ("reshape_activations", "by_head"),
        ("d_sae", N + 1),
        ("d_in", D - 1),
    ],
)
def test_a_setting_that_is_computed_otherwise_is_refused(
    tmp_path: Path, field: str, value: Any
) -> None:
    """With its name."""
    with pytest.raises(ValueError, match=field.removesuffix("_str")):
        read_saelens(saelens(tmp_path / "s", **{field: value}))


def test_topk_by_its_activation_is_a_topk_in_any_version(tmp_path: Path) -> None:
    """k in its arguments or beside them."""
    top = U.topk(3, dim=1)
    z = torch.zeros_like(U).scatter(1, top.indices, top.values.relu())
    for i, more in enumerate(({"activation_fn_kwargs": {"k": 3}}, {"k": 3})):
        sae = read_saelens(saelens(tmp_path / str(i), activation_fn="topk", **more))
        assert torch.allclose(codes(sae), z, atol=1e-5)


# -------------------------------------------------------------------------------------------------
# Every reader: a file of each library with a tensor and a field that nobody knows.


ALIEN = {"input_matrix": draw(3, 3, seed=6)}
FIELD = {"input_gain": 2.0}
TRAINING = {
    "wandb_project": "p",
    "created_at": "2025-01-01",
    "lr": 1e-4,
    "dataset_path": "some/text",
}
LINEAR = {
    "encoder.weight": W_ENC.T.contiguous(), "encoder.bias": B_ENC, "decoder.weight": W_DEC.T.contiguous(),
}  # fmt: skip
ARRAYS = {"w_enc": W_ENC, "b_enc": B_ENC, "w_dec": W_DEC, "b_dec": B_DEC, "threshold": THETA}


def _saelens(folder: Path, more: dict[str, Tensor], facts: dict[str, Any]) -> Any:
    return read_saelens(saelens(folder, more, **facts))


def _sparsify(folder: Path, more: dict[str, Tensor], facts: dict[str, Any]) -> Any:
    (folder / "cfg.json").write_text(json.dumps({"activation": "topk", "k": 3, "d_in": D, **facts}))
    tensors = {n: LINEAR[n] for n in ("encoder.weight", "encoder.bias")}
    save_file({**tensors, "W_dec": W_DEC, "b_dec": B_DEC, **more}, folder / "sae.safetensors")
    return read_sparsify(folder)


def _dictionary_learning(folder: Path, more: dict[str, Tensor], facts: dict[str, Any]) -> Any:
    trainer = {"dict_class": "AutoEncoder", "layer": 3, "activation_dim": D, **facts}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer}))
    torch.save({**LINEAR, "bias": B_DEC, **more}, folder / "ae.pt")
    return read_dictionary_learning(folder)


def _crosscoder(folder: Path, more: dict[str, Tensor], facts: dict[str, Any]) -> Any:
    (folder / "config.json").write_text(json.dumps({"dict_class": "CrossCoder", **facts}))
    two = {"encoder.weight": torch.stack([W_ENC, W_ENC]), "encoder.bias": B_ENC}
    two |= {"decoder.weight": torch.stack([W_DEC, W_DEC]), "decoder.bias": torch.stack([B_DEC] * 2)}
    save_file({**two, **more}, folder / "model.safetensors")
    return read_dictionary_learning(folder)


def _overcomplete(folder: Path, more: dict[str, Tensor], facts: dict[str, Any]) -> Any:
    (folder / "about.json").write_text(json.dumps({"class": "TopKSAE", "top_k": 3, **facts}))
    block = {f"encoder.final_block.0.{n}": LINEAR[f"encoder.{n}"] for n in ("weight", "bias")}
    torch.save({**block, "dictionary._weights": W_DEC, **more}, folder / "state_dict.pt")
    return read_overcomplete(folder)


def _gemma_scope(folder: Path, more: dict[str, Tensor], facts: dict[str, Any]) -> Any:
    (folder / "config.json").write_text(json.dumps({"architecture": "jump_relu", **facts}))
    save_file(ARRAYS | more, folder / "params.safetensors")
    return read_gemma_scope(folder)


def _cross_layer(folder: Path, more: dict[str, Tensor], facts: dict[str, Any]) -> Any:
    (folder / "config.yaml").write_text("".join(f"{n}: {v}\n" for n, v in facts.items()))
    save_file({"W_enc_0": W_ENC.T.contiguous(), "b_enc_0": B_ENC, "b_dec_0": B_DEC, **more},
        folder / "W_enc_0.safetensors")  # fmt: skip
    save_file({"W_dec_0": W_DEC[:, None].contiguous()}, folder / "W_dec_0.safetensors")
    return sn.load_sae(folder)


def _circuit_tracer(folder: Path, more: dict[str, Tensor], facts: dict[str, Any]) -> Any:
    (folder / "config.yaml").write_text("".join(f"{n}: {v}\n" for n, v in facts.items()))
    file = folder / "layer_3.safetensors"
    save_file({**PLAIN, "W_enc": W_ENC.T.contiguous(), **more}, file)
    return sn.load_sae(file)


def _openai(folder: Path, more: dict[str, Tensor], facts: dict[str, Any]) -> Any:
    plain = {n: v for n, v in facts.items() if not isinstance(v, dict)}
    state = {**LINEAR, "latent_bias": B_ENC, "pre_bias": B_DEC}
    del state["encoder.bias"]
    torch.save({**state, "activation": "ReLU", **more, **plain}, folder / "sae.pt")
    return read_openai(folder / "sae.pt")


def _temporal(folder: Path, more: dict[str, Tensor], facts: dict[str, Any]) -> Any:
    lines = "".join(f"  {n}: {v}\n" for n, v in facts.items())
    numbers = "  n_heads: 1\n  bottleneck_factor: 1\n  sae_diff_type: relu\n"
    (folder / "conf.yaml").write_text(f"sae:\n{numbers}{lines}")
    maps = {"k_ctx": (N, N), "q_target": (N, N), "v_ctx": (N, N), "c_proj": (N, N)}
    state = {f"attn_layers.0.{name}.weight": torch.zeros(shape) for name, shape in maps.items()}
    state |= {f"attn_layers.0.{name}.bias": torch.zeros(N) for name in maps}
    save_file({"D": W_DEC, "b": B_DEC, **state, **more}, folder / "latest_ckpt.safetensors")
    return read_temporal(folder)


def _visaebench(folder: Path, more: dict[str, Tensor], facts: dict[str, Any]) -> Any:
    (folder / "config.json").write_text(json.dumps({"activation": "topk", "k": 3, **facts}))
    torch.save({**LINEAR, "decoder.weight": W_DEC, **more}, folder / "sae.pt")
    return read_visaebench(folder)


def _prisma(folder: Path, more: dict[str, Tensor], facts: dict[str, Any]) -> Any:
    (folder / "config.json").write_text(json.dumps({"d_in": D, **facts}))
    torch.save({**PLAIN, **more}, folder / "weights.pt")
    return read_prisma(folder)


def _vlm(folder: Path, more: dict[str, Tensor], facts: dict[str, Any]) -> Any:
    del facts  # it has no configuration
    state = {**LINEAR, "b_dec": B_DEC, "k": torch.tensor(3), "threshold": torch.tensor(0.5), **more}
    torch.save(state, folder / "ae.pt")
    return read_sae_for_vlm(folder / "ae.pt")


def _llama_scope(folder: Path, more: dict[str, Tensor], facts: dict[str, Any]) -> Any:
    stated = {
        "d_model": D, "hook_point_in": "blocks.1.hook_resid_post", "jump_relu_threshold": 0.5,
        "dataset_average_activation_norm": {"in": 2.0, "out": 2.0},
    }  # fmt: skip
    (folder / "hyperparams.json").write_text(json.dumps({**stated, **facts}))
    (folder / "checkpoints").mkdir(exist_ok=True)
    tensors = {**LINEAR, "decoder.bias": B_DEC, **more}
    save_file(tensors, folder / "checkpoints" / "final.safetensors")
    return read_llama_scope(folder)


Write = Callable[[Path, dict[str, Tensor], dict[str, Any]], Any]
READERS: dict[str, Write] = {
    name.strip("_"): write
    for name, write in list(globals().items())
    if name.startswith("_") and getattr(write, "__module__", None) == __name__
}
STATELESS = ("vlm",)


@pytest.mark.parametrize("reader", READERS)
def test_an_unknown_tensor_or_field_is_noted_by_every_reader(tmp_path: Path, reader: str) -> None:
    """By its name; and facts of the training alone are not."""
    notes = []
    for i, (more, facts) in enumerate(((ALIEN, FIELD), ({}, TRAINING), ({}, {}))):
        folder = tmp_path / str(i)
        folder.mkdir()
        notes.append(" ".join(READERS[reader](folder, more, facts).origin.notes))
    assert "input_matrix" in notes[0]
    assert ("input_gain" in notes[0]) == (reader not in STATELESS)
    assert notes[1] == notes[2]


@pytest.mark.parametrize("reader", READERS)
def test_names_of_what_was_compiled_are_read_by_every_reader(tmp_path: Path, reader: str) -> None:
    """torch.compile puts `_orig_mod.` before each."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "compiled").mkdir()
    plain = READERS[reader](tmp_path / "plain", {}, {})
    READERS[reader](tmp_path / "compiled", {}, {})
    for file in [
        *(tmp_path / "compiled").rglob("*.safetensors"),
        *(tmp_path / "compiled").rglob("*.pt"),
    ]:
        if file.suffix == ".pt":
            state = torch.load(file, weights_only=True)
            torch.save(
                {f"_orig_mod.{n}" if isinstance(v, Tensor) else n: v for n, v in state.items()},
                file,
            )
        else:
            save_file({f"_orig_mod.{n}": v for n, v in load_file(file).items()}, file)
    read: Any = {
        "saelens": read_saelens, "sparsify": read_sparsify, "dictionary_learning": read_dictionary_learning,
        "crosscoder": read_dictionary_learning, "overcomplete": read_overcomplete,
        "gemma_scope": read_gemma_scope, "cross_layer": sn.load_sae, "temporal": read_temporal,
        "visaebench": read_visaebench, "prisma": read_prisma, "llama_scope": read_llama_scope,
        "circuit_tracer": lambda f: sn.load_sae(f / "layer_3.safetensors"),
        "openai": lambda f: read_openai(f / "sae.pt"), "vlm": lambda f: read_sae_for_vlm(f / "ae.pt"),
    }  # fmt: skip
    again = read[reader](tmp_path / "compiled")
    first, second = plain.state_dict(), again.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again.origin.notes == plain.origin.notes
