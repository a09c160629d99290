"""Long work shows itself: one bar that reads well in a notebook, a terminal and a log."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self


class Listener(Protocol):
    """Anything that can be called with a record of work under way."""

    def __call__(self, record: Any, /) -> None:
        """Take one record."""


class progress_bar:  # noqa: N801 - reads as a function in a `with` line
    """A progress bar for one piece of long work.

    Parameters
    ----------
    total
        Number of units, or None when it is not known.
    description
        What is being done.
    unit
        What is counted.
    enabled
        False shows nothing.

    Example
    -------
    >>> with progress_bar(3, "capture", "batch", enabled=False) as bar:
    ...     bar.update(1)
    """

    def __init__(
        self, total: int | None, description: str, unit: str = "it", *, enabled: bool = True
    ) -> None:
        self._bar: Any = None
        self._arguments = {"total": total, "desc": description, "unit": unit}
        self._enabled = enabled

    def __enter__(self) -> Self:
        if self._enabled:
            from tqdm.auto import tqdm

            # Twice a second is smooth to the eye and keeps a log file short.
            self._bar = tqdm(**self._arguments, mininterval=0.5, dynamic_ncols=True, leave=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, n: int = 1) -> None:
        """Count `n` more units as done."""
        if self._bar is not None:
            self._bar.update(n)

    def set(self, **numbers: float | str) -> None:
        """Show numbers behind the bar, three significant digits each."""
        if self._bar is not None:
            shown = {k: f"{v:.3g}" if isinstance(v, float) else str(v) for k, v in numbers.items()}
            self._bar.set_postfix(shown, refresh=False)
