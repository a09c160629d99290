"""What a page says between `<!-- name: argument -->` and `<!-- end -->`, from code, artefacts and benchmarks.

GitHub shows a page as it lies there, so answers are written into it:

    python docs/tools/macros.py

(in `make sync`; `tests/docs/test_readme.py` notices where it was not). In the built page the answer of today
takes that place. What each name takes is in its docstring; one that nothing answers to stops the build, so that
no page can quote a figure that is gone. Of `ON_THE_SITE` GitHub shows what the author wrote there: they are
HTML, or too long to be kept twice.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cards import ARXIV
from equations import typeset
from lesson_pages import add_pages, lesson_table, with_outputs
from lessons import ROOT, course
from measured import benchmark_table, claim, claims, claims_beyond, headlines, more, number, numbers
from papers import by_paper, counts, named, papers
from paths import instructors, path, reading_rate, rubrics
from public_names import api
from readme import found
from sites import live_atoms
from tables import (
    certificates,
    classes,
    definitions,
    families,
    measured,
    releases,
    training,
    trainings,
    words,
)
from three_texts import three_texts

DOCS = Path(__file__).parents[1]
SEARCH_RANKS = {
    "howto/": 8,
    "methods/": 4,
    "more-claims": 0.5,
}
"""Factor of a page's score in the search, by the beginning of its address: guides first, long lists last."""


def three_findings(_: str) -> str:
    """The first headline of each of three papers, for the home page."""
    cards = re.findall(r"<article>.*?</article>", headlines("ten"), re.S)
    of_paper: dict[str, str] = {}
    for one in cards:
        of_paper.setdefault(ARXIV.findall(one)[0], one)
    return f'<div class="cards headlines">{"".join([*of_paper.values()][:3])}</div>'


def try_live(name: str) -> str:
    """A site of atoms in a frame that is fetched when it is unfolded, where `make sites` wrote it."""
    shown, words = live_atoms(name), "Try it here: draw a digit, see which atoms fire, turn one up"
    if "<iframe" not in shown:  # a model that runs in the page needs a runtime of 14 MB
        return ""
    return f'<details class="example try"><summary>{words}</summary>\n{shown}\n</details>'


CARD = re.compile(r'<article><a href="(.+?)\.html".*?</article>')


def gallery(names: str) -> str:
    """Cards of the gallery's index, by the names of their pages, for a page beside its folder."""
    file = DOCS / "gallery" / "index.html"
    if not file.is_file():
        raise ValueError("docs/gallery must be there. Run `python docs/make_gallery.py --pages`.")
    index = file.read_text(encoding="utf-8")
    cards = {card[1]: card[0].replace("../pictures", "pictures") for card in CARD.finditer(index)}
    chosen = list(cards) if names == "all" else names.split()
    inside = "".join(re.sub(r'href="(?!https)', 'href="gallery/', cards[name]) for name in chosen)
    return f'<div class="cards">{inside}</div>'


# What a browser fetches without being asked; a link that waits to be clicked is none.
ELSEWHERE = re.compile(r"""(?:src=|<link[^>]+href=|url\()["']?(https?:)?//[^"'>)]+""")

WRITTEN_OUT: dict[str, Callable[[str], str]] = {
    "certificates": certificates,
    "claim": claim,
    "claims": claims,
    "classes": classes,
    "counts": counts,
    "families": families,
    "found": found,
    "instructors": instructors,
    "measured": measured,
    "more": more,
    "number": number,
    "numbers": numbers,
    "path": path,
    "rate": reading_rate,
    "releases": releases,
    "rubrics": rubrics,
    "table": benchmark_table,
    "training": training,
    "trainings": trainings,
    "words": words,
}
ON_THE_SITE: dict[str, Callable[[str], str]] = {
    "api": api,
    "atoms": live_atoms,
    "by_paper": by_paper,
    "claims_beyond": claims_beyond,
    "course": course,
    "definitions": definitions,
    "gallery": gallery,
    "headlines": headlines,
    "lessons": lesson_table,
    "named": named,
    "papers": papers,
    "three": three_findings,
    "three_texts": three_texts,
    "try": try_live,
}


def expand(markdown: str) -> str:
    """The page as it is built: every answer as of today, links to notebooks made links to their executed pages.

    Raises
    ------
    ValueError
        If nothing is called so, or there is nothing of that name.
    """
    today = WRITTEN.sub(lambda found: _answer(found[1], found[2]), markdown)
    return NOTEBOOK.sub(r"](\1lessons/\2.md", today)


WRITTEN = re.compile(r"<!-- (\w+): ([^>]+?) -->(\n?).*?<!-- end -->", re.S)
NOTEBOOK = re.compile(r"\]\(((?:\.\./)*)\.\./notebooks/(\w+)\.ipynb")
NOTE = re.compile(
    r'^(?:!!!|\?\?\?) [^"\n]*"(.*)"\n\n {4}(?:- )?(?:(?!\|)(.*)|.*)(?:\n+ {4}.*)*', re.M
)
BUILT = re.compile(r"\[([^]]+)\]\((?:lessons|teachers)/[^)]+\)")


def written(markdown: str) -> str:
    """The page as it should lie in the repository: every written answer as of today, in GitHub's Markdown.

    Of a card its title and source are left, and of links to pages that only a build has the words.
    """

    def now(found: re.Match[str]) -> str:
        name, argument, block = found.groups()
        if name in ON_THE_SITE:
            return found[0]
        said = BUILT.sub(r"\1", NOTE.sub(r"**\1** \2", _answer(name, argument)))
        said = "\n".join(line.rstrip() for line in said.strip().splitlines())
        return f"<!-- {name}: {argument} -->{block}{said}{block}<!-- end -->"

    return WRITTEN.sub(now, markdown)


def pages() -> list[Path]:
    """Pages of which something is written out."""
    every = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    return [page for page in every if WRITTEN.search(page.read_text(encoding="utf-8"))]


def on_config(config: Any) -> Any:
    """What mkdocs calls first: `make docs-version` has versions to choose from, a single build none."""
    if os.environ.get("SAE_NB_DOCS_VERSIONS"):
        config["extra"]["version"] = {"provider": "mike", "default": "latest"}
    return config


def on_files(files: Any, config: Any) -> Any:
    """What mkdocs calls when it knows the pages on disk: the lessons, executed, join them."""
    add_pages(files, config)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """What mkdocs calls before it reads a page; without a rank of its own it gets that of its folder."""
    ranks = [rank for folder, rank in SEARCH_RANKS.items() if page.file.src_uri.startswith(folder)]
    if ranks:
        page.meta.setdefault("search", {"boost": ranks[0]})
    return typeset(expand(markdown))


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """The page as it will be read, with its outputs, unless reading it would ask another machine for anything.

    Raises
    ------
    ValueError
        If it would.
    """
    output = with_outputs(output, page.file.src_uri)
    found = ELSEWHERE.search(output)
    if found:
        raise ValueError(f"{page.file.src_uri} loads {found[0]!r}; keep everything on the site.")
    return output


def _answer(name: str, argument: str) -> str:
    every = WRITTEN_OUT | ON_THE_SITE
    if name not in every:
        raise ValueError(f"Nothing is called {name!r}; there are {', '.join(sorted(every))}.")
    return every[name](argument)


if __name__ == "__main__":
    for page in pages():
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")
