"""One re-entrant lock per torch module, which switches to evaluation mode; traces of one thread each."""

from __future__ import annotations

import functools
import threading
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from sae_nb.background import checkpoint

if TYPE_CHECKING:
    from nnsight import NNsight

Traced = TypeVar("Traced", bound="NNsight")

_LOCKS: weakref.WeakKeyDictionary[nn.Module, ModelLock] = weakref.WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()


class ModelLock:
    """A re-entrant lock around a module, as ``threading.RLock``, with training behaviour off meanwhile.

    The first entry puts every submodule in evaluation mode, the last exit puts back what was there. One nnsight
    object runs one trace at a time, so every trace and every plain forward of a module holds this. An error, or
    Ctrl-C, that leaves it ends what a trace was in the midst of.
    """

    def __init__(self, module: nn.Module) -> None:
        self.traces: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock: Any = threading.RLock()  # taken once, on the outermost entry
        self._module = weakref.ref(module)
        self._depth = 0
        self._were_training: list[nn.Module] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; on the outermost entry, switch to evaluation mode."""
        checkpoint()
        before = self._depth if self._lock._is_owned() else 0
        try:
            if before == 0:
                if not self._lock.acquire(blocking, timeout):
                    return False
                self._to_evaluation()
            self._depth = before + 1
            return True
        except BaseException:  # Ctrl-C in the midst of it
            self._back_to(before)
            raise

    def release(self) -> None:
        """Give the lock back; on the outermost exit, put the training flags back."""
        if not self._lock._is_owned():
            raise RuntimeError(
                "A lock is released by the thread that holds it, and this one does not."
            )
        to = self._depth - 1
        try:
            self._back_to(to)
        except BaseException:
            self._back_to(to)
            raise

    def __enter__(self) -> bool:
        """Take the lock."""
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the lock back."""
        to = self._depth - 1
        try:
            if kind is not None and to == 0:
                for trace in self.traces:
                    trace.end()
            self._back_to(to)
        except BaseException:
            self._back_to(to)
            raise

    def _to_evaluation(self) -> None:
        module = self._module()
        if module is not None:
            self._were_training = [part for part in module.modules() if part.training]
            for part in self._were_training:
                part.training = False

    def _back_to(self, depth: int) -> None:
        """Leave as many entries as are left at a depth; whatever was done of it before is not done twice."""
        if not self._lock._is_owned():
            return
        self._depth = depth
        if depth == 0:
            for part in self._were_training:
                part.training = True
            self._were_training = []
            self._lock.release()


def lock_of(module: nn.Module) -> ModelLock:
    """Return the one lock of a module, shared by everything that wraps it."""
    with _LOCKS_LOCK:
        if module not in _LOCKS:
            _LOCKS[module] = ModelLock(module)
        return _LOCKS[module]


def of_one_thread(wrapper: Traced) -> Traced:
    """Have an nnsight object's traces see only what their own thread runs, and end with their lock; return it.

    nnsight hands each call of a module to the trace that runs, whichever thread calls; and Ctrl-C while it
    clears a trace away leaves parts of it to the next one, which then fails or edits twice.
    """
    from nnsight.intervention.interleaver import Interleaver

    if type(wrapper.interleaver) is Interleaver:  # another is a runtime's own
        wrapper.interleaver.__class__ = _of_one_thread()
        lock_of(wrapper._module).traces.add(wrapper.interleaver)
    return wrapper


@functools.cache
def _of_one_thread() -> type[Any]:
    from nnsight.intervention.interleaver import Interleaver

    class OfOneThread(Interleaver):
        """A go-between of module and trace that passes by the calls of other threads."""

        _thread: int | None = None

        @property
        def interleaving(self) -> bool:
            """Whether this thread runs a trace."""
            return self._thread == threading.get_ident()

        @interleaving.setter
        def interleaving(self, on: bool) -> None:
            self._thread = threading.get_ident() if on else None

        def end(self) -> None:
            """Clear away what a trace of this thread left when it was interrupted in its clearing."""
            if self._thread in (None, threading.get_ident()):
                self.interleaving = False
                self.cancel()

    return OfOneThread
