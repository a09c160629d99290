"""Branches of a GenerationLens's text: how it continues another way, and how such a branch is removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sae_nb_widgets.generation._keeping import NOTHING_KEPT, Strength
from sae_nb_widgets.generation._queries import Ways

if TYPE_CHECKING:
    from sae_nb_widgets.generation._panel import GenerationLens


class Branching:
    """Makes the branches of `panel`, and keeps by how much each was steered."""

    def __init__(self, panel: GenerationLens) -> None:
        self._panel = panel
        self.strengths: list[Strength] = []
        """As they were chosen, by branch."""

    def take(self, strengths: Sequence[Strength] = NOTHING_KEPT.strengths) -> None:
        """Begin with the branches that a text has."""
        self.strengths = list(strengths)

    def forget(self) -> None:
        """Note that there is no text, hence no branch."""
        self.strengths = []

    def fork(self) -> None:
        """Add the atom from the chosen token on, in a branch that is shown."""
        panel = self._panel
        generation = panel.generation
        if not panel.strength:
            raise ValueError("strength must not be 0, which adds nothing. Move the slider.")
        panel.playing = False
        with panel._drawing:
            unit = panel.scale.unit(panel.atom, "add")
            by = panel.strength * panel.scale.unit_size(panel.atom, "add")
            made = generation.fork(
                panel._now.place, panel.atom, by, branch=panel.branch, seed=panel.seed
            )
            self.strengths.append((panel.strength, unit))
            with panel.hold_trait_notifications():
                panel.branch, panel.token = made, -1

    def adopt(self, ways: Ways) -> None:
        """Keep three texts that are written already as a branch, which is shown."""
        panel = self._panel
        panel.playing = False
        with panel._drawing:
            made = panel.generation.adopt(ways.made)
            self.strengths.append((ways.ask.strength, ways.ask.unit))
            with panel.hold_trait_notifications():
                panel.branch, panel.token = made, -1

    def undo(self) -> None:
        """Remove the newest branch; if it is shown, show where it started from."""
        panel = self._panel
        generation, last = panel.generation, panel.n_branches - 1
        if last == 0:
            panel.say("There is no branch to take away.")
            return
        panel.playing = False
        fork = generation.branches[last].fork
        if panel.branch == last and fork is not None:
            with panel.hold_trait_notifications():
                panel.branch, panel.token = fork.branch, fork.position
        generation.undo()
        self.strengths.pop()
        panel._draw()
