"""Beside the bands: where a prediction was read, which atoms a token adds, how both parts move."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as ipw
import numpy as np
import traitlets as t
from torch import Tensor

from sae_nb.figures import escape, format_number, theme, visible_token
from sae_nb.geometry import UmapProcess, start_umap
from sae_nb.summaries import TemporalSummary
from sae_nb_widgets.components import Chart, Curves, Line, Sparkbars, TokenStrip

# -------------------------------------------------------------------------------------------------
# The sequence itself, over the bands: tokens or layers as a strip, a signal as traces.


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

    def on_pick(self, callback: Callable[[int], None]) -> None:
        """Call `callback` with the time of a click."""

        def picked(time: int) -> None:
            if not self._marking:
                callback(time)

        self.tokens.observe(lambda change: picked(int(change["new"][1])), "selected")
        self.curves.observe(lambda change: picked(int(change["new"])), "selected")

    def show(self, first: TemporalSummary, second: TemporalSummary | None, signal: Any) -> None:
        """Show other sequences."""
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
        """Outline one time."""
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
        Line(values=signal[:, c], name=f"channel {c}", colour=theme.OKABE_ITO[2 + i % 4])
        for i, c in enumerate(strongest.tolist())
    ]
    shown = signal[:, strongest]
    return Chart(title="signal", lines=lines, low=float(shown.min()), high=float(shown.max()))


# -------------------------------------------------------------------------------------------------
# UMAP of the codes of a sequence, in processes that end with the panel.


class Unfolding:
    """Layouts on request; closing it ends what still runs."""

    def __init__(self) -> None:
        self._running: list[UmapProcess] = []
        self._lock = threading.Lock()
        self._closed = False

    def layouts(self, codes: Mapping[str, Tensor]) -> dict[str, Any]:
        """Coordinates of every kind of codes, one after the other."""
        return {name: self._layout(rows) for name, rows in codes.items()}

    def _layout(self, rows: Tensor) -> Any:
        with self._lock:
            if self._closed:
                raise RuntimeError("The panel was closed before its UMAP layout was there.")
            process = start_umap(rows)
            self._running.append(process)
        try:
            return process.wait()
        finally:
            process.close()
            with self._lock:
                self._running.remove(process)

    def close(self) -> None:
        """End every process that still runs."""
        with self._lock:
            self._closed, running = True, list(self._running)
        for process in running:
            process.close()


# -------------------------------------------------------------------------------------------------
# Beside the bands: where a prediction was read, which atoms a token adds, how both parts move.


NOTHING_CHOSEN = "Click a token, or step with ← →."


class TemporalDetail:
    """Three cards: sources, atoms, numbers."""

    def __init__(self) -> None:
        self._chosen = ipw.HTML()
        self._sources = Sparkbars(description="read from its past", colour=theme.PREDICTED)
        self._atoms = Sparkbars(description="atoms it adds", colour=theme.NOVEL)
        self._numbers = ipw.HTML()
        self._times: list[int] = []
        self._ids: list[int] = []
        self.widgets: list[ipw.Widget] = [
            self._chosen,
            self._sources,
            self._atoms,
            self._numbers,
        ]

    def on_atom(self, callback: Callable[[int], None]) -> None:
        """Call `callback` with an atom whose bar is clicked."""
        self._atoms.observe(lambda change: _call(callback, self._ids, change["new"]), "selected")

    def on_source(self, callback: Callable[[int], None]) -> None:
        """Call `callback` with a time whose bar is clicked."""
        self._sources.observe(
            lambda change: _call(callback, self._times, change["new"]), "selected"
        )

    def show(self, first: TemporalSummary, second: TemporalSummary | None, time: int) -> None:
        """Show one time of the first sequence."""
        self._numbers.value = _numbers(first, second)
        inside = 0 <= time < first.n_times
        self._chosen.value = _chosen(first, time) if inside else f"<p>{escape(NOTHING_CHOSEN)}</p>"
        sources = first.read_from(time) if inside else []
        atoms = first.atoms_added(time) if inside else []
        self._times, self._ids = [s[0] for s in sources], [a[0] for a in atoms]
        self._sources.empty_text = "Nothing before it was read." if inside else NOTHING_CHOSEN
        self._sources.show(
            [f"{i + first.first_position} {visible_token(first.names[i])}" for i in self._times],
            [share for _, share in sources],
            maximum=1.0,
        )
        self._atoms.empty_text = "It adds no atom." if inside else NOTHING_CHOSEN
        self._atoms.show([f"atom {i}" for i in self._ids], [value for _, value in atoms])


def _call(callback: Callable[[int], None], known: list[int], place: int) -> None:
    if 0 <= place < len(known):
        callback(known[place])


def _chosen(record: TemporalSummary, time: int) -> str:
    share, control = record.shares[time, 0], record.shuffled[time]
    name = escape(visible_token(record.names[time]))
    return (
        f"<p><b>{time + record.first_position} “{name}”</b>: "
        f"{format_number(100 * float(share))} % of its energy predicted, "
        f"{format_number(100 * float(control))} % in other orders.</p>"
    )


def _numbers(first: TemporalSummary, second: TemporalSummary | None) -> str:
    columns = [first] if second is None else [first, second]
    heads = [""] if second is None else ["first", "second"]
    rows = {
        "energy predicted": [float(r.shares[:, 0].mean()) for r in columns],
        "in other orders": [float(r.shuffled.mean()) for r in columns],
        "lag-1 cosine, predicted": [r.lag1["predicted"] for r in columns],
        "lag-1 cosine, novel": [r.lag1["novel"] for r in columns],
        "lag-1 cosine, raw": [r.lag1["raw"] for r in columns],
        "error left (FVU)": [r.fvu for r in columns],
    }
    top = "".join(f"<th>{escape(head)}</th>" for head in ["", *heads])
    body = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(f"<td>{format_number(v)}</td>" for v in values)
        + "</tr>"
        for name, values in rows.items()
    )
    return f'<table class="sae-nb-table">{f"<tr>{top}</tr>" if second is not None else ""}{body}</table>'
