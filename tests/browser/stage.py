"""The stage of the panel scenes: one notebook, one server, one page; each scene runs its own cells.

A scene is a file in `scenes/`: `CELLS`, the sources of its cells, and functions `check(page, stage)`
or `check_<what>(page, stage)`, each of which is one test. `SHARED` and `AS_LOADED` have run before.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from lab import Lab
from playwright.sync_api import Locator

SCENES = Path(__file__).with_name("scenes")
SCREENSHOTS = Path(
    os.environ.get("SAE_NB_SCREENSHOTS", Path(__file__).parents[2] / "build" / "screenshots")
)
PANEL = ".sae-nb-panel"
NOTEBOOK_WIDTH, NOTEBOOK_HEIGHT = 1280, 1600

SHARED = (
    """\
import json

import numpy as np
import torch
import traitlets

import sae_nb as sn
import sae_nb_widgets as sw

torch.set_num_threads(1)
vit = sn.load_model("tiny-vit")
vit_examples = sn.load_examples("tiny-vit/resid_post.6")
pictures = vit_examples.acts.context.pictures""",
    """\
gpt = sn.load_model("tiny-gpt")
gpt_examples = sn.load_examples("tiny-gpt/resid_post.3")
story = "Tom and Lucy walked to the castle. They carried a lamp.\"""",
)
"""Models and examples of the pretrained SAEs, which every scene may use."""

AS_LOADED = """\
vit_sae, gpt_sae = sn.load_sae("tiny-vit/resid_post.6"), sn.load_sae("tiny-gpt/resid_post.3")
vit_catalogue, gpt_catalogue = vit_examples.catalogue(vit_sae), gpt_examples.catalogue(gpt_sae)
"""
"""The SAEs, anew for each scene: one carries the labels that the panels before have brought."""

CLOSE_PANELS = """\
from sae_nb_widgets.panel._theming import _on_screen
for _panel in list(_on_screen):
    _panel.close()
"""

RUN_CELL = """async index => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  notebook.deselectAll();
  notebook.activeCellIndex = index;
  await window.jupyterapp.commands.execute('notebook:run-cell');
}"""
CLEAR_CELL = """async index => {
  window.jupyterapp.shell.currentWidget.content.activeCellIndex = index;
  await window.jupyterapp.commands.execute('notebook:clear-cell-output');
}"""
CHANGE_THEME = """async name => {
  await window.jupyterapp.commands.execute('apputils:change-theme', {theme: name});
}"""


def scene_names() -> list[str]:
    """Every scene there is."""
    return sorted(path.stem for path in SCENES.glob("[a-z]*.py"))


def check_names(scene: str) -> list[str]:
    """The checks of a scene, read without importing it: one broken file breaks its own tests only."""
    tree = ast.parse((SCENES / f"{scene}.py").read_text(encoding="utf-8"))
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [name for name in functions if name == "check" or name.startswith("check_")]


def load_scene(scene: str) -> ModuleType:
    """Import a scene's file."""
    spec = importlib.util.spec_from_file_location(f"scene_{scene}", SCENES / f"{scene}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells_of(scene: str) -> list[str]:
    """The sources of a scene's cells, read without importing it where they are literal."""
    try:
        return [str(cell) for cell in load_scene(scene).CELLS]
    except Exception as error:  # noqa: BLE001 - its own tests fail with the reason
        return [f"raise RuntimeError({f'scenes/{scene}.py: {error}'!r})"]


def write_notebook(path: Path) -> dict[str, range]:
    """Write the notebook of all scenes; return which cells belong to which scene ("" is shared)."""
    places: dict[str, range] = {}
    sources: list[str] = []
    for name, cells in [("", list(SHARED)), *((s, cells_of(s)) for s in scene_names())]:
        places[name] = range(len(sources), len(sources) + len(cells))
        sources += cells
    write_cells(path, sources)
    return places


def write_cells(path: Path, sources: list[str]) -> None:
    """Write a notebook of code cells."""
    import nbformat  # late: it takes two seconds, in every process that collects tests

    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, path)


