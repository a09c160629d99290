"""Browser tests need a system Chromium: without one they skip, on CI they fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.scripts import script


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
    module = script(Path(__file__).with_name("lab.py"), "lab")
    if module.chromium() is None:
        reason = "no Chromium here: install one or set SAE_NB_CHROMIUM"
        if request.config.getoption("--require-browser"):
            pytest.fail(reason)
        pytest.skip(reason)
    return module


@pytest.fixture(scope="module")
def chromium(lab_module: ModuleType) -> Iterator[Any]:
    """A Chromium without JupyterLab, for pages that need no kernel."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=lab_module.chromium(), args=lab_module.CHROMIUM_FLAGS
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def opened(chromium: Any) -> Any:
    """A context of it without network."""
    return chromium.new_context(viewport={"width": 1060, "height": 900}, offline=True)
