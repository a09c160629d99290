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

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]


def _sibling(name: str) -> ModuleType:
    return script(Path(__file__).with_name(f"{name}.py"), name)


# `stage` imports `lab` by name, as every module beside this one does.
_sibling("lab")
stage_module = _sibling("stage")
grammar = _sibling("grammar").grammar
CHECKS = [
    (scene, check)
    for scene in stage_module.scene_names()
    # The grammar first: it needs a scene as its cells left it, and leaves it so.
    for check in (grammar.__name__, *stage_module.check_names(scene))
]


@pytest.fixture(scope="module")
def stage(lab_module: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page with the notebook of all scenes, none of them open."""
    path = tmp_path_factory.mktemp("panels") / "panels.ipynb"
    places = stage_module.write_notebook(path)
    with lab_module.Lab(path, out=stage_module.SCREENSHOTS, timeout_s=150) as lab:
        made = stage_module.Stage(lab, places)
        yield made
        assert made.leave() == []


@pytest.fixture
def opened(stage: Any, request: pytest.FixtureRequest) -> ModuleType:
    """The scene with its cells run; it stays open for the checks that follow."""
    # A fixture of the module would be made anew for each check: pytest counts each as a parameter.
    judged = request.node.callspec.params["check"] == grammar.__name__
    return stage.enter(request.param, untouched=judged)


@pytest.mark.parametrize(("opened", "check"), CHECKS, indirect=["opened"])
def test_scene(stage: Any, opened: ModuleType, check: str) -> None:
    """The check holds, and neither console, network nor cells complain."""
    try:
        getattr(opened, check, grammar)(stage.page, stage)
        assert stage.problems() == []
    except BaseException:
        stage.leave()  # what it left behind is not for the next check
        raise
    finally:
        stage.tidy()
