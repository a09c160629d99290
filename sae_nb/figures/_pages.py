"""A page of HTML of its own, with the theme's colours: what commands write next to their numbers."""

from __future__ import annotations

from html import escape

from sae_nb.figures import theme

_STYLE = (
    f"{theme.PAGE_COLOURS} body {{ font: 15px/1.5 sans-serif; margin: 2em; "
    "color: var(--jp-ui-font-color1); background: var(--jp-layout-color0, var(--jp-layout-color1)) } "
    "table { border-collapse: collapse; display: block; width: fit-content; "
    "max-width: min(68em, 100%); overflow-x: auto } "
    "td, th { padding: .3em .6em; text-align: left; vertical-align: top; "
    "border-bottom: 1px solid var(--jp-border-color2) } "
    "caption { text-align: left } small { opacity: .75 }"
)


def html_page(title: str, body: str) -> str:
    """Return a whole page; `body` is HTML in which every text is escaped already."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1>{body}</html>\n"
    )
