"""Contract of the standard hook points, kept by every family in `conftest.FAMILIES`."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sae_nb.models import LiveModel, wrap
from sae_nb.models._attention import read_attention
from sae_nb.models._families import ADDITIVE, find_structure
from sae_nb.models._inputs import Batch
from sae_nb.models._running import _tokens
from sae_nb.models._states import by_place, read_tensor
from tests.models.conftest import inputs_for

CAUSAL = [
    *("gpt2", "gpt_neo", "gptj", "gpt_neox", "gpt_neox_sequential", "llama", "mistral", "mixtral"),
    *("qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "olmo2", "phi", "phi3", "stablelm"),
    *("starcoder2", "falcon", "falcon_sequential", "bloom", "mpt", "cohere", "opt"),
]
POST_NORM = ["bert", "roberta", "electra", "distilbert"]
VISION = [
    *("vit", "dinov2", "dinov2_with_registers", "clip_vision_model", "siglip_vision_model"),
    *("dinov3_vit", "deit"),
]
SUM_HOLDS = [*CAUSAL, "modernbert", *VISION]
# Each expert has neurons of its own.
EXPERTS = {"mixtral"}
# Their blocks are built as another family's: of these the sum alone is tried.
ALIKE = {
    "mistral",
    "qwen2",
    "gemma",
    "starcoder2",
    "stablelm",
    "falcon_sequential",
    "electra",
    "deit",
}
EVERY = [f for f in [*CAUSAL, "modernbert", "granite", *POST_NORM, *VISION] if f not in ALIKE]


def read_all(
    model: LiveModel, batch: Batch | None = None
) -> tuple[dict[str, Tensor], list[str], Tensor]:
    """Read every hook point in one pass with plain hooks, and the order they were reached in."""
    seen: dict[str, Tensor] = {}
    handles = []
    if batch is None:
        (batch,) = model.batches(inputs_for(model))
    for point in model.hook_points():
        module = model.get_module(point.path)

        def after(_m, _a, output, point=point):
            seen[point] = by_place(read_tensor(output, point).clone(), _tokens(batch))

        def before(_m, args, kwargs, point=point):
            value = args[0] if args else kwargs["hidden_states"]
            seen[point] = by_place(value.clone(), _tokens(batch))

        handles.append(
            module.register_forward_pre_hook(before, with_kwargs=True)
            if point.side == "input"
            else module.register_forward_hook(after)
        )
    answer = model.main_output(model.forward(batch))
    for handle in handles:
        handle.remove()
    return seen, list(seen), answer


@pytest.mark.parametrize("family", EVERY)
def test_hook_points_are_listed_in_the_order_a_forward_pass_reaches_them(build, family) -> None:
    """nnsight must read in forward order, so the list promises it; and every one is reached."""
    model = wrap(build(family))
    _, order, _ = read_all(model)
    assert order == model.hook_points()
    kinds = {point.kind for point in model.hook_points()}
    assert {"embed", "resid_pre", "head_out", "attn_out", "mlp_out", "resid_post"} <= kinds


@pytest.mark.parametrize("family", EVERY)
def test_heads_lie_side_by_side(build, family) -> None:
    """head_out is what the pattern takes from the values, head by head, also where heads share values."""
    model = wrap(build(family))
    assert model.n_heads == 2
    (batch,) = model.batches(inputs_for(model)[:1])
    seen, _, _ = read_all(model, batch)
    attention = read_attention(model, batch, 1)
    made = (attention.pattern @ attention.values).transpose(0, 1).flatten(1)
    torch.testing.assert_close(made, seen["head_out.1"][0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        attention.pattern.sum(dim=-1), torch.ones(made.shape[0]).expand(2, -1)
    )


@pytest.mark.parametrize("family", EVERY)
def test_neurons_are_what_the_last_projection_reads(build, family) -> None:
    """mlp_post is wider than the stream, comes after what the MLP reads, and silencing it leaves no more than a bias."""
    model = wrap(build(family))
    seen, order, _ = read_all(model)
    if family in EXPERTS:
        assert "mlp_post.1" not in order
        return
    neurons, added = seen["mlp_post.1"], seen["mlp_out.1"]
    assert neurons.shape[:-1] == added.shape[:-1]
    assert neurons.shape[-1] > added.shape[-1]
    assert order.index("mlp_post.1") < order.index("mlp_out.1")
    mixer = model.get_module(model.hook_point("mlp_post.1").path)
    constant = mixer(torch.zeros_like(neurons))
    assert torch.equal(constant, constant[:1, :1].expand_as(constant))
    assert mixer(neurons).shape == added.shape


@pytest.mark.parametrize("family", SUM_HOLDS)
def test_the_stream_is_the_sum_of_what_was_added(build, family) -> None:
    """resid_post = resid_pre + attn_out + mlp_out, sequential or parallel; and it says so."""
    model = wrap(build(family))
    assert model.structure is not None
    assert model.structure.additive is True
    seen, _, _ = read_all(model)
    for layer in range(3):
        parts = [seen[f"{kind}.{layer}"] for kind in ("resid_pre", "attn_out", "mlp_out")]
        torch.testing.assert_close(sum(parts), seen[f"resid_post.{layer}"], atol=1e-5, rtol=1e-5)
        assert all(part.abs().max() > 1e-3 for part in parts)
        if f"resid_mid.{layer}" in seen:
            middle = parts[0] + parts[1]
            torch.testing.assert_close(middle, seen[f"resid_mid.{layer}"], atol=1e-5, rtol=1e-5)


def test_every_family_said_to_be_additive_is_tested() -> None:
    """The claim is made only for families in the contract test (and our own transformer)."""
    tested = {family.removesuffix("_sequential") for family in SUM_HOLDS}
    assert tested | {"vision_transformer"} == ADDITIVE


@pytest.mark.parametrize("family", [*POST_NORM, "granite"])
def test_families_where_the_sum_does_not_hold_say_so(build, family) -> None:
    """Post-norm blocks and scaled branches: additive is False, and it truly does not hold."""
    model = wrap(build(family))
    assert model.structure is not None
    assert model.structure.additive is False
    seen, _, _ = read_all(model)
    parts = [seen[f"{kind}.1"] for kind in ("resid_pre", "attn_out", "mlp_out")]
    assert (sum(parts) - seen["resid_post.1"]).abs().max() > 0.05


@pytest.mark.parametrize("family", POST_NORM)
def test_post_norm_blocks_normalise_after_each_sum(build, family) -> None:
    """resid_mid = norm_1(resid_pre + attn_out), resid_post = norm_2(resid_mid + mlp_out)."""
    model = wrap(build(family))
    seen, _, _ = read_all(model)
    block = model.get_module(f"{model.structure.blocks}.1")
    if family == "distilbert":
        norms = block.sa_layer_norm, block.output_layer_norm
    else:
        norms = block.attention.output.LayerNorm, block.output.LayerNorm
    middle = norms[0](seen["resid_pre.1"] + seen["attn_out.1"])
    torch.testing.assert_close(middle, seen["resid_mid.1"])
    torch.testing.assert_close(norms[1](middle + seen["mlp_out.1"]), seen["resid_post.1"])


def test_opt_with_norms_after_the_branches_is_told_from_opt_with_norms_before(build) -> None:
    """OPT-350m is post-norm; its class is that of the others."""
    before, after = wrap(build("opt")), wrap(build("opt", do_layer_norm_before=False))
    assert (before.structure.additive, after.structure.additive) == (True, False)
    seen, _, _ = read_all(after)
    block = after.get_module("model.decoder.layers.1")
    middle = block.self_attn_layer_norm(seen["resid_pre.1"] + seen["attn_out.1"])
    torch.testing.assert_close(middle, seen["resid_mid.1"])


@pytest.mark.parametrize("family", EVERY)
def test_each_block_reads_what_the_one_before_wrote(build, family) -> None:
    """resid_pre.(L + 1) is resid_post.L; shapes and widths are as told."""
    model = wrap(build(family))
    seen, _, _ = read_all(model)
    for layer in range(2):
        assert torch.equal(seen[f"resid_pre.{layer + 1}"], seen[f"resid_post.{layer}"])
    for name, x in seen.items():
        assert x.ndim == 3, name
        assert x.shape[0] == 2
        assert model.width(name) in (x.shape[-1], None), name
    assert model.width("resid_post.1") == 16


@pytest.mark.parametrize("family", [f for f in CAUSAL if f != "cohere"])
def test_the_logits_of_a_decoder_come_from_final_norm(build, family) -> None:
    """final_norm is what the language-modelling head reads (Cohere scales it)."""
    model = wrap(build(family))
    seen, _, logits = read_all(model)
    ours = model.module.get_output_embeddings()(seen["final_norm"])
    soft_cap = getattr(model.module.config, "final_logit_softcapping", None)
    if soft_cap:
        ours = torch.tanh(ours / soft_cap) * soft_cap
    torch.testing.assert_close(ours, logits)


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "opt", "vit"])
def test_transformer_lens_names_mean_the_same_place(build, family) -> None:
    """blocks.L.hook_* resolves to the standard hook point of every family."""
    model = wrap(build(family))
    for kind in ("resid_pre", "attn_out", "mlp_out", "resid_post", "resid_mid"):
        ours, theirs = (
            model.hook_point(f"{kind}.2"),
            model.hook_point(f"blocks.2.hook_{kind}"),
        )
        assert ours == theirs
        assert vars(ours) == vars(theirs)
    assert model.hook_point("hook_embed") == "embed"


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.inner(x))


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.few = nn.ModuleList(Block() for _ in range(2))
        self.many = nn.ModuleList(Block() for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        for block in [*self.few, *self.many]:
            x = block(x)
        return x


def test_the_longest_list_of_blocks_counts_in_an_unknown_network() -> None:
    """Generic discovery: no claim about sums, no branches invented."""
    structure = find_structure(Unknown())
    assert structure is not None
    assert (structure.blocks, structure.n_blocks) == ("many", 5)
    assert (structure.attention, structure.mlp, structure.additive) == (None, None, None)
    model = wrap(Unknown())
    assert model.hook_points()[:2] == ["resid_pre.0", "resid_post.0"]
    assert model.hook_point("few.1").path == "few.1"


def test_experts_inside_a_block_are_not_taken_for_blocks(build) -> None:
    """A mixture's experts outnumber its blocks."""
    module = build("mixtral", num_local_experts=8)
    assert find_structure(module).n_blocks == 3


