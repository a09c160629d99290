"""Nothing goes wrong in silence: a warning or a named error where a result would mislead."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import sae_nb as sn

POINT = "resid_post.6"


@pytest.fixture
def pretrained() -> Any:
    """A fresh one: an SAE warns of a hook point once."""
    return sn.load_sae(f"tiny-vit/{POINT}")


def rows(vit: Any, point: str) -> Any:
    return sn.capture(vit, sn.data.scenes(4, seed=0), point, progress=False)


@pytest.mark.parametrize("use", ["encode", "evaluate", "browse", "steer", "splice"])
def test_an_sae_at_another_hook_point_is_warned_of_once(
    vit: Any, pretrained: Any, use: str
) -> None:
    """Whatever it is used for; at its own hook point, under either of its names, nothing is said."""
    import sae_nb_widgets as sw

    there, here = rows(vit, "resid_post.3"), rows(vit, "resid_pre.7")
    uses: dict[str, Any] = {
        "encode": lambda acts, _: pretrained.encode(acts),
        "evaluate": lambda acts, _: sn.evaluate(pretrained, acts),
        "browse": lambda acts, _: sw.AtomBrowser(pretrained, acts).close(),
        "steer": lambda _, point: sn.steer(vit, point, pretrained, 1, 2.0),
        "splice": lambda _, point: sn.splice(vit, point, pretrained),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        uses[use](here, POINT)
    with pytest.warns(
        UserWarning, match="trained at resid_post.6 and is used at resid_post.3"
    ) as said:
        [uses[use](there, "resid_post.3") for _ in range(2)]
    assert len([one for one in said if "trained at" in str(one.message)]) == 1


def test_two_saes_of_different_hook_points_are_warned_of(pretrained: Any) -> None:
    """Their atoms are directions of different spaces."""
    with pytest.warns(UserWarning, match="two different spaces"):
        sn.evaluation.stability([pretrained, sn.load_sae("tiny-vit/mlp.3")], n_bootstrap=0)


def test_a_report_below_the_mean_tells_so(pretrained: Any) -> None:
    """Where no hook point is known, R² is."""
    report = sn.evaluate(
        pretrained, torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    )
    assert report.r2 < 0
    assert "worse than the mean" in repr(report)
    assert "check_fit" in repr(report)


def test_equal_texts_in_both_parts_are_warned_of() -> None:
    """With their number; grouped by text they stay on one side, and the split is as random as before."""
    gpt, texts = sn.load_model("tiny-gpt"), list(sn.data.stories(4, seed=0).texts)
    acts = sn.capture(gpt, texts + texts, "resid_post.2", progress=False)
    with pytest.warns(UserWarning, match=r"texts are in both parts.*group_by"):
        acts.split(0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = acts.split(0.5, group_by="text")
        acts[acts.sample < 4].split(0.5)
    sides = [{i % 4 for i in part.sample.tolist()} for part in (first, second)]
    assert len(sides[0]) == len(sides[1]) == 2
    assert not sides[0] & sides[1]


def test_a_training_that_diverges_is_warned_of(vit: Any) -> None:
    """R² far below zero is no result; one that learns is silent."""
    acts = rows(vit, POINT)
    with pytest.warns(UserWarning, match=r"R² -.*lower `learning_rate`"):
        sn.train(sn.TopK(64, 128, 8), acts, steps=60, learning_rate=1e3, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        sn.train(sn.TopK(64, 128, 8), acts, steps=30, progress=False)


# What a model reads


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("form", ["tensor", "list"])
def test_padding_without_a_mask_is_left_out_and_told(side: str, form: str) -> None:
    """As the mask would: the same rows as of the texts alone."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, pad_token_id=1, eos_token_id=2, bos_token_id=3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = sn.wrap(LlamaForCausalLM(config).eval())
    texts = [[5, 6, 7, 8], [9, 10]]
    short = [*texts[1], 1, 1] if side == "right" else [1, 1, *texts[1]]
    padded: Any = [texts[0], short]
    padded = torch.tensor(padded) if form == "tensor" else padded
    alone = sn.capture(model, texts, "resid_post.0", progress=False)
    with pytest.warns(UserWarning, match=r"1 of 2 rows.*padding \(id 1\)"):
        acts = sn.capture(model, padded, "resid_post.0", progress=False)
    assert torch.allclose(acts.x, alone.x, atol=1e-6)
    assert acts.sample.tolist() == alone.sample.tolist()
    mask = torch.tensor(padded if form == "list" else padded.tolist()) != 1
    masked = {"input_ids": torch.as_tensor(padded), "attention_mask": mask}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        same = sn.capture(model, masked, "resid_post.0", progress=False)
    assert torch.equal(same.x, acts.x)


def test_images_of_16_bits_and_of_floats_keep_their_greys(vit: Any) -> None:
    """They come out as the same image in bytes, not white or black."""
    grey = np.linspace(0, 1, 32 * 32, dtype=np.float32).reshape(32, 32)
    byte = Image.fromarray(np.round(grey * 255).astype(np.uint8))
    sixteen = Image.fromarray((grey * 65535).astype(np.uint16))
    seen = [
        sn.capture(vit, [one], POINT, progress=False).context.pictures
        for one in (byte, sixteen, Image.fromarray(grey))
    ]
    for one in seen[1:]:
        assert int((one.int() - seen[0].int()).abs().max()) <= 1
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        sn.capture(vit, [Image.fromarray(grey * 300)], POINT, progress=False)


