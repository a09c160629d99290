"""Readers on small files written here from the formats' descriptions: codes, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import sae_nb as sn
from sae_nb.interop import (
    Encoding,
    Imported,
    Origin,
    read_circuit_tracer,
    read_dictionary_learning,
    read_gemma_scope,
    read_openai,
    read_overcomplete,
    read_saelens,
    read_sparsify,
)
from sae_nb.interop._imported import assemble
from sae_nb.pretrained import load_sae
from tests.interop.made import draw, saelens, standard

D, N = 6, 10


@pytest.fixture
def x() -> Tensor:
    """A few activations."""
    return draw(7, D, seed=9)


@pytest.mark.parametrize("norm", ["none", "layer_norm", "constant_norm_rescale"])
def test_saelens_norms_are_applied_and_undone(tmp_path: Path, x: Tensor, norm: str) -> None:
    """Against the formula written out."""
    t = standard(D, N)
    folder = saelens(tmp_path / "s", t, architecture="standard", normalize_activations=norm)
    mean, out, into = torch.zeros(7, 1), torch.ones(7, 1), torch.ones(7, 1)
    if norm == "layer_norm":
        mean, out = x.mean(1, keepdim=True), x.std(1, keepdim=True)
        into = out + 1e-5
    elif norm == "constant_norm_rescale":
        out = into = x.norm(dim=1, keepdim=True) / D**0.5
    z = torch.relu(((x - mean) / into - t["b_dec"]) @ t["W_enc"] + t["b_enc"])
    x_hat = (z @ t["W_dec"] + t["b_dec"]) * out + mean
    sae = read_saelens(folder)
    assert torch.allclose(sae.encode(x).to_dense(), z, atol=1e-5)
    assert torch.allclose(sae(x), x_hat, atol=1e-5)
    assert sae.hook_point == "resid_post.1"


def test_a_scale_that_is_not_in_the_file_is_asked_for_and_folded(tmp_path: Path, x: Tensor) -> None:
    """Without it nothing is guessed; with it codes are those of scaled activations."""
    t = standard(D, N)
    norm = "expected_average_only_in"
    folder = saelens(tmp_path / "s", t, architecture="standard", normalize_activations=norm)
    with pytest.raises(ValueError, match="Pass scale="):
        read_saelens(folder)
    plain = read_saelens(saelens(tmp_path / "p", t, architecture="standard"))
    scaled = read_saelens(folder, scale=2.5)
    assert torch.allclose(scaled.encode(x).to_dense(), plain.encode(2.5 * x).to_dense(), atol=1e-4)
    assert torch.allclose(scaled(x), plain(2.5 * x) / 2.5, atol=1e-5)


def test_files_older_than_version_six_are_understood(tmp_path: Path, x: Tensor) -> None:
    """Top-level names, and top-k as an activation function."""
    folder = tmp_path / "old"
    saelens(folder, standard(D, N))
    old = {
        "d_in": D,
        "d_sae": N,
        "hook_point": "blocks.0.hook_resid_pre",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 3},
        "apply_b_dec_to_input": True,
        "model_name": "gpt2-small",
        "context_size": 64,
        "normalize_activations": False,
    }
    (folder / "cfg.json").write_text(json.dumps(old))
    sae = read_saelens(folder)
    assert isinstance(sae, Imported)
    assert (sae.hook_point, sae.model_name) == ("resid_pre.0", "gpt2-small")
    assert sae.origin.context_length == 64
    assert int(sae.encode(x).l0.max()) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("jumps", [False, True])
def test_a_transcoder_writes_elsewhere(tmp_path: Path, x: Tensor, skips: bool, jumps: bool) -> None:
    """Another width than it reads; codes of x, with thresholds or not, and xWᵀ beside them."""
    width, theta = D + 2, draw(N, seed=6).abs()
    t = standard(D, N) | {"W_dec": draw(N, width, seed=3), "b_dec": draw(width, seed=4)}
    t |= {"W_skip": draw(width, D, seed=5)} if skips else {}
    t |= {"threshold": theta} if jumps else {}
    names = {"hook_name": "blocks.2.hook_resid_mid", "hook_name_out": "blocks.2.hook_mlp_out"}
    sae = read_saelens(
        saelens(
            tmp_path / "s",
            t,
            architecture="_".join(["jumprelu"] * jumps + ["skip"] * skips + ["transcoder"]),
            apply_b_dec_to_input=False,
            d_out=width,
            metadata={"sae_lens_version": "6.0.0", **names},
        )
    )
    u = x @ t["W_enc"] + t["b_enc"]
    z = u * (u > theta) if jumps else torch.relu(u)
    expected = z @ t["W_dec"] + t["b_dec"] + (x @ t["W_skip"].T if skips else 0)
    assert torch.allclose(sae(x), expected, atol=1e-5)
    assert (sae.d_in, sae.d_out, sae.writes) == (D, width, (width,))
    assert (sae.hook_point, sae.target_hook_point) == ("resid_mid.2", "mlp_out.2")
    report = sn.evaluate(sae, (x, expected))
    assert report["r2"].value == pytest.approx(1, abs=1e-4)
    sae.save(tmp_path / "own")
    again = sn.load_sae(tmp_path / "own")
    assert torch.equal(again(x), sae(x))
    assert (again.writes, again.target_hook_point) == ((width,), "mlp_out.2")


def test_a_transcoder_whose_bias_is_taken_off_its_input_is_refused(tmp_path: Path) -> None:
    """It is of another place."""
    folder = saelens(tmp_path / "s", standard(D, N), architecture="transcoder", d_out=D)
    with pytest.raises(ValueError, match="apply_b_dec_to_input=False"):
        read_saelens(folder)


@pytest.mark.parametrize("rule", ["relu", "topk", "jumprelu"])
def test_a_layer_of_circuit_tracer(tmp_path: Path, x: Tensor, rule: str) -> None:
    """Against its formulas; places from the configuration, which may be missing; `load_sae` takes the file."""
    t = {
        "W_enc": draw(N, D, seed=1),
        "W_dec": draw(N, D, seed=2),
        "b_enc": draw(N, seed=3),
        "b_dec": draw(D, seed=4),
        "W_skip": draw(D, D, seed=5),
    }
    u = x @ t["W_enc"].T + t["b_enc"]
    z = torch.relu(u)
    if rule == "jumprelu":
        t["activation_function.threshold"] = draw(N, seed=6).abs()
        z = u * (u > t["activation_function.threshold"])
    if rule == "topk":
        t["k"] = torch.tensor(3)
        top = u.topk(3, dim=1)
        z = torch.zeros_like(u).scatter(1, top.indices, top.values.relu())
    file = tmp_path / "layer_7.safetensors"
    save_file(t, file)
    assert (sn.load_sae(file).hook_point, sn.load_sae(file).target_hook_point) == (None, None)
    places = {"feature_input_hook": "mlp.hook_in", "feature_output_hook": "mlp.hook_out"}
    lines = [f'{name}: "{value}"' for name, value in places.items()]
    (tmp_path / "config.yaml").write_text("\n".join(["model_kind: transcoder_set", *lines]))
    sae = sn.load_sae(file)
    assert torch.allclose(sae.encode(x).to_dense(), z, atol=1e-5)
    expected = z @ t["W_dec"] + t["b_dec"] + x @ t["W_skip"].T
    assert torch.allclose(sae(x), expected, atol=1e-5)
    assert (sae.hook_point, sae.target_hook_point) == ("mlp_in.7", "mlp_out.7")
    other = tmp_path / "W_enc_0.safetensors"
    save_file({"W_enc_0": t["W_enc"]}, other)
    with pytest.raises(ValueError, match=r"must be called layer_0\.safetensors"):
        read_circuit_tracer(other)


def test_transcoders_of_gemma_scope_write_elsewhere(tmp_path: Path, x: Tensor) -> None:
    """By the folder's name; places are ours to give."""
    folder = tmp_path / "gemma-scope-2b-pt-transcoders" / "layer_3" / "width_16k"
    folder.mkdir(parents=True)
    w_enc, w_dec, theta = draw(D, N, seed=1), draw(N, D, seed=2), draw(N, seed=5).abs()
    arrays = {
        "w_enc": w_enc,
        "w_dec": w_dec,
        "b_enc": draw(N),
        "b_dec": draw(D),
        "threshold": theta,
    }
    np.savez(folder / "params.npz", **{k: v.numpy() for k, v in arrays.items()})
    sae = sn.load_sae(folder)
    u = x @ w_enc + arrays["b_enc"]
    assert torch.allclose(sae(x), (u * (u > theta)) @ w_dec + arrays["b_dec"], atol=1e-5)
    assert (sae.writes, sae.hook_point, sae.target_hook_point) == ((D,), None, None)


