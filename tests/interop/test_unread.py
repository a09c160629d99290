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
from tests.interop import made
from tests.interop.made import draw, standard

D, N = 6, 10


X = draw(40, D, seed=9)
PLAIN = standard(D, N)
W_ENC, B_ENC, W_DEC, B_DEC = PLAIN.values()
THETA = draw(N, seed=5).abs()
U = (X - B_DEC) @ W_ENC + B_ENC


def saelens(folder: Path, tensors: dict[str, Tensor] | None = None, **config: Any) -> Path:
    """Write a plain SAE as SAELens does."""
    return made.saelens(folder, PLAIN | (tensors or {}), **{"architecture": "standard", **config})


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
        ("d_out", D + 1),
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
LINEAR = made.linear(PLAIN)
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
def test_an_unknown_tensor_or_field_is_told_by_every_reader(tmp_path: Path, reader: str) -> None:
    """A tensor in the notes, a field among those that were not read, with its value."""
    for name in ("more", "plain"):
        (tmp_path / name).mkdir()
    origin = READERS[reader](tmp_path / "more", ALIEN, FIELD).origin
    plain = READERS[reader](tmp_path / "plain", {}, {}).origin
    assert "input_matrix" in " ".join(origin.notes)
    new = [one for one in origin.unread if one not in plain.unread]
    names = [one.partition("=")[0].rpartition(".")[2] for one in new]
    assert names == ([] if reader in STATELESS else ["input_gain"])
    assert all("2.0" in one for one in new)


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


# -------------------------------------------------------------------------------------------------
# Fields that contradict the tensors, or state what the reader would compute otherwise.


@pytest.mark.parametrize(("asks", "factor"), [(True, None), (False, 2.0)])
def test_factors_of_codes_that_only_one_file_has_are_refused(
    tmp_path: Path, asks: bool, factor: float | None
) -> None:
    """Ones, which older versions always hold, change nothing."""
    more = {} if factor is None else {"scaling_factor": torch.full((N,), factor)}
    with pytest.raises(ValueError, match="finetuning_scaling_factor"):
        read_saelens(saelens(tmp_path / "s", more, finetuning_scaling_factor=asks))
    ones = saelens(
        tmp_path / "o", {"scaling_factor": torch.ones(N)}, finetuning_scaling_factor=asks
    )
    assert torch.allclose(read_saelens(ones)(X), torch.relu(U) @ W_DEC + B_DEC, atol=1e-4)


LENGTHS: dict[str, Callable[[Tensor], Tensor]] = {
    "l2": lambda w: w.norm(dim=1, keepdim=True),
    "max_l2": lambda w: w.norm(dim=1).max(),
    "l1": lambda w: w.abs().sum(dim=1, keepdim=True),
    "max_l1": lambda w: w.abs().sum(dim=1).max(),
    "identity": lambda w: torch.ones(()),
}


@pytest.mark.parametrize("normalization", LENGTHS)
def test_atoms_of_overcomplete_are_normalised_as_stated(tmp_path: Path, normalization: str) -> None:
    """Each or all by one norm; another one is refused. Written back, the file is as it was."""
    sae = _overcomplete(tmp_path, {}, {"normalization": normalization})
    assert torch.allclose(sae.dictionary, W_DEC / LENGTHS[normalization](W_DEC), atol=1e-6)
    again = sn.interop.write_overcomplete(sae, tmp_path / "again")
    state = torch.load(again / "state_dict.pt", weights_only=True)
    assert torch.equal(state["dictionary._weights"], W_DEC)
    with pytest.raises(ValueError, match="normalization"):
        _overcomplete(tmp_path, {}, {"normalization": "l3"})


def test_a_transcoder_of_dictionary_learning_is_refused(tmp_path: Path) -> None:
    """It would be read as an SAE of what it reads."""
    with pytest.raises(ValueError, match="in_and_out"):
        read = {"buffer": {"io": "in_and_out"}}
        (tmp_path / "config.json").write_text(
            json.dumps({"trainer": {"dict_class": "AutoEncoder", "layer": 3}, **read})
        )
        torch.save({**LINEAR, "bias": B_DEC}, tmp_path / "ae.pt")
        read_dictionary_learning(tmp_path)


