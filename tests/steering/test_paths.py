"""Whoever runs the module inside the block meets the edit, once; nnsight and hooks give the same numbers."""

from __future__ import annotations

import copy
import gc
import inspect
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from nnsight import NNsight
from torch import Tensor, nn

import sae_nb as sn

pytestmark = [
    pytest.mark.filterwarnings("ignore:Nothing was changed at"),
    pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated"),
]

BACKENDS = ["nnsight", "hooks"]
POINTS = {
    "tiny-vit": "resid_post.6",
    "tiny-gpt": "resid_post.2",
    "llama": "resid_pre.1",
    "mlp": "1",
}
IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16]])
PADDED = [[5, 6, 7, 8], [9, 10], [11, 12, 13]]


@cache
def live(name: str) -> sn.LiveModel:
    """A bundled model, a small random Llama, or a plain module with a part that runs twice."""
    if name.startswith("tiny"):
        return sn.load_model(name)
    torch.manual_seed(0)
    if name == "mlp":
        part = nn.Linear(8, 8)
        return sn.wrap(nn.Sequential(nn.Linear(8, 8), part, nn.ReLU(), part))
    from transformers import LlamaConfig, LlamaForCausalLM

    size = {"hidden_size": 16, "intermediate_size": 24, "vocab_size": 40}
    heads = {"num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 1}
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    return sn.wrap(LlamaForCausalLM(LlamaConfig(**size, **heads, **special, initializer_range=0.5)))


@cache
def sae_of(name: str) -> sn.TopK:
    model = live(name)
    width = model.width(POINTS[name])
    return sn.TopK(width, 4 * width, 4, generator=torch.Generator().manual_seed(2)).eval()


def inputs_of(name: str, n: int = 2) -> Any:
    if name == "tiny-vit":
        return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(n))
    if name == "mlp":
        return torch.randn(n, 8, generator=torch.Generator().manual_seed(n))
    return PADDED if n == 3 else IDS[:n]


def direction_of(name: str) -> Tensor:
    d = sn.steering.random_direction(live(name).width(POINTS[name]), seed=0)
    return 1.5 * d


# One table: modes × models × batches × ways to run


MODES: dict[str, dict[str, Any]] = {
    "add": {"atom": 3, "by": 4.0},
    "add two": {"atom": [3, 5], "by": [4.0, -2.0]},
    "set": {"atom": 3, "by": 4.0, "mode": "set"},
    "scale": {"atom": list(range(0, 32, 2)), "by": 3.0, "mode": "scale"},
    "without the error": {"atom": 3, "by": 4.0, "keep_error": False},
    "direction": {"direction": True, "by": 2.0},
    "set a direction": {"direction": True, "by": 2.0, "mode": "set"},
    "scale a direction": {"direction": True, "by": -2.0, "mode": "scale"},
    "first and last": {"direction": True, "by": 2.0, "positions": [0, -1]},
    "the prompt": {"direction": True, "by": 2.0, "steps": "prompt"},
    "what is new": {"direction": True, "by": 2.0, "steps": "new"},
    "ablate": {},
    "splice": {},
}


def edit(name: str, mode: str, backend: str) -> Any:
    model, point = live(name), POINTS[name]
    how = dict(MODES[mode])
    if mode == "splice":
        return sn.steering.splice(model, point, sae_of(name), backend=backend)
    if how.pop("direction", False):
        how["direction"] = direction_of(name)
    else:
        how["sae"] = sae_of(name)
    if mode == "ablate":
        atom = torch.arange(sae_of(name).n_atoms)[::3].tolist()
        return sn.ablate(model, point, sae_of(name), atom, backend=backend)
    return sn.steer(model, point, **how, backend=backend)


def answers(name: str, n: int) -> list[Tensor]:
    """A forward pass, and for language generation with and without cache, greedy and sampled."""
    model, inputs = live(name), inputs_of(name, n)
    found = [model(inputs).nan_to_num()]
    if model.kind == "language":
        for options in ({}, {"use_cache": False}, {"temperature": 1.0, "seed": 0}):
            texts = model.generate(inputs, max_new_tokens=3, return_ids=True, **options)
            found += [texts] if isinstance(texts, Tensor) else list(texts)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", POINTS)