def dictionary_learning(folder: Path, name: str, state: dict[str, Any], **trainer: Any) -> Path:
    """Write a folder as dictionary_learning does."""
    folder.mkdir(exist_ok=True)
    facts = {"dict_class": name, "layer": 3, "lm_name": "m", "submodule_name": None, **trainer}
    (folder / "config.json").write_text(json.dumps({"trainer": facts, "buffer": {"io": "out"}}))
    torch.save(state, folder / "ae.pt")
    return folder


def batch_topk(threshold: float) -> dict[str, Tensor]:
    """State of a BatchTopKSAE."""
    return {
        "encoder.weight": draw(N, D, seed=1),
        "encoder.bias": draw(N, seed=2),
        "decoder.weight": draw(D, N, seed=3),
        "b_dec": draw(D, seed=4),
        "k": torch.tensor(2, dtype=torch.int32),
        "threshold": torch.tensor(threshold),
    }


def test_a_threshold_never_set_falls_back_to_k_with_a_warning(tmp_path: Path, x: Tensor) -> None:
    """Otherwise its codes would be dense."""
    folder = dictionary_learning(tmp_path / "d", "BatchTopKSAE", batch_topk(-1.0))
    with pytest.warns(UserWarning, match="the 2 largest codes"):
        sae = read_dictionary_learning(folder)
    assert int(sae.encode(x).l0.max()) == 2
    assert sae.hook_point == "resid_post.3"


