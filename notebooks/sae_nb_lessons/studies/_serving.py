"""Pages served from a notebook, without a line under the cell for each request."""

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
        """Write nothing: the browser shows what was requested."""
