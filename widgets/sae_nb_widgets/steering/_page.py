"""A SteeringPanel taken away: its numbers, what its page and its picture show, the names of its files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import plotly.graph_objects as go

from sae_nb.figures import to_svg
from sae_nb.generation import Continuation
from sae_nb_widgets.steering import _words as words
from sae_nb_widgets.steering._recipes import HasRecipes

if TYPE_CHECKING:
    from sae_nb_widgets.steering._detail import SteeringDetail
    from sae_nb_widgets.steering._figure import CurveView
    from sae_nb_widgets.steering._queries import SteeringAnswer


class HasPage(HasRecipes):
    """What leaves the panel."""

    if TYPE_CHECKING:
        cards: SteeringDetail
        doses: CurveView
        strength: Any
        target: Any
        _answer: SteeringAnswer | None

    @property
    def _told(self) -> Continuation | None:
        """The texts that title and answer are about; None where those are about the next token.

        Who names no token wants to read the story, not the odds of its first word.
        """
        record = self.cards.continuation
        current = record is not None and record.recipe == self.current and not self.target
        return record if current else None

    @property
    def record(self) -> dict[str, Any] | None:
        """The numbers behind the figure, for the table of exported pages."""
        if self._answer is None:
            return None
        curve, text = self.doses.curve, self.cards.continuation
        shown = {"answer": self._answer.summary, "curve": curve, "continuation": text}
        return {name: value for name, value in shown.items() if value is not None}

    def above_widgets(self) -> Sequence[ipw.Widget]:
        """Return the texts: they come before the odds of the next token."""
        return self.cards.main

    def current_figure(self) -> go.Figure | None:
        """Return the odds; None where the page is about the texts, and has them folded."""
        return super().current_figure() if self._told is None else None

    def still_figure(self) -> go.Figure | None:
        """Return the odds, which a picture has below the texts."""
        return super().current_figure()

    def static_main(self) -> str:
        """Return what is under the figure; under texts, folded, the odds and what moves."""
        if self._told is None:
            return super().static_main()
        odds = f'<div class="sae-nb-still">{to_svg(super().current_figure())}</div>'
        return (
            f"<details><summary>{words.NEXT_WORD}</summary>{odds}{super().static_main()}"
            f"{super().static_detail()}</details>"
        )

    def static_detail(self) -> str:
        """Return what is next to the figure; nothing beside texts."""
        return super().static_detail() if self._told is None else ""

    def export_name(self) -> str:
        """Return the file name of exports: the atom and its strength."""
        return f"{super().export_name()}_at_{self.strength:g}"
