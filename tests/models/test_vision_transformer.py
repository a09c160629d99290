"""Promises of the architecture: token layout, one hook per depth step, ties, drop, and its files."""

from __future__ import annotations

import copy
import json
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file

from sae_nb.models._vision_transformer import VisionTransformer, VisionTransformerConfig

SMALL = {"d_model": 16, "n_heads": 2, "n_blocks": 6}


def _model(seed: int = 0, **changes: object) -> VisionTransformer:
    config = VisionTransformerConfig(**(SMALL | changes))
    return VisionTransformer(config, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_the_stream_is_embedding_plus_every_branch(pixels):
    """a_L = a_0 + Σ (attn_l + mlp_l): what hooks read adds up to what the final norm is given."""
    model = _model().eval()
    outputs: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():
        if name == "embed" or name.endswith((".attn", ".mlp")):
            module.register_forward_hook(lambda _m, _i, out, name=name: outputs.update({name: out}))
    model.norm.register_forward_pre_hook(lambda _m, args: outputs.update(last=args[0]))
    model(pixels)
    last = outputs.pop("last")
    assert len(outputs) == 1 + 2 * 6
    assert torch.allclose(sum(outputs.values()), last, atol=1e-5)


def test_a_patch_is_read_by_its_own_token(pixels):
    """Changing patch (r, c) changes embedding token 5 + 8 r + c and no other."""
    model = _model()
    before = model.embed(pixels)
    changed = pixels.clone()
    changed[:, :, 12:16, 20:24] = 0.5
    moved = (model.embed(changed) - before).abs().amax(dim=(0, 2)) > 0
    assert moved.nonzero().flatten().tolist() == [5 + 8 * 3 + 5]
    assert before.shape == (5, 69, 16)


def test_heads_read_cls_and_patches(pixels):
    """Digit and texture depend on token 0 alone, foreground on each patch alone."""
    model = _model().eval()
    states = model.final_states(pixels)
    heads = model.forward_heads(pixels)
    assert {name: tuple(out.shape) for name, out in heads.items()} == {
        "digit": (5, 10),
        "texture": (5, 8),
        "foreground": (5, 64),
    }
    assert torch.equal(heads["digit"], model(pixels))
    elsewhere = states.clone()
    elsewhere[:, 1:] = 0
    assert torch.equal(model.heads_of(elsewhere)["digit"], heads["digit"])
    elsewhere = states.clone()
    elsewhere[:, :6] = 0
    assert torch.equal(model.heads_of(elsewhere)["foreground"][:, 1:], heads["foreground"][:, 1:])


@pytest.mark.parametrize("shared", [None, (2, 2, 2), (1, 5)])
@pytest.mark.parametrize("part", ["", ".attn", ".mlp", ".norm_1"])
def test_a_hook_fires_for_its_own_depth_step_alone(pixels, shared, part):
    """Each step has its own modules, also where weights are shared, so each fires once."""
    model = _model(shared_blocks=shared).eval()
    fired: Counter[int] = Counter()
    for step in range(6):
        module = model.get_submodule(f"blocks.{step}{part}")
        module.register_forward_hook(lambda *_args, step=step: fired.update([step]))
    model(pixels)
    assert fired == Counter(range(6))


def test_an_edit_at_one_tied_step_leaves_earlier_states_alone(pixels):
    """Steering a shared block at step 4 changes steps from 4 on and none before."""
    model = _model(shared_blocks=(3, 3)).eval()
    plain: list[torch.Tensor] = []
    edited: list[torch.Tensor] = []
    for kept in (plain, edited):
        hooks = [model.blocks[4].register_forward_hook(lambda _m, _i, out: out + 1.0)] * (
            kept is edited
        )
        hooks += [
            b.register_forward_hook(lambda _m, _i, out, k=kept: k.append(out)) for b in model.blocks
        ]
        model(pixels)
        for hook in hooks:
            hook.remove()
    same = [torch.equal(a, b) for a, b in zip(plain, edited, strict=True)]
    assert same == [True, True, True, True, False, False]


def test_tied_steps_share_every_parameter_and_follow_training(pixels):
    """One gradient step moves all steps of a group alike, and groups apart."""
    model = _model(shared_blocks=(2, 2, 2)).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model(pixels).square().sum().backward()
    optimiser.step()
    for name, parameter in model.blocks[0].named_parameters():
        assert parameter is model.blocks[1].get_parameter(name)
        assert parameter is not model.blocks[2].get_parameter(name)
    assert torch.equal(model.blocks[4].attn.qkv.weight, model.blocks[5].attn.qkv.weight)
    assert not torch.equal(model.blocks[0].attn.qkv.weight, model.blocks[2].attn.qkv.weight)


def test_ties_survive_copies_and_dtype_changes(pixels):
    """deepcopy and .to() keep Parameters shared."""
    model = copy.deepcopy(_model(shared_blocks=(3, 3))).to(torch.float64).eval()
    assert model.blocks[0].mlp.up.weight is model.blocks[2].mlp.up.weight
    assert model(pixels.double()).dtype == torch.float64


def test_tied_equals_untied_with_equal_weights(pixels):
    """A tied model is the plain network whose blocks happen to hold the same numbers."""
    tied, plain = _model(shared_blocks=(3, 3)).eval(), _model().eval()
    plain.load_state_dict(tied.state_dict())
    assert torch.equal(tied(pixels), plain(pixels))


@pytest.mark.slow
def test_branches_are_dropped_in_training_only(pixels):
    """Evaluation is deterministic; training differs between passes exactly where drop > 0."""
    dropping, plain = _model(residual_drop=0.5), _model(residual_drop=0.0)
    many = pixels.repeat(8, 1, 1, 1)
    assert torch.equal(dropping.eval()(many), plain.eval()(many))
    assert torch.equal(plain.train()(many), plain.eval()(many))
    dropping.train()
    torch.manual_seed(0)
    first = dropping(many)
    assert not torch.equal(first, dropping(many))
    torch.manual_seed(0)
    assert torch.equal(first, dropping(many))


@pytest.mark.slow
def test_drop_grows_linearly_and_keeps_the_expected_update():
    """Rates go 0 … residual_drop; averaged over many draws a dropped branch is the full one."""
    model = _model(residual_drop=0.4)
    rates = [block.residual_drop for block in model.blocks]
    assert rates == pytest.approx([0.08 * step for step in range(6)])
    x = torch.randn(10, 69, 16, generator=torch.Generator().manual_seed(0))
    block = model.blocks[5]
    full = block.norm_1(x)
    with torch.no_grad():
        update = block.attn(full)
        block.train()
        draws = torch.stack([block._add(x, block.norm_1, block.attn) - x for _ in range(400)])
    dropped = (draws.abs().amax(dim=(2, 3)) == 0).float().mean()
    assert float(dropped) == pytest.approx(0.4, abs=1e-6)
    error = (draws.mean(dim=0) - update).norm() / update.norm()
    assert float(error) < 0.12


@pytest.mark.parametrize("shared", [None, (3, 3)])
def test_a_folder_gives_back_the_model(tmp_path, pixels, shared):
    """fp32 files are exact, fp16 files within rounding; the config too."""
    model = _model(shared_blocks=shared).eval()
    model.save(tmp_path / "exact", dtype=torch.float32)
    model.save(tmp_path / "half")
    exact = VisionTransformer.from_folder(tmp_path / "exact")
    half = VisionTransformer.from_folder(tmp_path / "half")
    assert exact.config == half.config == model.config
    assert not exact.training
    assert torch.equal(exact(pixels), model(pixels))
    assert torch.allclose(half(pixels), model(pixels), atol=1e-2)
    for name, parameter in half.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, dict(model.named_parameters())[name].half().float())


