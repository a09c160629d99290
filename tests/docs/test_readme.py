"""The front door: short, in the words of the field, with results that the artefacts hold; what a release needs is there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

Tool = Callable[[str], ModuleType]
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_it_is_short_and_says_what_an_atom_is() -> None:
    """120 lines at most; who knows features or latents finds the word at once."""
    assert len(README.splitlines()) <= 120
    assert re.search(r"\*atom\* is what others call a feature or a latent", README)
    first = README.splitlines()[:60]
    for needed in ("pip install", "```python", "SAE"):
        assert any(needed in line for line in first), needed


def test_its_results_are_those_of_the_artefacts(tool: Tool) -> None:
    """`python docs/tools/readme.py` (in `make sync`) writes them again; eight rows, and not only claims that hold."""
    readme = tool("readme")
    assert readme.with_found(README) == README
    rows = [line for line in readme.found().splitlines() if "arxiv.org/abs/" in line]
    assert len(rows) == 8
    assert sum("[does not hold" in row or "[partly" in row for row in rows) >= 2
    with pytest.raises(ValueError, match="Put them back"):
        readme.with_found("no comments")


def test_its_links_lead_to_pages_that_can_be_read_there(docs: Path) -> None:
    """A page whose tables are made when the documentation is built is linked as built, and exists; no other is."""
    built = re.findall(r"https://sae-nb\.github\.io/sae_nb/latest/([\w/-]+)\.html", README)
    here = re.findall(r"\]\(docs/([\w/-]+)\.md", README)
    assert built
    assert here
    for name in (*built, *here):
        made = re.search(r"^\{\{ \w+: ", (docs / f"{name}.md").read_text(encoding="utf-8"), re.M)
        assert bool(made) == (name in built) or name == "coming-from", name


def test_the_citation_is_of_this_version() -> None:
    """As pyproject.toml and the page have it."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(cited["version"]) == PROJECT["version"]
    assert cited["license"] == PROJECT["license"]
    assert cited["repository-code"] == PROJECT["urls"]["Repository"]
    assert f"{{{PROJECT['version']}}}" in (ROOT / "docs" / "cite.md").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {PROJECT['version']}" in changes


def test_the_changelog_is_short() -> None:
    """A summary a person reads, with links that lead somewhere and a word on each dependency."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert len(text.encode()) < 8_000
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")]
    assert all((ROOT / link).exists() for link in links)
    for dependency in PROJECT["dependencies"]:
        assert re.split(r"[<>=! \[]", dependency)[0] in text, dependency


@pytest.mark.parametrize("name", ["tests", "docs", "wheel"])
def test_workflows_call_targets_of_the_makefile(name: str) -> None:
    """CI runs the words that people type; a target that is gone fails here."""
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    assert all("timeout-minutes" in job or job.get("needs") for job in jobs.values())
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    called = [
        word
        for line in re.findall(r"\bmake ([^\n;|]+)", text)
        for word in line.split()
        if re.fullmatch(r"[a-z-]+", word)
    ]
    assert called
    assert set(called) <= targets


def test_issue_forms_ask_for_what_helps() -> None:
    """Each is a form that GitHub reads, with a field that must be filled; bugs bring the doctor's report."""
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) == 4
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem == "config":
            continue
        assert {"name", "description", "body"} <= set(form)
        assert any(part.get("validations", {}).get("required") for part in form["body"])
    assert "sae-nb doctor --json" in (ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text()


def test_the_home_page_has_the_words_of_other_schools(docs: Path, tool: Tool) -> None:
    """Feature, latent and neuron lead to an atom; three findings stand there, and what is heavy waits to be unfolded."""
    text = (docs / "index.md").read_text(encoding="utf-8")
    glossary = (docs / "glossary.md").read_text(encoding="utf-8").lower()
    for word in ("feature", "latent", "neuron"):
        assert word in text
        assert word in glossary
    page = tool("macros").expand(text)
    assert page.count("<article>") == 3
    frame = page.find("<iframe")
    assert page.rfind("<details", 0, frame) > page.rfind("</details>", 0, frame)
    assert 'loading="lazy"' in page[frame : page.index(">", frame)]
    pictures = set(re.findall(r"pictures/[\w-]+\.webp", text))
    assert len(pictures) == 4  # of which a reader fetches one: wide or narrow, light or dark
    assert max((docs / picture).stat().st_size for picture in pictures) < 45_000


def test_the_home_page_has_something_to_try_without_the_sites(
    docs: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A recorded page of the repository, small, which asks for no other file."""
    monkeypatch.setattr(tool("sites"), "ATOMS", tmp_path)
    page = tool("macros").expand("{{ try: tiny-vit }}")
    recorded = docs / re.findall(r'<iframe [^>]*src="([^"]+)"', page)[0]
    text = recorded.read_text(encoding="utf-8")
    assert recorded.stat().st_size <= 300_000
    assert not re.search(r"<(?:script|img|link)[^>]+(?:src|href)=\"(?!data:)", text)


def test_versions_are_offered_only_where_they_are_kept(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make docs-version` asks for the menu of versions; a build of `make docs` has none to choose from."""

    def built() -> dict[str, object]:
        nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
        config = {"nav": yaml.safe_load(nav), "extra": {}}
        return tool("macros").on_config(config)["extra"]

    monkeypatch.delenv("SAE_NB_DOCS_VERSIONS", raising=False)
    assert built() == {}
    monkeypatch.setenv("SAE_NB_DOCS_VERSIONS", "1")
    assert built() == {"version": {"provider": "mike", "default": "latest"}}


def test_a_link_that_leads_nowhere_is_named(tool: Tool, tmp_path: Path) -> None:
    """To a file or to a place in one, also in HTML that mkdocs does not read; other machines are left alone."""
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">x</a> <a href="b.html#gone">x</a> <img src="no.webp"> '
        '<a href="https://example.org/x">x</a> <a href="#top">x</a> <p id="top">'
    )
    (tmp_path / "b.html").write_text('<p id="here">')
    (tmp_path / "404.html").write_text('<a href="/nowhere.html">')
    assert tool("links").broken(tmp_path) == ["a.html: b.html#gone", "a.html: no.webp"]


def test_a_page_of_changes_is_built_as_it_stands(docs: Path, tool: Tool) -> None:
    """Its lines quote code: none of it may be taken for a table or card of the documentation's own."""
    for page in (docs / "changes").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert tool("macros").expand(text) == text