class Stage:
    """What a check acts on: `stage("name", locator)` keeps a picture, the rest waits and asks.

    Everything speaks of the scene that is open: its cells, its panels, its complaints.
    """

    def __init__(self, lab: Lab, places: dict[str, range]) -> None:
        self.lab, self.page, self._places = lab, lab.page, places
        self.scene, self._ready = "", False
        self._is_dark, self._is_large = False, False
        self._module, self._touched = ModuleType("none"), False

    def __call__(self, name: str, locator: Locator | None = None) -> Path:
        """Save a picture of the page or of one element as `<scene>-<name>.png`."""
        return self.lab.shot(f"{self.scene}-{name}", locator)

    # --- opening and closing ----------------------------------------------------------------------

    def enter(self, scene: str, untouched: bool = False) -> ModuleType:
        """Open the scene if it is not open, or not as its cells left it; return its module."""
        if scene != self.scene or (untouched and self._touched):
            left, complaints = self.scene, self.leave()
            if complaints:
                raise AssertionError(f"closing the panels of {left}: {complaints}")
            self._open(scene)
            self._touched = False
        self._touched = self._touched or not untouched
        return self._module

    def _open(self, scene: str) -> None:
        """Run the scene's cells, after the shared ones."""
        if not self._ready:
            self._run("")
            self._ready = True
        self.run(AS_LOADED)
        self._module = load_scene(scene)
        self.scene = scene
        self._run(scene)
        self.settle()

    def leave(self) -> list[str]:
        """Close the scene's panels, take its outputs off the page; return what complained of it."""
        if self.scene:
            self.run(CLOSE_PANELS)
            for index in self._places[self.scene]:
                self.page.evaluate(CLEAR_CELL, index)
            self.settle(100)
        complaints = [*self.lab.console, *self.lab.failed_requests]
        self.lab.console.clear()
        self.lab.failed_requests.clear()
        self.scene = ""
        return complaints

    def _run(self, scene: str) -> None:
        for index in self._places[scene]:
            self.page.evaluate(RUN_CELL, index)
        broken = self.cell_errors(scene)
        assert broken == [], broken

    # --- looking ----------------------------------------------------------------------------------

    def panel(self, text: str = "", which: int = 0) -> Locator:
        """The scene's panel whose text contains `text`, scrolled into view."""
        found = self.panels(text).nth(which)
        found.scroll_into_view_if_needed()
        return found

    def panels(self, text: str = "") -> Locator:
        """All panels on the page whose text contains `text`, outermost first."""
        found = self.page.locator(PANEL)
        return found.filter(has_text=text) if text else found

    def says(self, panel: Locator, text: str) -> None:
        """Wait until the panel's status line says so."""
        panel.locator(".sae-nb-statusline").get_by_text(text).first.wait_for()

    def settle(self, ms: int = 400) -> None:
        """Wait until the kernel has answered what the page has sent, and give the page `ms` to paint."""
        self.lab.settle(ms)

    def cell_errors(self, scene: str) -> list[str]:
        """Errors of the scene's cells."""
        cells = (self.lab.state() or {"cells": []})["cells"]
        return [error for i in self._places[scene] for error in cells[i]["errors"]]

    def problems(self) -> list[str]:
        """Everything a reader of the scene's cells would call broken."""
        found = [f"console: {line}" for line in self.lab.console]
        found += [f"request: {line}" for line in self.lab.failed_requests]
        found += [f"cell: {error}" for error in self.cell_errors(self.scene)]
        broken = "text=/Error displaying widget|Failed to load model class|Error creating widget/"
        count = self.page.locator(broken).count()
        return found + ([f"{count} widgets failed to render"] if count else [])

    # --- asking -----------------------------------------------------------------------------------

    def run(self, code: str) -> None:
        """Run code in the kernel, without a cell."""
        self.lab.asked(code)

    def ask(self, expression: str) -> Any:
        """The value of an expression in the kernel, by way of JSON."""
        wanted = f"__import__('json').dumps({expression})"
        answer = self.lab.asked("", wanted)
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))

    def until(self, holds: str) -> None:
        """Wait until an expression is true in the kernel."""
        for _ in range(150):
            if self.ask(f"bool({holds})"):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(holds)

    # --- acting -----------------------------------------------------------------------------------

    def write(self, field: Locator, text: str) -> None:
        """Type into a field, and press Enter."""
        field.fill(text)
        field.press("Enter")

    def more(self, panel: Locator) -> None:
        """Open or close a panel's menu, and wait until the page shows it so."""
        panel.get_by_role("button", name="menu", exact=True).first.click()
        self.settle(200)

    def drag(self, bars: Locator, start: float, end: float) -> None:
        """Drag over bars from one share of their width to another, at half their height."""
        box = self.box(bars)
        y = box["y"] + box["height"] / 2
        self.page.mouse.move(box["x"] + start * box["width"], y)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + end * box["width"], y, steps=6)
        self.page.mouse.up()

    def box(self, locator: Locator) -> dict[str, float]:
        """Where something lies on the page."""
        box = locator.bounding_box()
        assert box is not None
        return dict(box)

    def changed(self, plot: Any, script: str, before: Any) -> None:
        """Wait until a script says something else of an element than before."""
        self.page.wait_for_function(f"([n, old]) => ({script})(n) !== old", arg=[plot, before])

    # --- the page ---------------------------------------------------------------------------------

    def width(self, panel: Locator, pixels: int) -> None:
        """Make the window so wide that `panel` is `pixels` wide."""
        box, window = panel.bounding_box(), self.page.viewport_size
        assert box is not None
        assert window is not None
        self.resize(int(window["width"] + pixels - box["width"]))

    def resize(self, width: int = NOTEBOOK_WIDTH, height: int = NOTEBOOK_HEIGHT) -> None:
        """Make the window so large."""
        if self.page.viewport_size != {"width": width, "height": height}:
            self.page.set_viewport_size({"width": width, "height": height})
            self.page.wait_for_timeout(700)

    def dark(self, dark: bool = True) -> None:
        """Switch JupyterLab's theme."""
        if dark != self._is_dark:
            self._is_dark = dark
            self.page.evaluate(CHANGE_THEME, "JupyterLab Dark" if dark else "JupyterLab Light")
            self.page.wait_for_timeout(900)

    def both(self) -> Iterator[bool]:
        """In the light and in the dark, one after the other: whether it is dark."""
        for dark in (False, True):
            self.dark(dark)
            self.settle(800)
            yield dark

    def lecture(self, large: bool = True) -> None:
        """Switch the scale of the panels."""
        if large != self._is_large:
            self._is_large = large
            self.run(f"sw.theme({'lecture' if large else 'normal'!r})")
            self.settle(600)

    def tidy(self) -> None:
        """Undo what a check did to the page."""
        size = {"width": NOTEBOOK_WIDTH, "height": NOTEBOOK_HEIGHT}
        moved = self._is_dark or self.page.viewport_size != size
        if self._is_dark:
            self.page.evaluate(CHANGE_THEME, "JupyterLab Light")
            self._is_dark = False
        self.page.set_viewport_size(size)
        self.lecture(False)
        self.page.mouse.move(2, 2)
        if moved:  # one wait for all of it
            self.page.wait_for_timeout(900)