def test_nnsight_and_hooks_agree_in_every_mode(name: str, mode: str) -> None:
    """To 1e-6, padded batches, caches and sampling included; token by token the same text."""
    clean = answers(name, 3)
    found = {}
    for backend in BACKENDS:
        with edit(name, mode, backend):
            found[backend] = answers(name, 3)
    for traced, hooked in zip(*found.values(), strict=True):
        torch.testing.assert_close(traced, hooked, atol=1e-6, rtol=1e-6)
    if mode != "what is new":
        assert not torch.equal(found["nnsight"][0], clean[0])
    for after, before in zip(answers(name, 3), clean, strict=True):
        assert torch.equal(after, before)


# Every path, and how often the edit is made on it


@contextmanager
def counted(module: nn.Module) -> Iterator[list[int]]:
    runs = [0]

    def count(*_: Any) -> None:
        runs[0] += 1

    handle = module.register_forward_hook(count)
    try:
        yield runs
    finally:
        handle.remove()


def logits(model: sn.LiveModel, raw: Any) -> Tensor:
    return model.main_output(raw).detach()


def trace(model: sn.LiveModel, inputs: Tensor) -> Tensor:
    wrapped = model.nnsight
    with torch.no_grad(), wrapped.trace(inputs):
        raw = wrapped.output.save()
    return logits(model, raw)


def trace_of_another_wrapper(model: sn.LiveModel, inputs: Tensor) -> Tensor:
    wrapped = NNsight(model.module)
    with torch.no_grad(), wrapped.trace(inputs):
        raw = wrapped.output.save()
    return logits(model, raw)


def captured(model: sn.LiveModel, inputs: Tensor, backend: str) -> Tensor:
    sn.capture(model, inputs, model.hook_points()[-1], progress=False, backend=backend)
    return model(inputs)


def heads(model: sn.LiveModel, inputs: Tensor) -> Tensor:
    return next(iter(model.heads(inputs).values()))


FORWARD: dict[str, Callable[[sn.LiveModel, Tensor], Tensor]] = {
    "model(…)": lambda model, inputs: model(inputs),
    "model.heads": heads,
    "capture": lambda model, inputs: captured(model, inputs, "nnsight"),
    "capture, hooks": lambda model, inputs: captured(model, inputs, "hooks"),
    "model.module(…)": lambda model, inputs: logits(model, model.module(inputs)),
    "nn.DataParallel": lambda model, inputs: logits(model, nn.DataParallel(model.module)(inputs)),
    "model.nnsight.trace": trace,
    "another NNsight's trace": trace_of_another_wrapper,
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("path", FORWARD)
@pytest.mark.parametrize("name", ["llama", "mlp"])
def test_a_forward_pass_is_edited_once_on_every_path(name: str, path: str, backend: str) -> None:
    """As often as the module runs, by both of two nested edits; the same numbers as by hooks."""
    model, inputs = live(name), inputs_of(name)
    run = FORWARD[path]
    with edit(name, "direction", "hooks"), edit(name, "splice", "hooks"):
        expected = model(inputs)
    part = model.get_module(model.hook_point(POINTS[name]).path)
    with torch.no_grad(), counted(part) as runs:
        with edit(name, "direction", backend) as outer, edit(name, "splice", backend) as inner:
            found = run(model, inputs)
    assert outer.n_runs == inner.n_runs == runs[0] > 0
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def generated(model: sn.LiveModel) -> Tensor:
    rows = model.generate(IDS, 4, return_ids=True)
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=model.pad_id)


def hugging_face(model: sn.LiveModel, use_cache: bool) -> Tensor:
    mask = torch.ones_like(IDS)
    options = {"max_new_tokens": 4, "do_sample": False, "use_cache": use_cache}
    return model.module.generate(IDS, attention_mask=mask, **options)


def traced_generation(model: sn.LiveModel) -> Tensor:
    wrapped = model.nnsight
    with wrapped.generate(IDS, max_new_tokens=4, do_sample=False) as tracer:
        ids = tracer.result.save()
    return ids