def test_a_k_that_the_weights_contradict_is_told(tmp_path: Path) -> None:
    """That of the weights is used, and stated."""
    (tmp_path / "config.json").write_text(
        json.dumps({"trainer": {"dict_class": "AutoEncoderTopK", "layer": 3, "k": 5}})
    )
    torch.save({**LINEAR, "b_dec": B_DEC, "k": torch.tensor(3)}, tmp_path / "ae.pt")
    sae = read_dictionary_learning(tmp_path)
    assert (sae.k, sae.origin.stated) == (3, {"l0": 3.0})
    assert "k=5" in sae.origin.notes[0]
    assert int((codes(sae) != 0).sum(dim=1).max()) == 3


def test_what_is_signed_is_read_or_noted(tmp_path: Path) -> None:
    """The largest of either sign are; of groups there is no such rule."""
    (tmp_path / "topk").mkdir()
    (tmp_path / "groups").mkdir()
    signed = _sparsify(tmp_path / "topk", {}, {"signed": True})
    top = U.abs().topk(3, dim=1).indices
    assert torch.allclose(codes(signed), torch.zeros_like(U).scatter(1, top, U.gather(1, top)))
    groups = _sparsify(tmp_path / "groups", {}, {"signed": True, "activation": "groupmax", "k": 5})
    assert "signed=True" in groups.origin.unread


@pytest.mark.parametrize(
    ("field", "value", "policy"),
    [
        ("remove_bos", True, {"drop_first": True}),
        ("remove_bos", False, {}),
        ("exclude_bos_token", True, {"drop_first": True}),
        ("max_activation_norm_multiple", 10, {"drop_massive": True}),
        ("cls_token_only", True, {"positions": "cls"}),
        ("use_patches_only", True, {"positions": "patches"}),
    ],
)
@pytest.mark.parametrize("reader", ["dictionary_learning", "prisma", "sparsify"])
def test_positions_that_a_training_left_out_are_those_of_the_sae(
    tmp_path: Path, reader: str, field: str, value: Any, policy: dict[str, Any]
) -> None:
    """Every call that puts it into a model then leaves them as they are."""
    (tmp_path / "stated").mkdir()
    (tmp_path / "plain").mkdir()
    found = READERS[reader](tmp_path / "stated", {}, {field: value}).position_policy
    if not policy:
        assert found == READERS[reader](tmp_path / "plain", {}, {}).position_policy
        return
    assert {name: getattr(found, name) for name in policy} == policy


def test_a_norm_of_codes_that_only_the_configuration_states_is_used(tmp_path: Path) -> None:
    """A code fires where its size, by that norm of its atoms, is above θ; without θ it would be dense."""
    for i, (kind, sizes) in enumerate(
        (("NONE", torch.ones(N)), ("SAE", (2 * W_DEC.square()).sum(dim=1).sqrt()))
    ):
        (tmp_path / str(i)).mkdir()
        theta = {"threshold": torch.tensor(1.5)}
        sae = _crosscoder(tmp_path / str(i), theta, {"code_normalization": kind})
        u = 2 * X @ W_ENC + B_ENC
        expected = torch.relu(u) * (u * sizes > 1.5)
        assert torch.allclose(sae.encode([X, X]).to_dense(), expected, atol=1e-4)
    with pytest.raises(ValueError, match="one code for all sites"):
        _crosscoder(tmp_path, theta, {"code_normalization": "DECOUPLED"})
    with pytest.raises(ValueError, match="threshold"):
        _crosscoder(tmp_path, {}, {"dict_class": "BatchTopKCrossCoder"})


def test_a_factor_by_a_wrong_width_is_refused(tmp_path: Path) -> None:
    """Llama Scope's s is √d_model over the norm of what is read; that of what is written is not needed."""
    unread = _llama_scope(tmp_path, {}, {}).origin.unread
    assert unread == ["dataset_average_activation_norm.out=2.0"]
    with pytest.raises(ValueError, match="d_model"):
        _llama_scope(tmp_path, {}, {"d_model": D + 1})


def test_gemma_scope_states_by_itself_what_is_no_sae(tmp_path: Path) -> None:
    """By its type or its two places; the L0 of its configuration is kept."""
    places = {"hf_hook_point_in": "model.layers.3.a", "hf_hook_point_out": "model.layers.3.b"}
    for i, facts in enumerate(({"type": "transcoder"}, places)):
        (tmp_path / str(i)).mkdir()
        assert _gemma_scope(tmp_path / str(i), {}, facts).writes == (D,)
    (tmp_path / "plain").mkdir()
    plain = _gemma_scope(tmp_path / "plain", {}, {"type": "sae", "l0": 3})
    assert (plain.writes, plain.origin.stated) == (None, {"l0": 3.0})
