"""Ctrl-C during long work: the work done stays and can be reached, and KeyboardInterrupt reaches the caller.

One rule holds for everything that takes long. Weights and rows stay where they are; wherever they are kept or
saved they are marked as a part; and `Interrupted`, a KeyboardInterrupt, ends the cell, the loop or the script.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(KeyboardInterrupt):
    """Long work was stopped by Ctrl-C or the notebook's stop button; the message explains what is there.

    Parameters
    ----------
    message
        Description of what is there, and how to continue.
    result
        The work done until then, marked as a part; None: nothing that can be used.

    Example
    -------
    >>> try:
    ...     raise Interrupted("Training was interrupted after step 3 of 9.", result={"steps": 3})
    ... except KeyboardInterrupt as stop:
    ...     print(stop, stop.result)
    Training was interrupted after step 3 of 9. {'steps': 3}
    """

    newest: Interrupted | None = None
    """The one of this process that came last."""

    def __init__(self, message: str, result: Any = None) -> None:
        super().__init__(message)
        self.result = result
        Interrupted.newest = self


@contextmanager
def ending_with(left: Callable[[], tuple[str, Any]]) -> Iterator[None]:
    """Turn an interrupt inside the block into one that describes what the whole work has left.

    `left` gives the message and the result, when it comes to that.

    Example
    -------
    >>> done = [1, 2]
    >>> try:
    ...     with ending_with(lambda: (f"{len(done)} of 3 parts are done.", done)):
    ...         raise KeyboardInterrupt
    ... except Interrupted as stop:
    ...     print(stop, stop.result)
    2 of 3 parts are done. [1, 2]
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted(*left()) from stop


def ended(command: Callable[[], int | None]) -> int:
    """Run a command of a terminal and return its status: Ctrl-C ends it by one sentence, with that of SIGINT.

    Example
    -------
    >>> ended(lambda: 0)
    0
    """
    try:
        return command() or 0
    except KeyboardInterrupt as stop:
        message = str(stop) or "Interrupted; what was not finished is not kept."
        sys.stderr.write(f"\n{message}\n")
        return 128 + signal.SIGINT


def interrupted() -> Any:
    """Return what the work that was interrupted last had done until then.

    A training gives its `TrainResult`, a capture its `Activations`, a sweep the SAEs that were finished; each
    is marked as a part. It is what `.result` of the `Interrupted` held.

    Raises
    ------
    RuntimeError: If nothing was interrupted yet, or what was had no result.

    Example
    -------
    >>> import torch
    >>> import sae_nb as sn
    >>> def stop(record):
    ...     raise KeyboardInterrupt
    >>> sae = sn.TopK(d_in=8, n_atoms=16, k=2)
    >>> try:
    ...     sn.train(sae, torch.randn(64, 8), steps=9, callbacks=stop, progress=False)
    ... except KeyboardInterrupt:
    ...     pass
    >>> sn.interrupted().steps
    1
    """
    newest = Interrupted.newest
    if newest is None or newest.result is None:
        was = "nothing was interrupted" if newest is None else str(newest)
        raise RuntimeError(
            f"`interrupted` needs work that was stopped by Ctrl-C and left a result, got none: {was}."
        )
    return newest.result