def test_shared_weights_are_stored_once(tmp_path):
    """A tied file holds as many blocks as there are distinct ones."""
    _model(shared_blocks=(3, 3)).save(tmp_path / "tied")
    _model().save(tmp_path / "plain")
    names = load_file(tmp_path / "tied" / "model.safetensors")
    assert {name.split(".")[1] for name in names if name.startswith("blocks.")} == {"0", "3"}
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("tied", "plain")]
    assert sizes[0] < 0.5 * sizes[1]


def test_the_seed_decides_the_weights_and_nothing_else_does():
    """A generator makes construction deterministic and leaves global randomness alone."""
    before = torch.get_rng_state()
    a, b, c = _model(0), _model(0), _model(1)
    assert torch.equal(a.blocks[2].mlp.up.weight, b.blocks[2].mlp.up.weight)
    assert not torch.equal(a.blocks[2].mlp.up.weight, c.blocks[2].mlp.up.weight)
    assert torch.equal(a.embed.position, c.embed.position)
    assert torch.equal(before, torch.get_rng_state())


def test_damaged_folders_are_refused_by_name(tmp_path):
    """Missing file, cut file, other model, other sizes, NaN: each says which file and what to do."""
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        VisionTransformer.from_folder(tmp_path / "absent")
    _model().save(tmp_path)
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    good = json.loads(config.read_text())
    whole = weights.read_bytes()
    for record, said in (
        (good | {"model": "bert"}, "must describe a 'vision_transformer'"),
        (good | {"depth": 3}, "another version"),
        (good | {"d_model": 32}, "must have shape"),
        (good | {"n_blocks": 5}, "tensors are missing or unknown"),
    ):
        config.write_text(json.dumps(record))
        with pytest.raises(ValueError, match=said):
            VisionTransformer.from_folder(tmp_path)
    config.write_text(json.dumps(good))
    weights.write_bytes(whole[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        VisionTransformer.from_folder(tmp_path)
    weights.write_bytes(whole)
    broken = _model()
    broken.digit.weight.data[0, 0] = torch.nan
    broken.save(tmp_path)
    with pytest.raises(ValueError, match=r"'digit\.weight'.*finite"):
        VisionTransformer.from_folder(tmp_path)
