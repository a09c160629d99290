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
    seen: list[object] = []
    return seen, seen.append, lambda error: seen.append(repr(error))


def test_stale_answer_is_dropped() -> None:
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


@pytest.mark.slow
def test_what_plotly_and_sklearn_both_load_is_there_before_any_work() -> None:
    """Each loads narwhals' versions in an order of its own; two threads doing so end as a deadlock."""
    script = "import sys; import sae_nb_widgets.panel._background; print('narwhals.stable.v2' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "True"
