"""A script ends as it should whatever is under way: its own exit code, nothing said, no process left.

`SAE_NB_ENDINGS=10 pytest tests/reliability/test_endings.py` ends every work after each pause that often, by turns
in every way (half an hour); the default is one script for each kind of work.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from ending_works import WORKS
from warm_python import WarmPython

REPETITIONS = int(os.environ.get("SAE_NB_ENDINGS", "0"))
CODE = f"""
import os, sys
os.setsid()
sys.path.insert(0, {str(Path(__file__).parent)!r})
import ending_works
ending_works.main(*sys.argv[1:])
"""
PAUSES = ("0", ".05", ".3")
WAYS = {"return": 0, "raise": 1, "exit": 3, "interrupt": -signal.SIGINT}
LAST_WORDS = {"raise": "ValueError: the script's own", "interrupt": "KeyboardInterrupt"}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="signals and process groups"),
]


def left_of(group: int, patience: float = 0.0) -> list[int]:
    """Processes of a group that are left after so many seconds; they are ended."""
    end = time.monotonic() + patience
    while (found := in_group(group)) and time.monotonic() < end:
        time.sleep(0.1)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return found


def in_group(group: int) -> list[int]:
    """Processes of a script and of what it began."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            # Of its session: UMAP has a group of its own, which Ctrl-C does not reach.
            if os.getsid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def fault(python: WarmPython, work: str, pause: str, way: str) -> str | None:
    """What was wrong with the end of a script."""
    script = python.start(CODE, work, pause, way)
    done = script.wait()
    said = done.stderr
    left, lines = left_of(script.pid), said.strip().splitlines()
    expected = [LAST_WORDS[way]] if way in LAST_WORDS else []
    own = lines[-1:] == expected and said.count("Traceback") == len(expected)
    if done.returncode == WAYS[way] and own and not left:
        return None
    return (
        f"{work} after {pause} s by {way}: code {done.returncode}, left {left}, said {said[-2000:]}"
    )


@pytest.mark.timeout(200 + 60 * REPETITIONS)
@pytest.mark.parametrize("work", list(WORKS))
def test_a_script_ends_as_it_should(warm_python: WarmPython, work: str) -> None:
    """Every work in the background, ended by turns after every pause in every way."""
    place, ways = list(WORKS).index(work), list(WAYS)
    tries = [(pause, turn + at) for turn in range(REPETITIONS) for at, pause in enumerate(PAUSES)]
    faults = [
        fault(warm_python, work, pause, ways[(place + turn) % 4])
        for pause, turn in tries or [(PAUSES[place % 3], 0)]
    ]
    assert [one for one in faults if one] == []


PANELS = """
import torch, sae_nb as sn, sae_nb_widgets as sw
rows = torch.randn(256, 16)
run = sn.start_training(sn.TopK(16, 64, 4), rows, sn.TrainConfig(steps=100_000, batch_size=64))
panels = [sw.TrainingMonitor(run), sw.ConceptMap(sn.TopK(16, 64, 4)), sw.SuperpositionToy()]
panels[0]
"""


@pytest.mark.parametrize("way", ["shutdown", "terminate"])
def test_a_closed_kernel_leaves_nothing(way: str, tmp_path: Path) -> None:
    """Panels open, a training and a UMAP under way: the kernel ends without a word, and its processes with it."""
    from jupyter_client.manager import KernelManager

    manager: Any = KernelManager(kernel_name="python3")
    with (tmp_path / "said").open("w+") as said:
        manager.start_kernel(
            stdout=said, stderr=said, cwd=str(tmp_path), extra_arguments=["--log-level=ERROR"]
        )
        process = manager.provisioner.process
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=100)
        reply = client.execute_interactive(PANELS, timeout=200, output_hook=lambda _: None)
        assert reply["content"]["status"] == "ok", reply["content"]
        if way == "shutdown":
            client.shutdown()
        else:
            manager.signal_kernel(signal.SIGTERM)
        code = process.wait(60)
        client.stop_channels()
        manager.cleanup_resources()
        # A process whose parent was killed ends when it sees that.
        left = left_of(process.pid, patience=0 if way == "shutdown" else 10)
        said.seek(0)
        words = said.read()
    assert code == (0 if way == "shutdown" else -signal.SIGTERM)
    assert (left, words) == ([], "")
