"""Pages that a notebook gives out."""

from __future__ import annotations

from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.request import urlopen

import pytest
from sae_nb_lessons.studies import QuietPages

pytestmark = pytest.mark.slow


def test_a_request_is_answered_and_leaves_no_red_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "index.html").write_text("an atom")
    handler = partial(QuietPages, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with urlopen(f"http://127.0.0.1:{server.server_port}/index.html") as answer:
            assert answer.read() == b"an atom"
        server.shutdown()
    assert capfd.readouterr().err == ""
