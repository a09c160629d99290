"""Closing what a panel made, widgets on screen and off; how many messages of it a page is sent at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import ipywidgets as ipw
from comm import DummyComm
from IPython import get_ipython

from sae_nb_widgets.components._base import is_shared
from sae_nb_widgets.panel._pages import descendants

# A Jupyter server passes on 3000 messages in 3 s and throws the rest away: widgets stay on the page, and
# so does the sign that the cell has ended, which then runs for ever. A panel is 30 to 140 widgets.
AT_ONCE, PER_SECOND = 600, 750.0


class Pace:
    """Lets at most `at_once` pass in one go, and `per_second` from then on."""

    def __init__(
        self,
        at_once: int,
        per_second: float,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._most, self._rate, self._now, self._sleep = at_once, per_second, now, sleep
        self._room, self._seen = float(at_once), now()
        self._one_by_one = threading.Lock()

    def take(self, n: int) -> None:
        """Return when there is room for `n` more."""
        with self._one_by_one:
            now = self._now()
            self._room = min(self._most, self._room + self._rate * (now - self._seen)) - n
            self._seen = now
            wait = max(0.0, -self._room / self._rate)
        if wait:
            self._sleep(wait)


_pace = Pace(AT_ONCE, PER_SECOND)


def close_whole(widget: ipw.Widget) -> None:
    """Close a widget with its layout and style, where these are its own."""
    parts = [widget, *(getattr(widget, name, None) for name in ("layout", "style"))]
    for part in parts:
        if isinstance(part, ipw.Widget) and not is_shared(part):
            if part.comm is not None and not isinstance(part.comm, DummyComm):  # in a notebook
                _pace.take(1)
            part.close()


def owned_widgets(owner: object, depth: int = 3) -> list[ipw.Widget]:
    """Return widgets among an object's attributes, and among those of its own small objects.

    Panels are left out: they close themselves.
    """
    found: list[ipw.Widget] = []
    for name, value in list(vars(owner).items()):
        if name == "_trait_values":  # holds what is shared too, such as plotly's script
            continue
        several = list(value.values()) if isinstance(value, dict) else value
        for one in several if isinstance(several, list | tuple) else (value,):
            if hasattr(type(one), "kept_traits"):
                continue
            if isinstance(one, ipw.Widget):
                found += descendants(one)
            ours = type(one).__module__.startswith("sae_nb_widgets.")
            if depth and ours and hasattr(one, "__dict__"):
                found += owned_widgets(one, depth - 1)
    return found


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
