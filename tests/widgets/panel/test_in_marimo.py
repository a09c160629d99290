"""Where anywidgets are shown and boxes of ipywidgets are not: a panel's parts are live, its controls do what they do."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import anywidget
import ipywidgets as ipw
import pytest
import sae_nb_widgets as sw
from ipywidgets.widgets.widget import _remove_buffers
from sae_nb_widgets.panel._marimo import RowOfControls, is_shown, live_parts

import sae_nb as sn


@pytest.fixture
def panel() -> Any:
    acts = sn.load_examples("tiny-gpt/resid_post.3").acts
    made = sw.AtomBrowser(sn.load_sae("tiny-gpt/resid_post.3"), acts)
    made.atom = 9
    yield made
    made.close()


def _press(part: RowOfControls, words: str, value: Any = None) -> None:
    which = [spec["words"] for spec in part.controls].index(words)
    part.asked = [len(part.asked) and part.asked[0] + 1, which, value]


def _with(parts: list[Any], words: str) -> RowOfControls:
    rows = [part for part in parts if isinstance(part, RowOfControls)]
    return next(row for row in rows if words in [spec["words"] for spec in row.controls])


def test_every_visible_part_is_an_anywidget_and_answers(panel: Any) -> None:
    """Texts and controls are mirrored; a press moves the panel, and its answer reaches the mirror."""
    parts = live_parts(panel)
    assert all(isinstance(part, anywidget.AnyWidget) for part in parts)
    for part in parts:  # what the page is given, and gives back
        state, _, buffers = _remove_buffers(part.get_state())
        part.set_state(json.loads(json.dumps(state)) if not buffers else {})
    steps = _with(parts, "›")
    said = steps.html
    _press(steps, "›")
    assert panel.atom != 9
    assert steps.html != said
    assert f"atom {panel.atom}" in steps.html
    _press(steps, "atom", "9")
    assert panel.atom == 9


def test_every_kind_of_control_has_its_mirror() -> None:
    """Menus by place, switches by state, ranges by number; hidden texts are left out."""
    menu = ipw.Dropdown(options=["a", "b"], description="kind")
    box, slide = (
        ipw.Checkbox(description="on"),
        ipw.IntSlider(description="k", min=1, max=9, value=2),
    )
    text = ipw.HTML("<b>seen</b>")
    row = RowOfControls([text, menu, box, slide])
    assert [spec["kind"] for spec in row.controls] == ["menu", "switch", "range"]
    _press(row, "kind", "1")
    _press(row, "on", True)
    _press(row, "k", "7")
    assert (menu.value, box.value, slide.value) == ("b", True, 7)
    text.layout.display = "none"
    text.value = "hidden"
    assert (row.html, is_shown(text)) == ("", False)


def test_marimo_is_given_the_parts(panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for `_display_`; what comes back are its own wrappers of live parts, one below the other."""
    marimo, ui = ModuleType("marimo"), ModuleType("marimo.ui")
    ui.anywidget, marimo.ui, marimo.vstack = (lambda part: part), ui, list  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "marimo", marimo)
    shown = panel._display_()
    assert len(shown) == len(live_parts(panel)) >= 4
