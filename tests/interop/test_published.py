"""Published SAEs by name: the list, each format by its formulas, the cache, and the first use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor

import sae_nb as sn
from sae_nb.interop import Imported, _detection, _releases as releases
from sae_nb.interop._published import all_releases, published_at
from tests.interop.made import draw

D, N = 6, 10
COMMIT = "0123456789abcdef0123456789abcdef01234567"


X = draw(7, D, seed=9) + 1.5
E, A, W, B = draw(D, N, seed=1), draw(N, seed=2), draw(N, D, seed=3), draw(D, seed=4)
"""The encoder, its bias, the dictionary and the decoder's bias of every file below."""
THETA = draw(N, seed=5).abs()
SKIP = draw(D, D, seed=6)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, without a network."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    return folder


def at(hub: Path, name: str) -> Path:
    """The place that a published SAE has in the cache."""
    entry = entry_of(name)
    repository = hub / f"models--{entry.repository.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(COMMIT)
    place = repository / "snapshots" / COMMIT / entry.path
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def entry_of(name: str) -> releases.Entry:
    """A row of the list."""
    release, _, id_ = name.partition("/")
    return all_releases()[release][id_]


def tensors(*names: str, **more: Tensor) -> dict[str, Tensor]:
    """The four tensors under a library's names, in SAELens' shapes, and more."""
    four = dict(zip(names, (E, A, W, B), strict=True)) | more
    return {name: tensor.contiguous() for name, tensor in four.items()}


def linear(*names: str, **more: Tensor) -> dict[str, Tensor]:
    """The same in the shapes of torch's linear layers."""
    four = tensors(*names)
    turned = {name: t.T.contiguous() if t.ndim == 2 else t for name, t in four.items()}
    return turned | more


LENS = ("W_enc", "b_enc", "W_dec", "b_dec")
LAYERS = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")


def saelens(place: Path, **config: Any) -> None:
    """A folder as version 5 of SAELens wrote it."""
    place.mkdir()
    base = {"d_in": D, "d_sae": N, "hook_name": "blocks.0.hook_else", "model_name": "gpt2-small"}
    (place / "cfg.json").write_text(json.dumps({**base, "prepend_bos": True, **config}))
    save_file(tensors(*LENS), place / "sae_weights.safetensors")


def gemma_scope(place: Path, **more: Tensor) -> None:
    """A folder of Gemma Scope, of either version."""
    place.mkdir()
    four = tensors("w_enc", "b_enc", "w_dec", "b_dec", threshold=THETA, **more)
    if "average_l0" in place.name:
        np.savez(place / "params.npz", **{name: t.numpy() for name, t in four.items()})
    else:
        save_file(four, place / "params.safetensors")


def saved(state: dict[str, Tensor]) -> Callable[[Path], None]:
    """A `.pt` of a state dict."""
    return lambda place: torch.save(state, place)


def dictionary_learning(place: Path) -> None:
    """A TopK folder of dictionary_learning."""
    place.mkdir()
    trainer = {"dict_class": "AutoEncoderTopK", "layer": 12, "lm_name": "google/gemma-2-2b"}
    (place / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 8}}))
    names = ("encoder.weight", "encoder.bias", "decoder.weight", "b_dec")
    facts = {"k": torch.tensor(3), "threshold": torch.tensor(-1.0)}
    torch.save(linear(*names, **facts), place / "ae.pt")


def llama_scope(place: Path) -> None:
    """A folder of Llama Scope: threshold and mean norm are facts beside the weights."""
    (place / "checkpoints").mkdir(parents=True)
    facts = {"d_model": D, "d_sae": N, "jump_relu_threshold": 0.3}
    facts |= {"dataset_average_activation_norm": {"in": 4.0}}
    facts |= {"hook_point_in": "blocks.3.hook_resid_post"}
    (place / "hyperparams.json").write_text(json.dumps(facts))
    save_file(linear(*LAYERS), place / "checkpoints" / "final.safetensors")


def llama_scope_r1(place: Path) -> None:
    """A folder of Llama Scope R1: a logarithm of each threshold."""
    place.mkdir()
    facts = {"d_model": D, "hook_point_in": "blocks.3.hook_resid_post"}
    (place / "config.json").write_text(json.dumps(facts))
    state = linear(*LAYERS, log_jumprelu_threshold=THETA.log())
    save_file(state, place / "sae_weights.safetensors")


