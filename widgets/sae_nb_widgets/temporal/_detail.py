"""The sequence itself, and next to it where a prediction was read and which atoms a token adds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import traitlets as t
from torch import Tensor

from sae_nb.atoms import AtomNames
from sae_nb.figures import theme, visible_token
from sae_nb.figures.theme import escape, format_number
from sae_nb.geometry import UmapProcess, start_umap
from sae_nb.temporal import TemporalSummary
from sae_nb_widgets.components import Sparkbars, TokenStrip
from sae_nb_widgets.components._atom_card import icons_of
from sae_nb_widgets.components._base import HTML, Box, VBox
from sae_nb_widgets.components._concordance import word_at
from sae_nb_widgets.components._curves import Chart, Curves, Line
from sae_nb_widgets.panel._declaring import control, show
from sae_nb_widgets.panel._pages import COLUMNS
from sae_nb_widgets.temporal._figure import WORDS, place_name, row_name

if TYPE_CHECKING:
    from sae_nb_widgets.temporal._panel import TemporalPanel

# --- The sequence itself, over the figure: tokens or layers as a strip, a signal as traces --------


MOST_CHANNELS = 4
"""Channels of a signal that are drawn; those that move most. Ours."""


class TimeStrip:
    """Tokens, the bluer the more of them was predicted; or a signal's strongest channels."""

    def __init__(self, *, alone: bool = False) -> None:
        """`alone`: of an SAE that predicts nothing."""
        self.tokens = TokenStrip(description="the sequence", tone="predicted", unit="% predicted")
        self.tokens.hint = (
            "Click a word to see which atoms it has."
            if alone
            else "Blue: predicted by what came before. Click one to see from where."
        )
        self.curves = Curves(
            description="the signal: its strongest channels", x_name="time", clickable=True
        )
        show(self.curves, False)
        self.widget = VBox([self.tokens, self.curves])
        self._rows = 0
        self._marking = False

    def on_pick(self, callback: Callable[[int], None]) -> None:
        """Call `callback` with the time of a click."""

        def picked(time: int) -> None:
            if not self._marking:
                callback(time)

        self.tokens.observe(lambda change: picked(int(change["new"][1])), "selected")
        self.curves.observe(lambda change: picked(int(change["new"])), "selected")

    def show(
        self, first: TemporalSummary, second: TemporalSummary | None, signal: Tensor | None
    ) -> None:
        """Show other sequences."""
        show(self.tokens, signal is None)
        show(self.curves, signal is not None)
        self._marking = True
        if signal is not None:
            self.curves.show([_chart(np.asarray(signal.detach().cpu(), dtype=np.float64))])
        else:
            records = [first] if second is None else [first, second]
            self._rows = len(records)
            self.tokens.show(
                [list(record.names) for record in records],
                [100 * record.shares[:, 0] for record in records],
                special=[record.special.tolist() for record in records],
                captions=["text", "second text"] if second is not None else [],
                peaks=[-1] * len(records),
                first_positions=[record.first_position for record in records],
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


# --- UMAP of the codes of a sequence, in processes that end with the panel ------------------------


class Unfolding:
    """Layouts on request; closing it ends what still runs."""

    def __init__(self) -> None:
        self._running: list[UmapProcess] = []
        self._lock = threading.Lock()
        self._closed = False

    def layouts(self, codes: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return coordinates of every kind of codes, one after the other."""
        return {name: self._layout(rows) for name, rows in codes.items()}

    def _layout(self, rows: Tensor) -> np.ndarray:
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


# --- Next to the figure: where a prediction was read, and which atoms a token adds ----------------


NOTHING_CHOSEN = "Click a token, or step with ← →."


class TemporalDetail:
    """The details of one time: a sentence, its sources, its atoms; `alone` without what was predicted."""

    def __init__(self, *, alone: bool = False) -> None:
        self._alone = alone
        self._chosen = HTML()
        self._sources = Sparkbars(description="predicted from (share read)", colour=theme.PREDICTED)
        self._atoms = Sparkbars(
            description="its atoms (strength)" if alone else "new atoms it adds (strength)",
            colour=theme.NOVEL,
        )
        show(self._sources, not alone)
        self._times: list[int] = []
        self._ids: list[int] = []
        beside = Box([self._sources, self._atoms]).add_class(COLUMNS)
        self.widget = VBox([self._chosen, beside])

    def on_atom(self, callback: Callable[[int], None]) -> None:
        """Call `callback` with an atom whose bar is clicked."""
        self._atoms.observe(lambda change: _call(callback, self._ids, change["new"]), "selected")

    def on_source(self, callback: Callable[[int], None]) -> None:
        """Call `callback` with a time whose bar is clicked."""
        self._sources.observe(
            lambda change: _call(callback, self._times, change["new"]), "selected"
        )

    def clear(self) -> None:
        """Show nothing: there is no sequence."""
        self._chosen.value = ""
        self._sources.show([], [])
        self._atoms.show([], [])

    def show(self, record: TemporalSummary, time: int, names: AtomNames) -> None:
        """Show one time."""
        inside = 0 <= time < record.n_times
        said = escape(NOTHING_CHOSEN)
        if inside:
            place = f"<b>{escape(place_name(record, time))}</b>"
            said = place if self._alone else _chosen(record, time)
        self._chosen.value = f"<p>{said}</p>"
        sources = record.read_from(time) if inside else []
        atoms = record.atoms_added(time) if inside else []
        self._times, self._ids = [s[0] for s in sources], [a[0] for a in atoms]
        self._sources.show(
            [f"{i + record.first_position} {_whole(record, i)}" for i in self._times],
            [100 * share for _, share in sources],
            notes=[format_number(100 * share, "%", digits=2) for _, share in sources],
        )
        self._atoms.show(
            [row_name(names, i, record, "novel") for i in self._ids],
            [value for _, value in atoms],
            atoms=self._ids,
            icons=icons_of(names, self._ids),
        )
        self._sources.empty_text = "Nothing before it was read." if inside else NOTHING_CHOSEN
        self._atoms.empty_text = "It adds no atom." if inside else NOTHING_CHOSEN


def _whole(record: TemporalSummary, time: int) -> str:
    """The name of a time; of a piece of a word the whole word, and which piece: "Anna (na)"."""
    piece = visible_token(record.names[time])
    if record.kind != "text":
        return piece
    word = word_at(record.names, time)
    return piece if word == piece.strip() else f"{word} ({piece.strip()})"


def _call(callback: Callable[[int], None], known: list[int], place: int) -> None:
    if 0 <= place < len(known):
        callback(known[place])


def _chosen(record: TemporalSummary, time: int) -> str:
    predicted, new, *rivals = (
        format_number(100 * float(share), "%", digits=2)
        for share in (
            *record.shares[time],
            record.shuffled[time],
            *(one[time] for one in record.plain.values()),
        )
    )
    place = f"<b>{escape(place_name(record, time))}</b>"
    if not time:
        return (
            f"{place}: nothing came before it; {predicted} of its energy is what this SAE expects of any first "
            f"{WORDS[record.kind]}, {new} new."
        )
    beside = zip(("shuffled order", *record.plain), rivals, strict=True)
    return (
        f"{place}: {predicted} of its energy predicted by what came before "
        f"it ({', '.join(f'{name}: {share}' for name, share in beside)}), {new} new."
    )


# --- Its controls ---------------------------------------------------------------------------------


PARTS = {
    "none": "how long each part stays",
    "novel": "atoms that are new",
    "predicted": "atoms that were predicted",
}
BANDS = {"none": "not shown", "share": "shares of its energy", "energy": "its energy"}
LOWER = {
    "none": "nothing",
    "similarity": "similarity of positions",
    "PCA": "map of positions (PCA)",
    "UMAP": "map of positions (UMAP)",
}


LINE, FEWEST_LINES, MOST_LINES = 62, 2, 8
"""Characters of a line of a text's field; lines that it has: as many as its text, between these. Ours."""


class TemporalControls:
    """The controls of `panel`: those seen at once, and those behind "more"."""

    def __init__(self, panel: TemporalPanel) -> None:
        which = "How much of each position was predicted, or also which atoms"
        bars = "How much of it was predicted, as bars"
        # Of an SAE that predicts nothing, there is no choice of parts.
        self.first = [] if panel.lacks else [_menu(panel, "part", "show", which, PARTS)]
        self.more = [] if panel.lacks else [_menu(panel, "bands", "each position", bars, BANDS)]
        self.more += [
            _menu(panel, "lower", "below", "What stands under the atoms", LOWER),
            control(panel, "color_by", "map coloured by", "Time, or document", "16em"),
            control(panel, "rows", "rows", "How many atoms are shown, the strongest first", "8em"),
            control(panel, "token", "position", "Which one is looked at; empty for none", "10em"),
        ]
        if panel.text:
            tip = "What the model reads; it is taken apart when you leave the box"
            self.first.insert(0, _text(panel, "text", "text", tip))
            tip = "Another text, aligned with the first; empty for none"
            self.more.insert(0, _text(panel, "second_text", "second text", tip))


def _text(panel: TemporalPanel, trait: str, name: str, tip: str) -> ipw.Textarea:
    width = "min(560px, 100%)"
    box = control(panel, trait, name, tip, width, kind=ipw.Textarea, rows=FEWEST_LINES)

    def fit(_: object = None) -> None:
        lines = sum(1 + len(line) // LINE for line in box.value.split("\n"))
        box.rows = min(max(lines, FEWEST_LINES), MOST_LINES)

    box.observe(fit, "value")
    fit()
    return box.add_class("sae-nb-search")


def _menu(
    panel: TemporalPanel, trait: str, name: str, tip: str, words: dict[str, str]
) -> ipw.Dropdown:
    return control(panel, trait, name, tip, "20em", options=words)