def test_a_training_backup_is_read_for_the_sae_in_it(tmp_path: Path, x: Tensor) -> None:
    """Optimiser and step beside it are left out."""
    state = batch_topk(0.5)
    backup = {"step": 3, "ae": state, "optimizer": {"lr": 0.1}, "norm_factor": 2.0}
    plain = dictionary_learning(tmp_path / "a", "BatchTopKSAE", state)
    whole = dictionary_learning(tmp_path / "b", "BatchTopKSAE", backup)
    first, second = read_dictionary_learning(plain), read_dictionary_learning(whole)
    assert torch.equal(first.encode(x).to_dense(), second.encode(x).to_dense())


def test_sparsify_reads_its_place_from_the_folder(tmp_path: Path, x: Tensor) -> None:
    """layers.4 is the residual stream after block 4."""
    folder = tmp_path / "layers.4"
    folder.mkdir()
    (folder / "cfg.json").write_text(json.dumps({"activation": "topk", "k": 2, "d_in": D}))
    t = {
        "encoder.weight": draw(N, D, seed=1),
        "encoder.bias": draw(N, seed=2),
        "W_dec": draw(N, D, seed=3),
        "b_dec": draw(D, seed=4),
    }
    save_file(t, folder / "sae.safetensors")
    sae = read_sparsify(folder)
    assert (sae.hook_point, int(sae.encode(x).l0.max())) == ("resid_post.4", 2)
    save_file({k: v for k, v in t.items() if k != "W_dec"}, folder / "sae.safetensors")
    with pytest.raises(ValueError, match="without its decoder"):
        read_sparsify(folder)


def test_gemma_scope_reads_arrays_and_never_objects(tmp_path: Path, x: Tensor) -> None:
    """JumpReLU without pre-bias; layer and L0 from the folder; object arrays are refused."""
    folder = tmp_path / "layer_12" / "width_16k" / "average_l0_82"
    folder.mkdir(parents=True)
    w_enc, w_dec, b_enc, b_dec = draw(D, N, seed=1), draw(N, D, seed=2), draw(N, seed=3), draw(D)
    theta = torch.rand(N, generator=torch.Generator().manual_seed(5))
    arrays = {"w_enc": w_enc, "w_dec": w_dec, "b_enc": b_enc, "b_dec": b_dec, "threshold": theta}
    np.savez(folder / "params.npz", **{k: v.numpy() for k, v in arrays.items()})
    sae = read_gemma_scope(folder)
    u = x @ w_enc + b_enc
    z = u * (u > theta)
    assert torch.allclose(sae.encode(x).to_dense(), z, atol=1e-6)
    assert torch.allclose(sae(x), z @ w_dec + b_dec, atol=1e-5)
    assert (sae.hook_point, sae.origin.stated) == ("resid_post.12", {"l0": 82.0})
    np.savez(folder / "params.npz", w_enc=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="Nothing in it was run"):
        read_gemma_scope(folder)


