"""A panel where people sit beside JupyterLab: a server of each kind, and a press that the panel answers.

Notebook 7 and marimo are in no extra (marimo asks for an older pymdown-extensions than the documentation does):

    pip install notebook marimo
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "elsewhere.md"
CODE = """\
import sae_nb as sn, sae_nb_widgets as sw
sae, examples = (read("tiny-vit/resid_post.6") for read in (sn.load_sae, sn.load_examples))
panel = sw.AtomBrowser(sae, examples.acts, catalogue=examples.catalogue(sae), atom=17)
panel"""
HOMES = (
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "IPYTHONDIR",
    "XDG_CONFIG_HOME",
)


def notebook(file: Path) -> tuple[list[str], str, str]:
    """Options of the server, where it answers first, the page."""
    options = [
        f"--ServerApp.root_dir={file.parent}",
        "--ServerApp.open_browser=False",
        "--allow-root",
    ]
    return [*options, "--IdentityProvider.token="], "api", f"notebooks/{file.name}"


def marimo(file: Path) -> tuple[list[str], str, str]:
    """The same, of a page without code, which runs by itself."""
    cell = CODE.replace("\n", "\n    ")
    made = file.with_suffix(".py")
    made.write_text(
        f"import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n    {cell}\n    return\n"
    )
    return ["run", str(made), "--headless", "--no-token"], "health", ""


SERVERS = {"Notebook 7": notebook, "marimo": marimo}


def test_the_page_names_the_servers_that_are_tried() -> None:
    """JupyterLab is tried by every other file here, Voilà by tests/binder."""
    rows = [line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    tried = {row[0].removeprefix("| ") for row in rows if row[-1].startswith("on its server")}
    assert tried == {"JupyterLab 4", "Voilà", *SERVERS}


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("where", SERVERS.values(), ids=SERVERS)
def test_a_press_is_answered(where: Any, lab_module: ModuleType, tmp_path: Path) -> None:
    """The panel goes on to the next of its atoms, without a network."""
    import nbformat  # late: it takes seconds, in every process that collects tests

    name = where.__name__
    pytest.importorskip(name, reason=f"needs {name}: pip install {name}")
    v4, file = nbformat.v4, tmp_path / "panel.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(CODE)], metadata=kernel), file)
    address = f"http://127.0.0.1:{(port := lab_module.free_port())}/"
    options, probe, place = where(file)
    command = [sys.executable, "-m", name, *options, f"--port={port}"]
    homes = os.environ | dict.fromkeys(HOMES, str(tmp_path / "home"))
    with (
        lab_module.serving(command, address + probe, tmp_path / "log", homes),
        lab_module.launched() as browser,
    ):
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        page.set_default_timeout(150_000)
        page.route(
            lambda url: not url.startswith((address, "data:", "blob:")), lambda route: route.abort()
        )
        page.goto(address + place)
        if name == "notebook":  # the other runs it by itself
            page.locator(".jp-CodeCell").click()
            while page.locator(".jp-CodeCell .jp-InputPrompt").inner_text() == "[ ]:":
                page.keyboard.press("Control+Enter")  # too early for its kernel, it does nothing
                page.wait_for_timeout(1000)
        page.get_by_text("atom 17", exact=True).first.wait_for()
        page.get_by_role("button", name="›", exact=True).first.click()
        page.get_by_text("atom 17", exact=True).first.wait_for(state="detached")
