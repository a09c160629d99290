"""Python processes that start in milliseconds: forked from one that has imported what takes seconds.

`WarmPython().run(code, …)` is `subprocess.run([sys.executable, "-c", code, …])` for tests that need a process
of its own, to be killed or to end, and not a fresh one: torch, numba and nnsight are imported already, and
nothing was computed yet. Numba has two threads at most; its layer is still the child's to choose.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 240.0


class WarmPython:
    """The process that the others are forked from; it starts with the first of them."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[str] | None = None

    def run(
        self, code: str, *arguments: object, timeout: float = PATIENCE_SECONDS, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `code` with `sys.argv[1:] = arguments` and more environment; what it gave and said."""
        return self.start(code, *arguments, **environment).wait(timeout)

    def start(self, code: str, *arguments: object, **environment: str) -> Started:
        """As `run`, without waiting. One at a time."""
        server = self._running()
        folder = Path(tempfile.mkdtemp(prefix="warm-python-"))
        order = {"code": code, "arguments": [str(argument) for argument in arguments]}
        order |= {"environment": dict(os.environ) | environment, "folder": str(folder)}
        order |= {"directory": os.getcwd()}
        print(json.dumps(order), file=server.stdin, flush=True)
        return Started(int(server.stdout.readline()), server, folder)

    def close(self) -> None:
        """End the process."""
        if self._server is not None:
            self._server.kill()
            self._server.communicate()

    def _running(self) -> subprocess.Popen[str]:
        if self._server is None:
            pipe = subprocess.PIPE
            # Numba counts its threads when it is imported; our loops then use as many as torch does.
            threads = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
            command = [sys.executable, __file__]
            self._server = subprocess.Popen(
                command, env=threads, stdin=pipe, stdout=pipe, text=True
            )
        return self._server


class Started:
    """A process that runs."""

    def __init__(self, pid: int, server: subprocess.Popen[str], folder: Path) -> None:
        self.pid, self._server, self._folder = pid, server, folder
        self._done: subprocess.CompletedProcess[str] | None = None

    def poll(self) -> int | None:
        """None while it runs, then what it gave."""
        if self._done is None and (self._folder / "status").exists():
            self.wait()
        return None if self._done is None else self._done.returncode

    def wait(self, timeout: float = PATIENCE_SECONDS) -> subprocess.CompletedProcess[str]:
        """What it gave and said; killed and refused where it takes longer."""
        end = time.monotonic() + timeout
        while self._done is None:
            status = self._folder / "status"
            if status.exists():
                said = [(self._folder / name).read_text() for name in ("out", "err")]
                self._done = subprocess.CompletedProcess([], int(status.read_text()), *said)
            elif time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired("warm python", timeout)
            else:
                time.sleep(0.005)
        return self._done


# --- the process itself ---------------------------------------------------------------------------


def serve() -> dict[str, Any] | None:
    """Fork for every line of orders; an order in the child, None in the parent when there are no more."""
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            return order
        print(child, flush=True)
        given = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        partial = Path(order["folder"]) / "partial"
        partial.write_text(str(given))
        partial.replace(partial.with_name("status"))
    return None


def become(order: dict[str, Any]) -> None:
    """Give this process the surroundings of the order."""
    import numba

    for handle, name in ((0, os.devnull), (1, "out"), (2, "err")):
        flags = os.O_RDONLY if handle == 0 else os.O_WRONLY | os.O_CREAT
        os.dup2(os.open(Path(order["folder"]) / name, flags), handle)
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ.update(order["environment"])
    numba.config.THREADING_LAYER = os.environ.get("NUMBA_THREADING_LAYER", "default")
    sys.argv = ["-c", *order["arguments"]]


if __name__ == "__main__":
    import nnsight  # noqa: F401
    import numba  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch._dynamo  # noqa: F401 - every torch.optim asks for it, and it is half of a start
    import transformers.modeling_utils  # noqa: F401 - what it finds installed (torchao) may talk of itself

    if "SAE_NB_OTHER_SUMS" in os.environ:
        from other_sums import shuffle_sums

        shuffle_sums()
    ordered = serve()
    if ordered is not None:
        become(ordered)
        exec(compile(ordered["code"], "<string>", "exec"), {"__name__": "__main__"})
