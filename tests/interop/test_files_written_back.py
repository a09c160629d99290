"""Gemma Scope's, OpenAI's and circuit-tracer's files: read, trained for 200 steps, and written as they came."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import sae_nb as sn
from sae_nb.interop import (
    read_circuit_tracer,
    read_gemma_scope,
    read_openai,
    write_circuit_tracer,
    write_gemma_scope,
    write_openai,
)
from sae_nb.interop._imported import norm_of
from tests.interop.test_going_on import D, data, rows, share_left, trained

N = 32
Contents = dict[str, Any]


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def arrays(**more: Tensor) -> dict[str, Tensor]:
    """A JumpReLU as Gemma Scope writes it, with atoms of many lengths."""
    atoms = torch.linspace(0.5, 2, N)[:, None] * draw(N, D, seed=1) / D**0.5
    return {
        "w_enc": (atoms + 0.1 * draw(N, D, seed=2)).T.contiguous(),
        "b_enc": 0.1 * draw(N, seed=3),
        "w_dec": atoms,
        "b_dec": 0.3 * draw(D, seed=4),
        "threshold": draw(N, seed=5).abs(),
        **more,
    }


def npz(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    folder.mkdir(parents=True)
    held: dict[str, Any] = {n: t.to(dtype).numpy() for n, t in arrays().items()}
    np.savez(folder / "params.npz", **held)
    return folder


def newer(folder: Path) -> Path:
    """Of Gemma Scope 2, with a linear map beside the atoms."""
    folder.mkdir(parents=True)
    t = arrays(affine_skip_connection=0.1 * draw(D, D, seed=6))
    save_file(t, folder / "params.safetensors")
    facts = {
        "architecture": "jump_relu",
        "model_name": "google/gemma-3-4b-pt",
        "type": "transcoder",
    }
    (folder / "config.json").write_text(json.dumps(facts | {"affine_connection": True}))
    return folder


def openai(path: Path, activation: str) -> Path:
    """A state dict of openai/sparse_autoencoder, with the counts that it keeps."""
    t = arrays()
    path.parent.mkdir(parents=True)
    its = {"k": 4, "postact_fn": "ReLU"} if activation == "TopK" else {}
    state = {
        "pre_bias": t["b_dec"],
        "latent_bias": t["b_enc"],
        "stats_last_nonzero": torch.arange(N),
        "latents_activation_frequency": torch.rand(N),
        "latents_mean_square": torch.rand(N),
        "encoder.weight": t["w_enc"].T.contiguous(),
        "decoder.weight": t["w_dec"].T.contiguous(),
        **{f"activation.{name}": value for name, value in its.items()},  # its modules say it twice
        "activation": activation,
        "activation_state_dict": its,
    }
    torch.save(state, path)
    return path


def tracer(path: Path, **more: Tensor) -> Path:
    path.parent.mkdir(parents=True)
    t = arrays()
    names = {"W_enc": t["w_enc"].T.contiguous(), "b_enc": t["b_enc"], "W_dec": t["w_dec"]}
    save_file(names | {"b_dec": t["b_dec"]} | more, path)
    return path


def plain(path: Path) -> Contents:
    """All that a file holds, by name; nothing in it is run."""
    if path.is_dir():
        inside = [plain(file) for file in sorted(path.iterdir())]
        return {name: value for file in inside for name, value in file.items()}
    if path.suffix == ".json":
        return {"config": json.loads(path.read_text())}
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as found:
            return {name: torch.from_numpy(found[name]) for name in found.files}
    if path.suffix == ".pt":
        return dict(torch.load(path, weights_only=True))
    return dict(load_file(path))


def differ(a: Contents, b: Contents) -> set[str]:
    """Names of what is not the same in kind, shape, dtype or bits."""
    assert a.keys() == b.keys()
    return {name for name in a if not _same(a[name], b[name])}


def _same(a: Any, b: Any) -> bool:
    if not isinstance(a, Tensor):
        return bool(a == b)
    kinds = [(t.shape, t.dtype, t.numpy().tobytes()) for t in (a, b)]
    return kinds[0] == kinds[1]


Case = tuple[Callable[[Path], Path], str, Callable[..., Any], Callable[..., Path], set[str]]
LEARNED = {"w_enc", "b_enc", "w_dec", "b_dec", "threshold"}
STATES = {"encoder.weight", "latent_bias", "decoder.weight", "pre_bias"}
TRACED = {"W_enc", "b_enc", "W_dec", "b_dec"}
_THETA = "activation_function.threshold"
GEMMA: tuple[Any, Any] = (read_gemma_scope, write_gemma_scope)
CIRCUITS: tuple[Any, Any] = (read_circuit_tracer, write_circuit_tracer)
CASES: dict[str, Case] = {
    "Gemma Scope": (npz, "layer_3/width_32/average_l0_9", *GEMMA, LEARNED),
    "of embeddings": (npz, "embedding/width_32/average_l0_9", *GEMMA, LEARNED),
    "a transcoder": (npz, "pt-transcoders/layer_3/width_32", *GEMMA, LEARNED),
    "in half precision": (
        lambda p: npz(p, torch.float16), "layer_3/width_32", *GEMMA, LEARNED,
    ),
    "Gemma Scope 2": (
        newer, "transcoder_all/layer_3_affine", *GEMMA, LEARNED | {"affine_skip_connection"},
    ),
    "OpenAI, ReLU": (
        lambda p: openai(p, "ReLU"), "relu.pt", read_openai, write_openai, STATES,
    ),
    "OpenAI, TopK": (
        lambda p: openai(p, "TopK"), "topk.pt", read_openai, write_openai, STATES,
    ),
    "circuit-tracer, ReLU": (tracer, "layer_3.safetensors", *CIRCUITS, TRACED),
    "circuit-tracer, TopK": (
        lambda p: tracer(p, k=torch.tensor(4), W_skip=0.1 * draw(D, D, seed=6)),
        "layer_3.safetensors", *CIRCUITS, TRACED | {"W_skip"},
    ),
    "circuit-tracer, JumpReLU": (
        lambda p: tracer(p, **{_THETA: draw(N, seed=5).abs()}),
        "layer_3.safetensors", *CIRCUITS, TRACED | {_THETA},
    ),
}  # fmt: skip
cases = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


@cases
def test_what_was_only_read_is_written_back_to_the_bit(case: Case, tmp_path: Path) -> None:
    """Each tensor, count and fact; a second time the place is taken, and stays as it is."""
    make, name, read, write, _ = case
    theirs = make(tmp_path / "theirs" / name)
    sae = read(theirs)
    sae.hook_point = sae.hook_point or "resid_post.2"  # these files do not name it
    ours = write(read(theirs), tmp_path / "ours" / name)
    assert differ(plain(theirs), plain(ours)) == set()
    assert [p.name for p in ours.parent.iterdir()] == [ours.name]
    with pytest.raises(FileExistsError, match="must not exist yet"):
        write(sae, ours)
    assert differ(plain(theirs), plain(ours)) == set()


@pytest.mark.slow
@cases
def test_200_steps_start_at_the_file_and_come_back_to_the_bit(case: Case, tmp_path: Path) -> None:
    """The first loss is the file's to 1e-6; what is read back is what was trained, in shapes and dtypes of the
    file, and what nobody learned is as it was.
    """
    make, name, read, write, learned = case
    theirs, x = make(tmp_path / "theirs" / name), rows()
    sae = read(theirs)
    target = data(sae, x)[1] if sae.writes is not None else x
    before, seen = sae(x), sae.trained_as().split(x)[0] if sae.writes is None else target
    if sae.encoding.norm != "none":
        centre, scale = norm_of(x, sae.encoding.norm)
        before = (before - centre) / scale
    result = trained(sae, x, steps=200)
    assert 1 - result.history[0].r2 == pytest.approx(share_left(seen, before), rel=1e-6, abs=1e-6)
    assert result.history[-1].r2 > result.history[0].r2
    ours = write(sae, tmp_path / "ours" / name)
    found, there = plain(ours), plain(theirs)
    assert differ(there, found) == learned
    kinds = [{n: (t.shape, t.dtype) for n, t in f.items() if n in learned} for f in (there, found)]
    assert kinds[0] == kinds[1]
    again = read(ours)
    if found[min(learned)].dtype == torch.float16:
        torch.testing.assert_close(again.dictionary, sae.dictionary, rtol=2**-10, atol=2**-20)
        torch.testing.assert_close(again.threshold, sae.threshold, rtol=2**-10, atol=2**-20)
        return
    state = sae.state_dict()
    assert [n for n, t in again.state_dict().items() if not torch.equal(t, state[n])] == []
    assert torch.equal(again(x), sae(x))


def _their_openai(state: Contents, x: Tensor) -> Tensor:
    """As openai/sparse_autoencoder computes it from a state dict, model.py (LN, encode, TopK, decode)."""
    topk = state["activation"] == "TopK"
    mu, std = torch.zeros(len(x), 1), torch.ones(len(x), 1)
    if topk:
        mu = x.mean(dim=-1, keepdim=True)
        std = (x - mu).std(dim=-1, keepdim=True)
        x = (x - mu) / (std + 1e-5)
    u = (x - state["pre_bias"]) @ state["encoder.weight"].T + state["latent_bias"]
    z = torch.relu(u)
    if topk:
        top = u.topk(state["activation_state_dict"]["k"], dim=-1)
        z = torch.zeros_like(u).scatter(-1, top.indices, top.values.relu())
    return (z @ state["decoder.weight"].T + state["pre_bias"]) * std + mu


@pytest.mark.parametrize("activation", ["ReLU", "TopK"])
def test_openai_computes_what_was_trained(activation: str, tmp_path: Path) -> None:
    """From the file alone, by the formulas of its own model.py."""
    sae, x = read_openai(openai(tmp_path / "a" / "sae.pt", activation)), rows()
    trained(sae, x, steps=20)
    state = plain(write_openai(sae, tmp_path / "b.pt"))
    torch.testing.assert_close(_their_openai(state, x), sae(x), rtol=1e-4, atol=1e-4)


def test_gemma_scope_computes_what_was_trained(tmp_path: Path) -> None:
    """From the arrays alone: u = x W_enc + b_enc, the codes relu(u) where u > θ, x̂ = z W_dec + b_dec."""
    sae, x = read_gemma_scope(npz(tmp_path / "layer_3" / "width_32")), rows()
    trained(sae, x, steps=20)
    t = plain(write_gemma_scope(sae, tmp_path / "ours" / "layer_3"))
    u = x @ t["w_enc"] + t["b_enc"]
    x_hat = torch.where(u > t["threshold"], u.relu(), 0) @ t["w_dec"] + t["b_dec"]
    torch.testing.assert_close(x_hat, sae(x), rtol=1e-4, atol=1e-4)


def fitted(sae: Any, x: Tensor) -> Any:
    sn.train(sae, (x, x.flip(1)) if sae.writes else x, steps=5, progress=False)
    return sae.eval()


@pytest.mark.parametrize("kind", ["JumpReLU", "ReLU", "BatchTopK", "SkipTranscoder"])
def test_ours_are_written_as_gemma_scope_has_them(kind: str, tmp_path: Path) -> None:
    """The same codes from files that were never read, the bias folded in and the layer in the name."""
    more: dict[str, Any] = (
        {"k": 4} if kind == "BatchTopK" else {"l0": 4} if kind == "JumpReLU" else {}
    )
    if kind == "SkipTranscoder":
        more = {"d_out": D, "base": "ReLU"}
    x = rows()
    sae = fitted(getattr(sn, kind)(d_in=D, n_atoms=N, **more), x)
    again = sn.load_sae(write_gemma_scope(sae, tmp_path / "layer_7" / "width_32"))
    torch.testing.assert_close(again(x), sae(x), rtol=1e-3, atol=1e-3)
    assert again.hook_point == "resid_post.7"


@pytest.mark.slow
def test_ours_are_written_for_openai_and_circuit_tracer(tmp_path: Path) -> None:
    """A ReLU with the buffers that OpenAI's class insists on; transcoders of three rules."""
    x = rows()
    sae = fitted(sn.ReLU(d_in=D, n_atoms=N), x)
    path = write_openai(sae, tmp_path / "sae.pt")
    torch.testing.assert_close(read_openai(path)(x), sae(x), rtol=1e-3, atol=1e-3)
    kept = {"stats_last_nonzero", "latents_activation_frequency", "latents_mean_square"}
    assert plain(path).keys() == STATES | kept | {"activation", "activation_state_dict"}
    bases: dict[str, Any] = {"ReLU": {}, "TopK": {"k": 4}, "JumpReLU": {"l0": 4}}
    for i, (base, more) in enumerate(bases.items()):
        t = fitted(sn.Transcoder(d_in=D, d_out=D, n_atoms=N, base=base, **more), x)
        again = sn.load_sae(write_circuit_tracer(t, tmp_path / f"layer_{i}.safetensors"))
        torch.testing.assert_close(again(x), t(x), rtol=1e-3, atol=1e-3)


