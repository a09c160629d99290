"""Long work shows itself: one bar that reads well in a notebook, a terminal and a log."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

_REPORT: ContextVar[Callable[[str], None] | None] = ContextVar("report", default=None)


class Callback(Protocol):
    """Anything that can be called with a record of work under way."""

    def __call__(self, record: Any, /) -> None:
        """Take one record."""


def progress_bar(
    total: int | None, description: str, unit: str = "it", *, enabled: bool = True
) -> Any:
    """Return a `tqdm` bar for one piece of long work, to be used in a `with` line."""
    from tqdm.auto import tqdm

    say = _REPORT.get()
    if enabled and say is not None:
        return _bar_in_words()(say, total=total, desc=description, unit=unit, mininterval=0.5)
    # Twice a second is smooth to the eye and keeps a log file short.
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        disable=not enabled,
        mininterval=0.5,
        dynamic_ncols=True,
    )


@contextmanager
def progress_to(say: Callable[[str], None]) -> Iterator[None]:
    """Have this thread's bars say how far they are, as "directions: 2 of 5", instead of being drawn."""
    before = _REPORT.set(say)
    try:
        yield
    finally:
        _REPORT.reset(before)


@functools.cache
def _bar_in_words() -> Any:
    from tqdm import tqdm

    class BarInWords(tqdm):
        """A bar in words."""

        def __init__(self, say: Callable[[str], None], **kwargs: Any) -> None:
            self._say = say
            super().__init__(file=io.StringIO(), leave=False, **kwargs)

        def display(self, msg: str | None = None, pos: int | None = None) -> None:  # noqa: ARG002  (tqdm's)
            """Report how far it is, unless the bar is being taken away."""
            if msg is None:
                of = "" if self.total is None else f" of {self.total}"
                self._say(f"{self.desc}: {self.n}{of}")

    return BarInWords


def note(line: str) -> None:
    """Return one line about long work that is about to begin, where its bar will be."""
    import sys

    from tqdm.auto import tqdm

    tqdm.write(line, file=sys.stderr)
