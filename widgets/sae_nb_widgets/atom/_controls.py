"""The controls of the AtomBrowser, each linked to one trait, and the table of its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ipywidgets as ipw
import traitlets as t

from sae_nb.atoms import BANDS, ORDERS, AtomSummary, Labels
from sae_nb.figures import escape, format_count, format_number, format_percent

EXAMPLES_PER_PAGE = 12
BAND_NAMES = {
    "top": "max",
    "99 %": "99 %",
    "50 %": "50 %",
    "random": "random",
    "just below": "just below",
}
BAND_TIPS = {
    "top": "The strongest firings",
    "99 %": "Firings near the 99th percentile of its strengths",
    "50 %": "Firings near its median strength",
    "random": "Any of its firings, drawn with a fixed seed: maxima flatter every atom",
    "just below": "Rows in which it would fire only if k were doubled",
}


@dataclass(frozen=True)
class Controls:
    """Widgets by the slot they go to."""

    first_row: tuple[ipw.Widget, ...]
    more: tuple[ipw.Widget, ...]
    bands: ipw.Widget
    pages: ipw.Widget
    rank: ipw.HTML
    page_text: ipw.HTML


def build(panel: Any) -> Controls:
    """Return the controls of `panel`, linked to its traits."""
    rank, page_text = ipw.HTML(), ipw.HTML()
    stepper = _stepper(panel)
    more = (
        _linked(panel, "alive_only", ipw.Checkbox, "skip atoms that never fire"),
        _linked(panel, "show_heat", ipw.Checkbox, "heat over pictures"),
    )
    pages = _row(
        _button("‹", "Earlier examples of this band", panel.previous_page),
        page_text,
        _button("›", "Further examples of this band", panel.next_page),
    )
    return Controls(
        first_row=(stepper, rank, _sort(panel), _search(panel)),
        more=more,
        bands=_row(_bands(panel), pages).add_class("sae-nb-apart"),
        pages=pages,
        rank=rank,
        page_text=page_text,
    )


def _stepper(panel: Any) -> ipw.Box:
    number = ipw.BoundedIntText(
        min=0,
        max=panel.n_atoms - 1,
        description="atom",
        tooltip="Row of the dictionary shown",
        layout=ipw.Layout(width="150px"),
        style={"description_width": "initial"},
    )
    t.link((panel, "atom"), (number, "value"))
    back = _button("‹", "The atom before, in the order chosen (←)", panel.previous)
    forth = _button("›", "The next atom, in the order chosen (→)", panel.next)
    return _row(number, back, forth)


def _sort(panel: Any) -> ipw.Dropdown:
    chosen = ipw.Dropdown(
        options=ORDERS,
        description="sort",
        tooltip="Order in which ‹ and › step through the atoms",
        layout=ipw.Layout(width="190px"),
        style={"description_width": "initial"},
    )
    t.link((panel, "sort"), (chosen, "value"))
    return chosen


def _search(panel: Any) -> ipw.Text:
    field = ipw.Text(
        description="search",
        placeholder="number, label or token   ( / )",
        tooltip="Atoms of that number, with that label, or that fire on that token or patch",
        continuous_update=False,
        layout=ipw.Layout(width="270px"),
        style={"description_width": "initial"},
    ).add_class("sae-nb-search")
    t.link((panel, "search"), (field, "value"))
    return field


def _bands(panel: Any) -> ipw.ToggleButtons:
    buttons = ipw.ToggleButtons(
        options=[(BAND_NAMES[band], band) for band in BANDS],
        tooltips=[BAND_TIPS[band] for band in BANDS],
        style={"button_width": "auto"},
    )
    t.link((panel, "band"), (buttons, "value"))
    return buttons


def _linked(panel: Any, trait: str, kind: type[ipw.Widget], text: str) -> ipw.Widget:
    widget = kind(
        description=text, indent=False, tooltip=text, layout=ipw.Layout(width="max-content")
    )
    t.link((panel, trait), (widget, "value"))
    return widget


def _button(text: str, tooltip: str, action: Any) -> ipw.Button:
    button = ipw.Button(description=text, tooltip=tooltip).add_class("sae-nb-small")
    button.on_click(lambda _: action())
    return button


def _row(*widgets: ipw.Widget) -> ipw.Box:
    return ipw.Box(widgets).add_class("sae-nb-line")


def facts_html(record: AtomSummary) -> str:
    """Return how often and how strongly the atom fires, as HTML."""
    if not record.n_fired:
        return (
            f"<p><b>Atom {record.atom} never fires</b> on these "
            f"{escape(format_count(record.n_rows))} rows.</p>"
        )
    often = format_percent(record.frequency, of=f"{format_count(record.n_rows)} rows")
    numbers = (
        ("mean", record.mean_strength),
        ("99 %", record.p99),
        ("max", record.max_strength),
    )
    strengths = " · ".join(
        f'<span class="sae-nb-keep">{name} <b>{escape(format_number(value))}</b></span>'
        for name, value in numbers
    )
    return (
        f'<p>Fires on <b class="sae-nb-keep">{escape(often)}</b> '
        f'<span class="sae-nb-keep">({escape(format_count(record.n_fired))})</span>.<br>'
        f"Strength there: {strengths}.{_never(record)}</p>"
    )


def _never(record: AtomSummary) -> str:
    n = int(record.frequencies.marks.get("never", 0))
    text = f"{format_count(n)} of {format_count(record.n_atoms)} atoms never fire here."
    return f"<br>{escape(text)}" if n else ""


def page_text(record: AtomSummary) -> str:
    """Return which examples are shown, of how many."""
    n, shown = record.n_examples, len(record.examples)
    if not shown:
        return ""
    first = record.page * EXAMPLES_PER_PAGE + 1
    return f"{format_count(first)}–{format_count(first + shown - 1)} of {format_count(n)}"


def visible(widget: ipw.Widget, shown: bool) -> None:
    """Show or hide a widget without removing it."""
    widget.layout.display = None if shown else "none"


def table(record: AtomSummary, labels: Labels) -> dict[str, Any]:
    """Return the numbers of a record in reading order, for exported pages."""
    neighbours = zip(record.nearest_atoms.tolist(), record.nearest_cosines.tolist())
    together = zip(record.coactive_atoms.tolist(), record.coactive_lifts.tolist())
    return {
        "atom": record.atom,
        "label": labels.label(record.atom) or None,
        "note": labels.note(record.atom) or None,
        "rows": record.n_rows,
        "rows_in_which_it_fires": record.n_fired,
        "frequency": record.frequency,
        "mean_strength": record.mean_strength,
        "99th_percentile": record.p99,
        "max_strength": record.max_strength,
        "examples": f"{BAND_NAMES[record.band]}: "
        + "; ".join(f"{e.place}: {format_number(e.strength)}" for e in record.examples),
        "nearest_atoms": ", ".join(f"{a} (cos {format_number(c)})" for a, c in neighbours),
        "co_active_atoms": ", ".join(f"{a} (lift {format_number(x)})" for a, x in together),
        "histogram": record.histogram.counts,
    }
