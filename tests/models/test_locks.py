"""One lock per module, re-entrant, with training behaviour off while it is held."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import CodeType, FrameType

import pytest
import torch
from torch import Tensor, nn

from sae_nb.capturing import capture
from sae_nb.models import LiveModel, _lock, wrap
from sae_nb.models._interventions import Intervention
from sae_nb.models._lock import lock_of
from sae_nb.steering import steer


def test_wrappers_of_one_module_share_a_lock_and_others_do_not() -> None:
    """Two live models of one module must not run it at once."""
    module = nn.Linear(2, 2)
    assert wrap(module).lock is wrap(module).lock
    assert wrap(module).lock is not wrap(nn.Linear(2, 2)).lock


def test_it_is_reentrant_and_keeps_others_out() -> None:
    """The same thread enters again; another waits until the last exit."""
    lock = lock_of(nn.Linear(2, 2))
    entered = threading.Event()

    def other() -> None:
        with lock:
            entered.set()

    with lock, lock:
        thread = threading.Thread(target=other)
        thread.start()
        assert not entered.wait(0.05)
    assert entered.wait(60)
    thread.join()
    assert lock.acquire(blocking=False)
    lock.release()


def test_training_mode_is_off_inside_and_exactly_restored() -> None:
    """A module whose parts are in different modes gets each part's mode back."""
    module = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2)))
    module.train()
    module[1].eval()
    before = [part.training for part in module.modules()]
    with lock_of(module):
        with lock_of(module):
            assert not any(part.training for part in module.modules())
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == before


def test_the_mode_is_restored_after_an_error() -> None:
    """A failing forward leaves the module as it was."""
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2)).train()
    model = wrap(module)
    try:
        model(torch.zeros(1, 5))
    except RuntimeError:
        failed = True
    assert failed
    assert all(part.training for part in module.modules())
    assert model.lock.acquire(blocking=False)
    model.lock.release()


def test_wrapping_a_module_being_trained_reads_it_without_dropout() -> None:
    """Answers are deterministic, and the next training step still drops."""
    module = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)).train()
    model = wrap(module)
    assert module.training
    x = torch.randn(4, 8)
    assert torch.equal(model(x), model(x))
    assert torch.equal(model(x), module[0](x).detach())
    assert (module(x) == 0).any()


@pytest.mark.slow
def test_a_lock_does_not_keep_its_module_alive() -> None:
    """Locks are held weakly by module: dropping the model frees its memory."""
    module = nn.Linear(2, 2)
    wrap(module)(torch.zeros(1, 2))
    ref = weakref.ref(module)
    del module
    gc.collect()
    assert ref() is None


