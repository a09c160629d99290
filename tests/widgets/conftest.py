"""Panels and components that a test makes are closed when it ends, whether it passed or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import ipywidgets as ipw
import pytest
import sae_nb_widgets as sw
from ipywidgets.widgets.widget import _instances as widgets

from tests.widgets.made import descendants

PANELS = (sw.Panel, sw.Dashboard)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Panels first, with all that is theirs. What a panel of several tests has made stays with it."""
    before = set(widgets)
    yield
    panels = [widget for widget in widgets.values() if isinstance(widget, PANELS)]
    shared = [
        inside for panel in panels if panel.model_id in before for inside in descendants(panel)
    ]
    kept = before | {widget.model_id for widget in shared}
    made = [widget for key, widget in widgets.items() if key not in kept]
    for panel in [widget for widget in made if isinstance(widget, PANELS)]:
        panel.close()
    for component in [] if shared else made:
        if type(component).__module__.startswith("sae_nb_widgets."):
            component.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []

    def measure(_: ipw.Widget, message: Any, buffers: Any = None) -> None:
        arrays = sum(len(memoryview(one).cast("B")) for one in buffers or ())
        sizes.append(len(json.dumps(message, default=str)) + arrays)

    monkeypatch.setattr(ipw.Widget, "_send", measure)
    return sizes
