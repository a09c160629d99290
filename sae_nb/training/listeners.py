"""Who is told about a record: a progress bar, and whatever the user passed."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from sae_nb.progress import Listener
from sae_nb.training.records import TrainRecord

Listeners = Listener | Iterable[Listener] | None


def as_list(listeners: Listeners) -> list[Listener]:
    """One listener, several or none as a list.

    Raises
    ------
    TypeError
        If one cannot be called.
    """
    if listeners is None:
        return []
    several = [listeners] if callable(listeners) else list(listeners)
    for listener in several:
        if not callable(listener):
            raise TypeError(
                f"A listener must be callable with a record, got {type(listener).__name__}. Pass a "
                "function, e.g. `listeners=records.append`."
            )
    return several


def tell(listeners: list[Listener], record: TrainRecord) -> None:
    """Hand one record to every listener, and drop those that raise: the training outlives a panel.

    Parameters
    ----------
    listeners
        Called in order; a list that may grow or shrink meanwhile.
    record
        The newest.
    """
    for listener in tuple(listeners):
        try:
            listener(record)
        except Exception as error:  # noqa: BLE001 - it is the user's code, and it is reported
            listeners.remove(listener)
            warnings.warn(
                f"A listener must not raise, but {listener!r} raised {error!r} at step "
                f"{record.step}. It is no longer called; the training goes on.",
                stacklevel=2,
            )


def show(newest: Sequence[TrainRecord], bar: Any, advance: int) -> None:
    """Show the newest record of every SAE behind a bar; several SAEs side by side.

    Parameters
    ----------
    newest
        One record per SAE.
    bar
        Counts steps.
    advance
        Steps since it was last moved.
    """
    shown = {"loss": "loss", "r2": "R²", "l0": "L0", "dead_fraction": "dead"}
    numbers: dict[str, float | str] = {}
    for name, label in shown.items():
        values = [getattr(record, name) for record in newest]
        alone = len(values) == 1
        numbers[label] = values[0] if alone else " ".join(f"{value:.3g}" for value in values)
    bar.set_postfix(numbers, refresh=False)
    bar.update(advance)
