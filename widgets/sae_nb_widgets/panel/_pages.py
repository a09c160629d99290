"""Pages without a kernel: a panel as one HTML file, escaped, self-contained, written atomically."""

from __future__ import annotations

import base64
import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
from plotly.offline import get_plotlyjs

from sae_nb.figures import current_theme, draw_figure, template, theme, to_png, to_svg
from sae_nb.figures.shapes import Drawing
from sae_nb.figures.theme import (
    FIGURE_CONFIG,
    THIN_SPACE,
    escape,
    format_count,
    format_number,
    still_config,
)
from sae_nb.files import write_bytes
from sae_nb_widgets.components._base import Component, mark_atoms, style_sheet
from sae_nb_widgets.components._html_drawing import html_drawing
from sae_nb_widgets.components._scripts import script as script_of
from sae_nb_widgets.components._sheets import hstack, padded, paragraph, stacked
from sae_nb_widgets.panel._glossary import first_words_html, words_html
from sae_nb_widgets.panel._heading import Heading, header_html
from sae_nb_widgets.panel._status import sentence_html

SHARED_SCRIPT = "plotly.min.js"
LONGEST_LIST = 12
MAIN_WIDTH, DETAIL_WIDTH = 700, 300
"""Widths in an image of a panel, in CSS pixels: the figure, and the column next to it."""

# Widgets with this class say something about the running session and stay out of exports.
LIVE_ONLY = "sae-nb-live-only"
COLUMNS = "sae-nb-sides"
"""Class of a box whose children are side by side, in exports too."""
RECORD = "The numbers behind this"
PAGE_STYLE = """
body { background: var(--jp-layout-color1); margin: 16px auto; max-width: 1180px; padding: 0 8px; }
.sae-nb-panel .sae-nb-fold { padding: 4px 24px; }
.sae-nb-panel .sae-nb-fold:last-child { padding-bottom: 16px; }
.sae-nb-fold > summary { cursor: pointer; width: fit-content; color: var(--sae-nb-ink2); }
table.sae-nb-record { border-collapse: collapse; margin: 6px 0; }
.sae-nb-record th { text-align: left; font-weight: 600; padding: 2px 14px 2px 0; vertical-align: top; }
.sae-nb-record td { padding: 2px 0; overflow-wrap: anywhere; }
/* What a click would change needs the kernel: only what opens looks as if it could be clicked. */
main :is(.sae-nb-token, .sae-nb-barrow, .sae-nb-pairrow, .sae-nb-picture, .sae-nb-node, .sae-nb-pill, tr, td) {
  cursor: default !important;
}
summary .sae-nb-token { cursor: pointer !important; }
.sae-nb-still svg { max-width: 100%; height: auto; }
@media (max-width: 480px) { body { margin: 0; padding: 0; } }
"""


def no_cards(_: str) -> str:
    """Return the cards of a page without atoms."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Page:
    """The content of an exported page."""

    heading: Heading
    """Where the page looks, its title, and what is known about that."""

    answer: str = ""
    """The sentence under the heading."""

    bold: tuple[str, ...] = ()
    """Words of that sentence that are bold."""

    numbers: str = ""
    """The expert's numbers behind the sentence."""

    reasons: str = ""
    """What the sentence rests on."""

    words: str = ""
    """Insider words of the first screen, each with its meaning."""

    explanation: tuple[str, str, str]
    """Three texts: what this shows, what it cannot show, and the paper."""

    figure: go.Figure | None
    """The figure as it was on screen."""

    above: str = ""
    """HTML of what was above the figure; escaped by the component that made it."""

    main: str
    """HTML of what was under it."""

    detail: str
    """HTML of the column next to the figure."""

    record: object
    """Numbers behind the figure: a dataclass, a mapping or None."""

    dropped: str
    """The abilities of the panel that the page lacks."""

    cards: Callable[[str], str] = no_cards
    """The script that shows the cards of what is marked in HTML; empty where nothing has one."""


