"""Work off the main thread: the newest request wins, errors speak, nothing outlives its panel."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from sae_nb_widgets.panel._background import Background

from tests.widgets.made import Held


def collector():
    """A list and the callbacks that fill it."""
    seen: list[object] = []
    return seen, seen.append, lambda error: seen.append(repr(error))


def test_answer_arrives_once_and_the_work_runs_elsewhere() -> None:
    """Off the calling thread, then done."""
    background = Background(lambda _: None)
    seen, done, failed = collector()
    background.submit(lambda: threading.current_thread().name, done, failed)
    background.wait()
    assert seen == ["sae_nb main"]


def test_stale_answer_is_dropped() -> None:
    """A request that is overtaken while running never reports."""
    background = Background(lambda _: None)
    seen, done, failed = collector()
    slow = Held("old")
    background.submit(slow, done, failed)
    assert slow.begun.wait(10)
    background.submit(lambda: "new", done, failed)
    slow.go.set()
    background.wait()
    assert seen == ["new"]


def test_requests_not_started_are_forgotten_for_the_newest() -> None:
    """A slider dragged over fifty values computes the first and the last."""
    background = Background(lambda _: None)
    seen, done, failed = collector()
    ran: list[int] = []
    first = Held(lambda: ran.append(0) or 0)

    def later(i: int):
        return lambda: ran.append(i) or i

    background.submit(first, done, failed)
    assert first.begun.wait(10)
    for i in range(1, 51):
        background.submit(later(i), done, failed)
    first.go.set()
    background.wait()
    assert ran == [0, 50]
    assert seen == [50]


def test_channels_do_not_displace_each_other() -> None:
    """Two kinds of work, both answered."""
    background = Background(lambda _: None)
    seen, done, failed = collector()
    background.submit(lambda: "a", done, failed, "one")
    background.submit(lambda: "b", done, failed, "two")
    background.wait()
    assert sorted(seen) == ["a", "b"]


def test_errors_in_work_and_in_drawing_are_handed_over() -> None:
    """Neither dies silently."""
    background = Background(lambda _: None)
    seen, done, failed = collector()
    background.submit(lambda: 1 / 0, done, failed)
    background.wait()
    background.submit(lambda: 1, lambda _: [][1], failed)
    background.wait()
    assert seen == [
        "ZeroDivisionError('division by zero')",
        "IndexError('list index out of range')",
    ]


def test_busy_is_told_when_work_begins_and_when_all_is_done() -> None:
    """True first, False last."""
    told: list[bool] = []
    background = Background(told.append)
    _, done, failed = collector()
    background.submit(lambda: 1, done, failed)
    background.wait()
    assert told[0] is True
    assert told[-1] is False


def test_waiting_has_an_end() -> None:
    """Rule, given, do."""
    background = Background(lambda _: None)
    _, done, failed = collector()
    release = threading.Event()
    background.submit(lambda: release.wait(10), done, failed)
    with pytest.raises(TimeoutError, match=r"within 0.05 s"):
        background.wait(0.05)
    release.set()
    background.wait()


def test_waiting_for_whoever_may_ask_has_an_end() -> None:
    """A lock that another thread holds is waited for, no longer than was said."""
    background, changing, release = Background(lambda _: None), threading.RLock(), threading.Event()
    held = threading.Event()

    def change() -> None:
        with changing:
            held.set()
            release.wait(10)

    thread = threading.Thread(target=change)
    thread.start()
    assert held.wait(10)
    with pytest.raises(TimeoutError, match=r"within 0.05 s"):
        background.wait(0.05, after=changing)
    release.set()
    background.wait(after=changing)
    thread.join()


def test_nothing_is_handed_over_after_closing() -> None:
    """An answer that comes late finds nobody, and new work is not begun."""
    background = Background(lambda _: None)
    seen, done, failed = collector()
    slow = Held("late")
    background.submit(slow, done, failed)
    assert slow.begun.wait(10)
    thread = next(t for t in threading.enumerate() if t.name == "sae_nb main")
    background.close()
    slow.go.set()
    thread.join(10)
    background.submit(lambda: "after", done, failed)
    background.wait()
    assert seen == []
    assert not thread.is_alive()


def test_with_a_running_loop_answers_arrive_on_its_thread() -> None:
    """As in a notebook: drawing happens on the main thread."""
    where: list[str] = []

    async def cell() -> None:
        background = Background(lambda _: None)
        arrived = asyncio.Event()

        def done(_: object) -> None:
            where.append(threading.current_thread().name)
            arrived.set()

        background.submit(lambda: 1, done, lambda error: where.append(repr(error)))
        await asyncio.wait_for(arrived.wait(), 10)

    asyncio.run(cell())
    assert where == [threading.main_thread().name]


def test_what_is_forgotten_is_never_heard_of() -> None:
    """Neither the answer nor the error of what runs, and what waits for its turn never starts."""
    heard: list[str] = []

    def fails() -> None:
        raise RuntimeError("closed")

    broken = Held(fails)
    background = Background(lambda busy: heard.append(f"busy {busy}"))
    background.submit(broken, lambda _: heard.append("answer"), lambda e: heard.append(str(e)))
    assert broken.begun.wait(10)
    background.submit(lambda: heard.append("ran"), lambda _: None, lambda e: heard.append(str(e)))
    background.forget()
    broken.go.set()
    background.wait(10)
    assert heard == ["busy True", "busy True", "busy False"]
    background.submit(lambda: 1, lambda _: heard.append("answer"), lambda e: heard.append(str(e)))
    background.wait(10)
    assert "answer" in heard


def test_a_cell_can_wait_for_its_own_panel() -> None:
    """wait() delivers by itself while the loop is held up by the cell that calls it."""
    seen: list[int] = []

    async def cell() -> None:
        background = Background(lambda _: None)
        background.submit(lambda: 42, seen.append, lambda error: seen.append(-1))
        background.wait(10)
        seen.append(0)

    asyncio.run(cell())
    assert seen == [42, 0]


def test_busy_that_is_told_last_is_what_is_so() -> None:
    """Work may end while the thread that asked for it is still saying that it began."""
    told: list[bool] = []
    release, ended = threading.Event(), threading.Event()

    def hear(busy: bool) -> None:
        if busy and told == [True]:  # the second request, of a channel whose thread runs
            release.set()
            ended.wait(0.2)
        told.append(busy)
        if not busy:
            ended.set()

    background = Background(hear)
    _, done, failed = collector()
    background.submit(lambda: release.wait(10), done, failed)
    background.submit(lambda: 1, done, failed)
    background.wait()
    assert ended.wait(10)
    assert told[-1] is False


def test_what_plotly_and_sklearn_both_load_is_there_before_any_work() -> None:
    """Each loads narwhals' versions in an order of its own; two threads doing so end as a deadlock."""
    script = "import sys; import sae_nb_widgets.panel._background; print('narwhals.stable.v2' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "True"
