"""Pages say what is so today: their links, names, figures and messages are those of the code."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from sae_nb_lessons import recorded

import sae_nb as sn
from sae_nb.architectures import ARCHITECTURES

Tool = Callable[[str], ModuleType]
ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<!`)\]\((?!https?:|mailto:)([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]+`|\{\{.*?\}\}|arXiv \S+", re.S | re.M)


def _pages(docs: Path) -> list[Path]:
    return sorted(docs.rglob("*.md"))


def _heading_ids(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", one).strip().lower().replace(" ", "-") for one in headings}


def test_links_inside_the_docs_resolve(docs: Path) -> None:
    """To files that are there and headings that they have; the course's too."""
    broken = []
    for page in [*_pages(docs), ROOT / "notebooks" / "README.md"]:
        for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            known = target.suffix != ".md" or not anchor or "sae_nb" in anchor
            if not target.exists() or not (known or anchor in _heading_ids(target.read_text())):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert not broken


def test_readmes_of_rooms_name_files_that_are_there() -> None:
    """By their path from the top, from the room or from a folder in it."""
    gone = []
    for readme in (*ROOT.glob("*/*/README.md"), *ROOT.glob("sae_nb/studies/*/README.md")):
        for name in re.findall(r"`([\w/]+\.(?:py|toml))`", readme.read_text(encoding="utf-8")):
            near = any(readme.parent.rglob(name)) if "/" not in name else False
            there = near or (readme.parent / name).exists() or (ROOT / name).exists()
            if not there and "my_" not in name and "their_" not in name:
                gone.append(f"{readme.relative_to(ROOT)}: {name}")
    assert not gone


def test_every_page_is_in_the_contents(docs: Path, tool: Tool) -> None:
    """A page that nobody can reach is no page."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    contents = str(tool("macros").on_config({"nav": yaml.safe_load(nav)}))
    pages = [page.relative_to(docs).as_posix() for page in _pages(docs)]
    assert [name for name in pages if f"'{name}'" not in contents] == []


def test_the_api_holds_every_public_name(docs: Path, tool: Tool) -> None:
    """Those of `sae_nb`, its rooms, panels and lessons; read from the doors, they are the real ones."""
    names = tool("public_names")
    rooms = {getattr(sn, name).__name__ for name in dir(sn) if name not in sn.__all__}
    assert len(rooms) > 15
    assert rooms | {"sae_nb", "sae_nb_widgets", "sae_nb_lessons"} <= set(names.pages())
    for package, page in names.pages().items():
        assert f"{{{{ api: {package} }}}}" in (docs / "api" / page).read_text(encoding="utf-8")
        module = importlib.import_module(package)
        assert sorted(names.homes(package)) == sorted(module.__all__)
        documented = names.api(package)
        for name, home in names.homes(package).items():
            _, path = names.place_of(home)
            assert f"::: {path}\n" in documented or f"#{path})" in documented
            for dotted in (home, path):
                where, _, last = dotted.rpartition(".")
                # A door answers wrong calls around the function that stands in the file.
                there = inspect.unwrap(getattr(importlib.import_module(where), last))
                assert there is inspect.unwrap(getattr(module, name))


def test_no_name_is_documented_twice(tool: Tool) -> None:
    """Each has one place; other packages that export it link there."""
    names = tool("public_names")
    documented = [
        path for package in names.pages() for path in re.findall(r"::: (\S+)", names.api(package))
    ]
    assert len(documented) == len(set(documented))


def test_every_architecture_has_a_page(docs: Path, tool: Tool) -> None:
    """With equation, uses, limits, verdict and notebook."""
    pages = {page.stem.replace("-", ""): page for page in (docs / "methods").glob("*.md")}
    index = tool("macros").expand((docs / "methods" / "index.md").read_text(encoding="utf-8"))
    assert {name.lower() for name in ARCHITECTURES} <= set(pages)
    for page in set(pages.values()) - {docs / "methods" / "index.md"}:
        text = page.read_text(encoding="utf-8")
        for heading in ("## Equation", "## When to use", "## When not", "## Open"):
            assert heading in text, f"{page.name} lacks {heading!r}"
        assert re.search(r"^## .*(verdict|claim)", text, re.M | re.I)
        assert "{{ claim" in text or "No verdict" in text
        assert page.name in index


def test_every_system_has_one_main_card(docs: Path) -> None:
    """Open on its page, or in its section of the lab; further cards are folded."""
    pages = set((docs / "methods").glob("*.md")) - {docs / "methods" / "index.md"}
    systems = {page.stem: page.read_text(encoding="utf-8") for page in pages}
    lab = re.split(r"^## ", (docs / "lab.md").read_text(encoding="utf-8"), flags=re.M)[1:]
    systems |= {section.partition(":")[0]: section for section in lab}
    assert set(sn.lab.names()["system"]) <= set(systems)
    for system, text in systems.items():
        main = re.findall(r"\{\{ claims?: (.+?) \}\}", text)
        assert len(main) == 1, f"{system} has {len(main)} main cards"
        assert " / " in main[0], f"{system} shows every card of {main[0]} as its main one"


def test_no_page_shows_a_card_of_history(docs: Path, tool: Tool) -> None:
    """What another card asks better is a line on that card."""
    claim_of = tool("measured").claim_of
    for page in _pages(docs):
        for shown in re.findall(r"\{\{ (?:claim|more): (.+? / .+?) \}\}", page.read_text("utf-8")):
            assert "replaced_by" not in claim_of(shown)[0], f"{page.name}: {shown}"


def test_pages_quote_the_artefacts_and_nothing_else(docs: Path, tool: Tool) -> None:
    """Every experiment's verdict is told; no figure with decimals is written by hand."""
    expand, told = tool("macros").expand, ""
    for page in (docs / "methods").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"\d[.,]\d", CODE.sub("", text)), page.name
        told += expand(text)
    told += expand((docs / "more-claims.md").read_text(encoding="utf-8"))
    assert "{{" not in told
    for path in (docs / "claims").glob("*.json"):
        assert f"`{path.stem}`" in told, f"no page tells what came of {path.stem}"


