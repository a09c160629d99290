"""The front door: short, in the words of the field, with results that the artefacts hold; what a release needs is there."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

Tool = Callable[[str], ModuleType]
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]+`", re.S | re.M)


def test_github_shows_no_braces() -> None:
    """It fills no page in; and what follows a comment at the beginning of a line is no Markdown to it."""
    pages = subprocess.check_output(["git", "ls-files", "*.md"], cwd=ROOT, text=True).splitlines()
    assert "docs/methods/topk.md" in pages
    for page in pages:
        said = CODE.sub("", (ROOT / page).read_text(encoding="utf-8"))
        assert not re.search(r"\{\{|\{%|^ {0,3}<!-- \w+: [^>]+ -->.", said, re.M), page


@pytest.mark.slow
def test_what_is_written_out_is_what_the_records_say(tool: Tool) -> None:
    """`python docs/tools/macros.py` (in `make sync`) writes it again."""
    macros = tool("macros")
    names = {str(page.relative_to(ROOT)) for page in macros.pages()}
    assert {"README.md", "docs/scale.md", "docs/methods/topk.md"} <= names
    for page in macros.pages():
        text = page.read_text(encoding="utf-8")
        assert macros.written(text) == text, page


def test_a_written_answer_is_taken_anew(tool: Tool) -> None:
    """In the built page by the answer itself, in the repository without what GitHub does not show."""
    macros = tool("macros")

    def said(name: str) -> str:
        return f"<!-- {name} -->\nold\n<!-- end -->"

    table = macros.expand(said("table: one_step / TopK step, compiled"))
    assert table.startswith("| ")
    assert table in macros.written(said("table: one_step / TopK step, compiled"))
    card = "claim: certificate_planted / share"
    assert "\n    | number | measured | asked |\n" in macros.expand(said(card))
    (_, line, _) = macros.written(said(card)).splitlines()
    assert line.startswith("**Holds: The share of atoms")
    assert line.endswith("** ours · 5 seeds, `certificate_planted`")
    number = macros.expand("of <!-- number: monotone / mp r2 k=2 -->1<!-- end -->.")
    assert re.fullmatch(r"of \S+ ± \S+\.", number)
    assert macros.written(said("gallery: all")) == said("gallery: all")


def test_a_notebook_is_a_page_of_the_site(tool: Tool) -> None:
    """From a page of docs, and from one in a folder of it."""
    expand = tool("macros").expand
    assert expand("[a](../notebooks/00_tour.ipynb)") == "[a](lessons/00_tour.md)"
    assert expand("[a](../../notebooks/00_tour.ipynb)") == "[a](../lessons/00_tour.md)"


def test_every_method_is_on_its_index() -> None:
    index = (ROOT / "docs" / "methods" / "index.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs" / "methods").glob("*.md")} - {"index.md"}
    assert {page for page in pages if f"]({page}) | " not in index} == set()


def test_its_results_are_not_only_claims_that_hold() -> None:
    rows = [
        line for line in README.splitlines() if line.startswith("|") and "arxiv.org/abs/" in line
    ]
    assert len(rows) == 4
    assert sum("[does not hold" in row or "[partly" in row for row in rows) >= 1


def test_the_citation_is_of_this_version() -> None:
    """As pyproject.toml and the page have it."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(cited["version"]) == PROJECT["version"]
    assert cited["license"] == PROJECT["license"]
    assert cited["repository-code"] == PROJECT["urls"]["Repository"]
    assert f"{{{PROJECT['version']}}}" in (ROOT / "docs" / "cite.md").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {PROJECT['version']}" in changes


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


def test_versions_are_offered_only_where_they_are_kept(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make docs-version` asks for the menu of versions; a build of `make docs` has none to choose from."""
    built = tool("macros").on_config
    monkeypatch.delenv("SAE_NB_DOCS_VERSIONS", raising=False)
    assert built({"extra": {}}) == {"extra": {}}
    monkeypatch.setenv("SAE_NB_DOCS_VERSIONS", "1")
    assert built({"extra": {}}) == {"extra": {"version": {"provider": "mike", "default": "latest"}}}


def test_a_link_that_leads_nowhere_is_named(tool: Tool, tmp_path: Path) -> None:
    """To a file or to a place in one, also in HTML that mkdocs does not read; other machines are left alone."""
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">x</a> <a href="b.html#gone">x</a> <img src="no.webp"> '
        '<a href="https://example.org/x">x</a> <a href="#top">x</a> <p id="top">'
    )
    (tmp_path / "b.html").write_text('<p id="here">')
    (tmp_path / "404.html").write_text('<a href="/nowhere.html">')
    assert tool("links").broken(tmp_path) == ["a.html: b.html#gone", "a.html: no.webp"]


def test_counts_are_those_of_the_code() -> None:
    """Panels that are exported, and SAEs that can be trained, are as many as the page says."""
    import sae_nb_widgets as sw

    from sae_nb.architectures import ARCHITECTURES

    panels = [
        panel
        for name in sw.__all__
        if isinstance(panel := getattr(sw, name), type) and issubclass(panel, sw.Panel)
    ]
    assert re.findall(r"(\d+) panels", README) == [str(len(panels) - 1)], "their base is none"
    assert re.findall(r"(\d+) SAE architectures", README) == [str(len(ARCHITECTURES))]


@pytest.mark.slow
def test_the_first_lines_write_what_the_picture_shows(
    smollm2: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the model that the page names, in four bits; the picture's run is kept in docs/hero.json."""
    import sae_nb as sn

    opened, load = sn.load_model(str(smollm2)), sn.load_model
    monkeypatch.setattr(
        sn, "load_model", lambda name: opened if name == "smollm2-135m" else load(name)
    )
    (first, *_) = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)
    names: dict[str, Any] = {}
    exec(
        compile(first.replace("sn.GenerationLens", "lens = sn.GenerationLens"), "<README>", "exec"),
        names,
    )
    names["lens"].close()
    record = json.loads((ROOT / "docs" / "hero.json").read_text(encoding="utf-8"))
    shown = "".join(word for word, _ in record["rows"]["turned up"])
    assert record["prompt"] == names["prompt"]
    assert shown in capsys.readouterr().out
