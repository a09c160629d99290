"""Long work shows itself: one bar that reads well in a notebook, a terminal and a log."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

_REPORT: ContextVar[Callable[[str], None] | None] = ContextVar("report", default=None)


LINE_SECONDS = 5.0
"""Between two lines on a transfer, where no bar is drawn."""


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


def transfer_bar(total: int | None, description: str) -> Any:
    """Return a bar of bytes for one file under way: how many have come, their rate, the time left.

    In a terminal and a notebook it is drawn; elsewhere (a log, a pipe) it is a plain line every five seconds.
    """
    import sys

    if _REPORT.get() is not None:
        return progress_bar(total, description, "B")
    if sys.stderr.isatty() or "ipykernel" in sys.modules:
        from tqdm.auto import tqdm

        return tqdm(total=total, desc=description, unit="B", unit_scale=True, mininterval=0.5)
    return _bar_in_lines()(total=total, desc=description, unit="B", mininterval=LINE_SECONDS)


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


@functools.cache
def _bar_in_lines() -> Any:
    from tqdm import tqdm

    class BarInLines(tqdm):
        """A bar as plain lines, the last when it is closed."""

        def __init__(self, **kwargs: Any) -> None:
            self._written = 0
            super().__init__(file=io.StringIO(), leave=True, **kwargs)

        def display(self, msg: str | None = None, pos: int | None = None) -> None:  # noqa: ARG002  (tqdm's)
            """Write how far it is, unless nothing has come since the last line."""
            if msg is None and self.n > self._written:
                self._written = self.n
                note(transfer_words(self.desc, self.n, self.total, self.format_dict["elapsed"]))

    return BarInLines


def transfer_words(what: str, n: int, total: int | None, seconds: float) -> str:
    """Return how far a transfer is.

    Example
    -------
    >>> transfer_words("model", 31_000_000, 93_000_000, 10.0)
    'model: 31 of 93 MB, 3.1 MB/s, 20 s left'
    >>> transfer_words("model", 93_000_000, 93_000_000, 30.0)
    'model: 93 of 93 MB, 3.1 MB/s, 30 s'
    """
    rate = n / max(seconds, 1e-9)
    of = "" if total is None else f" of {total / 1e6:.0f}"
    time = f"{seconds:.0f} s" if total is None or n >= total else f"{(total - n) / rate:.0f} s left"
    return f"{what}: {n / 1e6:.0f}{of} MB, {rate / 1e6:.1f} MB/s, {time}"


def note(line: str) -> None:
    """Return one line about long work that is about to begin, where its bar will be."""
    import sys

    from tqdm.auto import tqdm

    tqdm.write(line, file=sys.stderr)