def cache_name(model: sn.LiveModel) -> str:
    """The name that this version of transformers gives a cache; since 5.24 the other one is deprecated."""
    names = inspect.signature(type(model.module).forward).parameters
    return "cache" if "cache" in names else "past_key_values"


def by_hand(model: sn.LiveModel, name: str) -> Tensor:
    ids, new, cache = IDS, IDS, None
    for _ in range(4):
        raw = model.module(new, **{name: cache}, use_cache=True)
        ended = (ids[:, -1:] == model.end_of_text) | (ids[:, -1:] == model.pad_id)
        new, cache = raw.logits[:, -1].argmax(dim=-1, keepdim=True), getattr(raw, name)
        new = new.masked_fill(ended, model.pad_id)
        ids = torch.cat((ids, new), dim=1)
    return ids


GENERATION: dict[str, Callable[[sn.LiveModel], Tensor]] = {
    "model.generate": generated,
    "model.module.generate": lambda m: hugging_face(m, True),
    "model.module.generate, no cache": lambda m: hugging_face(m, False),
    "model.nnsight.generate": traced_generation,
    "a loop by hand": lambda m: by_hand(m, cache_name(m)),
    "a loop by hand, a cache of the older name": lambda m: by_hand(m, "past_key_values"),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["direction", "first and last", "the prompt", "what is new"])
@pytest.mark.parametrize("path", GENERATION)
def test_generation_is_edited_once_a_token_on_every_path(
    path: str, mode: str, backend: str
) -> None:
    """Prompt and new tokens are distinguished also where others generate."""
    model, run = live("tiny-gpt"), GENERATION[path]
    with edit("tiny-gpt", mode, "hooks"):
        expected = generated(model)
    assert expected.shape == (2, 10)
    part = model.get_module(model.hook_point(POINTS["tiny-gpt"]).path)
    with torch.no_grad(), counted(part) as runs, edit("tiny-gpt", mode, backend) as steering:
        found = run(model)
    assert torch.equal(found, expected)
    assert steering.n_runs == runs[0] == 4


def test_texts_of_different_lengths_are_steered_at_their_own_positions() -> None:
    """A mask says which column is which, whichever side the padding is on."""
    model = live("tiny-gpt")
    rows = [torch.tensor(ids) for ids in PADDED]
    with torch.no_grad(), edit("tiny-gpt", "first and last", "nnsight"):
        alone = [model.module(ids[None]).logits[0, -1] for ids in rows]
        for side in ("left", "right"):
            pad = nn.utils.rnn.pad_sequence
            ids = pad(rows, batch_first=True, padding_side=side)
            mask = pad([torch.ones_like(r) for r in rows], batch_first=True, padding_side=side)
            position = (mask.cumsum(dim=1) - 1).clamp(min=0)
            out = model.module(ids, attention_mask=mask, position_ids=position).logits
            for row, logits_alone in enumerate(alone):
                last = -1 if side == "left" else len(rows[row]) - 1
                torch.testing.assert_close(out[row, last], logits_alone, atol=1e-4, rtol=1e-4)


# A person's own trace


@pytest.mark.parametrize("name", ["tiny-gpt", "tiny-vit", "llama"])
def test_somebodys_trace_reads_and_edits_what_ours_made(name: str) -> None:
    """Ours is the outer context and comes first: `.output` gives the edited value, theirs follows."""
    model, inputs, point = live(name), inputs_of(name), POINTS[name]
    where = model.hook_point(point)
    acts = {}
    with edit(name, "direction", "nnsight"):
        with sn.splice(model, point, lambda x: acts.setdefault("x", x.clone()) * 0 + 1):
            expected = model(inputs)
        wrapped = model.nnsight
        envoy = wrapped.get(where.path)
        with torch.no_grad(), wrapped.trace(inputs):
            if where.side == "input":
                read = envoy.input.clone().save()
                envoy.input = torch.ones_like(read)
            else:
                read = envoy.output.clone().save()
                envoy.output = torch.ones_like(read)
            raw = wrapped.output.save()
    torch.testing.assert_close(read, acts["x"], atol=1e-6, rtol=0)
    torch.testing.assert_close(logits(model, raw), expected, atol=1e-6, rtol=1e-6)


