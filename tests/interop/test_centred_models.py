"""SAEs of models whose writing weights TransformerLens centred: by the place, and by the model's own norm."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import sae_nb as sn

WIDTH, HEADS, N = 16, 2, 24
TEXTS = ["Once there was a small dog.", "The cat sat on the mat and looked at the moon."]
STREAM = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out")
WITHIN = ("attn.hook_z", "mlp.hook_post")


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Numbers of one seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return sn.load_model("tiny-gpt").tokenizer


@pytest.fixture(scope="module")
def gpt2(tokenizer: Any) -> GPT2LMHeadModel:
    """Two blocks whose weights and biases have means, as those of training have."""
    config = GPT2Config(
        n_embd=WIDTH, n_layer=2, n_head=HEADS, n_positions=64, vocab_size=len(tokenizer)
    )
    return shifted(GPT2LMHeadModel(config))


@pytest.fixture(scope="module")
def llama(tokenizer: Any) -> LlamaForCausalLM:
    """The same of a family with RMS norms."""
    config = LlamaConfig(
        hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=HEADS, intermediate_size=32,
        num_key_value_heads=HEADS, vocab_size=len(tokenizer),
    )  # fmt: skip
    return shifted(LlamaForCausalLM(config))


@torch.no_grad()
def shifted(module: Any) -> Any:
    """A model with a mean in everything that it writes."""
    for i, weight in enumerate(module.parameters()):
        weight.add_(0.1 * draw(*weight.shape, seed=i) + 0.05)
    return module.eval()


@torch.no_grad()
def centred(module: GPT2LMHeadModel) -> GPT2LMHeadModel:
    """What TransformerLens' `center_writing_weights` makes of a model: W_E, W_pos, W_O, b_O, W_out, b_out."""
    other = copy.deepcopy(module)
    other.lm_head.weight = nn.Parameter(module.lm_head.weight.clone())  # that reads, and stays
    body = other.transformer
    written = [body.wte.weight, body.wpe.weight]
    for block in body.h:
        for part in (block.attn.c_proj, block.mlp.c_proj):
            written += [part.weight, part.bias]
    for weight in written:
        weight -= weight.mean(dim=-1, keepdim=True)
    return other


def states(module: GPT2LMHeadModel, ids: Tensor) -> dict[str, Tensor]:
    """The activations of block 1 by plain hooks of torch, under TransformerLens' names."""
    block, seen = module.transformer.h[1], {}

    def output(name: str) -> Any:
        return lambda _m, _a, out: seen.update({name: out[0] if isinstance(out, tuple) else out})

    def into(name: str) -> Any:
        return lambda _m, args: seen.update({name: args[0]})

    handles = [
        block.register_forward_pre_hook(into("hook_resid_pre")),
        block.ln_2.register_forward_pre_hook(into("hook_resid_mid")),
        block.register_forward_hook(output("hook_resid_post")),
        block.attn.register_forward_hook(output("hook_attn_out")),
        block.mlp.register_forward_hook(output("hook_mlp_out")),
        block.attn.c_proj.register_forward_pre_hook(into("attn.hook_z")),
        block.mlp.c_proj.register_forward_pre_hook(into("mlp.hook_post")),
    ]
    with torch.no_grad():
        seen["logits"] = module(ids).logits
    for handle in handles:
        handle.remove()
    return {name: value[0] for name, value in seen.items()}


def written(folder: Path, place: str, width: int, model: str = "a-model", **changes: bool) -> Path:
    """A plain SAE as SAELens saves it."""
    folder.mkdir()
    changes = changes or {"center_writing_weights": True}
    metadata = {
        "sae_lens_version": "6.0.0", "model_name": model, "hook_name": f"blocks.1.{place}",
        "model_from_pretrained_kwargs": changes,
    }  # fmt: skip
    config = {"architecture": "standard", "d_in": width, "d_sae": N, "apply_b_dec_to_input": True}
    (folder / "cfg.json").write_text(json.dumps({**config, "metadata": metadata}))
    save_file(tensors(width), folder / "sae_weights.safetensors")
    return folder


