"""A pass with norms held: as many scales as norms, the same numbers however a norm is written, else refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

import sae_nb as sn
from sae_nb.circuits import attribution_graph, direct_effects, head_contributions
from sae_nb.models._freezing import Frozen
from sae_nb.models._running import run

IDS = [[5, 9, 3, 7, 11, 13]]
SIZES = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


class Power(nn.Module):
    """An RMS norm with a power for its root, as Gemma 4 writes it."""

    def __init__(self, like: Any) -> None:
        super().__init__()
        self.weight, self.eps = like.weight, like.variance_epsilon

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.pow(x.pow(2).mean(-1, keepdim=True) + self.eps, -0.5))


class Quotient(Power):
    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x / (x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt()


class Function(Power):
    """A norm around another, which a function computes."""

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * nn.functional.rms_norm(x, x.shape[-1:], eps=self.eps)


class Folded(nn.Linear):
    """A norm that is written into the projection behind it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).pow(-0.5))


def family(name: str, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES, **settings)
    module = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.2 * torch.randn(weight.shape))
    return module


def llama(norm: Any = None) -> nn.Module:
    module = family("Llama")
    for holder in list(module.modules()):
        for child, part in list(holder.named_children()):
            if norm is not None and isinstance(part, LlamaRMSNorm):
                setattr(holder, child, norm(part))
    return module


@pytest.mark.parametrize(
    ("name", "settings", "each", "more"),
    [
        ("Llama", {}, 2, 1), ("GPTNeoX", {}, 2, 1), ("Olmo2", {}, 4, 1), ("Gemma2", {"head_dim": 8}, 4, 1),
        ("Qwen3", {"head_dim": 8}, 4, 1), ("Cohere", {"use_qk_norm": True}, 3, 1),
        ("Olmo", {}, 2, 1), ("OPT", {"word_embed_proj_dim": 16, "ffn_dim": 24}, 2, 1),
    ],
)  # fmt: skip
def test_as_many_scales_are_held_as_there_are_norms(
    name: str, settings: dict[str, Any], each: int, more: int
) -> None:
    """And where nothing is moved, the answer is the model's own."""
    module = family(name, **settings)
    model = sn.wrap(module)
    with torch.no_grad():
        own = module(torch.tensor(IDS)).logits
        with (frozen := Frozen(model)):
            held = module(torch.tensor(IDS)).logits
    assert frozen.n_norms == 2 * each + more
    torch.testing.assert_close(held, own, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(module(torch.tensor(IDS)).logits, own, rtol=0, atol=0)


ASKED = {
    "direct": lambda model: direct_effects(model, IDS, (4, 6)).values,
    "held": lambda model: (
        head_contributions(model, [*IDS, [1, 2]], target=(4, 6), method="held").values
    ),
    "graph": lambda model: (
        attribution_graph(model, "neurons", IDS, target=(4, 6), progress=False).flow
    ),
}


@pytest.mark.parametrize("asked", ["direct", "held", pytest.param("graph", marks=pytest.mark.slow)])
@pytest.mark.parametrize("norm", [Power, Quotient, Function])
def test_a_norm_is_held_however_it_is_written(norm: Any, asked: str) -> None:
    """Against the same weights by `rsqrt`."""
    found, plain = (ASKED[asked](sn.wrap(llama(one))) for one in (norm, None))
    assert found == pytest.approx(plain, rel=1e-3, abs=1e-5)


def test_a_held_norm_is_linear_with_its_own_scale() -> None:
    """By plain torch: the answer to another state is γ ⊙ C x at the scale of the first, and the bias."""
    module = family("GPTNeoX")
    model, norm = sn.wrap(module), module.gpt_neox.final_layer_norm
    x, y = torch.randn(1, 4, 16), torch.randn(3, 4, 16)
    with torch.no_grad():
        with (frozen := Frozen(model)):
            norm(x)
        with Frozen(model, frozen.constants):
            found = norm(y)
    scale = (x.var(dim=-1, unbiased=False, keepdim=True) + norm.eps).rsqrt()
    wanted = (y - y.mean(dim=-1, keepdim=True)) * scale * norm.weight + norm.bias
    torch.testing.assert_close(found, wanted.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["Mixtral", "Qwen3Moe"])
def test_experts_are_chosen_anew_for_each_state(name: str) -> None:
    """Which of them answer is of an MLP, though a softmax says so: patterns held are attention's alone."""
    module = family(name, num_local_experts=4, num_experts_per_tok=2)
    model, mlp = sn.wrap(module), module.model.layers[0].mlp
    states = torch.randn(3, 6, 16)
    with torch.no_grad():
        wanted = mlp(states)
        with (frozen := Frozen(model)):
            module(torch.tensor(IDS))
        with Frozen(model, frozen.constants):
            found = mlp(states)
    assert frozen.n_patterns == 2
    torch.testing.assert_close(found, wanted)
    for method in ("held", "contextual"):
        asked = {"target": (4, 6), "method": method}
        assert head_contributions(model, [*IDS, [1, 2]], **asked).values.shape == (2, 2)


@pytest.mark.parametrize("place", ["v_proj", "up_proj", "lm_head"])
def test_a_norm_that_is_no_module_is_refused(place: str) -> None:
    module = llama()
    for holder in list(module.modules()):
        part = getattr(holder, place, None)
        if isinstance(part, nn.Linear):
            part.__class__ = Folded
    model = sn.wrap(module)
    asked = {"target": (4, 6), "method": "held"}
    if place == "up_proj":  # within the MLP, which is split as a whole
        assert head_contributions(model, [*IDS, [1, 2]], **asked).values.shape == (2, 2)
        return
    with pytest.raises(ValueError, match=r"must be linear between its MLPs.*ablation"):
        head_contributions(model, [*IDS, [1, 2]], **asked)
    if place == "lm_head":
        with pytest.raises(ValueError, match="what reaches the answer"):
            direct_effects(model, IDS, (4, 6))


def test_edits_of_a_norm_stay_and_a_batch_norm_is_none() -> None:
    """What steers the last norm's output is added to what the held norm gives."""
    module = family("GPTNeoX")
    model = sn.wrap(module)
    with sn.steer(model, "final_norm", direction=torch.ones(16), by=2.0):
        plain = run(model, next(iter(model.batches(IDS))), read=["final_norm"]).states["final_norm"]
        with Frozen(model):
            held = run(model, next(iter(model.batches(IDS))), read=["final_norm"]).states
    torch.testing.assert_close(held["final_norm"], plain, rtol=1e-4, atol=1e-5)
    batch_norm = sn.wrap(nn.Sequential(nn.BatchNorm1d(4)).eval())
    with (frozen := Frozen(batch_norm)):
        batch_norm.module(torch.randn(2, 4))
    assert frozen.n_norms == 0


def test_what_is_cut_need_not_be_linear() -> None:
    """Attention that runs freely is not linear in the stream; what it writes is put in the midst."""
    model = sn.load_model("tiny-gpt")
    (batch,) = model.batches(["the cat sat"])
    frozen = Frozen(model, attention=False)
    with frozen:
        run(model, batch, read="resid_post.0")
    frozen.check(model, batch, ("attn_out", "mlp_out"))
    with pytest.raises(ValueError, match="linear between its MLPs"):
        frozen.check(model, batch, ("mlp_out",))