def test_what_a_format_cannot_hold_is_refused_by_name(tmp_path: Path) -> None:
    """Before a file is made: other codes, a name that says another kind, a wrong ending."""
    topk, jump = sn.TopK(d_in=D, n_atoms=N, k=4), sn.JumpReLU(d_in=D, n_atoms=N, l0=4)
    wide = sn.Transcoder(d_in=D, d_out=2 * D, n_atoms=N, base="ReLU")
    for write, sae, name, error, said in (
        (write_gemma_scope, topk, "layer_1", TypeError, "choose atoms by thresholds"),
        (write_openai, topk, "a.pt", TypeError, "a ReLU without a norm"),
        (write_openai, jump, "a.pt", TypeError, "got a JumpReLU of 'jumprelu'"),
        (write_circuit_tracer, jump, "layer_1.safetensors", TypeError, "must be a transcoder"),
        (write_circuit_tracer, wide, "layer_1.safetensors", TypeError, "as wide as it reads"),
        (write_gemma_scope, jump, "transcoders/layer_1", ValueError, "calls an SAE, 'layer_12"),
        (write_gemma_scope, wide, "layer_1", ValueError, "calls a transcoder"),
        (write_openai, sn.ReLU(d_in=D, n_atoms=N), "a.bin", ValueError, r"ends in \.pt"),
        (write_circuit_tracer, wide, "sae.safetensors", ValueError, "must be called layer_0"),
    ):  # fmt: skip
        with pytest.raises(error, match=said):
            write(sae, tmp_path / name)
    assert list(tmp_path.rglob("*")) == []


def test_a_writer_that_is_stopped_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a half file nor a temporary one."""
    sae = read_openai(openai(tmp_path / "a" / "sae.pt", "ReLU"))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="space"):
        write_openai(sae, tmp_path / "b" / "sae.pt")
    assert list((tmp_path / "b").iterdir()) == []


def test_negative_codes_of_openai_are_not_read(tmp_path: Path) -> None:
    """A TopK without a ReLU after it keeps negative entries; said by name."""
    path = openai(tmp_path / "a" / "sae.pt", "TopK")
    state = plain(path)
    state["activation_state_dict"]["postact_fn"] = "Identity"
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"postact_fn` in the file must be 'ReLU', got 'Identity'"):
        read_openai(path)
