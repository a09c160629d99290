"""Explanation of a token of a GenerationLens: the atoms before it that moved its score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.summaries import InputSummary, top_atoms

if TYPE_CHECKING:
    from sae_nb_widgets.generation._panel import GenerationLens

CHANNEL = "why"
FIRST_READ = 2
PART_OF_IMAGE = "It is a part of the image: choose a token before or after it."
"""Atoms read no first token, so the second has nothing before it that explains it."""


class Why:
    """The explanation of the chosen token of `panel`, found off the main thread."""

    def __init__(self, panel: GenerationLens) -> None:
        self._panel = panel
        self.found: InputSummary | None = None

    def forget(self) -> None:
        """Drop the explanation of a token, also one in the making."""
        self.found = None
        self._panel.forget_async(CHANNEL)

    def draw(self) -> None:
        """Show what was found, with names as they are now."""
        if self.found is not None:
            self._panel.views.explain(self._panel._now, self.found)

    def ask(self) -> None:
        """Find which atoms before the chosen token moved its score."""
        panel = self._panel
        self.found = None
        panel.views.explain(None, None)
        if panel.token < FIRST_READ:
            panel.forget_async(CHANNEL)
            if panel.token >= 0:
                panel.views.say_of_why("There is no token before it that atoms read.")
            return
        if panel.token in panel.generation.of_images:
            panel.forget_async(CHANNEL)
            panel.views.say_of_why(PART_OF_IMAGE)
            return
        self._explain(panel.token, panel.branch)

    def _explain(self, place: int, branch: int) -> None:
        panel = self._panel
        generation, base = panel.generation, panel._base
        before = generation.before(place, branch)
        target = generation.branches[branch].text.ids[place]

        def work() -> InputSummary:
            with generation.steered(branch):
                return top_atoms(
                    panel.model, panel.sae, before, panel.hook_point, frequency=base, target=target
                )

        def done(found: InputSummary) -> None:
            asked = (panel.token, panel.branch) == (place, branch)
            if asked and panel.ready and panel.generation is generation:
                self.found = found
                self.draw()
                panel._conclude()

        panel.run_async(work, done, doing=f"explaining token {place}", channel=CHANNEL)
