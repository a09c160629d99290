"""What a kernel sends while the reader stands still is there when it reads on."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here"),
]

SENT = 6000
BURST = f"for _ in range({SENT}): display('·' * 1000)"
# A page's half: counts what is shown, until nothing comes any more.
READER = """
import json, sys, zmq
info = json.load(open(sys.argv[1]))
socket = zmq.Context().socket(zmq.SUB)
socket.subscribe(b"")
socket.connect(f"tcp://{info['ip']}:{info['iopub_port']}")
socket.recv_multipart()
print("reads", flush=True)
shown = waits = 0
while waits < 4:
    if socket.poll(500):
        parts, waits = socket.recv_multipart(), 0
        header = json.loads(parts[parts.index(b"<IDS|MSG>") + 2])
        shown += header["msg_type"] == "display_data"
    elif shown:
        waits += 1
print(shown, flush=True)
"""


@pytest.mark.slow
def test_a_burst_is_kept_for_a_reader_that_stands_still() -> None:
    """Six thousand messages: most are lost without a panel, none once there is one."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    try:

        def run(code: str) -> None:
            # Its answer alone: what is published is lost by a slow reader, and this one too is one.
            reply = client.execute(code, reply=True, timeout=100)
            assert reply["content"]["status"] == "ok", reply["content"]

        def received(before: str) -> int:
            command = [sys.executable, "-c", READER, manager.connection_file]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
                assert reader.stdout is not None
                while not select.select([reader.stdout], [], [], 0.05)[0]:
                    run("pass")  # it reads as soon as it is connected
                reader.stdout.readline()
                run(before)
                os.kill(reader.pid, signal.SIGSTOP)
                run(BURST)
                os.kill(reader.pid, signal.SIGCONT)
                return int(reader.stdout.readline())

        assert received("from sae_nb_widgets.panel import Panel") < SENT
        assert received("panel = Panel()") == SENT
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