def test_a_network_without_blocks_lists_its_modules() -> None:
    """An MLP has no standard names, but every module can be hooked."""
    model = wrap(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    assert model.structure is None
    assert model.hook_points() == ["0", "1", "2"]
    assert (model.width("0"), model.width("0.input"), model.width("1")) == (3, 4, None)


def test_an_attention_free_list_of_linear_layers_is_no_stream() -> None:
    """A list of heads is not a list of blocks."""
    module = nn.Module()
    module.heads = nn.ModuleList(nn.Linear(4, 2) for _ in range(3))
    assert find_structure(module) is None


def test_our_vision_transformer_has_every_standard_hook_point() -> None:
    """The bundled architecture keeps the contract too, tied or not."""
    from sae_nb.models._vision_transformer import VisionTransformer, VisionTransformerConfig

    config = VisionTransformerConfig(n_blocks=3, d_model=16, n_heads=2)
    for shared in (None, (1, 2)):
        from dataclasses import replace

        generator = torch.Generator().manual_seed(0)
        module = VisionTransformer(replace(config, shared_blocks=shared), generator=generator)
        model = wrap(module)
        assert (model.prefix_tokens, model.patch_grid) == (5, (8, 8))
        seen, order, _ = read_all(model)
        assert order == model.hook_points()
        for layer in range(3):
            parts = [seen[f"{kind}.{layer}"] for kind in ("resid_pre", "attn_out", "mlp_out")]
            torch.testing.assert_close(sum(parts), seen[f"resid_post.{layer}"])
        assert model.structure.additive is True
        assert seen["resid_post.1"].shape == (2, 69, 16)
        assert torch.equal(seen["embed"], seen["resid_pre.0"])
