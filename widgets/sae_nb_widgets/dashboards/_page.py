"""Several panels as one HTML file that needs no kernel, with plotly's script in it once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plotly.offline import get_plotlyjs

from sae_nb.figures import escape
from sae_nb.files import place
from sae_nb_widgets.components import read_static
from sae_nb_widgets.panel import SHARED_SCRIPT, Page, Panel, page_html, write_file

TITLE = "What has this SAE learned, and what does it do?"
STYLE = "body { max-width: 1500px; } main.sae-nb-panel { margin: 0; }"


def write(panels: Sequence[Panel], path: Path, *, share_script: bool = False) -> Path:
    """Write the panels to one file, atomically."""
    if place(path).is_dir():
        raise ValueError(f"`path` must name a file, got the folder {str(path)!r}. Add a file name.")
    content = get_plotlyjs()
    script = f"<script>{content}</script>"
    if share_script:
        script = f'<script src="{SHARED_SCRIPT}"></script>'
        write_file(path.parent / SHARED_SCRIPT, content.encode())
    write_file(path, _html(panels, script).encode())
    return path


def _html(panels: Sequence[Panel], script: str) -> str:
    pages = [page_html(_page(panel), "") for panel in panels]
    head = _between(pages[0], "<style>", "</style>")
    mains = "".join(_between(page, "<main", "</main>") for page in pages)
    pair = " sae-nb-pair" if len(panels) > 2 else ""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(TITLE)}</title>{head}"
        f"<style>{read_static('dashboard.css')}{STYLE}</style>{script}</head><body>"
        f'<div class="sae-nb-dashboard"><h1 class="sae-nb-question">{escape(TITLE)}</h1>'
        f'<div class="sae-nb-view{pair}">{mains}</div></div>'
        f"<noscript><style>.sae-nb-live {{ display: none; }}</style></noscript></body></html>"
    )


def _page(panel: Panel) -> Page:
    return Page(
        question=panel.question,
        chips=panel.static_chips(),
        explanation=panel.explanation,
        figure=panel.current_figure(),
        main=panel.static_main(),
        detail=panel.static_detail(),
        record=panel.record,
        dropped=panel.needs_kernel,
    )


def _between(page: str, start: str, end: str) -> str:
    first = page.index(start)
    return page[first : page.index(end, first) + len(end)]