def circuit_tracer(place: Path) -> None:
    """One layer's file, and what it reads and writes beside it."""
    four = tensors(*LENS)
    save_file(four | {"W_enc": four["W_enc"].T.contiguous()}, place)


def temporal(place: Path) -> None:
    """A folder of the authors of temporal SAEs."""
    place.mkdir()
    numbers = "\n".join(["  n_heads: 1", "  bottleneck_factor: 1", "  sae_diff_type: relu"])
    (place / "conf.yaml").write_text(f"sae:\n{numbers}\n  scaling_factor: 0.5\n")
    maps = {"k_ctx": (N, N), "q_target": (N, N), "v_ctx": (N, N), "c_proj": (N, N)}
    state = {f"attn_layers.0.{name}.weight": torch.zeros(shape) for name, shape in maps.items()}
    state |= {f"attn_layers.0.{name}.bias": torch.zeros(N) for name in maps}
    save_file({"D": W, "b": B, **state}, place / "latest_ckpt.safetensors")


def relu(x: Tensor, *, pre_bias: bool = True) -> tuple[Tensor, Tensor]:
    """z and x̂ of a plain SAE."""
    z = ((x - B * pre_bias) @ E + A).relu()
    return z, z @ W + B


def jump(x: Tensor, theta: Tensor | float = THETA) -> tuple[Tensor, Tensor]:
    """z and x̂ of a JumpReLU SAE that does not take its bias off."""
    u = x @ E + A
    z = u * (u > theta)
    return z, z @ W + B


def top(x: Tensor) -> tuple[Tensor, Tensor]:
    """z and x̂ of a TopK SAE, k = 3."""
    z = kept((x - B) @ E + A, 3)
    return z, z @ W + B


def kept(u: Tensor, k: int) -> Tensor:
    """The k largest pre-codes of each row, where they are positive."""
    best = u.topk(k, dim=1)
    return torch.zeros_like(u).scatter(1, best.indices, best.values.relu())


MANY = {
    "W_enc": draw(120, D, seed=1),
    "b_enc": torch.full((120,), 0.5),
    "W_dec": draw(D, 120),
    "b_dec": B,
}
"""As Qwen Scope writes it, with more atoms than are kept."""


def fifty(x: Tensor) -> tuple[Tensor, Tensor]:
    """z and x̂ of Qwen Scope, k = 50."""
    z = kept(x @ MANY["W_enc"].T + MANY["b_enc"], 50)
    return z, z @ MANY["W_dec"].T + B


def scaled(x: Tensor, factor: Tensor | float, of: Callable[[Tensor], Any]) -> tuple[Tensor, Tensor]:
    """z and x̂ of an SAE that reads factor · x."""
    z, x_hat = of(factor * x)
    return z, x_hat / factor


def centred(x: Tensor, of: Callable[[Tensor], Any]) -> tuple[Tensor, Tensor]:
    """z and x̂ of an SAE of a model whose writing weights were centred."""
    mean = x.mean(dim=1, keepdim=True)
    z, x_hat = of(x - mean)
    return z, x_hat + mean


def _unit(x: Tensor) -> Tensor:
    return D**0.5 / x.norm(dim=1, keepdim=True)


