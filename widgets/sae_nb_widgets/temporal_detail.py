"""Beside the bands: where a prediction was read, which atoms a token adds, how both parts move."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as ipw

from sae_nb.summaries.temporal import TemporalSummary
from sae_nb_widgets.components import Sparkbars
from sae_nb_widgets.figures.theme import NOVEL, PREDICTED, escape, format_number, visible_token

NOTHING_CHOSEN = "Click a token, or step with ← →."


class TemporalDetail:
    """Three cards: sources, atoms, numbers."""

    def __init__(self) -> None:
        self._chosen = ipw.HTML()
        self._sources = Sparkbars(description="read from its past", colour=PREDICTED)
        self._atoms = Sparkbars(description="atoms it adds", colour=NOVEL)
        self._numbers = ipw.HTML()
        self._times: list[int] = []
        self._ids: list[int] = []
        self.widgets: list[ipw.Widget] = [
            self._chosen,
            self._sources,
            self._atoms,
            self._numbers,
        ]

    def on_atom(self, told: Callable[[int], None]) -> None:
        """Call `told` with an atom whose bar is clicked.

        Parameters
        ----------
        told
            Gets the atom.
        """
        self._atoms.observe(lambda change: _tell(told, self._ids, change["new"]), "selected")

    def on_source(self, told: Callable[[int], None]) -> None:
        """Call `told` with a time whose bar is clicked.

        Parameters
        ----------
        told
            Gets the time.
        """
        self._sources.observe(lambda change: _tell(told, self._times, change["new"]), "selected")

    def show(self, first: TemporalSummary, second: TemporalSummary | None, time: int) -> None:
        """Show one time of the first sequence.

        Parameters
        ----------
        first, second
            What was read.
        time
            Which; −1 for none.
        """
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


def _tell(told: Callable[[int], None], known: list[int], place: int) -> None:
    if 0 <= place < len(known):
        told(known[place])


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