def test_a_quoted_number_is_the_artefacts(tool: Tool) -> None:
    """Mean and spread as the notebooks read them, verdict as the table has it."""
    measured, shown = tool("measured"), recorded("monotone")
    number = shown.of("mp r2 k=2")
    assert measured.number("monotone / mp r2 k=2") == f"{number.mean:.3g} ± {number.sd:.3g}"
    two_sided = measured.claim("hierarchy / hierarchy and correlation")
    assert two_sided.count("| PP, ρ 0.1 |") == 2
    name = "coherent globally, orthogonal locally"
    box = measured.claim(f"monotone / {name}")
    assert box.startswith("!!! ")
    assert shown.verdict(name) in box.lower()
    assert len(re.findall(r"^    \| ", box, re.M)) == 1 + len(shown.table(name))


def test_a_claim_asked_of_other_data_is_a_column_of_the_same_card(tool: Tool) -> None:
    """Both verdicts stand over the numbers, which meet by label; the second why and command are there too."""
    found, photos = recorded("minkowski_vit"), recorded("photos")
    box = tool("measured").claim("minkowski_vit / position")
    head, line = re.findall(r"^    \| (?:number|effective rank of mean) .*", box, re.M)
    assert f"drawn images: {found.verdict('position')}" in head
    assert f"photographs, three networks: {photos.verdict('minkowski_vit / position')}" in head
    means = [each.of("position rank, last").mean for each in (found, photos)]
    cells = [float(cell.split(" ± ")[0]) for cell in line.strip(" |").split(" | ")[1:3]]
    assert cells == pytest.approx(means, rel=0.01)
    assert "**photographs, three networks: Why: " in box
    assert f"`{photos.made.split(' (')[0]}`" in box


def test_the_page_of_claims_shows_each_once_with_its_why(docs: Path, tool: Tool) -> None:
    """Folded cards with verdict, cause, evidence and the command that makes the numbers again."""
    page = tool("macros").expand((docs / "claims.md").read_text(encoding="utf-8"))
    cards = re.split(r"^(?=\?\?\? )", page, flags=re.M)[1:]
    artefacts = [json.loads(path.read_text()) for path in (docs / "claims").glob("*.json")]
    every = [(artefact, claim) for artefact in artefacts for claim in artefact["claims"]]
    claims = [(artefact, claim) for artefact, claim in every if "tested_by" not in claim]
    alone = [one for one in claims if not {"beside", "replaced_by"} & one[1].keys()]
    assert len(cards) == len(alone)
    for artefact, claim in claims:
        if "replaced_by" in claim:
            line = f"- *{claim['text']}* ({claim['verdict']}, `{artefact['experiment']}`)."
            assert sum(line in card for card in cards) == 1, line
            continue
        if "beside" in claim:
            assert sum(f"`{artefact['command']}`" in card for card in cards) >= 1
            continue
        sign = " (sign only)" if claim.get("sign_only") and claim["verdict"] == "holds" else ""
        title = f"{claim['verdict'].capitalize()}{sign}: {claim['text']}".replace('"', "“")
        shown = [card for card in cards if f'"{title}"' in card]
        assert any(f"`{artefact['command']}`" in card for card in shown), title
        if claim["why"]:
            why = claim["why"]
            steps = why["still_changing_at"]
            said = why["cause"] or f"Undecided: still changing at {steps} steps"
            needed = f"{why['hours']:g} hours of one CPU core" if steps else ""
            parts = (said, why["evidence"], needed)
            assert any(all(part in card for part in parts) for card in shown), title