def experts() -> list[Any]:
    """Tiny models whose blocks differ: experts in some, plain MLPs in others."""
    import transformers as tf

    sizes = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 4, "vocab_size": 64, "max_position_embeddings": 64,
    }  # fmt: skip
    routed = {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "n_group": 1,
    }
    routed |= {"topk_group": 1, "first_k_dense_replace": 1}
    heads = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8}
    deep = tf.DeepseekV3Config(**sizes, **routed, **heads, v_head_dim=8)
    glm = tf.Glm4MoeConfig(**sizes, **routed, head_dim=8)
    llama = tf.Llama4TextConfig(
        **sizes, intermediate_size_mlp=48, num_local_experts=2, num_experts_per_tok=1,
        interleave_moe_layer_step=2, head_dim=8,
    )  # fmt: skip
    jamba = tf.JambaConfig(
        **sizes, num_experts=2, num_experts_per_tok=1, expert_layer_period=2, expert_layer_offset=1,
        attn_layer_period=2, attn_layer_offset=1, mamba_d_state=4, mamba_d_conv=2, mamba_expand=1, pad_token_id=0,
    )  # fmt: skip
    return [
        tf.DeepseekV3ForCausalLM(deep), tf.Glm4MoeForCausalLM(glm), tf.Llama4ForCausalLM(llama),
        tf.JambaForCausalLM(jamba),
    ]  # fmt: skip


def test_every_listed_hook_point_can_be_read() -> None:
    """Also where experts alternate with plain MLPs, or attention with other mixers."""
    ids = torch.randint(3, 60, (2, 5), generator=torch.Generator().manual_seed(0))
    for module in experts():
        model = sn.wrap(module.eval())
        points = list(model.hook_points())
        acts = sn.capture(model, ids, points, backend="hooks", drop_first=False, progress=False)
        assert set(acts) == set(points)


class TimeFirst(nn.Module):
    """Blocks that see (time, batch, d) inside, as torch's own attention has it by default."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(4, 8)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, 0.0) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x).transpose(0, 1)
        for block in self.blocks:
            x = block(x)
        return x.transpose(0, 1)


def test_a_module_with_time_first_is_refused() -> None:
    """By the shape; with as many samples as places, by its attention. Outside of it nothing is wrong."""
    model = sn.wrap(TimeFirst().eval())
    for n in (3, 5):
        x = torch.randn(n, 5, 4)
        with pytest.raises(ValueError, match="time comes first|unknown whether samples or time"):
            sn.capture(model, x, "resid_post.0", progress=False)
        assert len(sn.capture(model, x, "into", progress=False)) == n * 5
    with (
        pytest.raises(ValueError, match="samples first"),
        sn.steer(model, "resid_post.0", direction=torch.ones(8), by=1.0),
    ):
        model(torch.randn(3, 5, 4))


@pytest.mark.parametrize("path", ["0", "norm1", "linear1"])
def test_what_runs_between_time_first_parts_is_refused(path: str) -> None:
    """A norm next to a time-first attention, and a recurrence, if there are as many samples as places."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0).eval()
    model = nn.Sequential(nn.GRU(8, 8)) if path == "0" else layer
    with pytest.raises(ValueError, match="unknown whether samples or time"):
        sn.capture(sn.wrap(model), torch.randn(5, 5, 8), path, progress=False)


# Files


def test_what_others_put_into_a_folder_is_kept(tmp_path: Path) -> None:
    """A site's CNAME and .git, notes next to activations: only what we wrote is replaced."""
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    sae = sn.TopK(4, 8, k=2, generator=torch.Generator().manual_seed(0))
    acts = sn.Activations.from_tensor(x)
    sn.site.write_site(tmp_path / "site", sae, x)
    acts.save(tmp_path / "acts")
    for folder in ("site", "acts"):
        (tmp_path / folder / ".git").mkdir()
        (tmp_path / folder / ".git" / "HEAD").write_text("ref: refs/heads/main")
        (tmp_path / folder / "CNAME").write_text("example.org")
    old = tmp_path / "site" / "old.txt"
    old.write_text("mine")
    sn.site.write_site(tmp_path / "site", sae, x, overwrite=True)
    acts.save(tmp_path / "acts", replace=True)
    for folder in ("site", "acts"):
        assert (tmp_path / folder / ".git" / "HEAD").read_text() == "ref: refs/heads/main"
        assert (tmp_path / folder / "CNAME").read_text() == "example.org"
    assert old.read_text() == "mine"
    assert torch.equal(sn.load_activations(tmp_path / "acts").x, x)


def test_a_small_file_that_unpacks_to_gigabytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it fills the memory, and with the bound."""
    monkeypatch.setattr("sae_nb.labelling._reading.MOST_BYTES", 1 << 20)
    packed = gzip.compress(b'{"index": 1, "description": "' + b"a" * (4 << 20) + b'"}')
    (tmp_path / "labels.jsonl.gz").write_bytes(packed)
    with pytest.raises(ValueError, match="more than 1 MiB"):
        sn.labels(tmp_path / "labels.jsonl.gz")


def test_torchrun_without_workers_is_named(vit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process would train the whole SAE, into the same files."""
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "TORCHELASTIC_RUN_ID": "x"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match=r"with sn\.training\.workers\(\)"):
        sn.train(sn.TopK(64, 128, 8), rows(vit, POINT), steps=2, progress=False)
