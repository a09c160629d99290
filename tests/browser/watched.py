"""A page whose every complaint fails the test that opened it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FROM_DISK = ("file:", "data:", "blob:")


@contextmanager
def watched(page: Any, own: tuple[str, ...] = FROM_DISK) -> Iterator[Any]:
    """The page, closed afterwards: no error, no failed request, none beyond `own`, no hostile word that ran."""
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith(own) else complaints.append(r.url))
    # A page that was left before an answer had come is no failure.
    left = "ERR_ABORTED"
    page.on(
        "requestfailed", lambda r: None if left in (r.failure or "") else complaints.append(r.url)
    )
    yield page
    hurt = page.evaluate("window.hurt")
    page.close()
    assert complaints == [], complaints  # not a test module: pytest does not rewrite it
    assert hurt is None, hurt
