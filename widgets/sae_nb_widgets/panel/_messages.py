"""Messages from the kernel to a page that is slow to read them: kept, where ZeroMQ would drop them."""

from __future__ import annotations

from typing import Any

from IPython import get_ipython

UNLIMITED = 0


def keep_messages() -> None:
    """Let any number of the kernel's messages wait for those who are connected; outside a kernel, do nothing.

    ZeroMQ drops messages of a publishing socket once a thousand wait. A dashboard sends nine hundred within a
    second; on a busy machine some of its widgets would never reach the page ("widget model not found"). The
    limit of a connection is the socket's at the time the socket was bound, so it is lifted for the connections
    that exist now, each time a panel is made.
    """
    thread = getattr(getattr(get_ipython(), "kernel", None), "iopub_thread", None)
    socket: Any = getattr(thread, "socket", None)
    if thread is None or not hasattr(socket, "setsockopt"):
        return
    import zmq  # late: only kernels have it loaded

    # A socket belongs to one thread.
    thread.schedule(lambda: socket.setsockopt(zmq.SNDHWM, UNLIMITED))
