"""The order of scenes, and a page without network."""

from __future__ import annotations

from typing import Any

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


@pytest.fixture(scope="module")
def opened(chromium: Any) -> Any:
    """A context of it without network."""
    return chromium.new_context(viewport={"width": 1060, "height": 900}, offline=True)
