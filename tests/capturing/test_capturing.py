"""Capture: right values, the right rows, nothing left behind, on every kind of input."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.capturing import capture
from sae_nb.capturing._capture import Collector
from sae_nb.models import LiveModel, wrap
from sae_nb.steering import splice
from tests.capturing.small import TEXTS, bert, gpt2, growth, llama, pictures, vit, words_tokenizer

BACKENDS = ("nnsight", "hooks")


@pytest.fixture(scope="module")
def language() -> LiveModel:
    return wrap(gpt2(), tokenizer=words_tokenizer(), name="tiny")


@pytest.fixture(scope="module")
def vision() -> LiveModel:
    return wrap(vit(), name="tiny-vit")


class Stack(nn.Module):
    """Blocks that give tuples, one of which overwrites its input; one module never runs."""

    def __init__(self, n: int = 5, d: int = 6) -> None:
        super().__init__()
        self.late = nn.Linear(d, 2)
        self.blocks = nn.ModuleList(nn.Linear(d, d) for _ in range(n))
        self.pair = Pair()
        self.overwrite = nn.ReLU(inplace=True)
        self.never = nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        x = self.pair(x)[1]
        return self.late(self.overwrite(x))


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * x, x


@pytest.fixture
def stack() -> LiveModel:
    torch.manual_seed(0)
    return wrap(Stack(), name="stack")


# Values


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make", [gpt2, llama, bert])
def test_residual_stream_equals_the_models_own_hidden_states(
    make: Callable[[], nn.Module], backend: Any
) -> None:
    """resid_post.L holds exactly what Hugging Face reports as hidden state L + 1."""
    module = make()
    ids = torch.randint(4, 24, (5, 7))
    model = wrap(module)
    names = ["resid_post.0", "resid_post.1"]
    found = capture(model, ids, names, drop_first=False, backend=backend, progress=False)
    with torch.no_grad():
        states = module(input_ids=ids, output_hidden_states=True).hidden_states
    for layer, name in enumerate(names):
        torch.testing.assert_close(found[name].x, states[layer + 1].flatten(0, 1), atol=0, rtol=0)
        assert found[name].position.tolist() == list(range(7)) * 5
        assert found[name].sample.tolist() == [s for s in range(5) for _ in range(7)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_hook_of_ones_own_makes_is_read(backend: Any) -> None:
    """As the next block reads it, and Hugging Face reports it."""
    module = gpt2()
    model, ids = wrap(module), torch.randint(4, 24, (2, 7))

    def add(_: nn.Module, __: Any, out: Any) -> Any:
        return (out[0] + 1, *out[1:]) if isinstance(out, tuple) else out + 1

    handle = module.transformer.h[0].register_forward_hook(add)
    given: Any = {"drop_first": False, "backend": backend, "progress": False}
    with torch.no_grad():
        wanted = module(input_ids=ids, output_hidden_states=True).hidden_states[1].flatten(0, 1)
    torch.testing.assert_close(capture(model, ids, "resid_post.0", **given).x, wanted)
    handle.remove()
    plain = capture(model, ids, "resid_post.0", **given).x
    torch.testing.assert_close(plain + 1, wanted)


def test_patch_states_equal_the_models_own(vision: LiveModel) -> None:
    """The last block's output, normalised, is what the vision transformer's heads read."""
    x = pictures(5)
    acts = capture(vision, x, "resid_post.3", batch_size=2, progress=False)
    with torch.no_grad():
        expected = vision.module.final_states(x)
        ours = vision.module.norm(acts.x).reshape(expected.shape)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("make", [gpt2, llama, bert, vit])
def test_backends_agree_at_every_hook_point(make: Callable[[], nn.Module]) -> None:
    model = wrap(make())
    inputs = pictures(4) if model.kind == "vision" else torch.randint(4, 24, (4, 9))
    names = model.hook_points()
    assert len(names) > 10
    traced, hooked = (
        capture(model, inputs, names, batch_size=3, backend=backend, progress=False)
        for backend in BACKENDS
    )
    for name in names:
        torch.testing.assert_close(traced[name].x, hooked[name].x, atol=1e-6, rtol=1e-6)


def test_input_side_is_the_previous_output(vision: LiveModel) -> None:
    """resid_pre of a block is resid_post of the one before, also by TransformerLens' name."""
    names = ["blocks.2.hook_resid_pre", "resid_post.1", "blocks.2.input"]
    found = capture(vision, pictures(), names, progress=False)
    assert list(found) == names
    assert found["blocks.2.hook_resid_pre"].hook_point == "resid_pre.2"
    for name in names:
        torch.testing.assert_close(found[name].x, found["resid_post.1"].x, atol=0, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_tuple_output_gives_its_first_tensor(stack: LiveModel, backend: Any) -> None:
    """A module that returns a tuple is read at its first tensor."""
    x = torch.randn(4, 6)
    found = capture(stack, x, ["pair", "pair.input"], backend=backend, progress=False)
    torch.testing.assert_close(found["pair"].x, 2 * found["pair.input"].x)


@pytest.mark.parametrize("backend", BACKENDS)
def test_later_modules_do_not_change_what_was_read(stack: LiveModel, backend: Any) -> None:
    """An in-place ReLU after the hook point does not zero the copy."""
    x = torch.randn(50, 6)
    assert bool((capture(stack, x, "pair.input", backend=backend, progress=False).x < 0).any())


class Turning(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks if float(x.sum()) > 0 else reversed(self.blocks):
            x = block(x)
        return x


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("by", [0.0, 3.0])
def test_modules_may_run_in_another_order_next_time(backend: Any, by: float) -> None:
    """The order learnt from one batch is no promise about the next, with edits or without."""
    torch.manual_seed(0)
    model, names = wrap(Turning()), ["blocks.0", "blocks.1", "blocks.2"]
    x = torch.rand(8, 4) * torch.tensor([1.0, 1, -1, 1, -1, -1, 1, -1])[:, None]
    with splice(model, "blocks.2", lambda v: v + by) if by else nullcontext():
        found = capture(model, x, names, batch_size=1, backend=backend, progress=False)
    for row in range(8):
        expected = {}
        value = x[row]
        for name in names if float(x[row].sum()) > 0 else reversed(names):
            value = model.get_module(name)(value) + (by if name == "blocks.2" else 0)
            expected[name] = value.detach()
        for name in names:
            torch.testing.assert_close(found[name].x[row], expected[name])


@pytest.mark.parametrize("backend", BACKENDS)
def test_shared_module_is_read_each_time_it_runs(backend: Any) -> None:
    """In every batch, application by application; a module that runs once has no steps."""
    torch.manual_seed(0)

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.between = nn.Linear(4, 4), nn.Tanh()

        def forward(self, x: Tensor) -> Tensor:
            return self.shared(self.between(self.shared(x)))

    module, x = Loop(), torch.randn(6, 4)
    found = capture(
        wrap(module), x, ["between", "shared"], batch_size=2, backend=backend, progress=False
    )
    first = module.shared(x).detach()
    last = module(x).detach()
    acts = found["shared"]
    assert acts.step is not None
    torch.testing.assert_close(acts.x[acts.step == 0], first)
    torch.testing.assert_close(acts.x[acts.step == 1], last)
    assert acts.step.tolist() == [0, 0, 1, 1] * 3
    assert acts.sample.tolist() == [0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5]
    assert "2 applications" in repr(acts)
    assert found["between"].step is None
    torch.testing.assert_close(found["between"].x, torch.tanh(first))


# One pass, no further than needed, nothing left behind


def count_runs(modules: dict[str, nn.Module]) -> tuple[Counter[str], list[Any]]:
    runs: Counter[str] = Counter()
    handles = [
        module.register_forward_hook(lambda *_, name=name: runs.update([name]))
        for name, module in modules.items()
    ]
    return runs, handles


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("names", [["blocks.2"], ["blocks.2", "blocks.0"]])
def test_nothing_after_the_last_hook_point_runs(
    stack: LiveModel, backend: Any, names: list[str]
) -> None:
    """Earlier modules run once per batch, later ones never, once a whole pass has shown that each runs once."""
    capture(stack, torch.randn(4, 6), names, batch_size=1, backend=backend, progress=False)
    capture(stack, torch.randn(1, 6), names, backend=backend, progress=False)
    stack.module.blocks[0](torch.zeros(1, 6))
    runs, handles = count_runs({str(i): block for i, block in enumerate(stack.module.blocks)})
    capture(stack, torch.randn(10, 6), names, batch_size=5, backend=backend, progress=False)
    for handle in handles:
        handle.remove()
    assert runs["0"] == runs["1"] == 2
    assert runs["3"] == runs["4"] == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_capture_leaves_the_model_as_it_was(backend: Any) -> None:
    """No hook stays, training mode comes back, weights keep their gradients."""
    module = vit()
    module.train()
    model = wrap(module)
    acts = capture(model, pictures(2), "resid_post.1", backend=backend, progress=False)
    assert not acts.x.requires_grad
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    module(pictures(2)).sum().backward()
    assert module.blocks[0].mlp.up.weight.grad is not None


def test_residual_drop_is_off_while_capturing() -> None:
    """A model in training mode is read as in evaluation."""
    model = wrap(vit())
    expected = capture(model, pictures(4), "resid_post.3", progress=False).x
    model.module.train()
    torch.testing.assert_close(
        capture(model, pictures(4), "resid_post.3", progress=False).x, expected, atol=0, rtol=0
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_captured_in_inference_mode_can_be_trained_on(vision: LiveModel, backend: Any) -> None:
    """People wrap whole notebooks in it; rows stay ordinary tensors."""
    with torch.inference_mode():
        acts = capture(vision, pictures(3), "resid_post.1", backend=backend, progress=False)
        text = capture(wrap(gpt2()), [[5, 6], [7]], "embed", drop_first=False, progress=False)
    for x in (acts.x, text.x, acts.subset([1, 2]).x):
        weight = torch.ones(16, requires_grad=True)
        (x * weight).sum().backward()
        assert weight.grad is not None


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("names", ["never", ["never", "blocks.1"]])
def test_module_that_never_runs_is_named(stack: LiveModel, backend: Any, names: Any) -> None:
    with pytest.raises(ValueError, match=r"`never`.* must run"):
        capture(stack, torch.randn(3, 6), names, backend=backend, progress=False)
    assert len(capture(stack, torch.randn(3, 6), "blocks.1", backend=backend, progress=False)) == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_error_inside_the_model_reaches_the_caller(stack: LiveModel, backend: Any) -> None:
    """A wrong shape is torch's own error, and hooks are gone afterwards."""
    with pytest.raises(RuntimeError, match="shape|size|mat1"):
        capture(stack, torch.randn(3, 5), "blocks.1", backend=backend, progress=False)
    assert not stack.module.blocks[1]._forward_hooks
    assert len(capture(stack, torch.randn(3, 6), "blocks.1", backend=backend, progress=False)) == 3


# Under edits


@pytest.mark.parametrize("backend", BACKENDS)
def test_edit_is_seen_where_it_is_made(vision: LiveModel, backend: Any) -> None:
    """Edits at a hook point that is read show, in their order, once each."""
    x, calls = pictures(3), Counter[str]()
    plain = capture(vision, x, "resid_post.1", backend=backend, progress=False).x

    def add(v: Tensor) -> Tensor:
        calls["add"] += 1
        return v + 5

    with splice(vision, "resid_post.1", add), splice(vision, "resid_post.1", lambda v: 2 * v):
        edited = capture(vision, x, "resid_post.1", backend=backend, progress=False)
    torch.testing.assert_close(edited.x, 2 * (plain + 5))
    assert calls["add"] == 1
    assert edited.context.policy["interventions"] == ["resid_post.1", "resid_post.1"]
    assert "resid_post.1" in repr(edited)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("where", ["resid_post.0", "resid_pre.1", "resid_post.1"])
def test_edit_is_seen_further_on(vision: LiveModel, backend: Any, where: str) -> None:
    """What is read after an edit is what a forward pass under that edit computes."""
    x, seen = pictures(3), []
    names = ["resid_post.2", "resid_post.1", "resid_pre.1"]
    with splice(vision, where, lambda v: v + 1.5):
        handle = vision.module.blocks[2].register_forward_hook(
            lambda _m, _a, out: seen.append(out.detach().clone())
        )
        vision(x)
        handle.remove()
        found = capture(vision, x, names, backend=backend, progress=False)
    torch.testing.assert_close(found["resid_post.2"].x, seen[0].flatten(0, 1), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_edits_know_the_tokens(language: LiveModel, backend: Any) -> None:
    """An edit in a capture is told positions and padding like in any forward pass."""

    def rows() -> Tensor:
        return capture(language, TEXTS[:2], "resid_post.1", backend=backend, progress=False).x

    plain = rows()
    with splice(language, "resid_post.1", lambda x: x + 0.01, positions="last"):
        moved = (rows() - plain).abs().sum(dim=1) > 0.05
    assert moved.nonzero().flatten().tolist() == [5, 14]  # of six and of nine rows the last


# Which rows


def test_first_token_of_a_decoder_is_dropped_by_default(language: LiveModel) -> None:
    acts = capture(language, TEXTS, "resid_post.1", progress=False)
    assert int(acts.position.min()) == 1
    assert acts.context.policy["drop_first"] is True
    assert acts.context.policy["n_dropped_first"] == len(TEXTS)
    assert "first tokens dropped" in repr(acts)
    kept = capture(language, TEXTS, "resid_post.1", drop_first=False, progress=False)
    assert len(kept) == len(acts) + len(TEXTS)
    assert "first tokens" not in repr(kept)


def test_beginning_of_text_is_stated_as_it_was(language: LiveModel) -> None:
    """Not as it was asked for: whether texts really began with BOS."""

    def stated(**how: Any) -> Any:
        return capture(language, TEXTS, "embed", progress=False, **how).context.policy

    assert stated()["texts_with_bos"] == "all"
    assert stated(add_bos=False)["texts_with_bos"] == "none"
    some = capture(language, [[1, 5, 6], [5, 6]], "embed", progress=False)
    assert some.context.policy["texts_with_bos"] == "some"
    assert stated()["padding"] == "right"
    assert stated()["context_length"] == 48


def test_encoders_and_pictures_keep_their_first_token(vision: LiveModel) -> None:
    encoder = capture(wrap(bert()), torch.randint(4, 24, (3, 5)), "resid_post.1", progress=False)
    assert len(encoder) == 15
    acts = capture(vision, pictures(2), "resid_post.1", progress=False)
    assert len(acts) == 2 * 69
    dropped = capture(vision, pictures(2), "resid_post.1", drop_first=True, progress=False)
    assert int(dropped.position.min()) == 1


def test_beginning_of_text_is_dropped_wherever_it_stands() -> None:
    """A BOS in the middle of given token ids is a sink as well."""
    model = wrap(gpt2(), tokenizer=words_tokenizer())
    acts = capture(model, [[1, 5, 6, 1, 7]], "resid_post.0", progress=False)
    assert acts.tokens.ids.tolist() == [5, 6, 7]


def test_rows_are_the_same_in_a_padded_batch_and_alone(language: LiveModel) -> None:
    together = capture(language, TEXTS, "resid_post.2", progress=False)
    for index, text in enumerate(TEXTS):
        alone = capture(language, text, "resid_post.2", progress=False)
        rows = together.x[together.sample == index]
        torch.testing.assert_close(rows, alone.x, atol=1e-6, rtol=1e-5)
    assert together.context.policy["n_dropped_padding"] > 0


def test_special_tokens_are_dropped_when_asked(language: LiveModel) -> None:
    ids = [[5, 2, 6, 7]]
    kept = capture(language, ids, "resid_post.0", drop_first=False, progress=False)
    left = capture(
        language, ids, "resid_post.0", drop_first=False, keep_special=False, progress=False
    )
    assert kept.tokens.ids.tolist() == [5, 2, 6, 7]
    assert left.tokens.ids.tolist() == [5, 6, 7]
    assert "special tokens dropped" in repr(left)
    assert left.context.policy["n_dropped_special"] == 1


def test_tokens_lead_back_to_the_text(language: LiveModel) -> None:
    """Every row's token, position and sample are those of the text it came from."""
    acts = capture(language, TEXTS, "resid_post.1", batch_size=2, progress=False)
    for index, text in enumerate(TEXTS):
        rows = (acts.sample == index).nonzero().flatten().tolist()
        assert [acts.tokens[row] for row in rows] == text.split()
        assert acts.position[rows].tolist() == list(range(1, 1 + len(rows)))
    assert acts.where(1) == "text 0, position 2: <s> the⟦cat⟧sat on the mat"


def test_patches_lead_back_to_the_picture(vision: LiveModel) -> None:
    """Rows name cls, registers and patches, and the pictures are at hand."""
    x = (pictures(3) * 255).round().to(torch.uint8)
    acts = capture(vision, x, "resid_post.1", progress=False)
    assert acts.tokens[:6] == ["cls", *(f"register {i}" for i in range(1, 5)), "patch 0,0"]
    assert acts.tokens[68] == "patch 7,7"
    assert acts.where(69 + 5 + 8 + 1) == "image 1, patch 1,1"
    assert torch.equal(acts.context.pictures, x)


def test_packed_windows_know_their_texts(language: LiveModel) -> None:
    """With packing every token still belongs to its text, and every window loses its first token."""
    acts = capture(language, TEXTS, "resid_post.1", pack=True, context_length=8, progress=False)
    assert acts.context.policy["packed"]
    assert "packed to 8 tokens" in repr(acts)
    assert int(acts.position.min()) >= 1
    for row in range(len(acts)):
        text = TEXTS[int(acts.sample[row])]
        expected = ["<s>", *text.split(), "</s>"][int(acts.position[row])]
        assert acts.tokens[row] == expected
    n_tokens = sum(len(text.split()) + 2 for text in TEXTS)
    n_windows = -(-n_tokens // 8)
    dropped = acts.context.policy["n_dropped_first"]
    assert len(TEXTS) <= dropped <= len(TEXTS) + n_windows
    assert len(acts) == n_tokens - dropped


def test_truncation_is_stated(language: LiveModel) -> None:
    """Texts longer than the context are cut, counted, and the repr says so."""
    acts = capture(language, TEXTS, "resid_post.1", context_length=5, progress=False)
    assert acts.context.policy["truncated"] == 2
    assert "2 cut at 5 tokens" in repr(acts)


def test_map_of_a_convolution_gives_a_row_per_cell(vision: LiveModel) -> None:
    """(batch, channels, height, width) becomes rows that name their cell."""
    x = pictures(2)
    acts = capture(vision, x, "embed.patch", progress=False)
    with torch.no_grad():
        expected = vision.module.embed.patch((x - 0.5) / 0.5)
    assert acts.tokens[9] == "patch 1,1"
    torch.testing.assert_close(acts.x[64 + 9], expected[1, :, 1, 1])


def test_pooled_vector_gives_a_row_per_sample() -> None:
    """(batch, d) stands at position 0 and is no attention sink."""
    model = wrap(bert())
    acts = capture(model, torch.randint(4, 24, (3, 5)), "pooler", drop_first=True, progress=False)
    assert acts.sample.tolist() == [0, 1, 2]
    assert acts.position.tolist() == [0, 0, 0]


def test_max_rows_is_exact(vision: LiveModel) -> None:
    seen = []
    acts = capture(
        vision, pictures(), "resid_post.0", batch_size=2, max_rows=200, progress=seen.append
    )
    assert len(acts) == 200
    assert [record.samples for record in seen] == [2, 4]


# Inputs of every kind


def test_plain_inputs_may_have_a_time_axis(stack: LiveModel) -> None:
    """(n, time, d) gives a row per step, (n, d) one per sample."""
    x = torch.randn(4, 3, 6)
    acts = capture(stack, x, "blocks.0", batch_size=3, progress=False)
    assert acts.position.tolist() == [0, 1, 2] * 4
    assert acts.where(5) == "sample 1, position 2"
    torch.testing.assert_close(acts.x, stack.module.blocks[0](x).flatten(0, 1).detach())


# Bad input


@pytest.mark.parametrize("store", [False, True])
def test_row_that_is_not_finite_is_named(store: bool, tmp_path: Path) -> None:
    """Hook point, row in the result, picture and patch are in the message."""
    module, seen = vit(), [0]

    def spoil(_module: nn.Module, _args: Any, out: Tensor) -> Tensor:
        first, seen[0] = seen[0], seen[0] + len(out)
        if first <= 7 < seen[0]:
            out = out.clone()
            out[7 - first, 5 + 9, 3] = float("nan")
        return out

    module.blocks[1].register_forward_hook(spoil)
    where = {"store": tmp_path / "store"} if store else {}
    how = {"batch_size": 3, "backend": "hooks", "progress": False}
    message = rf"`resid_post.1` must be finite, but row {7 * 69 + 14} .*image 7.*'patch 1,1'"
    with pytest.raises(ValueError, match=message):
        capture(wrap(module), pictures(), "resid_post.1", **how, **where)


def test_precision_that_overflows_is_named(stack: LiveModel) -> None:
    with pytest.raises(ValueError, match="float16 overflows"):
        capture(stack, torch.full((2, 6), 1e6), "blocks.0", dtype=torch.float16, progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hook_points": []}, "at least one hook point"),
        ({"hook_points": "resid_post.12"}, r"resid_post\.0"),
        ({"drop_first": "yes"}, r"`drop_first` must be one of \[True, False"),
        ({"inputs": torch.zeros(0, 3, 32, 32)}, "at least one image"),
    ],
)
def test_bad_settings_are_refused_before_work(
    vision: LiveModel, changes: dict[str, Any], message: str
) -> None:
    runs, handles = count_runs({"embed": vision.module.embed})
    call = {"inputs": pictures(2), "hook_points": "resid_post.0", "progress": False} | changes
    with pytest.raises((ValueError, TypeError), match=message):
        capture(vision, **call)
    handles[0].remove()
    assert not runs


def test_texts_without_a_row_left_are_refused(language: LiveModel) -> None:
    """All rows dropped is an error that says why, not an empty result."""
    with pytest.raises(ValueError, match=r"all were dropped.*first"):
        capture(language, [[5], [6]], "resid_post.0", progress=False)


def test_capture_that_would_not_fit_is_refused(
    vision: LiveModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first batch it is clear how much all of them need; the message says what would do."""
    monkeypatch.setattr("sae_nb.checks._values.available_memory", lambda: 100_000)
    with pytest.raises(MemoryError, match=r"store=<folder>"):
        capture(vision, pictures(100), "resid_post.0", batch_size=2, progress=False)


# While it runs


def test_callback_hears_of_every_batch(vision: LiveModel) -> None:
    seen: list[Any] = []
    capture(vision, pictures(10), "resid_post.0", batch_size=4, progress=seen.append)
    assert [record.samples for record in seen] == [4, 8, 10]
    assert [record.rows for record in seen] == [4 * 69, 8 * 69, 10 * 69]
    assert {record.n_samples for record in seen} == {10}


def test_interrupt_keeps_what_is_there(vision: LiveModel) -> None:
    """Ctrl-C goes on to the caller and leaves the batches that are done, marked as a part."""

    def stop(record: Any) -> None:
        if record.samples >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="interrupted after 4 samples"):
        capture(vision, pictures(), "resid_post.0", batch_size=2, progress=stop)
    acts = sn.interrupted()
    assert len(acts) == 4 * 69
    assert acts.context.policy["interrupted"]
    assert "interrupted" in repr(acts)


def test_interrupt_between_two_hook_points_keeps_whole_batches(
    vision: LiveModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first hook point has of the batch under way is left out."""
    add, n_added = Collector.add, Counter[str]()

    def adds(self: Collector, rows: Any) -> None:
        n_added["batches"] += 1
        if n_added["batches"] == 4:
            raise KeyboardInterrupt
        add(self, rows)

    monkeypatch.setattr(Collector, "add", adds)
    with pytest.raises(KeyboardInterrupt, match="interrupted after 2 samples"):
        capture(vision, pictures(), ["resid_post.0", "resid_post.1"], batch_size=2, progress=False)
    assert [len(acts) for acts in sn.interrupted().values()] == [2 * 69, 2 * 69]


@pytest.mark.slow
def test_two_threads_capture_right_values_from_one_model(vision: LiveModel) -> None:
    """nnsight is not thread-safe; the model's lock makes it so."""
    parts = [pictures(6) * scale for scale in (0.3, 0.6, 1.0)]
    names = ["resid_post.1", "attn_out.2"]
    expected = [capture(vision, part, names, backend="hooks", progress=False) for part in parts]
    found: dict[tuple[int, int], Any] = {}
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(8):
                backend = BACKENDS[(turn + number) % 2]
                found[number, turn] = capture(
                    vision, parts[number], names, batch_size=2, backend=backend, progress=False
                )
                vision(parts[number][:1])
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for (number, _), acts in found.items():
        for name in names:
            torch.testing.assert_close(acts[name].x, expected[number][name].x, atol=1e-6, rtol=1e-5)


def test_public_nnsight_object_traces_the_same_values(vision: LiveModel) -> None:
    """model.nnsight is one object, and people's own traces see what capture sees."""
    wrapped = vision.nnsight
    assert wrapped is vision.nnsight
    x = pictures(2)
    with vision.lock, torch.no_grad(), wrapped.trace(x):
        seen = wrapped.blocks[1].output.clone().save()
    acts = capture(vision, x, "resid_post.1", progress=False)
    torch.testing.assert_close(acts.x, seen.flatten(0, 1), atol=0, rtol=0)


def test_models_people_wrapped_in_nnsight_themselves_are_read() -> None:
    """Their object stays model.nnsight, and two wrappers of one module get along."""
    from nnsight import NNsight

    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    theirs = NNsight(module)
    model, x = wrap(theirs), torch.randn(5, 3)
    assert model.nnsight is theirs
    acts = capture(model, x, "0", progress=False)
    torch.testing.assert_close(acts.x, module[0](x).detach(), atol=0, rtol=0)
    with model.lock, torch.no_grad(), theirs.trace(x):
        seen = getattr(theirs, "0").output.clone().save()
    torch.testing.assert_close(acts.x, seen, atol=0, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_module_exchanged_since_the_last_capture_is_read(backend: Any) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    model, x = wrap(module), torch.randn(5, 3)
    capture(model, x, "1", backend=backend, progress=False)
    module[1] = nn.Tanh()
    acts = capture(model, x, "1", backend=backend, progress=False)
    torch.testing.assert_close(acts.x, module(x).detach())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_is_flat_over_200_traces() -> None:
    """At most 2 % more resident memory after 200 traces of six hook points."""
    before = """
        from sae_nb.capturing import capture
        from sae_nb.models import wrap
        from tests.models.small_models import small_vit

        model = wrap(small_vit(d_model=64, n_blocks=6))
        names, x = [f"resid_post.{layer}" for layer in range(6)], torch.rand(32, 3, 32, 32)
    """
    step = "capture(model, x, names, progress=False)"
    assert growth(before, step, warm=60, times=200) <= 1.02
