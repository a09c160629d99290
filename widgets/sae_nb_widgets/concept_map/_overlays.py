"""Overlays of the map: the cone of a named direction, and the dimension around each point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import traitlets as t
from jaxtyping import Float

from sae_nb.atoms import AtomNames, ConceptMapSummary
from sae_nb.figures.theme import escape, format_count, format_number, format_percent
from sae_nb_widgets.components import Sparkbars
from sae_nb_widgets.components._base import HTML, Box, VBox
from sae_nb_widgets.concept_map._cones import Cone
from sae_nb_widgets.concept_map._figure import Word
from sae_nb_widgets.concept_map._state import MapState
from sae_nb_widgets.panel._declaring import show, small_button
from sae_nb_widgets.panel._pages import LIVE_ONLY

MOST_SAID = 3
THINNEST, THICKEST = 1.5, 7.0
"""Of the lines of a cone, in pixels."""
NO_SPOKES = np.zeros((0, 4), np.float32)


class ConceptOverlays:
    """The overlays of a ConceptMap: its cone, with a card in the detail column, and a further colour."""

    def __init__(self, panel: MapState, select: Callable[[Sequence[int]], None]) -> None:
        self._panel, self._select = panel, select
        self.cone: Cone | None = None
        self._title = HTML()
        self.atoms = Sparkbars(description="atoms that build it (weight)")
        self.left = Sparkbars(
            description="share of it left (dashed, in brackets: random directions)"
        )
        select = small_button(
            "select its atoms", "Select the atoms of this cone: their table and inputs", self.select
        )
        line = Box([select]).add_class("sae-nb-line").add_class(LIVE_ONLY)
        self.card = VBox([self._title, self.atoms, self.left, line])
        show(self.card, False)
        self.atoms.observe(self._clicked, "selected")

    # --- the cone ---------------------------------------------------------------------------------

    def ask(self, redraw: Callable[[], None]) -> None:
        """Find the cone that the panel's `cone` names, off the main thread, and draw it; "" takes it away."""
        panel = self._panel
        name = panel.cone

        def take(found: Cone | None) -> None:
            if panel.cone == name:
                self.cone = found
                self._draw_card()
                redraw()

        if not name:
            panel.forget_async("cone")
            take(None)
            return
        doing = f"looking for the atoms that build “{name}”"
        found = partial(panel.cones.of, name)  # type: ignore[union-attr] # whose name it is
        panel.run_async(found, take, doing=doing, channel="cone")

    def select(self) -> None:
        """Select the atoms of the cone."""
        if self.cone is not None:
            self._select(self.cone.atoms.tolist())

    def _clicked(self, change: t.Bunch) -> None:
        if self.cone is not None and 0 <= change["new"] < len(self.cone.atoms):
            self._panel.set_trait("atom", int(self.cone.atoms[change["new"]]))

    def _draw_card(self) -> None:
        cone = self.cone
        show(self.card, cone is not None)
        if cone is None:
            return
        names: AtomNames = self._panel.names
        atoms = cone.atoms.tolist()
        called = f'<span dir="auto">{escape(cone.name)}</span>'
        self._title.value = f'<div class="sae-nb-cardtitle">cone of {called}</div>'
        self.atoms.show([names.name(atom) for atom in atoms], cone.weights.tolist(), atoms=atoms)
        self.left.show(
            [f"{s} atom" if s == 1 else f"{s} atoms" for s in cone.steps],
            cone.r.tolist(),
            notes=[
                f"{_percent(here)} ({_percent(there)})"
                for here, there in zip(cone.r.tolist(), cone.random_directions.tolist())
            ],
            bands=[(there, there, there) for there in cone.random_directions.tolist()],
            maximum=1.0,
        )

    def spokes(
        self, record: ConceptMapSummary
    ) -> tuple[Float[np.ndarray, "k 4"], Float[np.ndarray, " k"]]:
        """Return the lines from a cone's atoms to its name's position, and their widths by weight."""
        cone = self.cone
        if cone is None or record.show != "atoms" or not len(cone.atoms):
            return NO_SPOKES, np.zeros(0)
        ends = record.xy[cone.atoms]
        middle = np.broadcast_to(cone.place(record.xy), ends.shape)
        share = cone.weights / cone.weights.max()
        return np.concatenate([middle, ends], axis=1), THINNEST + (THICKEST - THINNEST) * share

    def words(self, record: ConceptMapSummary) -> list[Word]:
        """Return the name of the cone and its position."""
        cone = self.cone
        if cone is None or record.show != "atoms" or not len(cone.atoms):
            return []
        return [(*cone.place(record.xy).tolist(), cone.name)]

    def key(self) -> str:
        """Return what the lines mean, as HTML; empty where there are none."""
        cone = self.cone
        if cone is None:
            return ""
        if self._panel.show != "atoms":
            return "<p>Cones are built of atoms: they are drawn where atoms are shown.</p>"
        return (
            f'<p>Thick lines: the atoms that build <b dir="auto">{escape(cone.name)}</b> by adding, thicker '
            "for more weight. They meet at the mean of those atoms' places by weight, which is no place of its "
            "own.</p>"
        )

    def answer(self) -> tuple[str, str]:
        """Return of which atoms the direction is built and how well, in a sentence, and the numbers."""
        cone = self.cone
        if cone is None:
            return "", ""
        names: AtomNames = self._panel.names
        n = len(cone.atoms)
        if not n:
            return f"No atom points towards “{cone.name}”: nothing builds it by adding.", ""
        most = [names.in_text(atom) for atom in cone.atoms[:MOST_SAID].tolist()]
        rest = f" and {format_count(n - MOST_SAID)} more" if n > MOST_SAID else ""
        verdict = "" if cone.held else " No better than random directions are."
        if cone.doubtful:
            verdict += " Two halves of its inputs agree on it no better than by chance."
        s = format_count(cone.steps[-1])
        return (
            f"“{cone.name}” is built of {', '.join(most)}{rest}, and "
            f"{_percent(cone.r[-1])} of it is left; of random directions "
            f"{_percent(cone.random_directions[-1])}.{verdict}",
            f"r({s}), the share of the length that the best {s} atoms leave, found greedily: "
            f"{format_number(float(cone.r[-1]))}; random directions "
            f"{format_number(float(cone.random_directions[-1]))}, random atoms "
            f"{format_number(float(cone.random_atoms[-1]))}",
        )

    # --- columns that take their time: the dimension around each point, and distances of many ---------

    def measure(self, record: ConceptMapSummary, name: str, redraw: Callable[[], None]) -> None:
        """Add a column to those of the record on screen, then draw."""
        panel = self._panel
        if name in record.columns or not panel.ready:
            return

        def take(column: Any) -> None:
            shown = panel.record
            if shown is not None and shown.show == record.show:
                panel.record = replace(shown, columns={**shown.columns, name: column})
                redraw()

        work = partial(panel.atlas.measured, record.show, name)
        panel.run_async(work, take, doing=f"measuring the {name}", channel="dimension")


def _percent(share: float) -> str:
    """A share in whole percent: what is left of a direction is an upper bound anyway."""
    return format_percent(round(float(share), 2))
