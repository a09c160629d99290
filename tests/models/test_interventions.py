"""Edits reach exactly what the hook point names, and leave nothing behind."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.models import HookPoint, LiveModel, RunState, wrap
from sae_nb.models._interventions import Intervention
from sae_nb.models._running import Runner, run
from tests.models.conftest import inputs_for

EDITABLE = ["gpt2", "llama", "gemma2", "gpt_neox", "opt", "bert", "vit", "dinov2_with_registers"]


def model_of(build, family: str) -> tuple[LiveModel, Tensor]:
    model = wrap(build(family))
    return model, inputs_for(model)


def added(vector: Tensor):
    return lambda x, _state: x + vector


@pytest.mark.parametrize("family", EDITABLE)
def test_resid_post_and_the_next_resid_pre_are_one_place(build, family) -> None:
    """Editing a block's output equals editing the next block's input (a pre-hook)."""
    model, inputs = model_of(build, family)
    vector = torch.randn(16)
    plain = model(inputs)
    answers = []
    for name in ("resid_post.0", "resid_pre.1", "blocks.1.hook_resid_pre"):
        model.interventions.append(Intervention(model.hook_point(name), added(vector)))
        answers.append(model(inputs))
        model.interventions.clear()
    assert not torch.allclose(answers[0], plain)
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])
    assert torch.equal(model(inputs), plain)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "opt", "vit", "dinov2"])
def test_adding_to_the_last_branch_is_adding_to_the_stream(build, family) -> None:
    """mlp_out and resid_post differ by a constant, also where the MLP runs on flattened rows (OPT)."""
    model, inputs = model_of(build, family)
    vector = torch.randn(16)
    answers = []
    for name in ("resid_post.1", "mlp_out.1"):
        model.interventions.append(Intervention(model.hook_point(name), added(vector)))
        answers.append(model(inputs))
        model.interventions.clear()
    torch.testing.assert_close(answers[0], answers[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", EDITABLE)
def test_edits_see_batch_time_and_width_everywhere(build, family) -> None:
    """Every editable hook point shows (batch, time, d), tuple outputs and flattened rows included."""
    model, inputs = model_of(build, family)
    time = 9 if model.kind == "language" else None
    shapes: dict[HookPoint, tuple[int, ...]] = {}
    for point in model.hook_points():
        if point.writable:

            def look(x: Tensor, state: RunState, point=point) -> Tensor:
                shapes[point] = tuple(x.shape)
                assert state.keep is None or state.keep.shape == x.shape[:2]
                return x

            model.interventions.append(Intervention(point, look))
    plain = model(inputs)
    assert len(shapes) == sum(point.writable for point in model.hook_points())
    for name, shape in shapes.items():
        assert shape[0] == 2, name
        assert shape[1] == (time or shapes["embed"][1]), name
        assert shape[2] > 16 if name.kind == "mlp_post" else shape[2] == 16, name
    model.interventions.clear()
    assert torch.equal(plain, model(inputs))


def test_edits_are_applied_in_their_order(build) -> None:
    """Nested contexts: the outer edit first."""
    model, inputs = model_of(build, "gpt2")
    point = model.hook_point("resid_post.0")
    seen: list[str] = []

    def called(name: str):
        def edit(x: Tensor, _state: RunState) -> Tensor:
            seen.append(name)
            return x * 2 if name == "first" else x + 1

        return edit

    model.interventions += [
        Intervention(point, called("first")),
        Intervention(point, called("second")),
    ]
    both = model(inputs)
    model.interventions[:] = [Intervention(point, lambda x, _s: x * 2 + 1)]
    assert seen == ["first", "second"]
    assert torch.equal(both, model(inputs))


def test_a_read_only_place_refuses_an_edit_and_names_the_other(build) -> None:
    """An edit at the norm before the MLP would miss the skip connection."""
    model, inputs = model_of(build, "gpt2")
    model.interventions.append(Intervention(model.hook_point("resid_mid.1"), lambda x, _s: x))
    with pytest.raises(ValueError, match=r'"resid_mid.1" can be read but not edited.*attn_out\.1'):
        model(inputs)


def test_an_edit_in_a_post_norm_middle_reaches_both_uses(build) -> None:
    """BERT's resid_mid feeds the MLP and the sum after it."""
    model, inputs = model_of(build, "bert")
    vector = torch.randn(16)
    model.interventions.append(Intervention(model.hook_point("resid_mid.2"), added(vector)))
    block = model.get_module("encoder.layer.2")
    middle: list[Tensor] = []
    handle = block.attention.output.register_forward_hook(lambda _m, _a, out: middle.append(out))
    answer = model(inputs)
    handle.remove()
    torch.testing.assert_close(block.feed_forward_chunk(middle[0]), answer)


@pytest.mark.parametrize("wrong", [lambda x, _s: x[:, :1], lambda x, _s: None, lambda x, _s: 3.0])
def test_an_edit_must_keep_the_shape(build, wrong) -> None:
    """Rule, given, do; and the hooks are gone afterwards."""
    model, inputs = model_of(build, "gpt2")
    plain = model(inputs)
    model.interventions.append(Intervention(model.hook_point("resid_post.0"), wrong))
    with pytest.raises(ValueError, match=r'shape it was given, \(2, 9, 16\) at "resid_post.0"'):
        model(inputs)
    model.interventions.clear()
    assert torch.equal(plain, model(inputs))
    assert not any(
        part._forward_hooks or part._forward_pre_hooks for part in model.module.modules()
    )


