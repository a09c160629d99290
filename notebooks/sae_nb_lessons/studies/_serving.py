"""Pages given out from a notebook: a request leaves no line under the cell."""

from __future__ import annotations

from http.server import SimpleHTTPRequestHandler
from typing import Any


class QuietPages(SimpleHTTPRequestHandler):
    """A folder's files for a browser, without a line on stderr for each request, which a notebook shows in red.

    Example
    -------
    >>> from functools import partial
    >>> from http.server import ThreadingHTTPServer
    >>> server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietPages, directory="."))
    >>> server.server_close()
    """

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what was asked for is seen in the browser."""
