"""A page that was late asks for everything again: what the kernel's half owes it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import anywidget
import pytest
import sae_nb_widgets as sw
import traitlets as t
from sae_nb_widgets.components._base import LiveWidget
from sae_nb_widgets.panel._plot import Plot


def _kinds(parent: type = anywidget.AnyWidget) -> Iterator[type[Any]]:
    for kind in parent.__subclasses__():
        if kind.__module__.startswith("sae_nb_widgets."):
            yield kind
        yield from _kinds(kind)


def test_every_widget_of_ours_listens_by_itself_from_its_first_moment() -> None:
    """Their modules begin with `hear`, their kernel halves send read and sent in one step."""
    loaded = [getattr(sw, name) for name in sw.__all__]
    assert sw.TokenStrip in loaded
    assert issubclass(Plot, LiveWidget)
    for kind in _kinds():
        made_on_the_way = isinstance(kind.__dict__.get("_esm"), t.TraitType)  # by `add_traits`
        if kind.__name__ == "PlotlyScript" or made_on_the_way:  # the first's state never changes
            continue
        assert issubclass(kind, LiveWidget), kind
        script = kind.__dict__.get("_esm")
        if script is None:
            continue
        (hear,) = re.findall(r"async function (\w+)\(model, ?renewed", script)  # its short name
        assert len(re.findall(rf"\b{hear}\(model", script)) == 2, kind  # made, and called
        assert script.count("initialize") > 1, kind  # written, and exported


class _Slow(sw.Sparkbars):
    other: threading.Thread | None = None

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        state = super().get_state(key, drop_defaults)
        if key is None and self.other is not None:
            self.other.start()
            self.other.join(0.2)
        return dict(state)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(
        sw.Sparkbars, "_send", lambda self, message, buffers=None: found.append(message["state"])
    )
    return found


def test_the_last_word_a_late_page_hears_is_the_newest(sent: list[dict[str, Any]]) -> None:
    """A cell names the bars anew while the page's question is being answered."""
    bars = _Slow(description="old")
    bars.other = threading.Thread(target=lambda: setattr(bars, "description", "new"))
    bars._handle_msg({"content": {"data": {"method": "request_state"}}})
    bars.other.join()
    said = [state["description"] for state in sent if "description" in state]
    assert said[-1] == "new"
