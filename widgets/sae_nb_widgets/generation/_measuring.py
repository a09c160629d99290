"""Measures of how often and how strongly atoms fire elsewhere, taken once for a GenerationLens."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any

from sae_nb.background import result_of
from sae_nb.summaries.input._contrast import (
    BaseRate,
    base_rate,
)

if TYPE_CHECKING:
    from sae_nb_widgets.generation._panel import GenerationLens

Measures = tuple[BaseRate | None, Any]
"""Base rates of atoms, and one measured unit of strength of each; None where they are not known."""


class Measuring:
    """Measures for `panel`, off its main thread where that is encoding.

    The atom to open on is chosen by it, whichever is known first: it, or what the prompt makes fire.
    """

    def __init__(self, panel: GenerationLens) -> None:
        self._panel = panel
        self._found: Future[Measures] = Future()

    def begin(self, acts: object, frequency: object) -> None:
        """Measure, and hand the panel what was found."""
        panel = self._panel

        def work() -> Measures:
            found: Measures = (None, None)
            try:
                found = base_rate(panel.sae, frequency), panel.scale.measure(panel.sae, acts)
            finally:
                with contextlib.suppress(InvalidStateError):  # the panel was closed meanwhile
                    self._found.set_result(found)
            return found

        if acts is None and not hasattr(frequency, "batches"):
            panel._take_measures(work())
        else:
            panel.loading("Measuring how often and how strongly each atom fires")
            panel.run_async(work, panel._take_measures, channel="usual")

    @property
    def known(self) -> Measures | None:
        """The measures; None while they are being taken."""
        found = self._found
        return found.result() if found.done() and not found.cancelled() else None

    def wait(self) -> Measures:
        """Return what was found as soon as it is; ends with Python, or with the panel's work."""
        return result_of(self._found)

    def close(self) -> None:
        """End the waiting for what will not be measured any more."""
        self._found.cancel()