def write_page(page: Page, path: Path, *, share_script: bool = False) -> Path:
    """Write `page` to `path`, with plotly's script inside it or in one file next to it."""
    if os.path.isdir(path):
        raise ValueError(f"`path` must name a file, got the folder {str(path)!r}. Add a file name.")
    script = ""
    if page.figure is not None and share_script:
        script = f'<script src="{SHARED_SCRIPT}"></script>'
        shared = path.parent / SHARED_SCRIPT
        content = get_plotlyjs().encode()
        if not shared.is_file() or shared.stat().st_size != len(content):
            write_bytes(shared, content)
    elif page.figure is not None:
        script = f"<script>{get_plotlyjs()}</script>"
    write_bytes(path, page_html(page, script).encode())
    return path


def page_html(page: Page, script: str) -> str:
    """Return the page, with `script` (plotly's, or a reference to it) in its head."""
    sizes = current_theme()
    style = (
        f"{theme.PAGE_COLOURS}{PAGE_STYLE}{style_sheet('components.css', 'panel.css')}"
        f".sae-nb-panel {{ --sae-nb-font: {sizes.font_px}px; }}"
    )
    help_text = "".join(f"<p>{escape(s)}</p>" for s in page.explanation if s)
    help_text += words_html(
        (*page.explanation, *page.heading.facts, page.above, page.main, page.detail)
    )
    answer = answer_html(page)
    parts = f"{answer}{page.above}{page.main}{page.detail}"
    scripts = page.cards(parts) + margins() * bool(page.detail)
    detail = f'<div class="sae-nb-detail">{page.detail}</div>' if page.detail else ""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(page.heading.title)}</title><style>{style}</style>{script}</head><body>"
        f'<main class="sae-nb-panel sae-nb-{sizes.scale}">'
        f"{header_html(page.heading)}{answer}"
        f'<div class="sae-nb-body{"" if page.detail else " sae-nb-plain"}">'
        f'<div class="sae-nb-main">{page.above}{_figure_html(page.figure)}{page.main}</div>'
        f"{detail}</div>"
        f'<details class="sae-nb-fold"><summary>{RECORD}</summary>{record_table(page.record)}</details>'
        f'<details class="sae-nb-fold"><summary>What this shows, and what it cannot show</summary>'
        f'<div class="sae-nb-help">{help_text}<p>{escape(page.dropped)}</p></div></details></main>'
        f"<noscript><style>.sae-nb-live {{ display: none; }}</style></noscript>{scripts}</body></html>"
    )


def margins() -> str:
    """Return the script that puts margins below where a column would be half empty."""
    return f"<script>(() => {{ {script_of('page_margin')} }})();</script>"


def answer_html(page: Page) -> str:
    """Return the answer, what it rests on and the numbers behind it as escaped HTML; nothing without one."""
    if not page.answer:
        return ""
    said = f'<div class="sae-nb-answer">{sentence_html(page.answer, page.bold)}</div>'
    folded = ""
    if page.reasons or page.numbers:
        name = "how sure?" if page.reasons else "numbers"
        folded = (
            f'<details class="sae-nb-reasons"><summary>{name}</summary><div>{mark_atoms(page.reasons)}</div>'
            f'<div class="sae-nb-numbers">{escape(page.numbers)}</div></details>'
        )
    words = f'<div class="sae-nb-numbers">{first_words_html(page.words)}</div>'
    return f'<div class="sae-nb-answerline">{said}<div class="sae-nb-oneline">{folded}{words}</div></div>'


def sheet(page: Page, above: Drawing, main: Drawing, detail: Drawing) -> Drawing:
    """Return the content of `page` as one drawing: where, title, answer, figure, the parts above, under and
    next to it, and the facts last.
    """
    width = MAIN_WIDTH + (DETAIL_WIDTH + 20 if detail.height else 0)
    figure = [] if page.figure is None else [draw_figure(go.Figure(page.figure), MAIN_WIDTH)]
    left = stacked([above, *figure, main], gap=12)
    return padded(
        stacked(
            [
                *_top(page, width),
                hstack([replace(left, width=MAIN_WIDTH), detail] if detail.height else [left]),
                *_sources(page, width),
            ],
            gap=8,
        )
    )


