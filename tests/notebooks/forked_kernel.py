"""A kernel that need not wait for torch: forked from a process that has imported what most lessons import.

    execute.run(notebook, forked_kernel.manager())

Nothing was computed before. The process is started with the first kernel, and ends with the tests.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner


def manager() -> AsyncKernelManager | None:
    """The manager of a kernel that is not started yet; None where forks are not safe."""
    if sys.platform != "linux":
        return None
    made = AsyncKernelManager(kernel_name="python3")
    made.provisioner = _Forked(kernel_spec=made.kernel_spec, parent=made)
    return made


class _Forked(LocalProvisioner):
    async def launch_kernel(self, _command: list[str], **given: Any) -> Any:
        """Fork where others start the command."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.notebooks.lesson_imports"])
        connection = ["-f", self.parent.connection_file]
        process = context.Process(target=_become, args=(connection, given["env"], given["cwd"]))
        process.start()
        self.process, self.pid, self.pgid = _Popen(process), process.pid, process.pid
        self.cwd = given["cwd"]
        return self.connection_info


class _Popen:
    """What a provisioner asks of a process."""

    stdin = stdout = stderr = None

    def __init__(self, process: Any) -> None:
        self._process = process

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)


def _become(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Be the kernel."""
    from ipykernel.kernelapp import launch_new_instance

    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    launch_new_instance(argv=[*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"])


def _end_with_the_tests() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