def test_blocks_and_passes_inside_the_body_of_a_trace_are_steered() -> None:
    """A body may enter `steer` before the module runs, and ask the model for a pass of its own."""
    model, wrapped = live("tiny-gpt"), live("tiny-gpt").nnsight
    with edit("tiny-gpt", "direction", "nnsight"):
        expected = model(IDS)
    with torch.no_grad(), wrapped.trace(IDS):
        with edit("tiny-gpt", "direction", "nnsight"):
            own = model(IDS).save()
            out = wrapped.output.logits.save()
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(own, expected, atol=1e-6, rtol=1e-6)
    assert not torch.equal(model(IDS), expected)


def test_operations_inside_a_module_are_still_traced() -> None:
    """nnsight's `source` rewrites the forward that an edit sits around, before or inside the block."""
    model = sn.wrap(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    wrapped = model.nnsight
    x = torch.randn(2, 4)
    with sn.steer(model, "0", direction=torch.ones(4), by=2.0):
        expected = model(x)
        with torch.no_grad(), wrapped.trace(x):
            inner = getattr(wrapped, "0").source.F_linear_0.output.save()
            out = wrapped.output.save()
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(inner, model.module[0](x).detach())


# An nnsight model of one's own


@pytest.mark.parametrize("mode", [m for m in MODES if m != "without the error"])
@pytest.mark.parametrize("name", ["tiny-gpt", "tiny-vit"])
def test_a_recipe_becomes_an_edited_nnsight_model(name: str, mode: str) -> None:
    """In and after the block, in traces and generation; the model it was made from stays as it was."""
    model, inputs = live(name), inputs_of(name)
    wrapped = model.nnsight
    clean = model(inputs)
    with edit(name, mode, "nnsight") as steering:
        edited = steering.recipe.to_nnsight(wrapped)
        expected = model(inputs)
        text = generated(model) if name == "tiny-gpt" else None
    with torch.no_grad(), edited.trace(inputs):
        raw = edited.output.save()
    torch.testing.assert_close(logits(model, raw), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(trace(model, inputs), clean, atol=1e-6, rtol=1e-6)
    if text is not None:
        with edited.generate(IDS, max_new_tokens=4, do_sample=False) as tracer:
            ids = tracer.result.save()
        assert torch.equal(ids, text)


# What is left behind


def state_of(module: nn.Module) -> list[Any]:
    return [
        (name, part.forward, part.forward.state, sorted(vars(part)), len(hooks))
        for name, part in module.named_modules()
        for hooks in (part._forward_hooks, part._forward_pre_hooks)
    ]


@pytest.mark.parametrize("name", POINTS)
def test_nothing_is_left_behind_in_whatever_order_contexts_end(name: str) -> None:
    """After an exception too: every forward, attribute and hook is what it was."""
    model, inputs = live(name), inputs_of(name)
    clean, _ = trace(model, inputs), model.nnsight
    before = state_of(model.module)
    first, second = edit(name, "direction", "nnsight"), edit(name, "splice", "hooks")
    other = sn.steer(sn.wrap(model.module), POINTS[name], direction=direction_of(name), by=1.0)
    first.__enter__()
    other.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with torch.no_grad():
        remaining = logits(model, model.module(inputs))
    second.__exit__(None, None, None)
    other.__exit__(None, None, None)
    assert not torch.equal(remaining, clean)
    assert state_of(model.module) == before
    with pytest.raises(RuntimeError, match="inside"), edit(name, "set", "nnsight"):
        raise RuntimeError("inside")
    assert state_of(model.module) == before
    with torch.no_grad():
        assert torch.equal(logits(model, model.module(inputs)), clean)


@pytest.mark.slow
def test_a_steered_model_can_be_freed() -> None:
    model = sn.wrap(nn.Sequential(nn.Linear(4, 4)))
    with sn.steer(model, "0", direction=torch.ones(4), by=1.0):
        model(torch.ones(1, 4))
    gone = weakref.ref(model.module)
    del model
    gc.collect()
    assert gone() is None


@pytest.mark.slow
def test_steered_runs_leave_nothing_in_memory() -> None:
    """Objects and tensors do not grow with the number of blocks and passes."""
    model, counts = live("llama"), []
    for _ in range(3):
        for backend in BACKENDS * 15:
            with edit("llama", "first and last", backend):
                model(IDS)
                with torch.no_grad():
                    model.module(IDS)
                    trace(model, IDS)
        gc.collect()
        counts.append(len(gc.get_objects()))
    assert counts[2] - counts[1] < 30, counts


# Never silently unsteered


def test_an_edit_that_needs_positions_says_when_a_call_does_not_tell_them() -> None:
    """A part called alone, a cache from before, a mask of another shape; the same at every position is fine."""
    model = live("tiny-gpt")
    with torch.no_grad():
        name = cache_name(model)
        old = getattr(model.module(IDS, use_cache=True), name)
        calls: list[Callable[[], Any]] = [
            lambda: model.module.model(IDS),
            lambda: model.module(IDS[:, :1], **{name: copy.deepcopy(old)}),
            lambda: model.module(IDS, attention_mask=torch.zeros(2, 1, 6, 6)),
        ]
        for call in calls:
            clean = call()[0]
            with edit("tiny-gpt", "first and last", "nnsight"):
                with pytest.raises(ValueError, match="depends on positions must know where"):
                    call()
            with edit("tiny-gpt", "direction", "nnsight") as steering:
                assert not torch.equal(call()[0], clean)
            assert steering.n_runs == 1


@pytest.mark.slow
def test_a_compiled_module_is_steered_and_let_go() -> None:
    """torch.compile sees that the forward has changed, also where it compiled before the block."""
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model, x = sn.wrap(module), torch.randn(3, 4)
    compiled = torch.compile(module, backend="eager")
    with torch.no_grad():
        clean = compiled(x)
        with sn.steer(model, "0", direction=torch.ones(4), by=5.0):
            torch.testing.assert_close(compiled(x), model(x))
        torch.testing.assert_close(compiled(x), clean)


def test_a_hook_point_that_does_not_run_is_told() -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    model = sn.wrap(Skips())
    for backend in BACKENDS:
        with pytest.warns(UserWarning, match='"unused": its module did not run'):
            with sn.steer(model, "unused", direction=torch.ones(4), by=1.0, backend=backend):
                model(torch.ones(1, 4))


# Threads


@pytest.mark.slow
def test_threads_with_their_own_steered_models_do_not_mix() -> None:
    """One module, several live models, each with its own edit, run and left at their own pace."""
    module = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    x = torch.randn(4, 8)
    wrong: list[float] = []

    def work(by: float, backend: Any) -> None:
        model = sn.wrap(module)
        for _ in range(40):
            with model.lock, sn.steer(model, "0", direction=torch.ones(8), by=by, backend=backend):
                with torch.no_grad():
                    expected = module[1](clean + by)
                    found = [model(x), module(x)]
            wrong.extend(by for out in found if not torch.allclose(out, expected, atol=1e-5))

    with torch.no_grad():
        clean = module[0](x)
    threads = [
        threading.Thread(target=work, args=(float(by), BACKENDS[by % 2])) for by in range(1, 5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.slow
def test_every_thread_that_runs_the_model_in_the_block_is_steered() -> None:
    model, found = live("tiny-gpt"), {}
    with edit("tiny-gpt", "first and last", "nnsight"):
        expected = [model(IDS[row : row + 1, : 3 + row]) for row in range(2)]

        def work(row: int) -> None:
            for _ in range(10):
                with model.lock, torch.no_grad():
                    found[row] = model.module(IDS[row : row + 1, : 3 + row]).logits

        threads = [threading.Thread(target=work, args=(row,)) for row in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for row in range(2):
        torch.testing.assert_close(found[row], expected[row], atol=1e-6, rtol=1e-6)