def test_an_edit_may_compute_in_another_precision(build) -> None:
    """An SAE in float64 edits a float32 model."""
    model, inputs = model_of(build, "gpt2")
    model.interventions.append(
        Intervention(model.hook_point("resid_post.0"), lambda x, _s: x.double() * 2)
    )
    assert model(inputs).dtype == torch.float32


def test_the_state_says_where_the_columns_are(build) -> None:
    """A plain forward of a padded batch: step 0, own positions, −1 at padding."""
    model = wrap(build("gpt2"))
    states: list[RunState] = []

    def look(x: Tensor, state: RunState) -> Tensor:
        states.append(state)
        return x

    model.interventions.append(Intervention(model.hook_point("embed"), look))
    model([[5, 6, 7], [8, 9]])
    (state,) = states
    assert (state.step, state.offset) == (0, 0)
    assert state.position.tolist() == [[0, 1, 2], [0, 1, -1]]
    assert state.keep.tolist() == [[True] * 3, [True, True, False]]
    assert state.prompt_length.tolist() == [3, 2]
    assert state.sample.tolist() == [[0, 0, 0], [1, 1, -1]]
    assert state.token_ids.tolist()[0] == [5, 6, 7]


def test_vectors_without_time_are_shown_with_one() -> None:
    """A plain network's (batch, d) activations are (batch, 1, d) to an edit."""
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    model = wrap(module)
    shapes: list[tuple[int, ...]] = []

    def edit(x: Tensor, _state: RunState) -> Tensor:
        shapes.append(tuple(x.shape))
        return x + 1

    model.interventions.append(Intervention(model.hook_point("0"), edit))
    x = torch.randn(5, 4)
    torch.testing.assert_close(model(x), module[1](module[0](x) + 1))
    assert shapes == [(5, 1, 3)]


@pytest.mark.slow
def test_gradients_pass_through_an_edit_when_asked(build) -> None:
    """forward(grad=True) keeps the graph to a steering vector; without it there is none."""
    model, inputs = model_of(build, "gpt2")
    vector = torch.zeros(16, requires_grad=True)
    model.interventions.append(Intervention(model.hook_point("resid_post.0"), added(vector)))
    (batch,) = model.batches(inputs)
    model.main_output(model.forward(batch, grad=True)).logsumexp(-1).sum().backward()
    assert vector.grad.abs().sum() > 0
    assert not model.main_output(model.forward(batch)).requires_grad


def test_edits_held_around_many_passes_are_put_in_once() -> None:
    """A pass puts them in anew only where others are in force than before."""
    model = sn.wrap(nn.Sequential(nn.Identity(), nn.Identity()))
    x, push, holds = torch.zeros(2, 3), torch.ones(3), []
    hold = model.editing.hold
    model.editing.hold = lambda holder: holds.append(holder) or hold(holder)
    with sn.steer(model, "0", direction=push, by=2.0):
        for _ in range(5):
            torch.testing.assert_close(model(x), x + 2.0)
        assert len(holds) == 1
        with sn.steer(model, "1", direction=push, by=1.0):
            torch.testing.assert_close(model(x), x + 3.0)
        model.interventions.append(Intervention(model.hook_point("1"), added(5 * push)))
        torch.testing.assert_close(model(x), x + 7.0)
        model.interventions.pop()
        torch.testing.assert_close(model(x), x + 2.0)
    torch.testing.assert_close(model(x), x)


@pytest.mark.parametrize("backend", ["hooks", "nnsight"])
def test_a_pass_of_another_thread_is_not_seen_by_the_module_itself(build, backend) -> None:
    """In the midst of it the module answers as it is, and the pass sees its own states alone."""
    model, inputs = model_of(build, "gpt2")
    (batch,) = model.batches(inputs, batch_size=len(inputs))
    place, last = (model.hook_point(name) for name in ("resid_post.0", "resid_post.1"))
    plain = model.module(inputs).logits
    reached, go_on = threading.Event(), threading.Event()

    def put(x: Tensor) -> Tensor:
        reached.set()
        assert go_on.wait(60)
        return x + 1

    def passed() -> Tensor:
        ran = run(model, batch, read=[place, last], put={str(place): put}, backend=backend)
        return ran.states[str(last)][0]

    go_on.set()
    alone = passed()
    for event in (reached, go_on):
        event.clear()
    with ThreadPoolExecutor() as pool:
        begun = pool.submit(passed)
        assert reached.wait(60)
        meanwhile = model.module(inputs).logits
        go_on.set()
        assert torch.equal(meanwhile, plain)
        assert torch.equal(begun.result(60), alone)


def test_a_capture_of_another_thread_takes_nothing_of_the_modules_own_calls(build) -> None:
    """While it is at a state, the module is called by itself with other inputs."""
    model, inputs = model_of(build, "gpt2")
    (batch,) = model.batches(inputs, batch_size=len(inputs))
    points = [model.hook_point(name) for name in ("resid_post.0", "resid_post.1")]
    reached, go_on, taken = threading.Event(), threading.Event(), []

    def take(name: str, x: Tensor, _: object) -> None:
        taken.append((name, tuple(x.shape)))
        reached.set()
        assert go_on.wait(60)

    with ThreadPoolExecutor() as pool:
        begun = pool.submit(Runner(model, read=points, answer=False).take, batch, take)
        assert reached.wait(60)
        assert model.module(inputs[:1]).logits.shape[0] == 1
        go_on.set()
        begun.result(60)
    assert [name for name, _ in taken] == [str(point) for point in points]
    assert {shape[0] for _, shape in taken} == {len(inputs)}
