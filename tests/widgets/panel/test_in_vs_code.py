"""VS Code shows panels without network: by the rule of its Jupyter extension, tried on the files that pip installed.

The extension brings ipywidgets' own scripts. Any other widget's script is looked for in the environment of a local
kernel: it reads `share/jupyter/nbextensions/*/extension.js`, takes what follows a call of `requirejs.config` up to
the first ")", and in it the entries behind the last "{" (microsoft/vscode-jupyter,
baseIPyWidgetScriptManager.ts; anywidget's spelling since November 2023).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import sae_nb_widgets as sw
from sae_nb_widgets.panel._pages import descendants

from tests.widgets.made import FakeTopK, picture_acts

CALLS = ("require.config({", "requirejs.config({", "requirejs?.config({")
BROUGHT = {f"@jupyter-widgets/{name}" for name in ("base", "controls", "output")}
"""Modules whose scripts are part of the extension."""


def _mapped(extension: str) -> dict[str, str]:
    """The modules that an extension.js offers, each with its script, as VS Code reads it."""
    at = next((extension.index(call) for call in CALLS if call in extension), None)
    if at is None:
        return {}
    entries = extension[extension.index("{", at) : extension.index(")", at)].rpartition("{")[2]
    pairs = re.findall(r"[\"']?([\w@/-]+)[\"']?\s*:\s*[\"']([^\"']+)", entries.partition("}")[0])
    return dict(pairs)


@pytest.fixture(scope="module")
def local() -> dict[str, Path]:
    home = Path(sys.prefix) / "share" / "jupyter"
    files = home.glob("nbextensions/*/extension.js")
    found = [_mapped(file.read_text(encoding="utf-8", errors="replace")) for file in files]
    return {name: home / f"{path}.js" for one in found for name, path in one.items()}


def test_every_script_of_a_panel_is_there_without_network(local: dict[str, Path]) -> None:
    """Of all widgets that a panel is made of; the script is a module that a page can require."""
    panel = sw.AtomBrowser(FakeTopK(), picture_acts())
    inside = [panel, *descendants(panel)]
    asked = {one._view_module for one in inside} | {one._model_module for one in inside}
    others = asked - BROUGHT - {None}
    assert others == {"anywidget"}
    assert 'define(["@jupyter-widgets/base"]' in local["anywidget"].read_text(encoding="utf-8")