def _top(page: Page, width: float) -> list[Drawing]:
    """Where, title and answer, in the sizes of the screen."""
    heading, scale = page.heading, theme.LECTURE if current_theme().scale == "lecture" else 1.0
    small, answer, large = (px * scale for px in (12, 15, 26))
    return [
        paragraph(" › ".join(heading.where), width, size=small),
        paragraph(heading.title, width, size=large, bold=True),
        paragraph(page.answer, width, size=answer),
        paragraph(page.reasons, width),
        paragraph(page.numbers, width),
        paragraph(page.words, width),
    ]


def _sources(page: Page, width: float) -> list[Drawing]:
    """Return the contents of "about": the question, the facts, the description of an atom."""
    heading = page.heading
    asked = [heading.question] if heading.headline else []
    facts = [*asked, heading.sure_words, *(f"{n} {text}" for n, text in heading.facts.items())]
    return [
        paragraph(" · ".join(filter(None, facts)), width),
        paragraph(heading.atom_line, width),
    ]


def drawings(widgets: Iterable[ipw.Widget], width: float) -> Drawing:
    """Return the components and HTML among `widgets` and their children under each other, as strokes."""
    parts = []
    for widget in exported(widgets):
        if isinstance(widget, Component):
            parts.append(widget.drawing(width))
        else:
            parts.append(html_drawing(widget.value, width))
    return stacked(parts, gap=12)


def _figure_html(figure: go.Figure | None) -> str:
    if figure is None:
        return ""
    figure = go.Figure(figure)
    figure.update_layout(template=template(), autosize=True)
    # plotly's buttons zoom; where no axis can be zoomed they only lie over what is drawn.
    axes = [*figure.select_xaxes(), *figure.select_yaxes()]
    fixed = bool(axes) and all(axis.fixedrange for axis in axes)
    live = pio.to_html(
        figure,
        full_html=False,
        include_plotlyjs=False,
        config=FIGURE_CONFIG if fixed else still_config(),
        default_height=f"{figure.layout.height or current_theme().figure_height_px}px",
    )
    return (
        f'<div class="sae-nb-live">{live}</div>'
        f'<noscript><div class="sae-nb-still">{to_svg(figure)}</div></noscript>'
    )


def _png_tag(figure: go.Figure) -> str:
    data = base64.b64encode(to_png(figure, MAIN_WIDTH)).decode()
    return f'<img width="{MAIN_WIDTH}" alt="the figure" src="data:image/png;base64,{data}"/>'


def fallback_html(page: Page) -> str:
    """Return a small piece of HTML for viewers that run no widgets: title, answer, a drawing, a table."""
    drawing = "" if page.figure is None else _png_tag(page.figure)
    return (
        f"{header_html(page.heading)}{answer_html(page)}{drawing}"
        f"<details><summary>{RECORD}</summary>{record_table(page.record)}</details>"
    )


def exported(widgets: Iterable[ipw.Widget], *, columns: bool = False) -> Iterator[Any]:
    """Yield the components and HTML that are shown among `widgets` and their children.

    With `columns`, boxes whose children are side by side come whole.
    """
    for widget in widgets:
        if is_plot(widget) or widget.layout.display == "none":
            continue
        if LIVE_ONLY in getattr(widget, "_dom_classes", ()):
            continue
        side_by_side = columns and COLUMNS in getattr(widget, "_dom_classes", ())
        if isinstance(widget, Component | ipw.HTML) or side_by_side:
            yield widget
        elif isinstance(widget, ipw.Box):
            yield from exported(widget.children, columns=columns)


