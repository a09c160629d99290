"""Browser tests need a system Chromium: without one they skip, on CI they fail."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the checks of a scene together, in whatever order: opening one runs all its cells."""
    order: dict[str, int] = {}
    places = [i for i, item in enumerate(items) if item.path.name == "test_panels.py"]
    scenes = [items[i] for i in places]
    for item in scenes:
        order.setdefault(_scene_of(item), len(order))
    scenes.sort(key=lambda item: order[_scene_of(item)])
    for i, item in zip(places, scenes, strict=True):
        items[i] = item


def _scene_of(item: pytest.Item) -> str:
    return str(item.callspec.params["opened"]) if hasattr(item, "callspec") else ""


@pytest.fixture(scope="session")
def lab_module(request: pytest.FixtureRequest) -> ModuleType:
    """The harness of `lab.py`, or a skip (a failure with --require-browser) without a Chromium."""
    spec = importlib.util.spec_from_file_location("lab", Path(__file__).with_name("lab.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lab"] = module
    spec.loader.exec_module(module)
    if module.chromium() is None:
        reason = "no Chromium here: install one or set SAE_NB_CHROMIUM"
        if request.config.getoption("--require-browser"):
            pytest.fail(reason)
        pytest.skip(reason)
    return module
