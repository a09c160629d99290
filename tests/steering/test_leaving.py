"""Recipes that leave: plain hooks, lm_eval's files and vectors give the numbers of `steer`, to the bit."""

from __future__ import annotations

import copy
import csv
import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

import sae_nb as sn
from sae_nb.steering._export import COLUMNS
from tests.scripts import script

POINT = "resid_post.3"
TEXT = "The list of names is empty."
PADDED = [[5, 6, 7, 8, 9], [9, 10], [11, 12, 13]]
ROOT = Path(__file__).parents[2]
LM_EVAL = Path(os.environ.get("LM_EVAL_PYTHON", ROOT / "build/peers/lm_eval/bin/python"))
"""The Python of an environment with lm_eval, as `make peers` makes it."""


@cache
def gpt() -> sn.LiveModel:
    return sn.load_model("tiny-gpt")


@cache
def sae() -> Any:
    return sn.load_sae("tiny-gpt/resid_post.3")


@cache
def plain() -> LlamaForCausalLM:
    """What a script without this library has: the class and the weights, nothing of ours in it."""
    module = LlamaForCausalLM(gpt().module.config).eval()
    module.load_state_dict(gpt().module.state_dict())
    return module


def called(ids: list[int] | Tensor) -> Tensor:
    with torch.no_grad():
        return plain()(torch.as_tensor(ids)[None]).logits[0]


RECIPES: dict[str, dict[str, Any]] = {
    "add": {"atom": 17, "by": 4.0},
    "several": {"atom": [17, 3], "by": [4.0, -2.0]},
    "set": {"atom": 17, "by": 3.0, "mode": "set"},
    "scale": {"atom": list(range(300)), "by": 3.0, "mode": "scale"},
    "without the error": {"atom": 17, "by": 4.0, "keep_error": False},
    "last": {"atom": 17, "by": 4.0, "positions": "last"},
    "two positions": {"atom": 17, "by": 4.0, "positions": [1, -1]},
    "what is new": {"atom": 17, "by": 4.0, "steps": "new"},
    "the prompt": {"atom": 17, "by": 4.0, "steps": "prompt"},
}
D = sn.random_direction(gpt().width(gpt().hook_point(POINT)), seed=0)
RECIPES |= {
    f"{mode} a direction": {"direction": D, "by": by, "mode": mode}
    for mode, by in (("add", 5.0), ("set", 2.0), ("scale", -2.0))
}


def steering(name: str, point: str = POINT) -> Any:
    how = dict(RECIPES[name])
    return sn.steer(gpt(), point, None if "direction" in how else sae(), **how)


# Plain hooks


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Nothing was changed at")
@pytest.mark.parametrize("name", RECIPES)
def test_hooks_in_a_plain_module_give_the_numbers_of_steer(name: str) -> None:
    """Logits of a text, and greedy and sampled texts with and without a cache, to the bit."""
    ids = torch.tensor(gpt().tokenizer(TEXT)["input_ids"])
    kinds: list[dict[str, Any]] = [{"do_sample": False}, {"do_sample": False, "use_cache": False}]
    with steering(name) as steered:
        expected = gpt()(ids[None])
        module = gpt().module
        texts = [module.generate(ids[None], max_new_tokens=4, **kind) for kind in kinds]
    clean = called(ids)
    with steered.recipe.to_hooks(plain()):
        assert torch.equal(called(ids), expected[0])
        for kind, text in zip(kinds, texts, strict=True):
            assert torch.equal(plain().generate(ids[None], max_new_tokens=4, **kind), text)
    assert name == "what is new" or not torch.equal(expected[0], clean)
    assert torch.equal(called(ids), clean)


