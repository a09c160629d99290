"""The front door: short, in the words of the field, with results that the artefacts hold; what a release needs is there."""

from __future__ import annotations

import json
import re
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


def test_what_is_written_out_is_what_the_records_say(tool: Tool) -> None:
    """`python docs/tools/macros.py` (in `make sync`) writes it again: on GitHub nobody fills a page in."""
    macros = tool("macros")
    names = {str(page.relative_to(ROOT)) for page in macros.pages()}
    assert {"README.md", "docs/scale.md", "docs/howto/certify-an-sae.md"} <= names
    for page in macros.pages():
        text = page.read_text(encoding="utf-8")
        assert macros.written(text) == text, page
        assert "{{" not in text, page


def test_a_written_answer_is_taken_anew(tool: Tool) -> None:
    """In the built page by the answer itself, in the repository without what GitHub does not show."""
    macros, said = tool("macros"), "<!-- {} -->old<!-- end -->"
    table = "table: one_step / TopK step, compiled"
    assert macros.expand(said.format(table)) == macros.expand(f"{{{{ {table} }}}}")
    card = macros.written(said.format("claim: certificate_planted / share"))
    assert "**Holds: The share of atoms" in card
    assert "!!!" not in card
    assert "\n| number | measured | asked |\n" in card
    assert "lessons/" in macros.expand("{{ path: week }}")
    assert "lessons/" not in macros.written(said.format("path: week"))


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


def test_its_links_on_github_show_no_words_in_braces() -> None:
    """Pages whose figures are filled in when they are built are linked where they are built."""
    linked = re.findall(r"\((docs/[^)#]+\.md)\)", README)
    assert linked
    assert [page for page in linked if "{{" in (ROOT / page).read_text(encoding="utf-8")] == []


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