Case = tuple[
    str, Callable[[Path], None], Callable[[Tensor], tuple[Tensor, Tensor]], str | None, str
]
TM = "gpt2-small-mlp-tm/blocks.6.hook_mlp_out"
R1 = "llama_scope_r1_distill/l16r_400m_slimpajama_400m_openr1_math"
ASKS = {"normalize_activations": "expected_average_only_in"}
NAMED = "layer_13/width_16k/average_l0_8"
CASES: list[Case] = [
    ("gpt2-small-res-jb/blocks.8.hook_resid_pre", saelens, lambda x: centred(x, relu),
     "resid_post.7", "writing weights centred"),
    (TM, lambda p: saelens(p, **ASKS),
     lambda x: centred(x, lambda c: scaled(c, 1.3237742807210804, relu)), "mlp_out.6", "by 1.324"),
    ("mistral-7b-res-wg/blocks.16.hook_resid_pre", saelens,
     lambda x: scaled(x, _unit(x), relu), "resid_post.15", "norm √d_in"),
    ("gemma-scope-2b-pt-res-canonical/layer_20/width_16k/canonical", gemma_scope, jump,
     "resid_post.20", "add_bos=True"),
    ("gemma-scope-9b-pt-att-canonical/layer_0/width_131k/canonical", gemma_scope, jump,
     "head_out.0", "add_bos=True"),
    ("gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6", gemma_scope,
     lambda x: (jump(x / D**0.5)[0], jump(x / D**0.5)[0] @ W * D**0.5 + B), "embed", "√d_in"),
    (f"gemma-scope-2b-pt-transcoders/{NAMED}", gemma_scope, jump, None, "ln2.hook_normalized"),
    ("gemma-scope-2-4b-pt-res/layer_17_width_16k_l0_big", gemma_scope, jump,
     "resid_post.17", "add_bos=True"),
    ("gemma-scope-2-4b-pt-transcoders-all/layer_0_width_16k_l0_big_affine",
     lambda p: gemma_scope(p, affine_skip_connection=SKIP),
     lambda x: (jump(x)[0], jump(x)[1] + x @ SKIP), "mlp_in.0", "add_bos=True"),
    ("gemma-scope-2-270m-it-mlp-all/layer_0_width_16k_l0_big", gemma_scope, jump,
     "mlp_out.0", "add_bos=True"),
    ("gemma-scope-2-270m-pt-att/layer_12_width_65k_l0_medium", gemma_scope, jump,
     "head_out.12", "add_bos=True"),
    ("sae_bench_gemma-2-2b_topk_width-2pow12_date-1109/blocks.19.hook_resid_post__trainer_3",
     dictionary_learning, top, "resid_post.19", ""),
    ("llama_scope_lxr_8x/l16r_8x", llama_scope,
     lambda x: scaled(x, D**0.5 / 4, lambda y: jump(y, 0.3 * D**0.5 / 4)), "resid_post.16", "by 0.6124"),
    (R1, llama_scope_r1, lambda x: scaled(x, 4.79639347416429, jump), "resid_post.16", "by 4.796"),
    ("qwen-scope-3-1.7b-base-w32k-l50/layer14", saved(MANY), fifty, "resid_post.14", ""),
    ("goodfire-llama-3.1-8b-instruct/layer_19",
     saved(linear(*(name.replace(".", "_linear.") for name in LAYERS))),
     lambda x: relu(x, pre_bias=False), "resid_post.19", ""),
    ("deepseek-r1-distill-llama-8b-qresearch/blocks.19.hook_resid_post", saved(linear(*LAYERS)),
     lambda x: relu(x, pre_bias=False), "resid_post.19", ""),
    ("gpt2-small-hook-z-kk/blocks.6.hook_z", saved(tensors(*LENS)), relu, "head_out.6", ""),
    ("mwhanna-qwen3-14b-transcoders/layer_20", circuit_tracer,
     lambda x: relu(x, pre_bias=False), "mlp_in.20", ""),
    ("temporal-sae-gemma-2-2b/blocks.12.hook_resid_post", temporal,
     lambda x: (((0.5 * x - B) @ W.T / (4 * D)).relu(), x), "resid_post.12", ""),
]  # fmt: skip
"""Name, how its files are written, its codes and reconstructions by formula, its place, a word of its notes."""


@pytest.mark.parametrize(
    ("name", "write", "formula", "place", "note"), CASES, ids=[case[0] for case in CASES]
)
def test_a_name_opens_the_sae_that_its_publisher_means(
    hub: Path, name: str, write: Any, formula: Any, place: str | None, note: str
) -> None:
    """Codes and reconstructions by formula, in the model's units; where it belongs and what was done are said."""
    write(at(hub, name))
    sae, entry = sn.load_sae(name), entry_of(name)
    z, x_hat = formula(X)
    if not sae.reads_sequences:
        assert torch.allclose(sae.encode(X).to_dense(), z, atol=1e-5)
        assert torch.allclose(sae(X), x_hat, atol=1e-4)
    assert (sae.hook_point, sae.target_hook_point) == (place, entry.writes)
    assert (sae.model_name, sae.origin.release) == (entry.model, name)
    assert sae.origin.neuronpedia == entry.neuronpedia
    assert note in " ".join(sae.origin.notes)
    assert name in sae._repr_html_()
    table = sn.published(entry.release).set_index("name")
    assert bool(table.cached[name])
    assert table.cached.sum() == 1