def test_padding_is_nobodys_position() -> None:
    """Positions are counted in each text of a padded batch, from a mask on the left."""
    with steering("last") as steered:
        expected = [gpt()(torch.tensor([ids]))[0] for ids in PADDED]
    longest = max(map(len, PADDED))
    padded = torch.tensor([[0] * (longest - len(ids)) + ids for ids in PADDED])
    mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in PADDED])
    with steered.recipe.to_hooks(plain()), torch.no_grad():
        positions = (mask.cumsum(1) - 1).clamp_min(0)
        found = plain()(padded, attention_mask=mask, position_ids=positions).logits
    for row, ids in enumerate(PADDED):
        torch.testing.assert_close(found[row, -len(ids) :], expected[row], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("point", ["resid_pre.3", "mlp_in.2", "head_out.1", "mlp_out.2", "embed"])
def test_inputs_and_outputs_of_any_module_take_hooks(point: str) -> None:
    """Also where the hook point is what enters a module."""
    width = gpt().width(gpt().hook_point(point))
    with sn.steer(gpt(), point, direction=sn.random_direction(width, 1), by=3.0) as steered:
        expected = gpt()(torch.tensor([PADDED[0]]))[0]
    with steered.recipe.to_hooks(plain()):
        assert torch.equal(called(PADDED[0]), expected)


def test_a_transcoder_reads_where_it_reads() -> None:
    """A recipe that taps another place brings its hook there along; so does a splice."""
    transcoder = sn.load_sae("tiny-gpt/mlp.1")
    point = transcoder.target_hook_point
    for edit in (
        sn.steer(gpt(), point, transcoder, atom=5, by=2.0, mode="set"),
        sn.splice(gpt(), point, transcoder),
    ):
        with edit as steered:
            expected = gpt()(torch.tensor([PADDED[0]]))[0]
        with steered.recipe.to_hooks(plain()):
            assert torch.equal(called(PADDED[0]), expected)


def test_removing_leaves_the_module_as_it_was() -> None:
    """No hook, no attribute; twice does no harm; errors inside a call or the block leave nothing either."""
    before = set(vars(plain()))
    with steering("last") as steered:
        recipe = steered.recipe
    hooks = recipe.to_hooks(plain())
    other = copy.deepcopy(plain())
    hooks.remove()
    hooks.remove()
    assert repr(hooks) == "Hooks(removed)"
    with pytest.raises(RuntimeError, match="were removed"), hooks:
        pass
    with recipe.to_hooks(plain()) as again:
        with pytest.raises(RuntimeError, match="of a block already"), again:
            pass
        assert "removed" not in repr(again)
    with pytest.raises(IndexError), recipe.to_hooks(plain()):
        plain()(torch.tensor([[10**6]]))
    parts = [plain(), *plain().modules()]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in parts)
    assert set(vars(plain())) == before
    ids = torch.tensor([PADDED[0]])
    with torch.no_grad():  # a copy took the hooks along, and they do nothing there
        assert torch.equal(other(ids).logits[0], called(PADDED[0]))


# lm_eval


def steered_as_lm_eval(file: Path) -> list[Any]:
    """What lm_eval 0.4.13 does with a .pt, in our words: hooks at the outputs under `base_model`."""
    handles = []
    modules = dict(plain().base_model.named_modules())
    for name, entry in torch.load(file, weights_only=True).items():
        vector, amount = entry["steering_vector"], float(entry["steering_coefficient"])
        assert entry["bias"] is None
        assert entry["head_index"] is None

        def edit(
            _module: Any, _args: Any, x: Any, v: Any = vector, a: Any = amount, e: Any = entry
        ) -> Any:
            first = x[0] if isinstance(x, tuple) else x
            u = v / torch.norm(v)
            along = (first * u).sum(dim=-1, keepdim=True)
            new = first + v * a if e["action"] == "add" else first + u * (a - along)
            return (new, *x[1:]) if isinstance(x, tuple) else new

        handles.append(modules[name].register_forward_hook(edit))
    return handles


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "point", "exact"),
    [
        ("add", POINT, True),
        ("several", POINT, True),
        ("add a direction", POINT, True),
        ("add", "resid_pre.3", True),  # what block 2 gives
        ("set a direction", POINT, False),
    ],
)
def test_lm_eval_reads_the_numbers_of_steer(
    tmp_path: Path, name: str, point: str, exact: bool
) -> None:
    """Adding is the same to the bit, holding a direction to rounding."""
    with steering(name, point) as steered:
        expected = gpt()(torch.tensor([PADDED[0]]))[0]
    steered.recipe.to_lm_eval(tmp_path / "s.pt")
    handles = steered_as_lm_eval(tmp_path / "s.pt")
    found = called(PADDED[0])
    for handle in handles:
        handle.remove()
    if exact:
        assert torch.equal(found, expected)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)


def test_the_csv_names_the_atom_and_how_much_of_it(tmp_path: Path) -> None:
    """By the columns that lm_eval reads; the amount is in lengths of the file's own atom."""
    with steering("add") as steered:
        recipe = steered.recipe
    recipe.to_lm_eval(tmp_path / "s.csv", sparse_model="a,release", sae_id="blocks.3")
    (row,) = csv.DictReader((tmp_path / "s.csv").open(newline=""))
    assert tuple(row) == COLUMNS
    assert (row["loader"], row["action"], row["sparse_model"]) == ("sae_lens", "add", "a,release")
    assert (row["hookpoint"], row["feature_index"], row["sae_id"]) == ("layers.3", "17", "blocks.3")
    length = float(row["steering_coefficient"]) * float(sae().dictionary[17].norm())
    assert length == pytest.approx(4.0, rel=1e-6)
    longer = copy.deepcopy(sae())
    with torch.no_grad():
        longer.operator.weight[17] *= 2
    with sn.steer(gpt(), POINT, longer, **RECIPES["add"]) as steered:
        recipe = steered.recipe
    recipe.to_lm_eval(tmp_path / "s.csv", sparse_model="folder")
    (row,) = csv.DictReader((tmp_path / "s.csv").open(newline=""))
    assert (row["loader"], row["sae_id"], row["head_index"]) == ("sparsify", "", "")
    assert float(row["steering_coefficient"]) == pytest.approx(length / 2, rel=1e-6)


