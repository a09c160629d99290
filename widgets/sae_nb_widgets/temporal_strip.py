"""The sequence itself, over the bands: tokens or layers as a strip, a signal as traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as ipw
import numpy as np
import traitlets as t

from sae_nb.summaries.temporal import TemporalSummary
from sae_nb_widgets.components import TokenStrip
from sae_nb_widgets.components.curves import Chart, Curves, Line
from sae_nb_widgets.figures.theme import OKABE_ITO

MOST_CHANNELS = 4
"""Channels of a signal that are drawn; those that move most. Ours."""


class TimeStrip:
    """Tokens shaded from blue (predicted) to vermilion (novel), or a signal's strongest channels."""

    def __init__(self) -> None:
        self.tokens = TokenStrip(description="the sequence", signed=True)
        self.tokens.unit = "novel − predicted share"
        self.tokens.hint = "Click a token: what its past said, and what it adds."
        self.curves = Curves(
            description="the signal: its strongest channels", x_name="time", clickable=True
        )
        self.curves.layout.display = "none"
        self.widget = ipw.VBox([self.tokens, self.curves])
        self._rows = 0
        self._marking = False

    def on_pick(self, told: Callable[[int], None]) -> None:
        """Call `told` with the time of a click.

        Parameters
        ----------
        told
            Gets −1 where the selection is cleared.
        """

        def picked(time: int) -> None:
            if not self._marking:
                told(time)

        self.tokens.observe(lambda change: picked(int(change["new"][1])), "selected")
        self.curves.observe(lambda change: picked(int(change["new"])), "selected")

    def show(self, first: TemporalSummary, second: TemporalSummary | None, signal: Any) -> None:
        """Show other sequences.

        Parameters
        ----------
        first, second
            What was read; the second may be None.
        signal
            The signal itself, (time, channels), where there is one.
        """
        is_signal = signal is not None
        self.tokens.layout.display = "none" if is_signal else None
        self.curves.layout.display = None if is_signal else "none"
        self._marking = True
        if is_signal:
            self.curves.show([_chart(np.asarray(signal.detach().cpu(), dtype=np.float64))])
        else:
            records = [first] if second is None else [first, second]
            self._rows = len(records)
            self.tokens.show(
                [list(record.names) for record in records],
                [record.shares[:, 1] - record.shares[:, 0] for record in records],
                special=[record.special.tolist() for record in records],
                captions=["first", "second"] if second is not None else [],
                peaks=[-1] * len(records),
                first_positions=[record.first_position for record in records],
                maximum=1.0,
            )
        self._marking = False

    def mark(self, time: int) -> None:
        """Outline one time.

        Parameters
        ----------
        time
            Which; −1 for none.
        """
        self._marking = True
        try:
            if self._rows:
                row = self.tokens.selected[0]
                there = 0 <= row < self._rows and time < len(self.tokens.tokens[row])
                self.tokens.selected = (row if there else 0, time) if time >= 0 else (-1, -1)
            elif self.curves.charts:
                self.curves.cursor = time
        except t.TraitError:  # the second sequence is shorter
            self.tokens.selected = (-1, -1)
        finally:
            self._marking = False


def _chart(signal: np.ndarray[Any, Any]) -> Chart:
    strongest = np.sort(np.argsort(-signal.var(axis=0), kind="stable")[:MOST_CHANNELS])
    lines = [
        Line(values=signal[:, c], name=f"channel {c}", colour=OKABE_ITO[2 + i % 4])
        for i, c in enumerate(strongest.tolist())
    ]
    shown = signal[:, strongest]
    return Chart(title="signal", lines=lines, low=float(shown.min()), high=float(shown.max()))
