"""Long work shows itself: one bar that reads well in a notebook, a terminal and a log."""

from __future__ import annotations

from typing import Any, Protocol


class Callback(Protocol):
    """Anything that can be called with a record of work under way."""

    def __call__(self, record: Any, /) -> None:
        """Take one record."""


def progress_bar(
    total: int | None, description: str, unit: str = "it", *, enabled: bool = True
) -> Any:
    """Return a `tqdm` bar for one piece of long work, to be used in a `with` line."""
    from tqdm.auto import tqdm

    # Twice a second is smooth to the eye and keeps a log file short.
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        disable=not enabled,
        mininterval=0.5,
        dynamic_ncols=True,
    )


def note(line: str) -> None:
    """Return one line about long work that is about to begin, where its bar will be."""
    import sys

    from tqdm.auto import tqdm

    tqdm.write(line, file=sys.stderr)