def test_threads_running_one_model_agree() -> None:
    """Forward passes with and without edits from several threads never mix."""
    from sae_nb.models._interventions import Intervention

    module = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    plain, edited = wrap(module), wrap(module)
    edited.interventions.append(Intervention(edited.hook_point("0"), lambda x, _s: x + 1))
    x = torch.randn(16, 8)
    expected = {id(plain): plain(x), id(edited): edited(x)}
    wrong: list[int] = []

    def work(model) -> None:
        for _ in range(60):
            if not torch.equal(model(x), expected[id(model)]):
                wrong.append(1)

    threads = [threading.Thread(target=work, args=(m,)) for m in (plain, edited, plain)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("given", [False, True], ids=["module", "nnsight object"])
def test_a_module_called_directly_is_no_part_of_another_threads_trace(given: bool) -> None:
    """As in a cell, while a panel measures: the trace keeps its own values, and the call gives the module's."""
    from nnsight import NNsight

    module = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    model = wrap(NNsight(module) if given else module)
    x, another = torch.randn(4, 8), torch.randn(4, 8)
    expected, expected_of_another = module(x), module(another)
    inside, called = threading.Event(), threading.Event()

    def wait(module: nn.Module, args: object) -> None:
        if threading.current_thread() is tracing:
            inside.set()
            assert called.wait(60)

    read: list[Tensor] = []

    def trace() -> None:
        with torch.no_grad(), model.nnsight.trace(x):
            kept = model.nnsight[1].output.save()
        read.append(kept)

    handle = module[0].register_forward_pre_hook(wait)
    tracing = threading.Thread(target=trace)
    tracing.start()
    try:
        assert inside.wait(60)
        direct = module(another)
        captured = capture(model, another, "1", progress=False)
    finally:
        called.set()
        tracing.join()
        handle.remove()
    assert torch.equal(direct, expected_of_another)
    assert torch.allclose(captured.x[: len(another)], expected_of_another, atol=1e-6)
    assert torch.equal(read[0], expected)


def clears_traces(code: CodeType) -> bool:
    """Whether nnsight begins a trace or clears it away here."""
    names = ("cancel", "interleave", "__enter__", "__exit__", "start")
    return "nnsight" in code.co_filename and code.co_name in names


def locks(code: CodeType) -> bool:
    """Whether a model's lock is taken or given back here."""
    return code.co_filename == _lock.__file__


def puts_in(code: CodeType) -> bool:
    """Whether an edit is put in force here, or taken out, in code that holds a model's lock or asks for it."""
    names = ("_contexts.py", "_interventions.py", "_attribute_patch.py")
    path = Path(code.co_filename)
    return "sae_nb" in path.parts and path.name in names


class CtrlC:
    """Ctrl-C at the n-th line of some code."""

    def __init__(self, n: int, of: Callable[[CodeType], bool]) -> None:
        self.n, self.of, self.seen = n, of, 0

    def __call__(self, frame: FrameType, event: str, arg: object) -> object:
        return self._line if self.of(frame.f_code) else None

    def _line(self, frame: FrameType, event: str, arg: object) -> object:
        if event == "line":
            self.seen += 1
            if self.seen == self.n:
                raise KeyboardInterrupt
        return self._line

    def __enter__(self) -> CtrlC:
        self._before = sys.gettrace()
        sys.settrace(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)


def test_ctrl_c_while_nnsight_clears_a_trace_away_leaves_nothing_to_the_next() -> None:
    """At any of its lines: what is edited and what is captured afterwards is what it always was."""
    model, x = wrap(nn.Sequential(nn.Linear(3, 3), nn.ReLU())), torch.eye(3)
    edit = Intervention(model.hook_point("0"), lambda h, _: h + 1, backend="nnsight")

    def edited() -> Tensor:
        try:
            model.interventions.append(edit)
            return model(x)
        finally:
            model.interventions.clear()

    def captured() -> Tensor:
        return capture(model, x, "0", progress=False).x

    whole, rows = edited(), captured()
    with CtrlC(0, clears_traces) as counted:
        edited()
    assert counted.seen > 40
    for n in range(1, counted.seen + 1):
        with CtrlC(n, clears_traces), pytest.raises(KeyboardInterrupt):
            edited()
        assert torch.equal(captured(), rows), n
        assert torch.equal(edited(), whole), n


def test_ctrl_c_while_a_lock_is_taken_or_given_back_leaves_it_free() -> None:
    """Another thread gets it, and the module trains as before.

    Three lines are left, at which no real key press is answered or only in the instant before the first line of
    leaving: the return from entering, and the two before it is being left.
    """
    x = torch.eye(3)

    def fresh() -> LiveModel:
        return wrap(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)).train())

    def in_order(model: LiveModel) -> bool:
        got: list[bool] = []
        thread = threading.Thread(target=lambda: got.append(model.lock.acquire(timeout=0.1)))
        flags = [part.training for part in model.module.modules()]
        thread.start()
        thread.join()
        return bool(got) and got[0] and all(flags)

    fresh()(x)  # what is made once is made
    model = fresh()
    with CtrlC(0, locks) as counted:
        model(x)
    left = []
    for n in range(1, counted.seen + 1):
        model = fresh()
        with CtrlC(n, locks), pytest.raises(KeyboardInterrupt):
            model(x)
        if not in_order(model):
            left.append(n)
    assert counted.seen > 30
    assert len(left) <= 3, left


def test_ctrl_c_while_an_edit_is_put_in_or_taken_out_leaves_no_edit() -> None:
    """At any line but the first of leaving: the module gives what it gave, and so does the edit."""
    module, x = nn.Sequential(nn.Linear(3, 3), nn.ReLU()), torch.eye(3)

    def edited(model: LiveModel) -> Tensor:
        with steer(model, "0", direction=torch.ones(3), by=2.0):
            return model.module(x)

    model = wrap(module)
    plain, whole, left = module(x), edited(model), []
    edited(model)  # what is made once is made
    with CtrlC(0, puts_in) as counted:
        edited(model)
    for n in range(1, counted.seen + 1):
        with CtrlC(n, puts_in), pytest.raises(KeyboardInterrupt):
            edited(model)
        if model.interventions or not torch.equal(module(x), plain):
            left.append(n)
            module = deepcopy(module)
            model = wrap(module)
            edited(model)
        assert torch.equal(edited(model), whole), n
        assert torch.equal(module(x), plain), n
    assert counted.seen > 150
    assert len(left) <= 1, left
