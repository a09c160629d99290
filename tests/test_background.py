"""Work beside the main thread has ended before Python is taken down, however it comes to that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from typing import Any

import pytest

from sae_nb import background
from sae_nb.background import Task, checkpoint

BEGINNING = """
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts tests may have it ignored
from sae_nb import background
from sae_nb.background import Task, checkpoint
def say(word):
    os.write(1, word.encode() + b" ")
def steps():
    try:
        while True:
            checkpoint()
            time.sleep(0.01)
    finally:
        say("gone")
"""


def started(code: str) -> subprocess.Popen[str]:
    """A script that begins as above."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", BEGINNING + code], stdout=pipe, stderr=pipe, text=True
    )


def ended(code: str) -> tuple[int, str, str]:
    """What a script gave and said."""
    script = started(code)
    out, err = script.communicate(timeout=60)
    return script.returncode, out.strip(), err


WAITING = """
from concurrent.futures import Future
def wait():
    try:
        background.result_of(Future())
    finally:
        say("gone")
Task("waiting", wait)
time.sleep(0.1)
"""


def test_work_that_waits_for_a_result_ends_with_the_process() -> None:
    """Nothing would ever come; and what is cancelled by its maker ends the waiting, too."""
    code, out, err = ended(WAITING)
    assert (code, out, err) == (0, "gone", "")
    future: Future[int] = Future()
    future.cancel()
    with pytest.raises(background.GivenUp):
        background.result_of(future)
    assert not background._awaited


@pytest.mark.parametrize(
    ("last", "code", "said"),
    [
        ("", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("raise ValueError('its own')", 1, "ValueError: its own"),
        ("os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT, "KeyboardInterrupt"),
    ],
)
def test_work_ends_at_its_next_checkpoint(last: str, code: int, said: str) -> None:
    """After which the process ends as its script did."""
    given, out, err = ended(f"Task('steps', steps)\n{last}")
    assert (given, out) == (code, "gone")
    assert err.strip().splitlines()[-1:] == ([said] if said else [])


@pytest.mark.slow
def test_a_step_under_way_is_done_first() -> None:
    """Whatever stops work, it is not cut in the middle of a step."""
    assert ended("Task('step', lambda: (time.sleep(0.3), say('done')))") == (0, "done", "")


def test_work_with_a_way_to_stop_is_asked_and_ends_by_itself() -> None:
    """Checkpoints do not end it: a training is to keep its last step."""
    code = """
asked = threading.Event()
def work():
    asked.wait()
    checkpoint()
    say("whole")
Task("training", work, stop=asked.set)
"""
    assert ended(code) == (0, "whole", "")


@pytest.mark.slow
def test_what_begins_while_the_process_ends_is_ended_too() -> None:
    """A step under way may start a process."""
    code = """
def later():
    time.sleep(0.2)
    Task("second", steps)
Task("first", later)
"""
    assert ended(code) == (0, "gone", "")


def test_an_error_of_work_is_printed_and_the_others_end() -> None:
    """It is not the process's."""
    code, out, err = ended("Task('bad', lambda: 1 / 0)\nTask('steps', steps)")
    assert (code, out) == (0, "gone")
    assert "ZeroDivisionError" in err
    assert "sae_nb bad" in err


@pytest.mark.slow
def test_ctrl_c_while_the_process_ends_cuts_no_step() -> None:
    """A thread left inside torch would abort it."""
    pipe = subprocess.PIPE
    code = """
asked = threading.Event()
def ask():  # Ctrl-C is handled by now
    if not asked.is_set():
        asked.set()
        say("ending")
Task("step", lambda: (os.read(0, 1), say("done")), stop=ask)
"""
    command = [sys.executable, "-c", BEGINNING + code]
    script = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert script.stdout is not None
    assert script.stdout.read(6) == "ending"
    for _ in range(20):
        time.sleep(0.01)
        script.send_signal(signal.SIGINT)
    out, err = script.communicate("x", timeout=60)  # only now is the step done
    assert (script.returncode, out.strip(), err) == (0, "done", "")


def test_a_long_wait_says_for_what_and_lets_go_on_ctrl_c() -> None:
    """With the code of an interrupted command."""
    script = started(
        "background.SILENT_SECONDS = 0.0\nTask('measuring', lambda: time.sleep(50))\nsay('ending')"
    )
    assert script.stderr is not None
    line = script.stderr.readline()
    assert line == "Waiting for a step of: sae_nb measuring. Ctrl-C ends at once.\n"
    script.send_signal(signal.SIGINT)
    assert script.wait(60) == 128 + signal.SIGINT
    script.communicate()


@pytest.mark.slow
def test_ctrl_c_is_remembered_though_a_thread_runs_exec() -> None:
    """Python's own note of it does not survive that: a shell's loop would go on."""
    code = """
def imports():
    time.sleep(0.2)
    exec("1")
Task("imports", imports)
os.kill(os.getpid(), signal.SIGINT)
"""
    assert ended(code)[0] == -signal.SIGINT


@pytest.mark.slow
def test_ctrl_c_ends_a_wait_and_not_the_work() -> None:
    """`Thread.join` would take the thread for ended, and the process would not wait for it."""
    code = """
interrupted = threading.Event()
task = Task("step", lambda: (interrupted.wait(), say("done")))
try:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    task.wait()
except KeyboardInterrupt:
    say("alive" if task.alive else "lost")
interrupted.set()
"""
    assert ended(code) == (0, "alive done", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_waits_for_none_of_its_parents_work() -> None:
    """Their threads are not in it; its own are ended like any other's."""
    code = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: a fork beside threads
Task("steps", steps)
if os.fork() == 0:
    Task("its own", steps)
else:
    os.wait()
    say("parent")
"""
    assert ended(code) == (0, "gone parent gone", "")


def test_checkpoints_do_nothing_where_no_task_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person's own `atexit` computes is computed."""
    monkeypatch.setattr(background, "_ending", True)
    checkpoint()


def test_work_that_gets_no_thread_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the process would never end."""

    def refused(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(RuntimeError, match="new thread"):
        Task("never", print)
    assert not background._tasks


def test_its_own_thread_does_not_wait_for_itself() -> None:
    """It would for ever."""
    seen: list[bool] = []
    tasks: list[Task] = []
    ready = threading.Event()
    tasks.append(Task("own", lambda: (ready.wait(), seen.append(tasks[0].wait()))))  # type: ignore[arg-type]
    ready.set()
    assert tasks[0].wait(10)
    assert seen == [False]
