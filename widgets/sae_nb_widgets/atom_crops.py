"""CropSheet: the patches an atom fires on, side by side, so that what they share meets the eye."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as ipw
import traitlets as t

from sae_nb.summaries.atom import AtomSummary, Crops
from sae_nb_widgets.components import PictureGrid
from sae_nb_widgets.figures.theme import format_number, theme

TITLE = "the patches themselves, with one patch around each"


class CropSheet:
    """Patches of the band in one sprite; hover one to read where it is, click to choose its row.

    Parameters
    ----------
    chosen
        Called with a row of the activations and the patch in words; (−1, "") for none.
    """

    def __init__(self, chosen: Callable[[int, str], None]) -> None:
        self._chosen = chosen
        self._crops: Crops | None = None
        self.grid = PictureGrid(
            description=TITLE,
            titled=True,
            bare=True,
            hint="hover a patch to see where it is, click to choose it",
        )
        self.widget: ipw.Widget = self.grid
        self.grid.layout.display = "none"
        self.grid.observe(self._selected, "selected")

    def show(self, record: AtomSummary) -> None:
        """Draw the patches of a record; without any, the sheet is hidden."""
        crops = self._crops = record.crops
        self.grid.layout.display = None if crops is not None else "none"
        if crops is None:
            return
        with self.grid.hold_sync():
            self.grid.show(
                crops.pictures,
                captions=list(crops.places),
                strengths=[abs(z) for z in crops.strengths.tolist()],
                maximum=record.max_strength,
            )
            self.grid.thumbnail = theme().thumbnail_px // 2

    def _selected(self, change: t.Bunch) -> None:
        index = change["new"][0]
        if self._crops is None or not 0 <= index < len(self._crops.rows):
            self._chosen(-1, "")
            return
        z = format_number(float(self._crops.strengths[index]))
        self._chosen(int(self._crops.rows[index]), f"{self._crops.places[index]}: z = {z}")
