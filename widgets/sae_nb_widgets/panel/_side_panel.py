"""The common part of panels and the dashboard: they are shown under a cell, or beside the notebook."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import ipywidgets as ipw
from IPython import get_ipython
from IPython.display import display

from sae_nb.checks import checked
from sae_nb.figures.theme import escape
from sae_nb_widgets.components._base import HTML, LiveWidget
from sae_nb_widgets.components._scripts import script
from sae_nb_widgets.panel._closing import close_whole
from sae_nb_widgets.panel._declaring import show

AT_THE_SIDE = "{name} is beside the notebook. Where its tab was closed there, run this cell again."
NO_PACKAGE = (
    "The side panel needs the package sidecar: pip install sidecar, then reload the page and run "
    "this cell again."
)
NO_EXTENSION = (
    "The side panel needs the package sidecar where JupyterLab itself runs: pip install sidecar "
    "there, then reload the page and run this cell again."
)
NO_LAB = (
    "The side panel is one of JupyterLab: opened there (jupyter lab), this cell puts {name} beside "
    "the notebook."
)

ANCHORS = {True: "split-right", "sidebar": "right"}
"""Where sidecar puts it, by what was asked for."""


class HasSidePanel:
    """Can be shown under a cell or beside the notebook."""

    _cell: CellOutput | None = None
    if TYPE_CHECKING:

        @property
        def _closed(self) -> bool: ...

    @checked
    def show(self, beside: Literal[True, False, "sidebar"] = False) -> None:
        """Show it under the cell, or beside the notebook, where it stays in view while you scroll.

        The side panel is JupyterLab's and needs the package `sidecar` (`pip install 'sae-nb[sidecar]'`).
        Elsewhere (VS Code, Colab, a page made of the notebook) it is shown under the cell, with a
        sentence how to get the side panel. Shown again, it comes forward; there is never a second one.
        `close()` takes it away.

        Parameters
        ----------
        beside
            In the right half of JupyterLab, as a tab that can be moved and made wider; "sidebar": in
            its right side bar, which is narrow at first, and folds away by a click on its name.

        Raises
        ------
        ValueError: If it was closed.

        Example
        -------
        >>> import torch
        >>> import sae_nb as sn, sae_nb_widgets as sw
        >>> panel = sw.AtomBrowser(sn.TopK(4, 8, k=2), torch.randn(60, 4))
        >>> panel.show(beside=True)  # doctest: +SKIP
        >>> panel.close()
        """
        if self._closed:
            raise ValueError(
                f"`show` must be called before close(), got a {type(self).__name__} that is closed. "
                "Make it again."
            )
        if not beside:
            display(self)
            return
        if self._cell is None:
            self._cell = CellOutput(self, type(self).__name__)
        self._cell.ask(ANCHORS[beside])
        display(self._cell)

    def _display_(self) -> object:
        """Return what marimo shows, which asks for it by this name: the parts, live."""
        from sae_nb_widgets.panel._marimo import shown_in_marimo

        return shown_in_marimo(self)

    def leave_page(self) -> None:
        """Remove it from the notebook's side, and the cell's note about it."""
        cell, self._cell = self._cell, None
        if cell is not None:
            cell.close()


def page_will_answer() -> bool:
    """Return whether a page shows the cell: it announces itself by the cell's name, which no run
    without a page sends.
    """
    asked: dict[str, Any] = getattr(get_ipython(), "get_parent", dict)()
    return "cellId" in asked.get("metadata", {})


class PageKind(LiveWidget):
    """Invisible part of a cell's output: reports what kind of page shows it."""

    _esm = script("page_kind")


class CellOutput(ipw.VBox):
    """Under the cell of `show(beside=True)`: the panel, until the page reports that it can be at its side."""

    def __init__(self, panel: ipw.DOMWidget, name: str) -> None:
        super().__init__()
        self._panel, self._name = panel, name
        self._page, self._line = PageKind(), HTML()
        self._page.on_msg(self._receive)
        self._side: Any = None
        self._asked = ""

    def ask(self, anchor: str) -> None:
        """Go to that side as soon as a page that shows this cell has one."""
        if find_spec("sidecar") is None:
            self._stay(NO_PACKAGE)
            return
        self._asked = anchor
        if self._side is None and not page_will_answer():
            self._stay("")
        elif self._side is None:
            self._hold(self._page)

    def _receive(self, _: object, content: object, __: object) -> None:
        if not self._asked or not isinstance(content, dict) or content.get("kind") != "page":
            return
        anchor, self._asked = self._asked, ""
        if content.get("side") is True:
            self._go(anchor)
        else:
            self._stay(NO_EXTENSION if content.get("lab") is True else NO_LAB)

    def _go(self, anchor: str) -> None:
        try:
            from sidecar import Sidecar
        except ImportError:  # another package of that name, or a broken one
            self._stay(NO_PACKAGE)
            return
        self._take_away()
        self._say(AT_THE_SIDE)
        self._hold(self._page, self._line)
        shown = {
            "output_type": "display_data",
            "data": {
                "text/plain": repr(self._panel),
                "application/vnd.jupyter.widget-view+json": {
                    "version_major": 2, "version_minor": 0, "model_id": self._panel.model_id,
                },
            },
            "metadata": {},
        }  # fmt: skip
        self._side = Sidecar(title=self._name, anchor=anchor, outputs=(shown,))

    def _stay(self, why: str) -> None:
        self._take_away()
        self._say(why)
        self._hold(self._page, self._line, self._panel)

    def _hold(self, *parts: ipw.Widget) -> None:
        self.children = parts

    def _say(self, sentence: str) -> None:
        text = escape(sentence.format(name=self._name))
        self._line.value = f'<div role="status">{text}</div>' if text else ""
        show(self._line, bool(text))

    def _take_away(self) -> None:
        side, self._side = self._side, None
        if side is not None:
            close_whole(side)

    def close(self) -> None:
        """Take the panel away from the side and this from under the cell; the panel itself is left."""
        self._take_away()
        self._hold()
        for part in (self._page, self._line):
            close_whole(part)
        self.layout.close()
        super().close()

    def _repr_mimebundle_(self, **kwargs: object) -> object:
        bundle = super()._repr_mimebundle_(**kwargs)
        if isinstance(bundle, dict):
            still = self._panel._repr_mimebundle_(**kwargs)
            bundle |= {kind: still[kind] for kind in ("text/plain", "text/html") if kind in still}
        return bundle
