"""The lock between training and panels starves nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from sae_nb.training._control import FairLock

PATIENCE = 20.0


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_lock_is_free_after_as_many_exits_as_entries() -> None:
    lock = FairLock()
    with lock:
        with lock:
            assert lock.locked
        assert lock.locked
    assert not lock.locked


def test_lock_excludes() -> None:
    lock, total = FairLock(), [0]

    def work() -> None:
        for _ in range(300):
            with lock:
                seen = total[0]
                threading.Event().wait(0)  # give others every chance to step in
                total[0] = seen + 1

    threads = [in_thread(work) for _ in range(4)]
    for thread in threads:
        thread.join(PATIENCE)
    assert total[0] == 1200


def test_asker_gets_the_turn_after_the_one_under_way() -> None:
    """A loop that takes the lock again at once lets a waiting thread in between two turns."""
    lock, ended, turns = FairLock(), threading.Event(), [0]

    def loop() -> None:
        while not ended.is_set():
            with lock:
                turns[0] += 1

    thread = in_thread(loop)
    waits = []
    for _ in range(50):
        before = turns[0]
        with lock:
            waits.append(turns[0] - before)
    ended.set()
    thread.join(PATIENCE)
    # The turn under way when asking, those taken before the asker was in the queue, no more.
    assert sorted(waits)[len(waits) // 2] <= 2


def test_same_thread_may_enter_again() -> None:
    lock, entered = FairLock(), threading.Event()

    def other() -> None:
        with lock:
            entered.set()

    with lock:
        with lock:
            thread = in_thread(other)
        assert lock.locked
        assert not entered.wait(0.05)
    assert entered.wait(PATIENCE)
    thread.join(PATIENCE)
    assert not lock.locked


def test_waiter_that_gives_up_does_not_block_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = FairLock()
    held, let_go, entered = threading.Event(), threading.Event(), threading.Event()

    def holder() -> None:
        with lock:
            held.set()
            let_go.wait(PATIENCE)

    def last() -> None:
        with lock:
            entered.set()

    first = in_thread(holder)
    assert held.wait(PATIENCE)
    with monkeypatch.context() as patch:

        def interrupted(timeout: float | None = None) -> None:
            raise KeyboardInterrupt

        patch.setattr(lock._condition, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lock.__enter__()
    third = in_thread(last)
    let_go.set()
    assert entered.wait(PATIENCE)
    first.join(PATIENCE)
    third.join(PATIENCE)
