"""The extension that runs a notebook on open: only those the server names, once, without complaint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts import script

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "binder" / "jupyter" / "labextensions" / "sae-nb-run-on-open"
pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """Three cells that leave a trace, and metadata that asks to be run."""
    import nbformat  # late: it takes two seconds, in every process that collects tests

    cells = [nbformat.v4.new_code_cell(source) for source in ("n = 6", "n *= 7", "print(n)")]
    made = nbformat.v4.new_notebook(cells=cells, metadata={"saeNbRunOnOpen": True})
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    path = tmp_path / "three.ipynb"
    nbformat.write(made, path)
    return path


def test_a_named_notebook_runs_by_itself_and_only_once_and_no_other_can_ask_for_it(
    lab_module: ModuleType, notebook: Path, tmp_path: Path
) -> None:
    """Every cell has run in order, nobody having asked; not again when the page is loaded again, and of a
    notebook that the server does not name none, whatever its metadata say."""
    harness = script(ROOT / "tests" / "browser" / "self_running.py", "self_running")
    with harness.SelfRunningLab(notebook, out=tmp_path / "out") as lab:
        lab.until(lab.all_ran, "the notebook to run by itself")
        assert [cell["count"] for cell in lab.state()["cells"]] == [1, 2, 3]
        assert lab.page.evaluate("() => window.jupyterapp.shell.leftCollapsed")
        assert lab.page.locator(".jp-OutputArea-output", has_text="42").count() == 1
        lab.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        lab.page.reload()
        lab.settle(3000)
        assert [cell["count"] for cell in lab.state()["cells"]] == [1, 2, 3]
        assert lab.problems() == []
        lab.open(shutil.copy(notebook, tmp_path / "unnamed.ipynb").name)
        lab.settle(3000)
        assert [cell["count"] for cell in lab.state()["cells"]] == [None, None, None]


def test_the_notebook_has_the_width_of_a_phone(
    lab_module: ModuleType, notebook: Path, tmp_path: Path
) -> None:
    """The list of files is closed, and no bar stands beside the notebook; both can be had back."""
    harness = script(ROOT / "tests" / "browser" / "self_running.py", "self_running")

    class Narrow(harness.SelfRunningLab):  # type: ignore[name-defined,misc]  # a module made at run time
        def _start_browser(self) -> None:
            super()._start_browser()
            self.page.set_viewport_size({"width": 420, "height": 860})

    with Narrow(notebook, out=tmp_path / "out") as lab:
        lab.until(lab.all_ran, "the notebook to run by itself")
        assert lab.page.evaluate("() => window.jupyterapp.shell.leftCollapsed")
        assert lab.page.locator(".jp-NotebookPanel").bounding_box()["width"] > 0.95 * 420
        lab.page.evaluate("() => window.jupyterapp.commands.execute('filebrowser:toggle-main')")
        assert lab.page.locator(".jp-FileBrowser").first.is_visible()


def test_the_extension_is_what_jupyterlab_loads() -> None:
    """Its package.json names the script that is there."""
    facts = json.loads((EXTENSION / "package.json").read_text())
    script = EXTENSION / facts["jupyterlab"]["_build"]["load"]
    assert f'window._JUPYTERLAB["{facts["name"]}"]' in script.read_text()
    assert facts["name"] == EXTENSION.name