def tensors(width: int) -> dict[str, Tensor]:
    """Of a plain SAE."""
    return {
        "W_enc": draw(width, N, seed=1), "b_enc": draw(N, seed=2),
        "W_dec": draw(N, width, seed=3), "b_dec": draw(width, seed=4),
    }  # fmt: skip


def computed(x: Tensor) -> tuple[Tensor, Tensor]:
    """Codes and reconstructions of that SAE."""
    t = tensors(x.shape[-1])
    z = torch.relu((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"])
    return z, z @ t["W_dec"] + t["b_dec"]


def close(one: Tensor, other: Tensor) -> bool:
    """Equal to 1e-5 of the largest entry, which is what two sums in float32 differ by."""
    return torch.allclose(one, other, rtol=0, atol=1e-5 * max(1.0, float(other.abs().max())))


def of_block(live: sn.LiveModel, place: str) -> sn.Activations:
    """Rows of one text at a place of block 1."""
    return sn.capture(
        live, TEXTS[1], f"blocks.1.{place}", drop_first=False, drop_massive=False, progress=False
    )


@pytest.mark.filterwarnings("ignore:.*may not fit")
@pytest.mark.parametrize("named", ["a-model", "a-llama"])
@pytest.mark.parametrize("place", [*STREAM, *WITHIN])
def test_codes_are_those_of_the_centred_model(
    tmp_path: Path, gpt2: Any, tokenizer: Any, place: str, named: str
) -> None:
    """Of a layer-norm model, whatever it is called: the stream loses its mean, heads and neurons stay."""
    live = sn.wrap(gpt2, tokenizer, name="mine")
    acts = of_block(live, place)
    other = centred(gpt2)
    ids = torch.tensor([tokenizer(TEXTS[1])["input_ids"]])
    ours, theirs = states(gpt2, ids), states(other, ids)
    assert torch.allclose(ours["logits"], theirs["logits"], atol=1e-4)  # it is the same function
    assert torch.allclose(acts.x, ours[place], atol=1e-6)
    sae = sn.load_sae(written(tmp_path / "s", place, acts.d_in, named))
    z, x_hat = computed(theirs[place])
    assert close(sae.encode(acts).to_dense(), z)
    mean = (ours[place] - theirs[place]).mean(dim=1, keepdim=True)
    assert close(sae(acts), x_hat + mean)
    assert bool(mean.abs().max() > 0.01) == (place in STREAM)


@pytest.mark.filterwarnings("ignore:.*may not fit")
@pytest.mark.parametrize("named", ["a-model", "gpt2"])
@pytest.mark.parametrize("place", ["hook_resid_post", "hook_mlp_out", "mlp.hook_post"])
def test_a_model_with_rms_norms_is_never_centred(
    tmp_path: Path, llama: Any, tokenizer: Any, place: str, named: str
) -> None:
    """Whatever it is called: its stream is read as it is, by `encode`, in `evaluate` and spliced in."""
    live = sn.wrap(llama, tokenizer, name="mine")
    acts = of_block(live, place)
    folder = written(tmp_path / "s", place, acts.d_in, named)
    sae = sn.load_sae(folder)
    z, x_hat = computed(acts.x)
    assert close(sae.encode(acts).to_dense(), z)
    assert close(sae(acts), x_hat)
    sae.save(tmp_path / "own")
    assert close(sn.load_sae(tmp_path / "own")(acts), x_hat)
    missed = (acts.x - x_hat).square().sum() / (acts.x - acts.x.mean(dim=0)).square().sum()
    report = sn.evaluate(sn.load_sae(folder), acts, n_bootstrap=0)
    assert report["r2"].value == pytest.approx(float(1 - missed), rel=1e-4)
    with sn.splice(live, str(acts.hook_point), sn.load_sae(folder)):
        after = of_block(live, place)
    assert close(after.x, x_hat)


def test_without_a_model_the_family_that_it_names_decides(tmp_path: Path) -> None:
    """For plain tensors there is nothing else; the note says what was done."""
    x = draw(5, WIDTH, seed=7) + 1
    for i, (model, mean) in enumerate({"gpt2": 1.0, "google/gemma-2-2b": 0.0}.items()):
        sae: Any = sn.load_sae(written(tmp_path / str(i), "hook_resid_post", WIDTH, model))
        z, _ = computed(x - mean * x.mean(dim=1, keepdim=True))
        assert torch.allclose(sae.encode(x).to_dense(), z, atol=1e-5)
        assert any("centred" in note for note in sae.origin.notes)


def test_a_mean_taken_off_on_the_word_of_a_file_alone_is_told(
    tmp_path: Path, llama: Any, tokenizer: Any
) -> None:
    """Once, for plain tensors of a model whose name says nothing; captured activations settle it."""
    folder = written(tmp_path / "s", "hook_resid_post", WIDTH, "a-model")
    x = draw(5, WIDTH, seed=7) + 1
    sae: Any = sn.load_sae(folder)
    with pytest.warns(UserWarning, match="means of the rows"):
        codes = sae.encode(x.numpy())
    assert torch.allclose(codes.to_dense(), computed(x - x.mean(dim=1, keepdim=True))[0], atol=1e-5)
    live, settled = sn.wrap(llama, tokenizer, name="mine"), sn.load_sae(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sae.encode(x)
        warnings.filterwarnings("ignore", message=".*may not fit")
        settled.encode(of_block(live, "hook_resid_post"))
        assert torch.allclose(settled.encode(x).to_dense(), computed(x)[0], atol=1e-5)


def test_a_transcoder_of_a_centred_stream_writes_without_its_mean(tmp_path: Path) -> None:
    """The mean of what it reads is of another place than what it writes."""
    folder = written(tmp_path / "s", "hook_resid_mid", WIDTH, "gpt2")
    config = json.loads((folder / "cfg.json").read_text())
    config |= {"architecture": "transcoder", "apply_b_dec_to_input": False}
    config["metadata"]["hook_name_out"] = "blocks.1.hook_mlp_out"
    (folder / "cfg.json").write_text(json.dumps(config))
    x, t = draw(5, WIDTH, seed=7) + 1, tensors(WIDTH)
    z = torch.relu((x - x.mean(dim=1, keepdim=True)) @ t["W_enc"] + t["b_enc"])
    assert torch.allclose(sn.load_sae(folder)(x), z @ t["W_dec"] + t["b_dec"], atol=1e-5)


@pytest.mark.parametrize(
    ("place", "change", "noted"),
    [
        ("ln2.hook_normalized", "fold_ln", True),
        ("hook_resid_post", "fold_ln", False),
        ("attn.hook_z", "fold_value_biases", True),
        ("hook_attn_out", "fold_value_biases", False),
        ("hook_resid_post", "center_unembed", False),
        ("hook_attn_out", "refactor_factored_attn_matrices", False),
    ],
)
def test_other_changes_of_the_model_are_noted_where_they_matter(
    tmp_path: Path, place: str, change: str, noted: bool
) -> None:
    """And only there."""
    sae: Any = sn.load_sae(written(tmp_path / "s", place, WIDTH, **{change: True}))
    assert (sae.origin.notes != []) == noted
    assert sae.encoding.norm == "none"


def test_heads_in_another_basis_are_refused(tmp_path: Path) -> None:
    """They cannot be had from the model's own."""
    folder = written(tmp_path / "s", "attn.hook_z", WIDTH, refactor_factored_attn_matrices=True)
    with pytest.raises(ValueError, match="refactor_factored_attn_matrices"):
        sn.load_sae(folder)


def test_whether_norms_take_off_the_mean_is_tried_on_them(gpt2: Any, llama: Any) -> None:
    """On the model's own norm, in any dtype; unknown for a module without blocks."""
    assert sn.wrap(gpt2).takes_off_mean is True
    assert sn.wrap(copy.deepcopy(llama).bfloat16()).takes_off_mean is False
    assert sn.load_model("tiny-vit").takes_off_mean is True
    assert sn.wrap(nn.Sequential(nn.Linear(2, 2))).takes_off_mean is None