def test_a_published_sae_is_saved_with_what_its_reader_did(hub: Path, tmp_path: Path) -> None:
    """Our own folder, and SAELens' with the way its model was changed, give the same codes again."""
    name = CASES[0][0]
    saelens(at(hub, name))
    sae = sn.load_sae(name)
    sae.save(tmp_path / "ours")
    again = sn.load_sae(tmp_path / "ours")
    theirs = sn.load_sae(sn.interop.write_saelens(sae, tmp_path / "theirs"))
    for other in (again, theirs):
        assert torch.equal(other.encode(X).to_dense(), sae.encode(X).to_dense())
        assert torch.allclose(other(X), sae(X), atol=1e-6)
    assert isinstance(again, Imported)
    assert again.origin == sae.origin


def test_only_a_layer_norm_makes_centred_weights_matter(tmp_path: Path) -> None:
    """TransformerLens leaves models with RMS norms and the heads' outputs as they are."""
    for model, place, norm in (
        ("gpt2", "blocks.2.hook_resid_post", "centre"),
        ("google/gemma-2-2b", "blocks.2.hook_resid_post", "none"),
        ("gpt2", "blocks.2.attn.hook_z", "none"),
    ):
        folder = tmp_path / f"{model.replace('/', '-')}-{place}"
        kwargs = {"center_writing_weights": True}
        saelens(folder, model_name=model, hook_name=place, model_from_pretrained_kwargs=kwargs)
        sae = sn.load_sae(folder)
        assert isinstance(sae, Imported)
        assert sae.encoding.norm == norm


def test_a_crosscoder_opens_by_its_name(hub: Path) -> None:
    """Four files, one code; each site's atoms write there and later."""
    name = "gemma-scope-2-270m-pt-crosscoders/layer_5_9_12_15_width_65k_l0_medium"
    place = at(hub, name)
    place.mkdir()
    for site in range(4):
        later = torch.arange(4)[:, None] >= site
        one = {"w_enc": E, "b_enc": A, "b_dec": B, "threshold": THETA}
        one |= {"w_dec": W[:, None] * later}
        save_file(
            {n: t.contiguous() for n, t in one.items()}, place / f"params_layer_{site}.safetensors"
        )
    c = sn.load_sae(name)
    assert c.hook_point == "resid_post.5 + resid_post.9 + resid_post.12 + resid_post.15"
    assert (c.model_name, c.n_atoms) == ("google/gemma-3-270m", 4 * N)
    z, _ = jump(X)
    assert torch.allclose(c.encode([X] * 4).to_dense(), z.repeat(1, 4), atol=1e-5)
    for site, x_hat in enumerate(c([X] * 4)):
        assert torch.allclose(x_hat, (site + 1) * z @ W + B, atol=1e-4)


def test_the_configuration_of_gemma_scope_2_names_its_places(tmp_path: Path) -> None:
    """By the model's modules, whatever the folder is called."""
    block = "model.layers.3"
    places = {
        "output": "resid_post.3",
        "self_attn.o_proj.input": "head_out.3",
        "post_feedforward_layernorm.output": "mlp_out.3",
    }
    for module, place in places.items():
        gemma_scope(tmp_path / place)
        sides = {f"hf_hook_point_{side}": f"{block}.{module}" for side in ("in", "out")}
        (tmp_path / place / "config.json").write_text(json.dumps(sides))
        sae = sn.load_sae(tmp_path / place)
        assert (sae.hook_point, sae.writes) == (place, None)
    gemma_scope(tmp_path / "mapped", affine_skip_connection=SKIP)
    sides = {
        "hf_hook_point_in": f"{block}.pre_feedforward_layernorm.output",
        "hf_hook_point_out": f"{block}.post_feedforward_layernorm.output",
    }
    (tmp_path / "mapped" / "config.json").write_text(
        json.dumps(sides | {"type": "transcoder", "affine_connection": True})
    )
    t = sn.load_sae(tmp_path / "mapped")
    assert (t.hook_point, t.target_hook_point) == ("mlp_in.3", "mlp_out.3")
    z, x_hat = jump(X)
    assert torch.allclose(t.encode(X).to_dense(), z, atol=1e-5)
    assert torch.allclose(t(X), x_hat + X @ SKIP, atol=1e-4)


