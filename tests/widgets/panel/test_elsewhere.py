"""What Colab, VS Code, a saved notebook and a static page need of a panel, as far as files and states show it.

VS Code finds scripts without network by the rule of its Jupyter extension, tried on the files that pip installed.
The extension brings ipywidgets' own scripts. Any other widget's script is looked for in the environment of a local
kernel: it reads `share/jupyter/nbextensions/*/extension.js`, takes what follows a call of `requirejs.config` up to
the first ")", and in it the entries behind the last "{" (microsoft/vscode-jupyter,
baseIPyWidgetScriptManager.ts; anywidget's spelling since November 2023).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sae_nb_widgets as sw
from ipywidgets.embed import dependency_state, embed_data
from nbconvert.filters.widgetsdatatypefilter import WidgetsDataTypeFilter
from sae_nb_widgets.components._base import LiveWidget
from sae_nb_widgets.panel._pages import descendants
from sae_nb_widgets.panel._plot import Plot

from tests.widgets.made import FakeTopK, picture_acts

CALLS = ("require.config({", "requirejs.config({", "requirejs?.config({")
CLASSIC = re.compile(r"\b(?:require|requirejs|define)\s*[(.]|\b(?:Jupyter|IPython|jQuery|\$)\s*\.")
"""What pages of the classic notebook have, and Colab, JupyterLab, VS Code and marimo have not."""

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


@pytest.fixture
def panel() -> Any:
    return sw.AtomBrowser(FakeTopK(), picture_acts())


def test_every_script_of_a_panel_is_there_without_network(
    local: dict[str, Path], panel: Any
) -> None:
    """Of all widgets that a panel is made of; the script is a module that a page can require."""
    inside = [panel, *descendants(panel)]
    asked = {one._view_module for one in inside} | {one._model_module for one in inside}
    others = asked - BROUGHT - {None}
    assert others == {"anywidget"}
    assert 'define(["@jupyter-widgets/base"]' in local["anywidget"].read_text(encoding="utf-8")


def _kinds(of: type) -> Iterator[type]:
    for one in of.__subclasses__():
        if one.__module__.startswith("sae_nb_widgets"):
            yield one
        yield from _kinds(one)


def test_modules_stand_alone() -> None:
    """They import nothing but what a widget itself holds, and ask for no global of the classic notebook."""
    for name in sw.__all__:
        getattr(sw, name)  # loads its module
    parts = [one for one in _kinds(LiveWidget) if "_esm" in vars(one)]
    assert len(parts) > 20
    assert Plot in parts
    for part in parts:
        text = getattr(vars(part)["_esm"], "default_value", vars(part)["_esm"])
        assert CLASSIC.findall(text) == [], part
        assert not re.search(r"^import\b", text, re.MULTILINE), part
        # A figure's script is a state of its own, which is read from memory.
        assert "import(" not in text or "createObjectURL" in text, part
        assert "export default" in text, part


def test_a_saved_state_opens_without_a_kernel(panel: Any) -> None:
    """As a notebook or an exported page keeps it: every widget that another names is there, as JSON."""
    saved = embed_data(views=[panel], state=dependency_state([panel]))
    state = saved["manager_state"]["state"]
    assert set(re.findall(r"IPY_MODEL_(\w+)", json.dumps(saved))) <= set(state)
    parts = [one["state"] for one in state.values() if one["model_module"] == "anywidget"]
    assert len(parts) > 4
    for part in parts:  # with its module, which the page has from nowhere else
        assert "export default" in part["_esm"]
        assert part["_anywidget_id"]


def test_nbconvert_shows_the_fallback_where_no_state_was_saved(panel: Any) -> None:
    """Its choice among what an output holds, of a notebook without and with the states of widgets."""
    bundle = panel._repr_mimebundle_()
    view = "application/vnd.jupyter.widget-view+json"
    state = embed_data(views=[panel], state=dependency_state([panel]))["manager_state"]
    chosen = {
        saved: WidgetsDataTypeFilter(
            notebook_metadata={
                "": {"widgets": {"application/vnd.jupyter.widget-state+json": state}}
                if saved
                else {}
            },
            resources={"metadata": {"path": "", "name": ""}},
            display_data_priority=[view, "text/html"],
        )(bundle)
        for saved in (False, True)
    }
    assert chosen == {False: ["text/html"], True: [view]}
