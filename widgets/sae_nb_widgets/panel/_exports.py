"""The exports of a panel: its record, web pages, images, files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import ipywidgets as ipw
import plotly.graph_objects as go
import traitlets as t

from sae_nb.checks import checked
from sae_nb.figures.shapes import Drawing
from sae_nb.figures.theme import escape
from sae_nb.files import write_bytes
from sae_nb_widgets.panel import _pages as pages
from sae_nb_widgets.panel._heading import Heading, usual_where
from sae_nb_widgets.panel._status import HasStatus, linked

EXPORT_WAITS_SECONDS = 600.0
"""Seconds that an export waits for the answer that it writes."""


class HasExports(HasStatus):
    """A panel's content, as a record, a web page or an image.

    A subclass defines what is drawn (`record`) and, where needed, what differs in exports.
    """

    question: str = "What is this?"
    explanation: tuple[str, str, str] = ("", "", "")
    needs_kernel: ClassVar[str] = "The controls need a running kernel and were left out."

    chips = t.Dict(help="Facts behind “about”: name to text.")
    where = t.Tuple(
        help="Model, place and atom shown, in words; empty: the model and hook point among the facts."
    )
    headline = t.Unicode("", help="Name of what is shown; empty: the question.")
    sure = t.Int(
        None, allow_none=True, min=0, max=4, help="How well that name is confirmed; None: no dots."
    )
    sure_words = t.Unicode("", help="What those dots mean, in a sentence.")
    export_folder = t.Unicode(".", help="Where the html and png buttons write.")

    if TYPE_CHECKING:  # the panel's
        _figure: go.FigureWidget | None

        def wait(self, timeout: float = ...) -> None: ...

        def first_words(self) -> str: ...

    # --- what is shown ----------------------------------------------------------------------------

    @property
    def atom_line(self) -> str:
        """Description of an atom, in one line, where some are shown."""
        return ""

    @property
    def record(self) -> Any:
        """The record that is drawn (a dataclass or a mapping), or None."""
        return None

    def current_figure(self) -> go.Figure | None:
        """Return the figure on screen as a plain plotly figure."""
        return None if self._figure is None else go.Figure(self._figure)

    def still_figure(self) -> go.Figure | None:
        """Return the figure as pictures show it; None where components of the panel show all of it."""
        return self.current_figure()

    def heading(self) -> Heading:
        """Return the top of the panel as exports have it, with what controls say on screen."""
        return replace(self._live_heading(), facts=self.static_chips())

    def _live_heading(self) -> Heading:
        return Heading(
            question=self.question,
            facts=self.chips,
            where=tuple(self.where) or usual_where(self.chips),
            headline=self.headline,
            sure=self.sure,
            sure_words=self.sure_words,
            atom_line=self.atom_line,
        )

    def static_chips(self) -> dict[str, str]:
        """Return the facts next to the question in exports; what controls say on screen included."""
        return dict(self.chips)

    def above_widgets(self) -> Sequence[ipw.Widget]:
        """Return the widgets above the figure in exports: texts, which come first."""
        return ()

    def main_widgets(self) -> Sequence[ipw.Widget]:
        """Return the widgets under the figure in exports."""
        above = self.above_widgets()
        return [widget for widget in self._frame.main.children if widget not in above]

    def static_main(self) -> str:
        """Return what is under the figure as HTML that needs no script."""
        return pages.static_html(self.main_widgets())

    def static_detail(self) -> str:
        """Return what is next to the figure as HTML that needs no script."""
        return pages.static_html([self._frame.detail])

    def export_name(self) -> str:
        """Return the name, without ending, of files the export buttons write."""
        return self.stem

    # --- files ------------------------------------------------------------------------------------

    @checked
    def to_html(self, path: str | Path, share_script: bool = False) -> Path:
        """Write the view as one HTML file that needs no kernel, atomically, once its answer is there.

        Hover, zoom and the current selection stay; controls are dropped, as the page notes. A reader
        without JavaScript sees the same figure as a drawing, and the record as a table.

        Parameters
        ----------
        path
            File to write; an existing one is replaced.
        share_script
            Put plotly's 5 MB script in a `plotly.min.js` next to the file, where many pages share it,
            in place of inside the file.

        Returns
        -------
        Path
            The file written.

        Raises
        ------
        TimeoutError: If the panel's work takes longer than ten minutes.
        """
        return pages.write_page(self.static_page(), Path(path), share_script=share_script)

    def static_page(self) -> pages.Page:
        """Return what `to_html` writes, once the panel's answer is there; where there is none, the reason."""
        self.wait(EXPORT_WAITS_SECONDS)
        return self.page_now(main=self.static_main(), detail=self.static_detail())

    def page_now(self, *, main: str = "", detail: str = "") -> pages.Page:
        """Return what is shown now as a page, with the parts under and next to the figure as given."""
        return pages.Page(
            heading=self.heading(),
            answer=self.answer or (self.status if self.problem else ""),
            bold=self._bold,
            numbers=self.numbers,
            reasons=self.reasons,
            words=self.first_words(),
            explanation=self.explanation,
            figure=self.current_figure(),
            above=pages.static_html(self.above_widgets()),
            main=main,
            detail=detail,
            record=self.record,
            dropped=self.needs_kernel,
        )

    @checked
    def to_png(self, path: str | Path | None = None) -> bytes:
        """Return the view as PNG on white at twice its size, drawn without a browser, once its answer is there.

        Question, facts, answer, figure with its legend, and the parts under and next to it.

        Parameters
        ----------
        path
            File to write as well; an existing one is replaced.
        """
        content = self._sheet().to_png()
        if path is not None:
            write_bytes(Path(path), content)
        return content

    @checked
    def to_svg(self, path: str | Path | None = None) -> str:
        """Return the view as SVG, which scales; otherwise as `to_png`.

        Parameters
        ----------
        path
            File to write as well; an existing one is replaced.
        """
        content = self._sheet().to_svg(on_white=True)
        if path is not None:
            write_bytes(Path(path), content.encode())
        return content

    def _sheet(self) -> Drawing:
        page = self.static_page()  # waits
        page = replace(page, figure=self.still_figure())
        above, main = (
            pages.drawings(widgets, pages.MAIN_WIDTH)
            for widgets in (self.above_widgets(), self.main_widgets())
        )
        detail = pages.drawings([self._frame.detail], pages.DETAIL_WIDTH)
        return pages.sheet(page, above, main, detail)

    def export(self, kind: str) -> None:
        """Write `<export_folder>/<export_name>.<kind>` ("html" or "png") and say where, with a link."""
        name = re.sub(r"[^\w.-]+", "_", self.export_name())
        path = Path(self.export_folder) / f"{name}.{kind}"
        with self.guarded(f"writing {path.name}"):
            (self.to_html if kind == "html" else self.to_png)(path)
            self._written = path
            size = pages.format_bytes(path.stat().st_size)
            self.say(f"Written: {path} ({size}), in the folder {path.resolve().parent}.")
            self._frame.written.value = linked(escape(self.status), path)

    def _write_table(self, name: str, write: Callable[[Path], Any], size: str) -> None:
        """Write `<export_folder>/<name>.csv` by a function of the path, and say so."""
        path = Path(self.export_folder) / f"{name}.csv"
        with self.guarded(f"writing {path.name}"):
            write(path)
            self.say(f"Written: {path} ({size}).")

    def _send_file(self) -> None:
        """Send the page the file that was written last: no other file is ever sent."""
        path = self._written
        if path is None:
            return
        with self.guarded(f"opening {path.name}"):
            kind = pages.FILE_TYPES[path.suffix.removeprefix(".")]
            self._frame.keys.send({"kind": "file", "type": kind}, [path.read_bytes()])