def is_plot(widget: ipw.Widget) -> bool:
    """Return whether a widget is one of plotly's; by name, as asking plotly for the class takes seconds."""
    return any(kind.__name__ == "FigureWidget" for kind in type(widget).__mro__)


def live_words(text: str) -> str:
    """Return a sentence about what a click or a key does, as HTML that pages leave out.

    >>> _WORDS.sub("", f"<p>3 texts. {live_words('Click one <b>')}</p>")
    '<p>3 texts. </p>'
    """
    return f'<span class="{LIVE_ONLY}">{escape(text)}</span>'


_WORDS = re.compile(f'<span class="{LIVE_ONLY}">[^<]*</span>')


def static_html(widgets: Iterable[ipw.Widget]) -> str:
    """Return the components and HTML among `widgets` and their children, as HTML without script."""
    return "".join(
        _columns_html(widget)
        if isinstance(widget, ipw.Box)
        else widget.static_html()
        if isinstance(widget, Component)
        else f"<div>{_WORDS.sub('', widget.value)}</div>"
        for widget in exported(widgets, columns=True)
    )


def _columns_html(box: ipw.Box) -> str:
    columns = "".join(f"<div>{static_html([child])}</div>" for child in box.children)
    return f'<div class="{" ".join(box._dom_classes)}">{columns}</div>'


FILE_TYPES = {"html": "text/html", "png": "image/png", "svg": "image/svg+xml"}


def descendants(widget: ipw.Widget) -> Iterator[ipw.Widget]:
    """Yield `widget` and everything inside it, children first."""
    for child in getattr(widget, "children", ()):
        yield from descendants(child)
    yield widget


# --- the record as a table ------------------------------------------------------------------------


def record_table(record: object) -> str:
    """Return a record as an HTML table of names and values; long arrays are summarised."""
    if record is None:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name.replace("_", " "))}</th><td>{escape(text)}</td></tr>'
        for name, text in record_rows(record)
    )
    return f'<table class="sae-nb-record">{rows}</table>'


def record_rows(record: object) -> list[tuple[str, str]]:
    """Return fields of a dataclass or mapping as (name, text), without those that its repr leaves out."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        items = [(f.name, getattr(record, f.name)) for f in dataclasses.fields(record) if f.repr]
    else:
        items = list(record.items()) if isinstance(record, Mapping) else []
    return [(str(name), text) for name, value in items if (text := _as_text(value)) is not None]


def _as_text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool | str | Path):
        return str(value)
    if isinstance(value, int | np.integer):
        return format_count(int(value))
    if isinstance(value, float | np.floating):
        return format_number(float(value))
    if isinstance(value, np.ndarray):
        return _array_as_text(value)
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {text}" for k, v in value.items() if (text := _as_text(v)))
    if isinstance(value, list | tuple):
        shown = [text for v in value[:LONGEST_LIST] if (text := _as_text(v)) is not None]
        return ", ".join(shown) + (" …" if len(value) > LONGEST_LIST else "")
    if dataclasses.is_dataclass(value):
        return "; ".join(f"{name} {text}" for name, text in record_rows(value))
    return str(value)


def _array_as_text(array: np.ndarray) -> str:
    if array.ndim == 1 and len(array) <= LONGEST_LIST:
        return ", ".join(_as_text(v) or "" for v in array.tolist())
    shape = f"{THIN_SPACE}×{THIN_SPACE}".join(format_count(n) for n in array.shape)
    shape = shape.replace(THIN_SPACE, " ")
    finite = array[np.isfinite(array)] if array.dtype.kind in "fiu" else array[:0]
    if array.dtype.kind not in "fiu" or not finite.size:
        return f"{shape} values"
    low, high = format_number(float(finite.min())), format_number(float(finite.max()))
    return f"{shape} numbers from {low} to {high}"


def format_bytes(size: int) -> str:
    """Write a file size."""
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return format_number(size / factor, unit)
    return format_number(float(size), "B")
