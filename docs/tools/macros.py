"""Words in double braces on a page become what the code, the artefacts and the benchmarks say today.

`{{ claim: experiment / name }}`, `{{ claims: experiment }}`, `{{ number: experiment / name }}`,
`{{ table: heading of benchmarks/RESULTS.md / which }}`, `{{ settings: class }}`,
`{{ api: package }}`, `{{ errors: group }}`, `{{ notebook: number }}`, `{{ course: README }}`,
`{{ page: file / words }}`, `{{ claims_beyond: folder }}`, `{{ all_claims: kind }}`,
`{{ headlines: ten }}`, `{{ house: rooms }}`,
`{{ methods: others }}`, `{{ gallery: all }}` (or names of cards),
`{{ releases: published }}`, `{{ atoms: names of sites }}`, `{{ words: table of words.toml }}`. One that
nothing answers to stops the build, so that no page can quote a figure that is gone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from equations import typeset
from house_picture import house
from lessons import course, notebook
from measured import (
    all_claims,
    benchmark_table,
    claim,
    claims,
    claims_beyond,
    headlines,
    number,
)
from other_words import words
from public_names import api, settings
from raised import errors, rules
from releases import releases
from sites import live_atoms

DOCS = Path(__file__).parents[1]
# Pages that other commands write: they join the contents once they are there.
WRITTEN_ELSEWHERE = {
    "Metrics": "metrics.md",
    "Reliability": "reliability.md",
    "Other libraries, round trip": "interop.md",
    "Scale": "scale.md",
}


def page_link(argument: str) -> str:
    """A link to a page that another command writes, or its words alone; "page / words"."""
    page, _, words = argument.partition(" / ")
    return f"[{words}]({page})" if (DOCS / page).is_file() else words


def methods(_: str) -> str:
    """A row for each page of docs/methods that its index does not name by hand."""
    index = (DOCS / "methods" / "index.md").read_text(encoding="utf-8")
    others = [page for page in _method_pages() if f"({page.name})" not in index]
    return "\n".join(f"| [{_title(page)}]({page.name}) | {_idea(page)} | |" for page in others)


def _method_pages() -> list[Path]:
    return [page for page in sorted((DOCS / "methods").glob("*.md")) if page.stem != "index"]


def _title(page: Path) -> str:
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _idea(page: Path) -> str:
    """The sentence below the title."""
    return page.read_text(encoding="utf-8").split("\n\n")[1].strip()


CARD = re.compile(r'<article><a href="(.+?)\.html".*?</article>')


def gallery(names: str) -> str:
    """Cards of the gallery's index, by the names of their pages, for a page beside its folder."""
    index = (DOCS / "gallery" / "index.html").read_text(encoding="utf-8")
    cards = {card[1]: card[0].replace("../pictures", "pictures") for card in CARD.finditer(index)}
    chosen = list(cards) if names == "all" else names.split()
    inside = "".join(re.sub(r'href="(?!https)', 'href="gallery/', cards[name]) for name in chosen)
    return f'<div class="cards">{inside}</div>'


# What a browser fetches without being asked; a link that waits to be clicked is none.
ELSEWHERE = re.compile(r"""(?:src=|<link[^>]+href=|url\()["']?(https?:)?//[^"'>)]+""")

MACRO = re.compile(r"\{\{ (\w+): (.+?) \}\}")
MACROS: dict[str, Callable[[str], str]] = {
    "all_claims": all_claims,
    "api": api,
    "atoms": live_atoms,
    "claim": claim,
    "claims": claims,
    "claims_beyond": claims_beyond,
    "course": course,
    "errors": errors,
    "gallery": gallery,
    "headlines": headlines,
    "house": house,
    "methods": methods,
    "notebook": notebook,
    "number": number,
    "page": page_link,
    "releases": releases,
    "rules": rules,
    "settings": settings,
    "table": benchmark_table,
    "words": words,
}


def expand(markdown: str) -> str:
    """The page with every macro replaced.

    Raises
    ------
    ValueError
        If there is no such macro, or nothing of that name.
    """
    return MACRO.sub(lambda found: _answer(found[1], found[2]), markdown)


def on_config(config: Any) -> Any:
    """What mkdocs calls first: "Measured" and "Methods" get the pages there are."""
    sections = {title: pages for part in config["nav"] for title, pages in part.items()}
    sections["Measured"] += [
        {title: page} for title, page in WRITTEN_ELSEWHERE.items() if (DOCS / page).is_file()
    ]
    for page in _method_pages():
        if f"methods/{page.name}" not in str(sections["Methods"]):
            sections["Methods"].append({_title(page): f"methods/{page.name}"})
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What mkdocs calls before it reads a page."""
    return typeset(expand(markdown))


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """The page as it will be read, unless reading it would ask another machine for anything.

    Raises
    ------
    ValueError
        If it would.
    """
    found = ELSEWHERE.search(output)
    if found:
        raise ValueError(f"{page.file.src_uri} loads {found[0]!r}; keep everything on the site.")
    return output


def _answer(kind: str, argument: str) -> str:
    if kind not in MACROS:
        raise ValueError(f"No macro is called {kind!r}; there are {', '.join(sorted(MACROS))}.")
    return MACROS[kind](argument)