def test_every_entry_of_gemma_scope_2_has_its_place() -> None:
    """A place of Gemma 3, and for a transcoder two; the format is one that is read."""
    table = sn.published("gemma-scope-2-270m")
    assert table.readable.all()
    assert table.hook_point.notna().all()
    transcodes = table.release.str.contains("transcoders")
    assert (table.writes.notna() == transcodes).all()
    assert table.model.str.startswith("google/gemma-3-").all()


@pytest.mark.parametrize("place", ["resid_post.12", "mlp_out.12", "head_out.12", "resid_post.3"])
def test_published_saes_of_a_place_begin_with_the_smallest(place: str) -> None:
    """By either of the model's names; transcoders are left out."""
    first, *others = published_at("gemma-3-270m", place)
    table = sn.published("gemma-scope-2-270m-pt")
    there = table[(table.hook_point == place) & table.writes.isna()]
    assert (first.hook_point, first.width) == (place, 16384)
    assert first.width == there.width.min()
    assert [one.name for one in published_at("google/gemma-3-270m", place)[1:]] == [
        one.name for one in others
    ]
    assert len(others) + 1 == len(there)


@pytest.mark.slow
def test_published_saes_of_the_activations_at_hand_are_named() -> None:
    """Where they say their model and place; of the smallest, that of middle L0."""
    x, n = draw(600, 640), torch.arange(600)
    place = {"model_name": "gemma-3-270m", "hook_point": "resid_post.12"}
    advice = sn.which_sae(sn.Activations(x, sample=n, position=0 * n, **place))
    assert advice.published[0] == "gemma-scope-2-270m-pt-res/layer_12_width_16k_l0_medium"
    assert f"sn.load_sae({advice.published[0]!r})" in repr(advice)
    assert sn.which_sae(x).published == ()


def test_a_part_of_a_name_chooses() -> None:
    """Of a release's or a model's name, in any case; theirs and ours; nothing that fits is an error."""
    gemma = sn.published("Gemma-2-2b")
    assert set(gemma.model) == {"google/gemma-2-2b"}
    assert len(sn.published("gpt2-small")) > len(sn.published("res-jb")) > 13
    with pytest.raises(
        ValueError, match=r"got 'gema-2', which is in none\. Near releases: 'gemma-2b"
    ):
        sn.published("gema-2")


# -------------------------------------------------------------------------------------------------
# The cache and the hub.


def test_what_cannot_be_read_is_said_before_anything_is_fetched(hub: Path) -> None:
    """A format that is not read; a release without an SAE; one that it has not; a release misspelt."""
    cases = {
        "mntss-gemma-2-2b-2.5m-clt-as-per-layer/layer_3": "hf:mntss/clt-gemma-2-2b-2.5M",
        "gpt2-small-res-jb": "has 13 SAEs, and the name does not say which",
        "gpt2-small-res-jb/blocks.99": "Near ones: 'blocks.9",
    }
    for name, words in cases.items():
        with pytest.raises(ValueError, match=words):
            sn.load_sae(name)
    with pytest.raises(
        FileNotFoundError, match=r"such a name: 'gpt2-small-res-jb'.* sn\.published\(\)"
    ):
        sn.load_sae("gpt2-small-res-jbb/blocks.8.hook_resid_pre")
    assert not any(hub.iterdir())


def test_online_only_its_own_files_are_fetched(
    hub: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The cache first, then once the hub; a file that has been moved there is named."""
    name, asked = "mwhanna-qwen3-14b-transcoders/layer_20", []
    circuit_tracer(at(hub, name))
    remote = at(hub, name).parent

    def snapshot(repository: str, revision: str | None, **options: Any) -> Path | Exception:
        asked.append((repository, revision, *options["allow_patterns"]))
        return OSError("not cached") if options.get("local_files_only") else remote

    monkeypatch.setattr(_detection, "snapshot", snapshot)
    monkeypatch.setattr(_detection, "is_offline", lambda: False)
    assert sn.load_sae(name).n_atoms == N
    repository = entry_of(name).repository
    # What may be missing comes first: an interrupted download never looks complete without it.
    files = ["layer_20.safetensors", "config.yaml", "layer_20.safetensors"]
    assert asked == [(repository, None, file) for file in files]
    with pytest.raises(
        FileNotFoundError, match=r"must hold 'layer_21\.safetensors' for .*layer_21'"
    ):
        sn.load_sae("mwhanna-qwen3-14b-transcoders/layer_21")
