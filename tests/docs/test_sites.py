"""Who waits for Binder has something to do: links between pages, gallery and sites lead where they say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.site.test_site import chunk

pytestmark = pytest.mark.slow

Tool = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def written(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of tiny-vit beside a gallery, without its live part."""
    atoms = tmp_path_factory.mktemp("docs") / "atoms"
    said = tool("sites").write("tiny-vit", atoms, live=False)
    assert said.startswith(str(atoms / "tiny-vit" / "index.html"))
    return atoms


def test_the_page_of_the_demo_shows_the_sites_that_were_written(
    written: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a frame, on an atom with a card; a site that is not there is left out."""
    monkeypatch.setattr(tool("sites"), "ATOMS", written)
    shown = tool("macros").expand("<!-- atoms: tiny-vit tiny-gpt -->\n<!-- end -->")
    frame = re.search(r'<iframe [^>]*name="atoms" src="([^"#]+)#atom=(\d+)"', shown)
    assert frame
    assert (written.parent / frame[1]).is_file()
    assert chunk(written / "tiny-vit", f"atoms/{frame[2]}")["words"] == "digit 4"
    assert 'target="atoms"' in shown
    assert "tiny-gpt" not in shown
