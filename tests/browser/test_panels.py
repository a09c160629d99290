"""Every panel in a real JupyterLab: one notebook, one server, one page, one test for each check.

    pytest tests/browser/test_panels.py -k steering

runs one scene; its pictures are build/screenshots/<scene>-<name>.png.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.scripts import script

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def _sibling(name: str) -> ModuleType:
    return script(Path(__file__).with_name(f"{name}.py"), name)


# `stage` imports `lab` by name, as every module beside this one does.
_sibling("lab")
stage_module = _sibling("stage")
grammar = _sibling("grammar")
# What is not slow: the first check of the two panels that most people open.
QUICK = [(scene, next(iter(grammar.CHECKS))) for scene in ("atom_browser", "steering")]
CHECKS = [
    pytest.param(
        scene,
        check,
        id=f"{scene}-{check}",
        marks=[pytest.mark.slow] * ((scene, check) not in QUICK),
    )
    for scene in stage_module.scene_names()
    # The grammar's first: they need a scene as its cells left it, and leave it so.
    for check in (*grammar.CHECKS, *stage_module.check_names(scene))
]


@pytest.fixture(scope="module")
def stage(lab_module: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page with the notebook of all scenes, none of them open."""
    path = tmp_path_factory.mktemp("panels") / "panels.ipynb"
    places = stage_module.write_notebook(path)
    with lab_module.Lab(path, out=stage_module.SCREENSHOTS, timeout_s=60) as lab:
        made = stage_module.Stage(lab, places)
        yield made
        assert made.leave() == []


@pytest.fixture
def opened(stage: Any, request: pytest.FixtureRequest) -> ModuleType:
    """The scene with its cells run; it stays open for the checks that follow."""
    # A fixture of the module would be made anew for each check: pytest counts each as a parameter.
    judged = request.node.callspec.params["check"] in grammar.CHECKS
    return stage.enter(request.param, untouched=judged)


@pytest.mark.parametrize(("opened", "check"), CHECKS, indirect=["opened"])
def test_scene(stage: Any, opened: ModuleType, check: str) -> None:
    """The check holds, and neither console, network nor cells complain."""
    try:
        act = getattr(opened, check, None) or grammar.CHECKS[check]
        act(stage.page, stage)
        assert stage.problems() == []
    except BaseException:
        stage.leave()  # what it left behind is not for the next check
        raise
    finally:
        stage.tidy()
