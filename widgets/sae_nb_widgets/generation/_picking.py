"""Clicks on the parts of a GenerationLens: they choose a token, an atom, a branch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import traitlets as t

if TYPE_CHECKING:
    from sae_nb_widgets.generation._panel import GenerationLens


class Picking:
    """Listens to the components of `panel`; what they say while they are filled is not heard."""

    def __init__(self, panel: GenerationLens) -> None:
        self._panel, self._views = panel, panel.views
        views = self._views
        views.text.observe(self._token, "selected")
        for one in views.on_images:
            one.observe(self._patch, "selected")
        views.here.observe(self._atom(lambda: views.here_atoms), "selected")
        views.why.observe(self._atom(lambda: views.why_atoms), "selected")
        views.table.observe(self._branch, "selected")

    @property
    def _deaf(self) -> bool:
        return bool(self._views.filling) or not self._panel.ready

    def _token(self, change: t.Bunch) -> None:
        if self._deaf:
            return
        panel, (row, column) = self._panel, change["new"]
        now = panel._now
        n_written = sum(len(one.ids) > now.start for one in now.shown.rows)
        if row > n_written:
            panel.say("These texts are not kept yet: press “Write on”, then choose a token.")
            self._views.mark_token(now)
        elif row > 1:
            panel.say("The text goes on from the steered row; choose branch 0 to go on without.")
            self._views.mark_token(now)
        else:
            panel.token = -1 if row < 0 else column if row == 0 else now.start + column

    def _patch(self, change: t.Bunch) -> None:
        if self._deaf:
            return
        image, patch = change["new"]
        runs = [*self._panel._now.runs.values()]
        self._panel.token = runs[image].start + patch if image >= 0 and patch >= 0 else -1

    def _atom(self, atoms: Callable[[], list[int]]) -> Callable[[t.Bunch], None]:
        def choose(change: t.Bunch) -> None:
            if 0 <= change["new"] < len(atoms()) and not self._views.filling:
                self._panel.atom = atoms()[change["new"]]

        return choose

    def _branch(self, change: t.Bunch) -> None:
        if change["new"] >= 0 and not self._views.filling:
            with self._panel.hold_trait_notifications():
                self._panel.branch, self._panel.token = change["new"], -1
