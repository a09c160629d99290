"""Words in double braces on a page become what the code, the artefacts and the benchmarks say today.

`{{ name: argument }}` calls the function that `MACROS` has under the name; what each takes is in its docstring.
One that nothing answers to stops the build, so that no page can quote a figure that is gone.

GitHub shows a page as it lies there. What a page says between `<!-- name: argument -->` and `<!-- end -->`
is the answer as of its last writing: in the built page the answer of today takes its place, and

    python docs/tools/macros.py

writes it again (in `make sync`; `tests/docs/test_readme.py` notices where it was not).
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
from lessons import ROOT, course, notebook
from measured import benchmark_table, claim, claims, claims_beyond, headlines, more, number, numbers
from papers import by_paper, counts, named, papers
from paths import instructors, path, reading_rate, rubrics
from public_names import api, settings
from readme import found
from sites import live_atoms
from tables import certificates, classes, definitions, families, measured, releases, words
from three_texts import three_texts

DOCS = Path(__file__).parents[1]
SEARCH_RANKS = {
    "howto/": 8,
    "methods/": 4,
    "more-claims": 0.5,
}
"""Factor of a page's score in the search, by the beginning of its address: guides first, long lists last."""
# Pages that other commands write: they join the contents once they are there.
WRITTEN_ELSEWHERE = {
    "Papers and results": {
        "Scale: what fits on which machine": "scale.md",
    },
    "Reference": {
        "Metrics: every number's definition": "metrics.md",
        "Reliability: kills, full disks, damages": "reliability.md",
        "Other libraries' files, round trip": "interop.md",
    },
}


def page_link(argument: str) -> str:
    """A link to a page that another command writes, or its words alone; "page / words"."""
    page, _, words = argument.partition(" / ")
    there = (DOCS / page.removeprefix("../")).is_file()
    return f"[{words}]({page})" if there else words


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

MACRO = re.compile(r"\{\{ (\w+): (.+?) \}\}")
MACROS: dict[str, Callable[[str], str]] = {
    "api": api,
    "atoms": live_atoms,
    "by_paper": by_paper,
    "certificates": certificates,
    "claim": claim,
    "claims": claims,
    "claims_beyond": claims_beyond,
    "classes": classes,
    "course": course,
    "counts": counts,
    "definitions": definitions,
    "families": families,
    "found": found,
    "gallery": gallery,
    "headlines": headlines,
    "instructors": instructors,
    "lessons": lesson_table,
    "measured": measured,
    "methods": methods,
    "more": more,
    "named": named,
    "notebook": notebook,
    "number": number,
    "numbers": numbers,
    "page": page_link,
    "papers": papers,
    "path": path,
    "rate": reading_rate,
    "releases": releases,
    "rubrics": rubrics,
    "settings": settings,
    "table": benchmark_table,
    "three": three_findings,
    "three_texts": three_texts,
    "try": try_live,
    "words": words,
}


def expand(markdown: str) -> str:
    """The page with every macro replaced.

    Raises
    ------
    ValueError
        If there is no such macro, or nothing of that name.
    """
    today = WRITTEN.sub(lambda found: _answer(found[1], found[2]), markdown)
    return MACRO.sub(lambda found: _answer(found[1], found[2]), today)


WRITTEN = re.compile(r"<!-- (\w+): ([^>]+?) -->.*?<!-- end -->", re.S)
ADMONITION = re.compile(r'^(?:!!!|\?\?\?) [^"\n]*"(.*)"$', re.M)
BUILT = re.compile(r"\[([^]]+)\]\((?:lessons|teachers)/[^)]+\)")


def written(markdown: str) -> str:
    """The page as it should lie in the repository: every written answer as of today, in GitHub's Markdown.

    Cards are paragraphs there, and of links to pages that only a build has the words are left.
    """
    return WRITTEN.sub(
        lambda found: (
            f"<!-- {found[1]}: {found[2]} -->\n\n{_plain(_answer(found[1], found[2]))}\n\n<!-- end -->"
        ),
        markdown,
    )


def _plain(markdown: str) -> str:
    if ADMONITION.search(markdown):
        markdown = re.sub("^ {4}", "", ADMONITION.sub(r"**\1**", markdown), flags=re.M)
    return BUILT.sub(r"\1", markdown.strip())


def pages() -> list[Path]:
    """Pages of which something is written out."""
    every = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    return [page for page in every if WRITTEN.search(page.read_text(encoding="utf-8"))]


def on_config(config: Any) -> Any:
    """What mkdocs calls first: pages that other commands write, and every method, get their place."""
    sections = {title: pages for part in config["nav"] for title, pages in part.items()}
    for section, pages in WRITTEN_ELSEWHERE.items():
        sections[section] += [
            {title: page}
            for title, page in pages.items()
            if (DOCS / page).is_file() and f"'{page}'" not in str(sections[section])
        ]
    for page in _method_pages():
        if f"methods/{page.name}" not in str(sections["Methods"]):
            sections["Methods"].append({_title(page): f"methods/{page.name}"})
    if os.environ.get(
        "SAE_NB_DOCS_VERSIONS"
    ):  # `make docs-version`; a single build has none to choose
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


def _answer(kind: str, argument: str) -> str:
    if kind not in MACROS:
        raise ValueError(f"No macro is called {kind!r}; there are {', '.join(sorted(MACROS))}.")
    return MACROS[kind](argument)


if __name__ == "__main__":
    for page in pages():
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")
