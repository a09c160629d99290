"""The writing of a GenerationLens: token by token, at a readable pace, in the text or in a branch of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sae_nb.figures.theme import format_number
from sae_nb_widgets.generation._keeping import NOTHING_KEPT, Strength
from sae_nb_widgets.generation._queries import Ways

if TYPE_CHECKING:
    from sae_nb_widgets.generation._panel import GenerationLens

FRAME_SECONDS = 0.04
"""Between two drawings while it writes: more tokens than eyes can follow are drawn together."""


class Writing:
    """Writes token by token for `panel`, and knows how many are left until it pauses."""

    def __init__(self, panel: GenerationLens) -> None:
        self._panel = panel
        self.left = 0
        """Tokens until it pauses."""

        self.seconds, self.n = 0.0, 0
        """Duration of the last stretch of writing, and its number of tokens."""

        self.undrawn = False
        """Whether something was written since the last frame."""

        self._drawn_at = 0.0

    def begin(self, n: int) -> None:
        """Start counting a stretch of writing, of `n` tokens."""
        self.left = n
        self._count_anew()

    def _count_anew(self) -> None:
        self.seconds, self.n = 0.0, 0

    def forth(self) -> None:
        """Write one token more of the stretch; at its end say why it stops."""
        self.left -= 1
        self._one_more()
        if self._panel.at_end:
            self.draw_rest()
            self._say_why_it_stops()

    def step(self, n: int) -> None:
        """Write `n` tokens more, fewer where the text ends, and draw them."""
        with self._panel._drawing:
            self._count_anew()
            for _ in range(n):
                if not self._one_more():
                    self._panel.say("The text has ended.")
                    break
            self.draw_rest()

    def _one_more(self) -> bool:
        """Write one token more; say whether there was one."""
        started = time.perf_counter()
        wrote: bool = self._panel.generation.step(self._panel.branch)
        if wrote:
            self.undrawn = True
            if started - self._drawn_at >= FRAME_SECONDS:
                self._panel._draw()
            self.seconds += time.perf_counter() - started
            self.n += 1
        return wrote

    def drawn(self) -> None:
        """Note that everything written is on screen."""
        self.undrawn, self._drawn_at = False, time.perf_counter()

    def draw_rest(self) -> None:
        """Draw what was written since the last frame, once it has stopped."""
        if self.undrawn and (not self._panel.playing or self._panel.at_end):
            self._panel._draw()

    def _say_why_it_stops(self) -> None:
        panel = self._panel
        rate = format_number(self.n / max(self.seconds, 1e-9), digits=2)
        ended = panel.generation.ended(panel.branch)
        why = "The text has ended" if ended else "Paused; “Write on” continues"
        panel.say(f"{why}. {self.n} tokens, at {rate} a second with everything drawn.")


# --- Branches: another way in which the text continues --------------------------------------------


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
        """Keep texts that are written already as a branch, which is shown."""
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
