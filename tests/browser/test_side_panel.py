"""Panels beside the notebook in a real JupyterLab: they appear, answer, come back, and go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]

CELLS = (
    """\
import torch, sae_nb as sn, sae_nb_widgets as sw
torch.set_num_threads(1)
sae, examples = (read("tiny-vit/resid_post.6") for read in (sn.load_sae, sn.load_examples))
panel = sw.AtomBrowser(sae, examples.acts, catalogue=examples.catalogue(sae), atom=17)""",
    "panel.show(beside=True)",
    "panel.show(beside=True)",
    'panel.show(beside="sidebar")',
    "other = sw.AtomBrowser(sae, examples.acts, catalogue=panel.catalogue)\nother.show(beside=True)",
)
SIDE = ".jupyterlab-sidecar"
RUN = """async index => {
  const notebook = [...window.jupyterapp.shell.widgets('main')].find(w => w.sessionContext);
  window.jupyterapp.shell.activateById(notebook.id);
  notebook.content.activeCellIndex = index;
  await window.jupyterapp.commands.execute('notebook:run-cell');
}"""
WITHOUT_EXTENSION = """() => {
  const element = document.getElementById('jupyter-config-data');
  const known = JSON.parse(element.textContent);
  known.federated_extensions = known.federated_extensions.filter(one => !one.name.includes('sidecar'));
  element.textContent = JSON.stringify(known);
}"""


@pytest.fixture(scope="module")
def lab(lab_module: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One JupyterLab, wide enough for two; pictures go to build/screenshots."""
    import nbformat  # late: it takes seconds, in every process that collects tests

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "P", "language": "python"}
    path = tmp_path_factory.mktemp("side") / "side.ipynb"
    nbformat.write(notebook, path)
    with lab_module.Lab(path, out=ROOT / "build" / "screenshots", timeout_s=90) as opened:
        opened.page.set_viewport_size({"width": 1600, "height": 1000})
        run(opened, 0)
        yield opened
        assert opened.console + opened.failed_requests == []


def run(lab: Any, index: int) -> Any:
    """Run a cell; return what is under it."""
    lab.page.evaluate(RUN, index)
    lab.settle()
    return lab.page.locator(".jp-CodeCell").nth(index).locator(".jp-Cell-outputArea")


def test_a_panel_comes_beside_the_notebook_and_answers(lab: Any) -> None:
    """It stands right of the cells, not under them, and its buttons and fields work there."""
    page = lab.page
    under = run(lab, 1)
    side = page.locator(f"{SIDE} .sae-nb-panel")
    side.locator(".sae-nb-answer").wait_for()
    cells = page.locator(".jp-Notebook").bounding_box()
    assert side.bounding_box()["x"] >= cells["x"] + cells["width"]
    assert side.bounding_box()["width"] > 500
    assert "beside the notebook" in under.inner_text()
    assert page.locator(".sae-nb-panel").count() == 1
    field = side.locator(".sae-nb-entry input").first
    field.fill("40")
    field.press("Enter")
    side.locator(".sae-nb-where", has_text="atom 40").wait_for()
    side.get_by_role("button", name="typical").click()
    lab.settle()
    lab.asked("assert (panel.atom, panel.band) == (40, '50 %'), (panel.atom, panel.band)")
    lab.asked("panel.atom = 17")
    side.locator(".sae-nb-question", has_text="digit 2").wait_for()
    lab.shot("side-panel")


def test_shown_again_there_is_still_one(lab: Any) -> None:
    """By another cell, after its tab was closed by hand, and in the side bar."""
    page = lab.page
    sides, tabs = page.locator(SIDE), page.locator(".lm-TabBar-tab", has_text="AtomBrowser")
    run(lab, 2)
    sides.locator(".sae-nb-panel").wait_for()
    assert (sides.count(), tabs.count()) == (1, 1)
    tabs.locator(".lm-TabBar-tabCloseIcon").click()
    sides.wait_for(state="detached")
    run(lab, 2)
    sides.locator(".sae-nb-panel").wait_for()
    assert (sides.count(), tabs.count()) == (1, 1)
    run(lab, 3)
    page.locator(f"#jp-right-stack {SIDE} .sae-nb-panel").wait_for()
    assert (sides.count(), tabs.count()) == (1, 1)
    lab.shot("side-panel-bar")


def test_closing_the_panel_takes_the_side_panel_away(lab: Any) -> None:
    """Tab and panel are gone, and so is the cells' sentence."""
    lab.asked("panel.close()")
    lab.page.locator(SIDE).wait_for(state="detached")
    lab.settle()
    assert lab.page.locator(".lm-TabBar-tab", has_text="AtomBrowser").count() == 0
    assert lab.page.get_by_text("is beside the notebook").count() == 0


def test_without_the_extension_it_is_under_the_cell(lab: Any) -> None:
    """A JupyterLab that has no side panels shows the panel as always, and says what is missing."""
    lab.page.evaluate(WITHOUT_EXTENSION)
    under = run(lab, 4)
    under.locator(".sae-nb-panel .sae-nb-answer").wait_for()
    assert "pip install sidecar" in under.inner_text()
    assert lab.page.locator(SIDE).count() == 0
    lab.asked("other.close()")
    lab.settle()
