"""A refusal in one line: the call, and a part of the message that names the rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def refused(
    words: str,
    call: Callable[..., object],
    *given: Any,
    error: type[Exception] | tuple[type[Exception], ...] = ValueError,
    **settings: Any,
) -> None:
    """Assert that a call is refused with a message that matches `words`."""
    __tracebackhide__ = True
    with pytest.raises(error, match=words):
        call(*given, **settings)