def test_openai_normalises_only_with_topk(tmp_path: Path, x: Tensor) -> None:
    """Against the formula written out."""
    state: dict[str, Any] = {
        "pre_bias": draw(D, seed=1),
        "latent_bias": draw(N, seed=2),
        "encoder.weight": draw(N, D, seed=3),
        "decoder.weight": draw(D, N, seed=4),
        "activation": "TopK",
        "activation_state_dict": {"k": 3, "postact_fn": "ReLU"},
    }
    torch.save(state, tmp_path / "o.pt")
    sae = read_openai(tmp_path / "o.pt", hook_point="resid_post.1")
    mean, std = x.mean(1, keepdim=True), x.std(1, keepdim=True)
    u = ((x - mean) / (std + 1e-5) - state["pre_bias"]) @ state["encoder.weight"].T
    u = u + state["latent_bias"]
    top = u.topk(3, dim=1)
    z = torch.zeros_like(u).scatter(1, top.indices, top.values.relu())
    x_hat = (z @ state["decoder.weight"].T + state["pre_bias"]) * std + mean
    assert torch.allclose(sae(x), x_hat, atol=1e-5)
    torch.save({**state, "activation": "Mystery"}, tmp_path / "m.pt")
    with pytest.raises(ValueError, match="got 'Mystery'"):
        read_openai(tmp_path / "m.pt")


def test_overcomplete_asks_for_what_its_state_dict_lacks(tmp_path: Path, x: Tensor) -> None:
    """Class, k and threshold; batch normalisation is folded and more blocks are refused."""
    state = {
        "encoder.final_block.0.weight": draw(N, D, seed=1),
        "encoder.final_block.0.bias": draw(N, seed=2),
        "encoder.final_block.1.running_mean": draw(N, seed=3),
        "encoder.final_block.1.running_var": draw(N, seed=4).abs() + 0.5,
        "encoder.final_block.1.weight": draw(N, seed=5),
        "encoder.final_block.1.bias": draw(N, seed=6),
        "dictionary._weights": draw(N, D, seed=7),
        "dictionary.multiplier": torch.tensor(0.3),
    }
    file = tmp_path / "state_dict.pt"
    torch.save(state, file)
    with pytest.raises(ValueError, match="`kind` must be one of"):
        read_overcomplete(tmp_path)
    with pytest.raises(ValueError, match="`k` must be given"):
        read_overcomplete(tmp_path, kind="TopKSAE")
    with pytest.raises(ValueError, match="running threshold"):
        read_overcomplete(tmp_path, kind="BatchTopKSAE", k=3)
    sae = read_overcomplete(file, kind="SAE")
    norm = torch.nn.BatchNorm1d(N)
    norm.load_state_dict(
        {k.rpartition(".")[2]: v for k, v in state.items() if "block.1" in k}, strict=False
    )
    u = x @ state["encoder.final_block.0.weight"].T + state["encoder.final_block.0.bias"]
    z = norm.eval()(u).relu()
    assert torch.allclose(sae.encode(x).to_dense(), z, atol=1e-5)
    torch.save({**state, "encoder.mlp.weight": draw(2, 2)}, file)
    with pytest.raises(ValueError, match="one linear map"):
        read_overcomplete(file, kind="SAE")


def test_an_imported_sae_is_saved_and_loaded_as_ours(tmp_path: Path, x: Tensor) -> None:
    """Codes, origin and place survive our own folder."""
    sae = read_saelens(saelens(tmp_path / "s", standard(D, N), architecture="standard"))
    sae.save(tmp_path / "ours")
    again = load_sae(tmp_path / "ours")
    assert isinstance(again, Imported)
    assert again.origin == sae.origin
    assert again.hook_point == "resid_post.1"
    assert torch.equal(again.encode(x).to_dense(), sae.encode(x).to_dense())


def test_load_sae_recognises_other_libraries_folders(tmp_path: Path, x: Tensor) -> None:
    """One door for all."""
    folder = saelens(tmp_path / "s", standard(D, N), architecture="standard")
    assert torch.equal(load_sae(folder)(x), read_saelens(folder)(x))


@pytest.mark.slow
def test_p99_of_a_long_atom_counts_its_length() -> None:
    """A code counts in lengths of its atom, so 1 × p99 adds p99 · d_j whatever the length of d_j."""
    generator = torch.Generator().manual_seed(5)
    rows, x = torch.randn(12, 8, generator=generator) * 3, torch.randn(3, 8, generator=generator)
    long = assemble(
        rows,
        None,
        encoding=Encoding(rule="relu"),
        origin=Origin(library="x", architecture="y"),
        hook_point="0",
        encoder=rows,
        encoder_bias=torch.zeros(12),
    )
    long.strength_p99 = torch.full((12,), 0.25)
    plain = sn.wrap(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Identity()))
    with sn.steer(plain, "0", long, atom=3, by=2.0, unit="p99"):
        torch.testing.assert_close(plain(x), x + 0.5 * rows[3])
