"""Edits of a module that runs several times in one pass: each time, or at the applications that `step` names."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import HrmTextConfig, HrmTextForCausalLM

import sae_nb as sn
from sae_nb.models import LiveModel

BACKENDS = ["nnsight", "hooks"]
EAST = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0])


class Again(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.b, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(4):
            x = x + self.b(x).tanh()
        return self.head(x)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def again(module: Again, x: Tensor, edit: Any, times: set[int]) -> Tensor:
    with torch.no_grad():
        for time in range(4):
            out = module.b(x)
            x = x + (edit(out) if time in times else out).tanh()
        return module.head(x)


def hrm() -> LiveModel:
    config = HrmTextConfig(
        vocab_size=20, hidden_size=16, intermediate_size=32, num_hidden_layers=2, head_dim=8,
        num_attention_heads=2, H_cycles=2, L_cycles=3, initializer_range=0.2,
    )  # fmt: skip
    return sn.wrap(HrmTextForCausalLM(config).eval())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "step", "times"),
    [
        ("b", None, {0, 1, 2, 3}),
        ("b", 2, {2}),
        ("b", [0, 3], {0, 3}),
        ("b", "last", {3}),
        ("b@1", None, {1}),
        ("b@last", None, {3}),
    ],
)
def test_an_edit_is_made_at_the_applications_it_names(
    backend: Any, name: str, step: Any, times: set[int]
) -> None:
    """Steering, ablating and splicing; inside the block, by a plain call, by hooks and in a trace of one's own."""
    module, x = Again(), torch.randn(5, 8)
    model = sn.wrap(module)
    others = {"step": step, "backend": backend}
    for made, edit in (
        (sn.steer(model, name, direction=EAST, by=2.0, **others), lambda v: v + 2 * EAST),
        (sn.ablate(model, name, direction=EAST, **others), lambda v: v * (1 - EAST)),
        (sn.splice(model, name, torch.sin, **others), torch.sin),
    ):
        expected = again(module, x, edit, times)
        with made as active:
            torch.testing.assert_close(model(x).as_subclass(Tensor), expected, atol=1e-6, rtol=0)
            torch.testing.assert_close(module(x), expected, atol=1e-6, rtol=0)
            with model.nnsight.trace(x):
                own = model.nnsight.output.save()
            torch.testing.assert_close(own, expected, atol=1e-6, rtol=0)
            recipe = active.recipe
        assert recipe.interventions()[-1].times == (
            None if len(times) == 4 else tuple(sorted(times))
        )
        with recipe.to_hooks(module):
            torch.testing.assert_close(module(x), expected, atol=1e-6, rtol=0)
        with recipe.to_nnsight(model.nnsight).trace(x) as tracer:
            kept = tracer.result.save()
        torch.testing.assert_close(kept, expected, atol=1e-6, rtol=0)
    assert torch.equal(module(x), again(module, x, None, set()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_layer_of_a_looped_model_is_one_application(backend: Any) -> None:
    """`resid_post.9` of hrm_text is edited there alone, and seen by later layers; generation too."""
    model, ids = hrm(), torch.randint(20, (2, 5))
    points = [f"resid_post.{i}" for i in (7, 8, 9, 10, 15)]
    direction = torch.randn(16)
    options = {"drop_first": False, "progress": False, "backend": backend}
    before = sn.capture(model, ids, points, **options)
    with sn.steer(
        model, "resid_post.9", direction=direction, positions="last", backend=backend
    ) as s:
        after = sn.capture(model, ids, points, **options)
        answer = model(ids)
        written = model.generate(ids[:1], max_new_tokens=4, return_ids=True)
    moved = [float((after[p].x - before[p].x).abs().max()) for p in points]
    assert moved[0] == moved[1] == 0
    assert min(moved[2:]) > 1e-3
    last = after["resid_post.9"].position == 4
    change = after["resid_post.9"].x - before["resid_post.9"].x
    torch.testing.assert_close(change[last], direction.expand(2, -1), atol=1e-5, rtol=0)
    assert not change[~last].any()
    with s.recipe.to_hooks(model.module):
        plain = model.module(ids, use_cache=False).logits
        torch.testing.assert_close(plain, answer.as_subclass(Tensor), atol=1e-6, rtol=0)
        ours = model.module.generate(ids[:1], max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert ours[0].tolist() == list(written if isinstance(written[0], int) else written[0])
    edited = s.recipe.to_nnsight(model.nnsight)
    with edited.trace(ids, use_cache=False):
        kept = edited.output.logits.save()
    torch.testing.assert_close(kept, answer.as_subclass(Tensor), atol=1e-6, rtol=0)


@pytest.mark.parametrize("step", [None, [0, 4]])
@pytest.mark.parametrize("positions", [None, "last"])
def test_a_text_is_written_alike_by_a_recipe_elsewhere(step: Any, positions: Any) -> None:
    """In generation each new token is a pass of its own, in which applications are counted from 0 again."""
    model, ids, direction = hrm(), torch.randint(20, (1, 5)), 5 * torch.randn(16)
    where = {"direction": direction, "positions": positions, "step": step}
    with sn.steer(model, "model.L_module.layers.1", **where) as steering:
        ours = model.generate(ids, max_new_tokens=5, return_ids=True)[0].tolist()
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    with steering.recipe.to_hooks(model.module):
        assert model.module.generate(ids, **options)[0].tolist() == ours
    with steering.recipe.to_nnsight(model.nnsight).trace(ids, fn="generate", **options) as tracer:
        kept = tracer.result.save()
    assert kept[0].tolist() == ours
    assert model.generate(ids, max_new_tokens=5, return_ids=True)[0].tolist() != ours


def test_a_recipe_keeps_its_applications(tmp_path: Any) -> None:
    """In its settings, in a file of vectors, and not where the form has no words for it."""
    model = sn.wrap(Again())
    with sn.steer(model, "b", direction=EAST, step=[3, 0]) as steering:
        recipe = steering.recipe
    assert recipe.step == (0, 3)
    assert recipe.settings()["step"] == (0, 3)
    recipe.to_vectors(tmp_path / "v.safetensors")
    with safe_open(tmp_path / "v.safetensors", "pt") as file:
        about = json.loads(file.metadata()["steering"])["vectors"]["b"]
    assert about["applications"] == [0, 3]
    with pytest.raises(ValueError, match="each time it runs"):
        recipe.to_lm_eval(tmp_path / "v.pt")
    with sn.steer(model, "b", direction=EAST) as steering:
        assert steering.recipe != recipe
        assert "step" not in steering.recipe.settings()


@pytest.mark.filterwarnings("ignore:Nothing was changed")
@pytest.mark.parametrize("backend", BACKENDS)
def test_applications_that_are_not_there_are_refused(backend: Any) -> None:
    """Before the pass where the number is known for all inputs, else at its end; the model stays usable."""
    model, x = sn.wrap(Again()), torch.randn(2, 8)
    for step in (-1, [], [1, 1], "first"):
        with pytest.raises(ValueError, match="`step`"):
            sn.steer(model, "b", direction=EAST, step=step, backend=backend)
    with pytest.raises(ValueError, match="`step` must be None"):
        sn.steer(model, "b@1", direction=EAST, step=2, backend=backend)
    with (
        sn.steer(model, "b", direction=EAST, step=7, backend=backend),
        pytest.raises(ValueError, match="some of the 4 applications of `b`"),
    ):
        model(x)
    assert model(x).shape == (2, 3)
    with pytest.raises(ValueError, match="some of the 6 applications"):
        sn.steer(hrm(), "model.L_module.layers.1", direction=torch.ones(16), step=7)
