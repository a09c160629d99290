"""Who waits for Binder has something to do: links between pages, gallery and sites lead where they say."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import sae_nb as sn
from tests.site.test_site import chunk

Tool = Callable[[str], ModuleType]
ROOT = Path(__file__).parents[2]
LINK = re.compile(r'<a href="\.\./atoms/([\w-]+)/index\.html#atom=(\d+)"')


@pytest.fixture(scope="module")
def written(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of tiny-vit beside a gallery, without its live part."""
    atoms = tmp_path_factory.mktemp("docs") / "atoms"
    said = tool("sites").write("tiny-vit", atoms, live=False)
    assert said.startswith(str(atoms / "tiny-vit" / "index.html"))
    return atoms


@pytest.mark.slow
def test_a_site_leads_back_to_the_gallery(written: Path, docs: Path) -> None:
    """Its address, taken from where the sites lie in the documentation, is the gallery's index."""
    address, words = chunk(written / "tiny-vit", "start")["back"]
    assert (docs / "atoms" / "tiny-vit" / address).resolve() == docs / "gallery" / "index.html"
    assert (docs / "gallery" / "index.html").is_file()
    assert words == "All panels"


def test_the_gallery_links_every_site_on_the_atom_that_it_speaks_of(docs: Path, tool: Tool) -> None:
    """The index names each by its folder, and says how it is written where the link leads nowhere."""
    index = (docs / "gallery" / "index.html").read_text(encoding="utf-8")
    links = dict(LINK.findall(index))
    assert set(links) == set(tool("sites").SITES)
    for name, site in tool("sites").SITES.items():
        examples = sn.load_examples(site.sae)
        assert int(links[name]) == examples.match(site.label).atom
    assert "make sites" not in index  # those who read it have no Makefile
    assert re.search(r"^sites:.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)


@pytest.mark.slow
def test_the_page_of_the_demo_shows_the_sites_that_were_written(
    written: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a frame, on an atom with a card; a site that is not there is left out."""
    monkeypatch.setattr(tool("sites"), "ATOMS", written)
    shown = tool("macros").expand("{{ atoms: tiny-vit tiny-gpt }}")
    frame = re.search(r'<iframe [^>]*name="atoms" src="([^"#]+)#atom=(\d+)"', shown)
    assert frame
    assert (written.parent / frame[1]).is_file()
    assert chunk(written / "tiny-vit", f"atoms/{frame[2]}")["words"] == "digit 4"
    assert 'target="atoms"' in shown
    assert "tiny-gpt" not in shown


def test_without_sites_the_page_says_so(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sentence with the command and a link to what is there, no frame of nothing."""
    monkeypatch.setattr(tool("sites"), "ATOMS", tmp_path)
    said = tool("macros").expand("{{ atoms: tiny-vit tiny-gpt }}")
    assert "`make sites`" in said
    assert "(gallery/index.html)" in said
    assert "<iframe" not in said


def test_binder_opens_beside_what_is_read(docs: Path) -> None:
    """From the page of the demo and from every page of the gallery, in a tab of its own."""
    page = (docs / "binder.md").read_text(encoding="utf-8")
    assert "{{ atoms: tiny-vit tiny-gpt }}" in page
    links = re.findall(r"\]\(https://mybinder\.org/[^)]+/(\w+\.ipynb)\)\{ ([^}]+) \}", page)
    assert len(links) == page.count("https://mybinder.org") == 2
    assert all("target=_blank" in attributes for _, attributes in links)
    assert all((ROOT / "notebooks" / notebook).is_file() for notebook, _ in links)
    for path in (docs / "gallery").glob("*.html"):
        anchors = re.findall(r"<a [^>]*mybinder\.org[^>]*>", path.read_text(encoding="utf-8"))
        assert anchors
        assert all('target="_blank" rel="noopener"' in anchor for anchor in anchors)


def test_sites_are_not_kept_in_the_repository() -> None:
    """46 MB that a command makes again."""
    ignored = subprocess.run(
        ["git", "check-ignore", "docs/atoms/tiny-vit/index.html"],
        cwd=ROOT,
        check=False,
        capture_output=True,
    )
    if ignored.returncode == 128:
        pytest.skip("not a checkout of git")
    assert ignored.returncode == 0


def test_an_unknown_site_is_named(tool: Tool) -> None:
    """The command says which there are."""
    found = subprocess.run(
        [sys.executable, tool("sites").__file__, "tiny-bert"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    assert "tiny-bert" in found.stderr
    assert "tiny-vit" in found.stderr
