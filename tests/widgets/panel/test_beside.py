"""A panel beside the notebook: where the page can, once, and gone when the panel is closed."""

from __future__ import annotations

from typing import Any

import ipywidgets as ipw
import pytest
import sae_nb_widgets as sw
import torch
from ipywidgets.widgets.widget import _instances

import sae_nb as sn

SIDE = {"kind": "page", "lab": True, "side": True}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    given: list[Any] = []
    monkeypatch.setattr("sae_nb_widgets.panel._side_panel.display", given.append)
    return given


@pytest.fixture
def panel(shown: list[Any]) -> Any:
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    made = sw.AtomBrowser(sn.TopK(4, 8, k=2), x)
    return made


def answer(cell: Any, content: Any) -> None:
    cell._page._handle_custom_msg(content, [])


def sides() -> list[Any]:
    return [w for w in list(_instances.values()) if type(w).__name__ == "Sidecar" and w.comm]


def words(cell: Any) -> str:
    lines = [w for w in cell.children if isinstance(w, ipw.HTML) and w.layout.display != "none"]
    return " ".join(w.value for w in lines)


@pytest.mark.slow
def test_the_page_decides_where_the_panel_stands(panel: Any, shown: list[Any]) -> None:
    """Under the cell until a JupyterLab with the extension answers; then beside it, and in no cell."""
    panel.show(beside=True)
    (cell,) = shown
    assert panel in cell.children
    assert sides() == []
    answer(cell, SIDE)
    (side,) = sides()
    (output,) = side.outputs
    assert output["data"]["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.model_id
    assert panel not in cell.children


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"kind": "page", "lab": False, "side": False}, "one of JupyterLab"),
        ({"kind": "page", "lab": True, "side": False}, "where JupyterLab itself runs"),
    ],
)
def test_elsewhere_it_stays_under_the_cell_and_says_how(
    panel: Any, shown: list[Any], content: Any, sentence: str
) -> None:
    """Another page, or a JupyterLab without the extension: the panel, and what to do."""
    panel.show(beside=True)
    answer(shown[0], content)
    assert panel in shown[0].children
    assert sentence in words(shown[0])
    assert sides() == []


@pytest.mark.slow
def test_shown_twice_there_is_one(panel: Any, shown: list[Any]) -> None:
    """Each time a page answers there is one side panel; an answer that nobody asked for opens none."""
    for _ in range(2):
        panel.show(beside=True)
        answer(shown[-1], SIDE)
        answer(shown[-1], SIDE)
        assert len(sides()) == 1
    assert sides()[0].anchor == "split-right"
    panel.show(beside="sidebar")
    answer(shown[-1], SIDE)
    assert [side.anchor for side in sides()] == ["right"]


def test_closing_the_panel_leaves_nothing(shown: list[Any]) -> None:
    """Neither side panel nor the cell's sentence; a closed panel is not shown again."""
    before = set(_instances)
    panel = sw.SuperpositionToy()
    panel.show(beside=True)
    answer(shown[0], SIDE)
    assert len(sides()) == 1
    panel.close()
    assert sides() == []
    left = [w for name, w in list(_instances.items()) if name not in before and w.comm]
    assert [type(w).__name__ for w in left if type(w).__name__ in ("PageKind", "CellOutput")] == []
    with pytest.raises(ValueError, match="closed"):
        panel.show(beside=True)