def test_the_papers_are_one_screen_of_rows_and_the_home_page_chooses_from_them(tool: Tool) -> None:
    """About twenty, in few words, each with a floor or control in the same experiment; no row is history."""
    papers, measured = tool("papers"), tool("measured")
    rows, table = papers.entries(), papers.papers("all")
    assert 18 <= len(rows) <= 24
    assert table.count("<tr>") == len(rows) + 1
    for entry in rows:
        assert len(entry["words"].split()) <= 12, entry["words"]
        claim, artefact = measured.claim_of(entry["claim"])
        assert not {"replaced_by", "tested_by", "beside"} & claim.keys(), entry["claim"]
        assert {entry[key]["number"] for key in ("ours", "control")} <= set(artefact["numbers"])
        assert claim["verdict"].removesuffix(" at this scale") in table
    headlines = tomllib.loads((ROOT / "docs" / "headlines.toml").read_text(encoding="utf-8"))
    chosen = [entry["claim"] for entry in headlines["headline"]]
    assert len(chosen) == 10
    assert set(chosen) <= {entry["claim"] for entry in rows}


@pytest.mark.parametrize(
    "text",
    [
        "{{ claim: monotone / gone }}",
        "{{ claims: gone }}",
        "{{ number: monotone / gone }}",
        "{{ table: pursuit / gone }}",
        "{{ table: gone / 1 }}",
        "{{ notebook: 99 }}",
        "{{ gone: 1 }}",
    ],
)
def test_what_is_gone_stops_the_build(tool: Tool, text: str) -> None:
    """A page cannot quote a figure, table, message or notebook that is not there."""
    with pytest.raises(ValueError):
        tool("macros").expand(text)


def test_benchmark_tables_are_copied_whole(tool: Tool) -> None:
    """Every row of a table, and when, where and how it was measured."""
    shown = tool("measured").benchmark_table("one_step / every one-step SAE")
    file = ROOT / "benchmarks" / "results" / "one_step.json"
    kept = json.loads(file.read_text(encoding="utf-8"))["every one-step SAE"]
    assert shown.splitlines()[0] == f"| {' | '.join(kept['columns'])} |"
    assert all(f"| {' | '.join(row)} |" in shown for row in kept["rows"])
    assert kept["date"] in shown
    assert kept["machine"] in shown


def test_a_page_that_loads_from_elsewhere_stops_the_build(tool: Tool) -> None:
    """A script, picture or sheet of another machine; links to click are free."""
    guard, page = tool("macros").on_post_page, type("Page", (), {})()
    page.file = type("File", (), {"src_uri": "x.md"})()
    assert guard('<a href="https://arxiv.org">paper</a>', page=page)
    for loads in (
        '<script src="https://elsewhere.example/x.js"></script>',
        '<link rel="stylesheet" href="https://elsewhere.example/x.css">',
        '<img src="//elsewhere.example/x.png">',
    ):
        with pytest.raises(ValueError, match="keep everything on the site"):
            guard(loads, page=page)


def test_the_reference_writes_options_out(tool: Tool) -> None:
    """A page lists the parameters that `help` lists, where a data class declares them."""
    griffe = pytest.importorskip("griffe")
    extensions = griffe.Extensions(tool("spelled_out").SpelledOut())
    package = griffe.load(
        "sae_nb", search_paths=[ROOT], extensions=extensions, allow_inspection=False
    )
    for function in (sn.capture, sn.stream, sn.train):
        path = f"{function.__module__}.{function.__name__}".removeprefix("sae_nb.")
        shown = [parameter.name for parameter in package[path].parameters]
        assert shown == list(inspect.signature(function).parameters)