CANNOT: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "a latent": ("set", "s.pt", {}, "along one direction"),
    "a factor": ("scale a direction", "s.pt", {}, "adds a direction or holds it at a value"),
    "positions": ("last", "s.pt", {}, "steers every position and step, got positions='last'"),
    "whose": ("add", "s.csv", {}, "`sparse_model` must say whose atom it is"),
}


@pytest.mark.parametrize("case", CANNOT)
def test_what_lm_eval_cannot_do_is_refused_before_anything_is_written(
    tmp_path: Path, case: str
) -> None:
    """Each with what can be done instead; a file that was there stays."""
    name, file, more, words = CANNOT[case]
    (tmp_path / file).write_text("as it was")
    with steering(name) as steered:
        recipe = steered.recipe
    with pytest.raises(ValueError, match=words):
        recipe.to_lm_eval(tmp_path / file, **more)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["as it was"]


# Vectors


@pytest.mark.parametrize(
    "name", ["add", "several", "last", "set a direction", "scale a direction", "what is new"]
)
def test_vectors_say_enough_to_steer_by(tmp_path: Path, name: str) -> None:
    """The header's own formula, at its positions, gives what `steer` gives."""
    path = tmp_path / "v.safetensors"
    with steering(name) as steered:
        x = torch.randn(1, 5, len(D), generator=torch.Generator().manual_seed(0))
        expected = steered.recipe.edit.change(x)
    steered.recipe.to_vectors(path)
    with safe_open(path, "pt") as file:
        about, v = json.loads(file.metadata()["steering"]), file.get_tensor(POINT)
    entry = about["vectors"][POINT]
    along = (x @ v / v.square().sum())[..., None]
    found = x + (entry["gain"] * along + entry["constant"]) * v
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    said = RECIPES[name]
    atoms = said.get("atom")
    assert about["model"] == "tiny-gpt"
    assert (entry["module"], entry["side"]) == ("model.layers.3", "output")
    assert (entry["positions"], entry["steps"]) == (said.get("positions"), said.get("steps", "all"))
    assert entry["atoms"] == ([atoms] if isinstance(atoms, int) else atoms)
    assert entry["mode"] == said.get("mode", "add")


def test_lm_eval_itself_reads_the_numbers_of_steer(tmp_path: Path) -> None:
    """The library, in an environment of its own, gives our logits to the bit with the file of an atom."""
    if not LM_EVAL.is_file():
        pytest.skip("No lm_eval here: `make peers` makes build/peers/lm_eval.")
    gpt().module.save_pretrained(tmp_path / "checkpoint")
    gpt().tokenizer.save_pretrained(tmp_path / "checkpoint")
    ids = torch.tensor([PADDED[0]])
    save_file({"ids": ids}, tmp_path / "ids.safetensors")
    with steering("add", POINT) as steered:
        expected = gpt()(ids)
    steered.recipe.to_lm_eval(tmp_path / "s.pt")
    code = script(ROOT / "docs" / "make_interop.py", "make_interop").SCRIPTS["lm_eval"]
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([LM_EVAL, "-c", code, tmp_path], check=True, env=bare, capture_output=True)
    with safe_open(tmp_path / "found.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("s").reshape(expected.shape), expected)


@pytest.mark.parametrize(
    ("mode", "coefficient", "action"), [("add", 2.0, "add"), ("set", 2.0 * 5.0, "clamp")]
)
def test_a_held_direction_is_held_at_its_value_times_its_length(
    mode: Any, coefficient: float, action: str, tmp_path: Path
) -> None:
    """lm_eval clamps the coordinate along v / ‖v‖, where v = (3, 4, 0, 0)."""
    ids = {"bos_token_id": 0, "eos_token_id": 0}
    sizes = {"n_layer": 1, "n_embd": 4, "n_head": 1, "vocab_size": 9, "n_positions": 8}
    model = sn.wrap(GPT2LMHeadModel(GPT2Config(**sizes, **ids)).eval())
    vector = torch.tensor([3.0, 4.0, 0.0, 0.0])
    with sn.steer(model, "resid_post.0", direction=vector, by=2.0, mode=mode) as held:
        held.recipe.to_lm_eval(tmp_path / "v.pt")
    (entry,) = torch.load(tmp_path / "v.pt", weights_only=True).values()
    assert entry["action"] == action
    assert entry["steering_coefficient"] == pytest.approx(coefficient)
    assert torch.equal(entry["steering_vector"], vector)
